"""A run folder: everything one analysis leaves behind, whole or not at all.

    with Run(out, command="radfoundry study run x", config=cfg, seed=0, title="...") as run:
        run.write_predictions(table)
        run.add_estimates(estimates)
        run.save_figure("roc", figure, data)

Work goes to a hidden sibling folder, `.<name>.partial-<pid>`, which takes the final name when the block
ends well and is removed when it does not, so a folder with the final name is always complete.

    manifest.json        what was run, on what, with which versions; no host, user or home path
    metrics.json         list of estimates; the report shows these and no other numbers
    sections.json        the words, tables and figures of the report, in order
    predictions.parquet  one row a case x target x model x resample
    tables/              tables for other software, CSV and JSON Lines
    figures/             NAME.svg, NAME.png and NAME.csv, the data drawn
    images/NAME/         pictures of a gallery
    model/               weights and README.md, the model card
    report.html          one page, works offline
    log.txt              what happened, without identifiers
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from radfoundry.errors import RunError
from radfoundry.studies.model_card import card_text
from radfoundry.studies.provenance import command_line, machine_class, versions
from radfoundry.table_files import no_formula
from radfoundry.types import Estimate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Run", "command_line", "machine_class", "plain"]

FORMAT = 1
GALLERY_PIXELS = 512  # longest side of a gallery picture


class Run:
    """Collects the results of one analysis and writes them as a run folder.

    out: the folder to make. An existing one that holds anything is refused unless `force`, and `force`
    replaces only a run folder, never another folder of yours.
    config: a dataclass or dict of plain values, recorded as given.
    keep_log: on an error, keep the log as `<name>.failed-log.txt` beside `out`.

    Raises RunError where the folder cannot be written, saying why and what to do.
    """

    def __init__(
        self,
        out: Path | str,
        *,
        command: str,
        config: Any,
        seed: int | None,
        title: str,
        subtitle: str = "",
        force: bool = False,
        keep_log: bool = False,
    ) -> None:
        self.out = Path(out).absolute()
        self.folder = self.out.parent / f".{self.out.name}.partial-{os.getpid()}"
        self.force = force
        self.keep_log = keep_log
        self.estimates: list[Estimate] = []
        self._known: set[tuple] = set()
        self._content: dict[str, Any] = {"title": title, "subtitle": subtitle, "notes": [], "sections": []}
        self._card: dict[str, Any] | None = None
        self._hidden: set[str] = set()
        self._finished = False
        self._manifest: dict[str, Any] = {
            "format": FORMAT,
            "command": command,
            "title": title,
            "config": plain(config),
            "seeds": [] if seed is None else [int(seed)],
            "start": _now(),
            "data": [],
            "encoders": [],
            "licences": [],
        }

    # -- life of the folder ---------------------------------------------------------------------

    def __enter__(self) -> Run:
        self._refuse_existing()
        with self._writing(self.folder):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if self.folder.exists():  # left by a killed process that had our number
                shutil.rmtree(self.folder)
            self.folder.mkdir()
        try:
            self.log("start")
        except BaseException:  # __exit__ is not called when __enter__ fails
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._finished:
            try:
                self.finish()
            except BaseException as failure:
                self._abandon(type(failure))
                raise
        elif kind is not None and not self._finished:
            self._abandon(kind)

    def finish(self) -> Path:
        """Write the last files, build report.html, and give the folder its final name."""
        from radfoundry.report.build import build
        from radfoundry.report.render import render

        self._write_card()
        self.log("end")
        self._manifest |= {
            "end": _now(),
            "status": "complete",
            "python": platform.python_version(),
            "packages": versions(),
            "machine": machine_class(),
        }
        self._write_json("manifest.json", _without_home(self._manifest))
        self._write_json("metrics.json", [estimate.as_dict() for estimate in self.estimates])
        self._write_json("sections.json", {"format": FORMAT, **_without_home(self._content)})
        page = render(build(self.folder))
        with self._writing(self.folder / "report.html") as path:
            path.write_text(page, encoding="utf-8")
        self._take_final_name()
        self._finished = True
        return self.out

    # -- what a study records -------------------------------------------------------------------

    def add_data(self, name: str, digest: str, n: int) -> None:
        """Record a data set by the digest of its table and its number of cases."""
        self._manifest["data"].append({"name": name, "digest": digest, "n": int(n)})

    def add_encoder(self, name: str, fingerprint: str) -> None:
        """Record an encoder by its fingerprint (card, revision, weights, recipe, code version)."""
        self._manifest["encoders"].append({"name": name, "fingerprint": fingerprint})

    def add_licence(self, item: str, licence: str, *, note: str = "") -> None:
        """Record that the licence of `item` was accepted by name for this run."""
        self._manifest["licences"].append({"item": item, "licence": licence, "note": note})

    def add_estimates(self, estimates: Iterable[Estimate]) -> None:
        """Add to metrics.json; an estimate that is there already is not added again."""
        for estimate in estimates:
            key = tuple(estimate.as_dict().values())  # NaN is None there, so that it equals itself
            if key not in self._known:
                self._known.add(key)
                self.estimates.append(estimate)

    def write_predictions(self, table: pd.DataFrame) -> None:
        """Write predictions.parquet, checked against the predictions contract."""
        from radfoundry.predictions import write_predictions

        with self._writing(self.folder / "predictions.parquet") as path:
            write_predictions(table, path)

    def save_figure(
        self, name: str, figure: Figure, data: pd.DataFrame, *, title: str = "", caption: str = ""
    ) -> None:
        """Write figures/NAME.svg, .png and .csv (the data drawn), and show it in the report.

        Known names have a place and a title of their own: roc, precision_recall, calibration,
        decision_curve, scores, subgroups, comparison, flow, history; `roc-external` goes with roc.
        """
        from radfoundry.report.figures import save

        stem = self.folder / "figures" / _checked_name(name)
        with self._writing(stem):
            stem.parent.mkdir(exist_ok=True)
            save(figure, stem)
            data.to_csv(stem.with_suffix(".csv"), index=False)
        self.set_section(name, {"kind": "figure", "figures": [name], "title": title, "caption": caption})

    def save_table(self, name: str, table: pd.DataFrame, *, lines: bool = False) -> None:
        """Write tables/NAME.csv for other software; lines: tables/NAME.jsonl as well, one record a line.

        Cells that a spreadsheet would run as a formula get an apostrophe in the CSV, not in the records.
        """
        stem = self.folder / "tables" / _checked_name(name)
        with self._writing(stem):
            stem.parent.mkdir(exist_ok=True)
            table.map(no_formula).to_csv(stem.with_suffix(".csv"), index=False)
            if lines:
                table.to_json(stem.with_suffix(".jsonl"), orient="records", lines=True, force_ascii=False)

    def save_images(
        self,
        name: str,
        arrays: Iterable[np.ndarray],
        captions: Sequence[str | Mapping[str, Any]],
        *,
        title: str = "",
        caption: str = "",
    ) -> None:
        """Write pictures for a gallery and show them in the report.

        arrays: each (rows, columns) or (rows, columns, 3), float in [0, 1] or uint8.
        captions: one a picture; a string, or a dict with `title`, `text` and `tag` (such as
        "false negative"), each optional.
        """
        items: list[dict[str, Any]] = []
        folder = self.folder / "images" / _checked_name(name)
        for index, (array, words) in enumerate(zip(arrays, captions, strict=True)):
            with self._writing(folder / f"{index:03d}.png") as path:
                folder.mkdir(parents=True, exist_ok=True)
                _write_png(array, path)
            text = {"text": words} if isinstance(words, str) else plain(words)
            items.append({"file": f"images/{name}/{index:03d}.png", **text})
        self.set_section(name, {"kind": "gallery", "items": items, "title": title, "caption": caption})

    def set_section(self, key: str, content: Mapping[str, Any]) -> None:
        """Set one section of the report; `content` has `kind`, `title`, and what the kind needs.

        Kinds and their fields: docs/how-to/reports.md. Setting a key again replaces it in place. The key
        `verdict` fills the box at the top; known keys have a place, others keep the order of setting.
        """
        section: dict[str, Any] = {"key": _checked_name(key), **plain(content)}
        sections = self._content["sections"]
        places = [i for i, known in enumerate(sections) if known["key"] == key]
        if places:
            sections[places[0]] = section
        else:
            sections.append(section)

    def section(self, title: str, kind: str = "text", *, key: str = "", **content: Any) -> None:
        """`set_section` with the key made from the title."""
        slug = key or re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or "section"
        self.set_section(slug, {"kind": kind, "title": title, **content})

    def verdict(
        self, text: str, items: Sequence[tuple[str, Estimate, Estimate | None]] = (), *, against: str = ""
    ) -> None:
        """Fill the box at the top: a sentence, and (label, estimate, trivial baseline) for each number.

        The estimates are added to metrics.json where they are not there yet. against: what the baseline
        is, where its model name does not say it.
        """
        chosen = [e for _, estimate, baseline in items for e in (estimate, baseline) if e is not None]
        self.add_estimates(chosen)
        rows = [
            {
                "label": label,
                "pick": estimate.as_dict(),
                "baseline": baseline.as_dict() if baseline else None,
                "against": against,
            }
            for label, estimate, baseline in items
        ]
        self.set_section("verdict", {"kind": "verdict", "text": text, "items": rows})

    def note(self, message: str) -> None:
        """Say what this data cannot support; shown under the verdict and by `radfoundry show`."""
        if message not in self._content["notes"]:
            self._content["notes"].append(message)

    def hide(self, identifiers: Iterable[object]) -> None:
        """Identifiers (patients, cases) to be replaced by [id] wherever they stand in a log message."""
        self._hidden.update(str(value) for value in identifiers)

    def log(self, message: str) -> None:
        """Append a line with the time (UTC) to log.txt. No identifiers: see `hide`."""
        text = _without_home(" ".join(message.split()))
        if self._hidden:
            text = re.sub(r"[^\s,;:()\[\]'\"=]+", lambda m: "[id]" if m[0] in self._hidden else m[0], text)
        with (
            self._writing(self.folder / "log.txt") as path,
            path.open("a", encoding="utf-8") as handle,
        ):
            handle.write(f"{_now()} {text}\n")

    def model_card(self, card: Mapping[str, Any]) -> None:
        """Write model/README.md with Hugging Face front matter when the run ends.

        The keys license, license_name, license_link, language, library_name, pipeline_tag, tags,
        datasets, metrics and base_model go to the front matter; `title` heads the page; any other key
        becomes a heading with its text below. The headline estimates are added as a table.
        """
        self._card = plain(card)

    @property
    def model_dir(self) -> Path:
        """The folder for weights and heads (safetensors, skops), made on first use."""
        with self._writing(self.folder / "model") as path:
            path.mkdir(exist_ok=True)
        return path

    # -- private --------------------------------------------------------------------------------

    def _refuse_existing(self) -> None:
        try:
            if not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir())):
                return
        except OSError as error:
            raise RunError(
                f"the run folder {self.out} cannot be looked at: {error.strerror}. "
                "Choose another place with --out"
            ) from error
        if not self.force:
            raise RunError(
                f"{self.out} exists already. Choose another folder with --out, or replace it with --force"
            )
        if not (self.out / "manifest.json").is_file():
            raise RunError(
                f"{self.out} is not a run folder (it has no manifest.json), so --force does not replace it. "
                "Choose another folder with --out"
            )

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[Path]:
        """Turn a failure of the disk into a RunError that says what, where and what next."""
        try:
            yield path
        except OSError as error:
            shown = self.out / path.relative_to(self.folder) if path != self.folder else self.out
            raise RunError(
                f"cannot write {shown}: {_reason(error)}. Nothing was left at {self.out}"
            ) from error

    def _write_json(self, name: str, value: Any) -> None:
        with self._writing(self.folder / name) as path:
            path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")

    def _write_card(self) -> None:
        if self._card is None:
            return
        verdicts = [s for s in self._content["sections"] if s["key"] == "verdict"]
        picks = [item["pick"] for verdict in verdicts for item in verdict.get("items", [])]
        rows = [estimate for estimate in self.estimates if estimate.as_dict() in picks]
        with self._writing(self.model_dir / "README.md") as path:
            path.write_text(card_text(self._card, rows), encoding="utf-8")

    def _take_final_name(self) -> None:
        aside = self.out.parent / f".{self.out.name}.replaced-{os.getpid()}"
        with self._writing(self.folder):
            if self.out.is_dir() and not any(self.out.iterdir()):
                self.out.rmdir()
            elif self.out.exists() and self.force:
                self.out.rename(aside)
            elif self.out.exists():
                kept = self.out.parent / f"{self.out.name}-{os.getpid()}"
                self.folder.rename(kept)
                self._finished = True
                raise RunError(f"{self.out} was made by somebody else meanwhile. This run was kept as {kept}")
            self.folder.rename(self.out)
        shutil.rmtree(aside, ignore_errors=True)

    def _abandon(self, kind: type[BaseException]) -> None:
        if self._finished:
            return
        if self.keep_log:
            with contextlib.suppress(OSError, RunError):  # the disk may be what failed
                self.log(f"stopped by {kind.__name__}")
                shutil.copyfile(self.folder / "log.txt", self.out.parent / f"{self.out.name}.failed-log.txt")
        self._discard()

    def _discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def plain(value: Any) -> Any:
    """The same value from JSON's types only; NaN becomes null, a DataFrame its columns and rows.

    >>> plain({"path": Path("a/b"), "pair": (1, float("nan"))})
    {'path': 'a/b', 'pair': [1, None]}
    """
    if isinstance(value, Estimate):
        return value.as_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "columns") and hasattr(value, "itertuples"):  # a DataFrame, without importing pandas
        return {
            "columns": [str(name) for name in value.columns],
            "rows": [plain(list(row)) for row in value.itertuples(index=False, name=None)],
        }
    if hasattr(value, "tolist"):  # numpy array or scalar
        return plain(value.tolist())
    return str(value)


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"a figure, gallery or section is named with letters, digits, _ and -: not {name!r}")
    return name


def _write_png(array: np.ndarray, path: Path) -> None:
    import numpy as np
    from PIL import Image

    pixels = np.asarray(array)
    if pixels.dtype != np.uint8:
        pixels = np.round(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((GALLERY_PIXELS, GALLERY_PIXELS))
    picture.save(path, optimize=True)


def _without_home(value: Any) -> Any:
    """Home folders become ~ in every string: a path with a user's name is an identifier."""
    if isinstance(value, str):
        home = str(Path.home())
        if len(home) > 1:
            value = value.replace(home, "~")
        return re.sub(r"(/home|/Users|[A-Za-z]:\\Users)[/\\][^/\\\s'\"]+", "~", value)
    if isinstance(value, dict):
        return {key: _without_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_home(item) for item in value]
    return value


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the disk. Free some, or choose another place with --out"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no permission to write there. Choose another place with --out, or mend the rights"
    if error.errno in (errno.ENOTDIR, errno.ENOENT):
        return "its parent folder is not a folder that can be made. Choose another place with --out"
    return f"{error.strerror or error}. Choose another place with --out"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
