"""What the verbs of `radfoundry series` do: read, classify, print, write."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.engines import progress as bar
from radfoundry.errors import InputError
from radfoundry.optional import available

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.cli.series import Classify, Evaluate, Organise, Sorting, Train
    from radfoundry.series.classify import Classified
    from radfoundry.series.find import Series
    from radfoundry.series.header import SeriesHeader
    from radfoundry.series.model import SeriesModel
    from radfoundry.series.tags import TagList

DEFAULT = "default-model"


def classify(args: Classify) -> int:
    from radfoundry.series.classify import classify as run

    model, tags = _model(args), _tags(args)
    start = time.perf_counter()
    with _Bar("series") as progress:
        found = run(args.dir, model, pixels=args.pixels, tags=tags, progress=progress)
    seconds = time.perf_counter() - start
    table = _table(found)
    _write(table, args.out)
    if args.json:
        print(json.dumps([_row(item) for item in found], indent=2, ensure_ascii=False))
    else:
        _print(table, trace=args.trace)
    unsure = sum(item.verdict.unsure for item in found)
    print(f"{len(found)} series, {unsure} unsure, {seconds:.1f} s", file=sys.stderr)
    return 1 if any(item.series.problem for item in found) else 0


def train(args: Train) -> int:
    from radfoundry.series import labels as names
    from radfoundry.series.examples import from_folder, from_phantoms
    from radfoundry.series.tags import load_tags
    from radfoundry.series.train import TrainConfig, train as run

    out = args.out or args.store / DEFAULT
    if (out / "model.json").exists() and not args.force:
        raise InputError(f"{out} holds a model already. Pass --force to train it again, or --out for another place")
    if (args.dir is None) != (args.truth is None):
        raise InputError("your own series need both --dir and --truth")
    tags = load_tags(args.tags, descriptions=args.descriptions) if args.tags else load_tags(descriptions=args.descriptions)
    known = names.load(args.labels) if args.labels else names.load()
    config = TrainConfig(epochs=args.epochs, text_tower=args.text_tower, image_tower=args.image_tower, seed=args.seed)
    import os

    workers = args.workers or os.cpu_count() or 1
    common: dict[str, Any] = {"tower": args.image_tower, "store": args.store, "workers": workers}
    parts = []
    for studies, pixels in ((args.phantoms, False), (args.pictures, True)):
        if studies:
            what = "phantoms with pixels" if pixels else "phantom headers"
            with _Bar(what) as progress:
                parts.append(from_phantoms(studies, tags, pixels=pixels, seed=args.seed * 2 + pixels,
                                           progress=progress, **common))  # fmt: skip
    if args.dir is not None and args.truth is not None:
        with _Bar("own series") as progress:
            parts.append(from_folder(args.dir, args.truth, tags, known, tower=args.image_tower, progress=progress))
    if not parts:
        raise InputError("nothing to learn from: --phantoms 0 and --pictures 0, and no --dir")
    model = run(
        sum(parts[1:], parts[0]), tags.tags, config, state=out.parent / f".{out.name}.training.safetensors",
        log=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    model.save(out)
    (out.parent / f".{out.name}.training.safetensors").unlink(missing_ok=True)
    if args.onnx:
        from radfoundry.series.onnx import export

        export(model, out / "model.onnx")
    last = model.trained["history"][-1]
    if args.json:
        print(json.dumps({"model": str(out), **model.trained}, indent=2, default=str))
    else:
        print(f"{out}: validation accuracy on phantoms {last['tags']:.3f} by tags, {last['pixels']:.3f} by pixels, "
              f"{last['both']:.3f} by both; say nothing of real series: radfoundry series evaluate")  # fmt: skip
    return 0


def evaluate(args: Evaluate) -> int:
    from radfoundry.series import labels as names
    from radfoundry.series.assess import assess, hide
    from radfoundry.series.classify import Classifier, in_batches
    from radfoundry.series.examples import label_of, read_labels
    from radfoundry.series.find import find
    from radfoundry.series.tags import read_header

    model, tags = _model(args), _tags(args)
    known = names.load(args.labels) if args.labels else names.load()
    truth = read_labels(args.truth, known)
    pairs = [(s, row) for s in find(args.dir, tags=tags) if (row := label_of(s, truth)) is not None]
    if not pairs:
        raise InputError(f"{args.truth} labels no series below {args.dir}. See --help for its columns")
    answers = {series.uid: row for series, row in pairs}
    with _Bar("series") as progress:
        def read(one: Series) -> SeriesHeader:
            return hide(read_header(one, tags), args.hide)

        found = in_batches([s for s, _ in pairs], read, Classifier(model, args.pixels, use_rules=args.rules), progress)
    rows = [answers[item.series.uid] for item in found]
    result = assess(found, [label for label, _ in rows], anatomy=[anatomy for _, anatomy in rows], name="sorter")
    _write(_table(found).assign(truth=[label for label, _ in rows]), args.out)
    if args.json:
        print(json.dumps({
            "estimates": [e.as_dict() for e in result.estimates],
            "labels": result.labels.to_dict("records"),
            "coverage": result.coverage.to_dict("records"),
            "errors": result.errors.to_dict("records"),
        }, indent=2, ensure_ascii=False))  # fmt: skip
        return 0
    print("\n".join(str(e) for e in result.estimates if e.subgroup is None))
    print("\n" + result.labels.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    for row in result.errors.itertuples():
        print(f"\n{row.where}: {row.truth}, called {row.verdict} ({row.confidence}); {row.trace}")
    return 0


def organise(args: Organise) -> int:
    raise NotImplementedError


def _model(args: Sorting) -> SeriesModel | None:
    """The model that was asked for; None for rules alone, which is said where it is not by choice."""
    if args.model == "none":
        return None
    from radfoundry.series import model

    if args.model != "default":
        return model.load(Path(args.model))
    folder = args.store / DEFAULT
    if (folder / "model.json").exists() and available("torch"):
        return model.load(folder)
    print("rules alone: no model yet. `radfoundry series train` makes one in some minutes", file=sys.stderr)
    return None


def _tags(args: Sorting) -> TagList:
    from radfoundry.series.tags import load_tags

    if args.tags is not None:
        return load_tags(args.tags, descriptions=args.descriptions)
    return load_tags(descriptions=args.descriptions)


def _row(item: Classified) -> dict[str, Any]:
    series = item.series
    return {
        "where": series.where, "number": series.number, "subject": series.subject, "study_uid": series.study,
        "series_uid": series.uid, "files": len(series.files), "images": item.header.n_images,
        "vendor": item.header.vendor, **item.verdict.as_dict(), "problem": series.problem,
    }  # fmt: skip


def _table(found: Sequence[Classified]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{k: "; ".join(map(str, v)) if isinstance(v, tuple | list) else v for k, v in _row(c).items()}
                         for c in found])  # fmt: skip


SHOWN = ["where", "number", "label", "confidence", "anatomy", "plane", "dimension", "unsure", "source"]


def _print(table: pd.DataFrame, *, trace: bool) -> None:
    if not len(table):
        return
    columns = [*SHOWN, *(["trace"] if trace else [])]
    shown = table[columns].assign(
        confidence=[("" if v is None or v != v else f"{v:.2f}") for v in table["confidence"]],
        unsure=["?" if v else "" for v in table["unsure"]],
    )
    print(shown.to_string(index=False, na_rep="", justify="left", max_colwidth=None if trace else 48))


def _write(table: pd.DataFrame, out: Path | None) -> None:
    from radfoundry.cli.report_tables import write

    if out is not None:
        write(table, out)


class _Bar:
    """A progress bar that starts when the total is known; quiet where stderr is no terminal."""

    def __init__(self, unit: str) -> None:
        self.unit, self.bar = unit, None

    def __enter__(self) -> Callable[[int, int], None]:
        return self._tell

    def _tell(self, done: int, of: int) -> None:
        if self.bar is None:
            self.bar = bar(of, 0, self.unit)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
