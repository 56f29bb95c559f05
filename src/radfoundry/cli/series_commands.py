"""What the verbs of `radfoundry series` do: read, classify, print, write."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.engines import Bars
from radfoundry.errors import InputError
from radfoundry.optional import available
from radfoundry.studies.run import plain
from radfoundry.table_files import check_endings, write

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.cli.series import Classify, Evaluate, Organise, Sorting, Train
    from radfoundry.series.assess import Assessment
    from radfoundry.series.classify import Classified
    from radfoundry.series.corrections import Correction
    from radfoundry.series.find import Found, Series
    from radfoundry.series.header import SeriesHeader
    from radfoundry.series.labels import Labels
    from radfoundry.series.model import SeriesModel
    from radfoundry.series.organise import Index
    from radfoundry.series.tags import TagList
    from radfoundry.series.verdict import Verdict


def classify(args: Classify) -> int:
    """Verdicts on a folder, printed and written; 1 where series, files or folders could not be read whole."""
    from radfoundry.series.classify import classify_found
    from radfoundry.series.find import survey
    from radfoundry.series.origin import without_name

    check_endings(args.out)
    _refuse_inside(args.out, args.dir)
    model = _model(args)
    known = _labels(args, model)
    tags = _tags(args, model)
    start = time.perf_counter()
    there = survey(args.dir, tags=tags)
    with Bars() as bars:
        found = classify_found(there.series, model, pixels=args.pixels, tags=tags, progress=bars("series"))
    seconds = time.perf_counter() - start
    if args.hide_origin:
        found = [without_name(item) for item in found]
    table = _table(found, known)
    if args.out is not None:
        write(table, args.out)
    if args.json:
        print(_json({"series": [_row(item, known) for item in found], **_beside(there)}))
    else:
        _print(table, trace=args.trace)
    unsure = sum(item.verdict.unsure for item in found)
    _say_what_judged(args, model)
    _say_what_is_beside(there)
    print(f"{len(found)} series, {unsure} unsure, {seconds:.1f} s", file=sys.stderr)
    return 1 if there.unreadable or any(item.series.problem for item in found) else 0


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
    _refuse_inside(args.out, args.dir)
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
    last = min(model.trained["history"], key=lambda epoch: epoch["nll"])  # the epoch that was kept
    if out != Recipe().folder(args.store):
        print(f"use it with --model {out}; --model default is that of the default recipe", file=sys.stderr)
    if args.json:
        print(_json({"model": str(out), **model.trained}))
    else:
        print(
            f"{out}: accuracy on validation series {last['tags']:.3f} by tags, "
            f"{last['pixels']:.3f} by pixels, "
            f"{last['both']:.3f} by both. Phantoms say nothing of your scanners: radfoundry series evaluate"
        )
    return 0


def evaluate(args: Evaluate) -> int:
    """Estimates beside the trivial ones, a table by label, and every error."""
    from radfoundry.series.assess import assess, hide
    from radfoundry.series.classify import Classifier, in_batches
    from radfoundry.series.examples import labelled, read_labels
    from radfoundry.series.find import survey
    from radfoundry.series.origin import without_name
    from radfoundry.series.tags import read_header

    check_endings(args.out)
    if args.out is not None and args.out.resolve() == args.truth.resolve():
        raise InputError(f"--out {args.out} is the table of --truth, which would be lost. Pass another name")
    _refuse_inside(args.out, args.dir)
    model = _model(args)
    tags = _tags(args, model)
    known = _labels(args, model)
    truth = read_labels(args.truth, known)
    there = survey(args.dir, tags=tags)
    series = there.series
    pairs = labelled(series, truth)
    if not pairs:
        raise InputError(f"{args.truth} labels no series below {args.dir}. See --help for its columns")
    answers = {(one.uid, one.study): truth[key] for one, key in pairs}
    with Bars() as bars:

        def read(one: Series) -> SeriesHeader:
            return hide(read_header(one, tags), args.hide)

        found = in_batches(
            [s for s, _ in pairs], read, Classifier(model, args.pixels, use_rules=args.rules), bars("series")
        )
    rows = [answers[item.series.uid, item.series.study] for item in found]
    if args.hide_origin:
        found = [without_name(item) for item in found]
    result = assess(
        found, [label for label, _ in rows], anatomy=[anatomy for _, anatomy in rows], name="sorter"
    )
    _say_what_judged(args, model)
    _say_what_is_beside(there)
    idle = len(truth) - len({key for _, key in pairs})
    print(
        f"{len(pairs)} of {len(series)} series are labelled; {idle} of {len(truth)} rows of {args.truth} "
        "label no series here",
        file=sys.stderr,
    )
    if args.out is not None:
        write(_table(found, known).assign(truth=[label for label, _ in rows]), args.out)
    if args.json:
        print(
            _json(
                {
                    "estimates": [e.as_dict() for e in result.estimates],
                    "labels": result.labels.to_dict("records"),
                    "coverage": result.coverage.to_dict("records"),
                    "errors": result.errors.to_dict("records"),
                    "truth": {"rows": len(truth), "without_series": idle},
                    **_beside(there),
                }
            )
        )
        return 0
    _print_assessment(result)
    return 0


def _print_assessment(result: Assessment) -> None:
    import pandas as pd

    print("\n".join(str(e) for e in result.estimates if e.subgroup is None))
    print(f"\n{_curve(result.coverage)}")
    print("\n" + result.labels.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    for row in result.errors.itertuples():
        sure = "no probability" if pd.isna(row.confidence) else f"{row.confidence:.2f}"
        print(f"\n{row.where}: {row.truth}, called {row.verdict} ({sure}); {row.trace}")


COVERAGES = (0.5, 0.75, 0.9, 1.0)
"""Shares of the series, the surest first, at which accuracy is printed; JSON has the whole curve."""


def _curve(coverage: pd.DataFrame) -> str:
    """Accuracy with its interval as the least sure series are left to a person, at a few points."""
    places = sorted({int((coverage["coverage"] >= share - 1e-9).idxmax()) for share in COVERAGES})
    return coverage.loc[places].to_string(
        index=False, float_format=lambda v: f"{v:.3f}", na_rep="-", columns=["coverage", "n", "accuracy",
                                                                            "low", "high", "confidence"],
    )  # fmt: skip


def _refuse_inside(out: Path | None, folder: Path | None) -> None:
    """RunError for a place to write inside the input."""
    from radfoundry.series.organise import refuse_overlap

    if out is not None and folder is not None:
        refuse_overlap(out, folder)


def organise(args: Organise) -> int:
    """A tree, its index and its contact sheet; 1 where a series had a problem or files were unreadable."""
    from radfoundry.series import corrections
    from radfoundry.series import organise as trees
    from radfoundry.series.classify import classify_found
    from radfoundry.series.find import survey, unique_ids

    trees.refuse_overlap(args.out, args.dir)
    if args.layout == "sheet":
        _refuse_other(args.out)
    model = _model(args)
    known = _labels(args, model)
    log = args.out / "corrections.jsonl"
    given = corrections.read_corrections(args.corrections, known) if args.corrections else {}
    fixed = corrections.in_force(log, given, known)
    tags = _tags(args, model)
    there = survey(args.dir, tags=tags)
    with Bars(quiet=args.quiet) as bars:
        found = classify_found(
            there.series,
            model,
            pixels=args.pixels,
            tags=tags,
            thumbnails=True,
            progress=bars("series read"),
        )
        series = [item.series for item in found]
        ids = unique_ids(series)
        carried = _carried(args, series, fixed)
        fixed |= {one.uid: one for one in carried}
        verdicts = corrections.apply([item.verdict for item in found], fixed, ids)
        index = _placed(args, series, verdicts, known, bars)
    matched = [one for one in corrections.of_series(given, ids) if one is not None]
    _keep(log, [*carried, *matched], known, hide_uids=args.hide_origin)
    sheet = _sheet(args.out / "sheet.html", index, found, verdicts, known)
    _say_what_was_written(args, index, sheet, there)
    _say_what_judged(args, model)
    _say_what_is_beside(there)
    unsure, left, failed = (
        sum(bool(row[k]) for row in index.rows) for k in ("unsure", "left_out", "problem")
    )
    print(
        f"{unsure} unsure, {left} left out and {failed} with a problem (index.csv says why), "
        f"corrections in force: {sum(one is not None for one in corrections.of_series(fixed, ids))}",
        file=sys.stderr,
    )
    if args.corrections:
        others = "; the others, of series that are not here, were passed over"
        print(
            f"{args.corrections}: {len(matched)} of {len(given)} corrections are of series here"
            + (others if len(matched) < len(given) else ""),
            file=sys.stderr,
        )
    return 1 if failed or there.unreadable else 0


def _carried(args: Organise, series: Sequence[Series], fixed: Mapping[str, Correction]) -> list[Correction]:
    """Corrections of series that the tree knows again although others share their UID since."""
    from radfoundry.series import corrections
    from radfoundry.series.organise import earlier_uids

    if not fixed or args.layout == "sheet":
        return []
    moved = earlier_uids(series, args.out, args.layout)
    now, before = (corrections.of_series(fixed, list(ids)) for ids in (moved, moved.values()))
    pairs = zip(moved, now, before, strict=True)
    return [replace(old, uid=uid) for uid, new, old in pairs if old is not None and new is None]


def _keep(log: Path, new: list[Correction], known: Labels, *, hide_uids: bool) -> None:
    """Add corrections to those of the tree; with digests in place of all UIDs where these are hidden."""
    from radfoundry.series import corrections
    from radfoundry.series.origin import hidden_uid

    if hide_uids:
        new = [replace(one, uid=hidden_uid(one.uid)) for one in new]
        if log.is_file():
            corrections.hide_uids(log)
    if new:
        corrections.append(log, new, known)


def _sheet(
    path: Path, index: Index, found: Sequence[Classified], verdicts: Sequence[Verdict], known: Labels
) -> Path:
    """Write the contact sheet, without pictures that may name a patient."""
    from radfoundry.series.origin import unshown
    from radfoundry.series.rules import explain
    from radfoundry.series.sheet import write_sheet

    uids = [row["uid"] for row in index.rows]
    return write_sheet(
        index.rows,
        path,
        thumbnails={uid: item.thumbnail for uid, item in zip(uids, found)},
        facts={uid: explain(item.header) for uid, item in zip(uids, found)},
        unshown={uid: unshown(item.header, said) for uid, item, said in zip(uids, found, verdicts)},
        labels=known,
    )


def _placed(
    args: Organise, series: list[Series], verdicts: list[Verdict], known: Labels, bars: Bars
) -> Index:
    """The index of a tree that was written, or of series that stay where they are."""
    from radfoundry.series import organise as trees

    if args.layout == "sheet":
        index = trees.index_rows(series, verdicts, hide_origin=args.hide_origin)
        with trees.explained(args.out):
            args.out.mkdir(parents=True, exist_ok=True)
            index.write(args.out)
        return index
    return trees.organise(
        series,
        verdicts,
        args.out,
        layout=args.layout,
        copy="link" if args.link else "copy",
        only_sure=args.only_sure,
        progress=bars("series written"),
        labels=known,
        root=args.dir,
        hide_origin=args.hide_origin,
    )


def _beside(there: Found) -> dict[str, Any]:
    """What JSON says beside the series."""
    return {"passed_over": there.passed_over, "warnings": there.warnings}


def _say_what_is_beside(there: Found) -> None:
    """What lies in the folder and is in no series, and what is doubtful of Patient IDs."""
    if str(there):
        print(f"passed over: {there}", file=sys.stderr)
    for line in there.warnings:
        print(line, file=sys.stderr)


def _say_what_was_written(args: Organise, index: Index, sheet: Path, there: Found) -> None:
    n = len(index.rows)
    if args.json:
        rows = json.loads(index.frame().to_json(orient="records"))
        print(_json({"series": rows, **_beside(there)}))
    elif args.layout == "sheet":
        print(f"{args.out}: a sheet of {n} series, none of them placed; look at {sheet}")
    else:
        placed = sum(not row["left_out"] for row in index.rows)
        print(f"{args.out}: {placed} of {n} series placed; look at {sheet}")


def _refuse_other(out: Path) -> None:
    """InputError for a folder with a tree, or with files and no sheet of ours: their index would be lost.

    A call that was cut off may have left an index of ours without a sheet, or unfinished files of either.
    """
    from radfoundry.series.journal import OWN
    from radfoundry.series.organise import COLUMNS

    if (out / OWN).exists():
        raise InputError(
            f"{out} holds a tree, with a sheet of its own. Run its layout again (bids or dicom), or pass "
            "another folder"
        )
    if not out.is_dir() or (out / "sheet.html").exists():
        return
    index = out / "index.csv"
    if index.is_file():
        with open(index, encoding="utf-8", errors="replace") as file:
            if file.readline(10_000).strip() == ",".join(COLUMNS):
                return
    if any(".partial" not in path.name for path in out.iterdir()):
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
    if model is not None or args.model == "none":
        return
    if not available("torch"):
        print(
            "rules alone: a model needs torch, which is not installed. Install it: "
            "pip install 'radfoundry[series]'",
            file=sys.stderr,
        )
        return
    print("rules alone: no model yet. `radfoundry series train` makes one in some minutes", file=sys.stderr)


def _labels(args: Sorting, model: SeriesModel | None) -> Labels:
    """The labels that were asked for; InputError where they lack one that rules or model may say."""
    from radfoundry.series import labels as names
    from radfoundry.series.attributes import ANATOMY_WORDS
    from radfoundry.series.rules import RULES

    known = names.load(args.labels) if args.labels else names.load()
    said = {rule.verdict for rule in RULES} | {names.joined(names.OTHER, "UNKNOWN")}
    parts = set(ANATOMY_WORDS)
    if model is not None:
        said, parts = said | set(model.modalities), parts | set(model.anatomies)
    known.require(said, parts, args.labels)
    return known


def _tags(args: Sorting | Train, model: SeriesModel | None = None) -> TagList:
    """The list that was asked for; with a model, descriptions are read where it learnt from them."""
    from radfoundry.series.tags import load_tags

    described = args.descriptions or (model is not None and model.reads_descriptions)
    return load_tags(args.tags, descriptions=described) if args.tags else load_tags(descriptions=described)


def _json(value: Any) -> str:
    """JSON of it; numbers that JSON has no word for become null."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def _row(item: Classified, labels: Labels) -> dict[str, Any]:
    series, verdict = item.series, item.verdict
    return {
        "where": series.where,
        "number": series.number,
        "subject": series.subject,
        "study_uid": series.study,
        "series_uid": series.uid,
        "files": len(series.files),
        "images": item.header.n_images,
        "vendor": item.header.vendor,
        **verdict.as_dict(),
        "name": labels.of(verdict.modality, verdict.kind).name,
        "problem": series.problem,
        "notes": series.notes,
    }


def _table(found: Sequence[Classified], labels: Labels) -> pd.DataFrame:
    import pandas as pd

    rows = [_row(item, labels) for item in found]
    return pd.DataFrame(
        [
            {k: "; ".join(map(str, v)) if isinstance(v, tuple | list) else v for k, v in row.items()}
            for row in rows
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
