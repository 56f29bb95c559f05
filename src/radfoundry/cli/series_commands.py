"""What the verbs of `radfoundry series` do: read, classify, print, write."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.engines import Bars
from radfoundry.errors import InputError
from radfoundry.optional import available
from radfoundry.table_files import check_endings, write

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.cli.series import Classify, Evaluate, Organise, Sorting, Train
    from radfoundry.series.classify import Classified
    from radfoundry.series.find import Series
    from radfoundry.series.header import SeriesHeader
    from radfoundry.series.model import SeriesModel
    from radfoundry.series.tags import TagList


def classify(args: Classify) -> int:
    """Verdicts on a folder, printed and written; 1 where a series could not be read whole."""
    from radfoundry.series.classify import classify as run

    check_endings(args.out)
    model = _model(args)
    tags = _tags(args, model)
    start = time.perf_counter()
    with Bars() as bars:
        found = run(args.dir, model, pixels=args.pixels, tags=tags, progress=bars("series"))
    seconds = time.perf_counter() - start
    table = _table(found)
    if args.out is not None:
        write(table, args.out)
    if args.json:
        print(json.dumps([_row(item) for item in found], indent=2, ensure_ascii=False))
    else:
        _print(table, trace=args.trace)
    unsure = sum(item.verdict.unsure for item in found)
    _say_what_judged(args, model)
    print(f"{len(found)} series, {unsure} unsure, {seconds:.1f} s", file=sys.stderr)
    return 1 if any(item.series.problem for item in found) else 0


def train(args: Train) -> int:
    """Draw phantoms, read the user's series, train, calibrate, save."""
    from radfoundry.series import labels as names
    from radfoundry.series.default import Recipe, drawn, fit_and_save
    from radfoundry.series.examples import from_folder
    from radfoundry.series.train import TrainConfig

    if (args.dir is None) != (args.truth is None):
        raise InputError("your own series need both --dir and --truth")
    if args.out is None and (args.dir or args.tags or args.labels or args.descriptions):
        raise InputError(
            "a model of your own series, tags, labels or descriptions needs --out: it must not be taken "
            "for the default one"
        )
    config = TrainConfig(
        epochs=args.epochs, text_tower=args.text_tower, image_tower=args.image_tower, seed=args.seed
    )
    recipe = Recipe(args.phantoms, args.pictures, config)
    out = args.out or recipe.folder(args.store)
    if (out / "model.json").exists() and not args.force:
        raise InputError(
            f"{out} holds a model already. Pass --force to train it again, or --out for another place"
        )
    tags = _tags(args)
    with Bars() as bars:
        found = drawn(recipe, tags, args.store, workers=args.workers, progress=bars)
        if args.dir is not None and args.truth is not None:
            known = names.load(args.labels) if args.labels else names.load()
            found = found + from_folder(
                args.dir, args.truth, tags, known, tower=args.image_tower, progress=bars("own series")
            )
    if not len(found):
        raise InputError("nothing to learn from: --phantoms 0 and --pictures 0, and no --dir")
    model = fit_and_save(found, tags, config, out, log=lambda line: print(line, file=sys.stderr))
    if args.onnx:
        from radfoundry.series.onnx import export

        export(model, out / "model.onnx")
    last = model.trained["history"][-1]
    if args.json:
        print(json.dumps({"model": str(out), **model.trained}, indent=2, default=str))
    else:
        print(
            f"{out}: accuracy on validation series {last['tags']:.3f} by tags, "
            f"{last['pixels']:.3f} by pixels, "
            f"{last['both']:.3f} by both. Phantoms say nothing of your scanners: radfoundry series evaluate"
        )
    return 0


def evaluate(args: Evaluate) -> int:
    """Estimates beside the trivial ones, a table by label, and every error."""
    from radfoundry.series import labels as names
    from radfoundry.series.assess import assess, hide
    from radfoundry.series.classify import Classifier, in_batches
    from radfoundry.series.examples import label_of, read_labels
    from radfoundry.series.find import find
    from radfoundry.series.tags import read_header

    check_endings(args.out)
    model = _model(args)
    tags = _tags(args, model)
    known = names.load(args.labels) if args.labels else names.load()
    truth = read_labels(args.truth, known)
    pairs = [(s, row) for s in find(args.dir, tags=tags) if (row := label_of(s, truth)) is not None]
    if not pairs:
        raise InputError(f"{args.truth} labels no series below {args.dir}. See --help for its columns")
    answers = {series.uid: row for series, row in pairs}
    with Bars() as bars:

        def read(one: Series) -> SeriesHeader:
            return hide(read_header(one, tags), args.hide)

        found = in_batches(
            [s for s, _ in pairs], read, Classifier(model, args.pixels, use_rules=args.rules), bars("series")
        )
    rows = [answers[item.series.uid] for item in found]
    result = assess(
        found, [label for label, _ in rows], anatomy=[anatomy for _, anatomy in rows], name="sorter"
    )
    _say_what_judged(args, model)
    if args.out is not None:
        write(_table(found).assign(truth=[label for label, _ in rows]), args.out)
    if args.json:
        print(
            json.dumps(
                {
                    "estimates": [e.as_dict() for e in result.estimates],
                    "labels": result.labels.to_dict("records"),
                    "coverage": result.coverage.to_dict("records"),
                    "errors": result.errors.to_dict("records"),
                },
                indent=2,
                ensure_ascii=False,
            )
        )
        return 0
    print("\n".join(str(e) for e in result.estimates if e.subgroup is None))
    print("\n" + result.labels.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    for row in result.errors.itertuples():
        print(f"\n{row.where}: {row.truth}, called {row.verdict} ({row.confidence}); {row.trace}")
    return 0


def organise(args: Organise) -> int:
    """A tree, its index and its contact sheet; 1 where a series had a problem."""
    from radfoundry.series import corrections
    from radfoundry.series import labels as names
    from radfoundry.series import organise as trees
    from radfoundry.series.classify import classify as run
    from radfoundry.series.rules import explain
    from radfoundry.series.sheet import write_sheet

    known = names.load(args.labels) if args.labels else names.load()
    fixed = corrections.read_corrections(args.corrections, known) if args.corrections else {}
    trees.refuse_overlap(args.out, args.dir)
    model = _model(args)
    with Bars(quiet=args.quiet) as bars:
        found = run(
            args.dir,
            model,
            pixels=args.pixels,
            tags=_tags(args, model),
            thumbnails=True,
            progress=bars("series read"),
        )
        series = [item.series for item in found]
        verdicts = corrections.apply([item.verdict for item in found], fixed)
        if args.layout == "sheet":
            _refuse_other(args.out)
            args.out.mkdir(parents=True, exist_ok=True)
            index = trees.Index(tuple(trees.index_row(s, v) for s, v in zip(series, verdicts)))
            index.write(args.out)
        else:
            index = trees.organise(
                series,
                verdicts,
                args.out,
                layout=args.layout,
                copy="link" if args.link else "copy",
                only_sure=args.only_sure,
                progress=bars("series written"),
                labels=known,
                root=args.dir,
            )
    if fixed:
        corrections.append(args.out / "corrections.jsonl", fixed.values(), known)
    pictures = {item.series.uid: item.thumbnail for item in found}
    facts = {item.series.uid: explain(item.header) for item in found}
    sheet = write_sheet(index.rows, args.out / "sheet.html", thumbnails=pictures, facts=facts, labels=known)
    left = [row for row in index.rows if row["left_out"]]
    if args.json:
        print(index.frame().to_json(orient="records", indent=2, force_ascii=False))
    else:
        print(
            f"{args.out}: {len(index.rows) - len(left)} of {len(index.rows)} series placed; look at {sheet}"
        )
    unsure = sum(bool(row["unsure"]) for row in index.rows)
    failed = sum(bool(row["problem"]) for row in index.rows)
    _say_what_judged(args, model)
    print(
        f"{unsure} unsure, {len(left)} left out and {failed} with a problem (index.csv says why), "
        f"{len(fixed)} corrections",
        file=sys.stderr,
    )
    return 1 if failed else 0


def _refuse_other(out: Path) -> None:
    """InputError for a folder with files and no sheet of ours: an index of theirs would be replaced."""
    if out.is_dir() and any(out.iterdir()) and not (out / "sheet.html").exists():
        raise InputError(f"{out} holds other files. Pass a new or empty folder")


def _model(args: Sorting) -> SeriesModel | None:
    """The model that was asked for; None for rules alone, which is said where it is not by choice."""
    if args.model == "none":
        return None
    from radfoundry.series import model

    if args.model != "default":
        return model.load(Path(args.model))
    from radfoundry.series.default import Recipe

    folder = Recipe().folder(args.store)
    if (folder / "model.json").exists() and available("torch"):
        return model.load(folder)
    return None


def _say_what_judged(args: Sorting, model: SeriesModel | None) -> None:
    if model is None and args.model != "none":
        print(
            "rules alone: no model yet. `radfoundry series train` makes one in some minutes", file=sys.stderr
        )


def _tags(args: Sorting | Train, model: SeriesModel | None = None) -> TagList:
    """The list that was asked for; with a model, descriptions are read where it learnt from them."""
    from radfoundry.series.tags import DESCRIPTIONS, load_tags

    learnt = model is not None and any(name in DESCRIPTIONS for name in model.scheme.text)
    described = args.descriptions or learnt
    return load_tags(args.tags, descriptions=described) if args.tags else load_tags(descriptions=described)


def _row(item: Classified) -> dict[str, Any]:
    series = item.series
    return {
        "where": series.where,
        "number": series.number,
        "subject": series.subject,
        "study_uid": series.study,
        "series_uid": series.uid,
        "files": len(series.files),
        "images": item.header.n_images,
        "vendor": item.header.vendor,
        **item.verdict.as_dict(),
        "problem": series.problem,
    }


def _table(found: Sequence[Classified]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {k: "; ".join(map(str, v)) if isinstance(v, tuple | list) else v for k, v in _row(c).items()}
            for c in found
        ]
    )


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
