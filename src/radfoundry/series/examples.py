"""Labelled series to learn from: phantoms drawn in memory, or a folder with a table of labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry.errors import InputError, ReadError
from radfoundry.optional import available
from radfoundry.series.corrections import read_corrections
from radfoundry.series.find import Series, find, from_datasets, unique_ids
from radfoundry.series.header import SeriesHeader
from radfoundry.series.labels import OTHER, Labels, joined, parted
from radfoundry.series.origin import hidden_uid
from radfoundry.series.pixels import read_pixels
from radfoundry.series.tags import TagList, read_header
from radfoundry.series.towers import build
from radfoundry.series.train import PHANTOM, Examples

if TYPE_CHECKING:
    import pandas as pd

CODE_VERSION = 2
"""Raised when examples of the same phantoms would be others."""
CHUNK = 10
"""Studies drawn and kept at a time: an interrupted drawing goes on from the last whole chunk."""
HEADER_FILES = 12
"""Files a series that are drawn for headers alone: enough to see echoes, b-values and orientations."""
Progress = Callable[[int, int], None]


def from_phantoms(
    studies: int, tags: TagList, *, pixels: bool, seed: int = 0, tower: str = "efficientnet-lite0",
    store: Path | None = None, workers: int = 1, progress: Progress | None = None, **how: Any,
) -> Examples:  # fmt: skip
    """Series of `studies` phantom studies; study i is the same whatever their number.

    pixels: with the image tower's tokens of every series, else headers alone, which is much faster. store:
    folder where chunks are kept. how: vendor, anatomy and corruption, as `phantom_series.draw_study` takes.
    """
    starts = list(range(0, studies, CHUNK))
    work = _Drawing(studies, tags, pixels, seed, tower, store, how)
    parts: list[Examples] = []
    if workers > 1 and sum(not work.is_kept(start) for start in starts) > 1:
        # spawned: a fork after torch has made threads may hang
        with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
            for part in pool.map(work, starts):
                parts.append(part)
                _tell(progress, parts, len(starts))
    else:
        for start in starts:
            parts.append(work(start))
            _tell(progress, parts, len(starts))
    return sum(parts[1:], parts[0]) if parts else Examples([], [], [], [], [])


def _one_thread() -> None:
    """Threads of a process beside others like it would only take turns, which made towers far slower."""
    if available("torch"):
        import torch

        torch.set_num_threads(1)


def _tell(progress: Progress | None, parts: Sequence[Examples], total: int) -> None:
    if progress is not None:
        progress(len(parts), total)


@dataclass(frozen=True)
class _Drawing:
    """Draws the chunk of studies that begins with a number; see `from_phantoms`."""

    studies: int
    tags: TagList
    pixels: bool
    seed: int
    tower: str
    store: Path | None
    how: Mapping[str, Any]

    def __call__(self, start: int) -> Examples:
        """The series of the chunk: read where they are kept, else drawn and kept."""
        path = self.path(start)
        if path is not None and path.exists():
            return read_examples(path)
        found = Examples([], [], [], [], [])
        for number in range(start, self.stop(start)):
            found = found + _of_study(number, self.tags, self.pixels, self.seed, self.tower, self.how)
        if path is not None:
            write_examples(path, found)
        return found

    def is_kept(self, start: int) -> bool:
        path = self.path(start)
        return path is not None and path.exists()

    def stop(self, start: int) -> int:
        return min(start + CHUNK, self.studies)

    def path(self, start: int) -> Path | None:
        """Where the chunk is kept; None without a store."""
        from radfoundry.datasets import phantom_series
        from radfoundry.encoders.weights import text_digest

        if self.store is None:
            return None
        name = text_digest(
            CODE_VERSION,
            phantom_series.CODE_VERSION,
            self.tags,
            self.pixels,
            self.seed,
            self.tower if self.pixels else "",
            sorted(self.how.items()),
        )
        return self.store / f"phantoms-{name[:16]}" / f"{start:06d}-{self.stop(start):06d}.npz"


def _of_study(
    number: int, tags: TagList, pixels: bool, seed: int, tower: str, how: Mapping[str, Any]
) -> Examples:
    """Series of one phantom study. Slices are drawn small, so tags come from the same study drawn without
    pixels, whose headers have the true sizes; counts come from what is true of the whole series.
    """
    from radfoundry.datasets import phantom_series

    def drawn(*, pixels: bool) -> list[Any]:
        rng = np.random.default_rng((seed, number))
        return phantom_series.draw_study(
            rng, pixels=pixels, max_files=None if pixels else HEADER_FILES, **how
        )

    plain = drawn(pixels=False)
    pictures = drawn(pixels=True) if pixels else [None] * len(plain)
    rows = []
    for item, picture in zip(plain, pictures, strict=True):
        truth = item.truth
        (series,) = from_datasets(item.datasets, tags=tags)
        header = _in_full(read_header(series, tags), truth)
        image = _tokens(from_datasets(picture.datasets, tags=tags)[0], tower) if picture is not None else None
        label = joined(truth["modality"], truth["kind"])
        rows.append((header, image, label, truth["anatomy"], f"{PHANTOM}{seed}-{number}"))
    return Examples(*(list(column) for column in zip(*rows)))


def _in_full(header: SeriesHeader, truth: Mapping[str, Any]) -> SeriesHeader:
    """The header with the counts of the whole series, of which some files were drawn.

    Positions that no geometry tells stay untold; a single position stays one (films, screenshots).
    """
    positions = truth["n_positions"] if header.n_positions > 1 else header.n_positions
    return replace(header, n_files=truth["n_files"], n_images=truth["n_images"], n_positions=positions)


_built: dict[str, Any] = {}


def _tokens(series: Series, tower: str) -> np.ndarray | None:
    """Tokens of the slices; None where no slice can be read, which is then a series known by header alone."""
    if tower not in _built:
        _built[tower] = build(tower)
    try:
        return _built[tower].tokens(read_pixels(series))
    except ReadError:
        return None


def from_folder(
    root: Path, table: Path, tags: TagList, labels: Labels, *, pixels: bool = True,
    tower: str = "efficientnet-lite0", progress: Progress | None = None,
) -> Examples:  # fmt: skip
    """Series below `root` that the table labels: columns series_uid or series_dir, modality, [kind, anatomy].

    Raises InputError for unknown labels (row and column named) and where no series is labelled.
    """
    truth = read_labels(table, labels)
    series = find(root, tags=tags)
    pairs = [(one, truth[key]) for one, key in labelled(series, truth)]
    if not pairs:
        raise InputError(
            f"{table} labels none of the {len(series)} series below {root}. Its column series_uid must hold "
            "Series Instance UIDs, or series_dir folders relative to that folder"
        )
    out = []
    for done, (one, (label, anatomy)) in enumerate(pairs, 1):
        image = _tokens(one, tower) if pixels else None
        out.append((read_header(one, tags), image, label, anatomy, one.subject or one.study or one.uid))
        if progress is not None:
            progress(done, len(pairs))
    return Examples(*(list(column) for column in zip(*out)))


def labelled(series: Sequence[Series], truth: Mapping[str, Any]) -> list[tuple[Series, str]]:
    """The series that a table labels, in their order, each with the key of its row in `truth`.

    By its id of `unique_ids`, by its series UID, by a digest of either (`origin.hidden_uid`), else by the
    folder that holds it, the deepest of several; a series in more folders than one is labelled where the rows
    of all of them say the same.
    """
    found = []
    for one, uid in zip(series, unique_ids(series), strict=True):
        ids = (uid, one.uid, hidden_uid(uid), hidden_uid(one.uid))
        key = next((name for name in ids if name in truth), None) or _by_folder(one.where, truth)
        if key is not None:
            found.append((one, key))
    return found


def _by_folder(where: str, truth: Mapping[str, Any]) -> str | None:
    keys = []
    for part in [where] if where in truth else where.split(", "):
        inside = [name for name in truth if part == name or part.startswith(f"{name}/")]
        keys.append(max(inside, key=len) if inside else None)
    first, *others = keys
    if first is None or any(key is None or truth[key] != truth[first] for key in others):
        return None
    return first


def read_labels(table: Path, labels: Labels) -> dict[str, tuple[str, str]]:
    """Series UID or folder -> (label, anatomy or "") of a CSV or Parquet table, or of corrections.

    `other:BOLD` may stand in one column, or `other` and `BOLD` in two. Empty modality: the row is not used.
    """
    if table.suffix in (".json", ".jsonl"):
        fixed = read_corrections(table, labels)
        return {uid: (one.label, one.anatomy) for uid, one in fixed.items()}
    frame = _frame(table)
    key = next((name for name in ("series_uid", "uid", "series_dir", "where") if name in frame), None)
    if key is None or "modality" not in frame:
        raise InputError(
            f"{table} needs columns series_uid (or series_dir) and modality; it has {', '.join(frame)}"
        )
    out: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(frame.fillna("").astype(str).to_dict("records"), start=2):
        modality, kind = parted(row["modality"].strip())
        kind = kind or row.get("kind", "").strip()
        anatomy = row.get("anatomy", "").strip()
        if not modality:
            continue
        for column, value, known in (("modality", modality, labels.modalities), ("kind", kind, labels.kinds),
                                     ("anatomy", anatomy, labels.anatomies)):  # fmt: skip
            if value and value not in known:
                raise InputError(
                    f"{table}, row {number}, column {column}: {value!r} is unknown. Known: {', '.join(known)}"
                )
        if (modality == OTHER) != bool(kind):
            raise InputError(f"{table}, row {number}: `other` needs a kind, and only `other` has one")
        out[row[key].strip().rstrip("/")] = (joined(modality, kind), anatomy)
    return out


def _frame(table: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if table.suffix == ".parquet":
            return pd.read_parquet(table)
        return pd.read_csv(table, dtype=str)
    except (OSError, ValueError) as cause:
        raise InputError(f"{table} could not be read as a table: {cause}. Pass CSV or Parquet") from cause


def write_examples(path: Path, examples: Examples) -> None:
    """Keep examples as .npz (images, JSON); an interrupted call leaves no file of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = {
        f"image{i}": image.astype(np.float16) for i, image in enumerate(examples.images) if image is not None
    }
    record = {
        "headers": [asdict(h) for h in examples.headers], "modality": list(examples.modality),
        "anatomy": list(examples.anatomy), "group": list(examples.group),
    }  # fmt: skip
    partial_path = path.with_name(f".{path.name}.partial.npz")
    images["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    np.savez(partial_path, allow_pickle=False, **images)  # type: ignore[arg-type]  # numpy's stub
    partial_path.replace(path)


def read_examples(path: Path) -> Examples:
    """What `write_examples` wrote. InputError for a damaged file, which may be deleted."""
    try:
        with np.load(path, allow_pickle=False) as data:
            record = json.loads(data["record"].tobytes())
            images = [data[f"image{i}"].astype(np.float32) if f"image{i}" in data else None
                      for i in range(len(record["headers"]))]  # fmt: skip
        headers = [_header(entry) for entry in record["headers"]]
        return Examples(headers, images, record["modality"], record["anatomy"], record["group"])
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise InputError(f"{path} is damaged ({cause}). Delete it; it is made again") from cause


def _header(entry: Mapping[str, Any]) -> SeriesHeader:
    """A header from JSON, whose lists were tuples."""
    names = {f.name for f in fields(SeriesHeader)}
    values = {key: _tuples(value) for key, value in entry.items() if key in names}
    values["values"] = {key: _tuples(found) for key, found in entry["values"].items()}
    return SeriesHeader(**values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
