"""What the page of the series study shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radfoundry.report import series_figures
from radfoundry.series.labels import parted
from radfoundry.series.model import SeriesModel
from radfoundry.series.origin import LEGIBLE, unshown
from radfoundry.series.rules import explain
from radfoundry.studies.draft_sections import words
from radfoundry.studies.evidence import paragraph
from radfoundry.studies.run import Run
from radfoundry.types import Estimate

if TYPE_CHECKING:
    from radfoundry.studies.mri_series import Config, Judged

MOST_ERRORS = 24
FEW = 100
"""Fewer series than this, or fewer studies than a tenth of it, and the page says how little that is."""


def write(
    run: Run, config: Config, judged: Judged, timed: dict[str, float], model: SeriesModel, *, phantoms: bool
) -> None:
    """All sections, figures, tables and estimates of the run."""
    best = judged.arms[judged.headline]
    for arm in judged.arms.values():
        run.add_estimates(arm.estimates)
    run.section("The question", key="question", text=paragraph(_study_doc(), "Question"))
    _verdict(run, judged, timed, phantoms=phantoms)
    _sample(run, judged)
    _evidence(run, judged)
    rows = [
        [r.label, r.n, _f(r.recall, r.low, r.high), r.called, _f(r.precision), _f(r.f1)]
        for r in best.labels.itertuples()
    ]
    run.section(
        "Label by label",
        kind="table",
        key="labels",
        columns=["label", "series", "recall (95 % CI)", "called so", "precision", "F1"],
        rows=rows,
        caption="All evidence, headers as they are. Wilson intervals; labels of a few series have wide ones.",
    )
    figure, table = series_figures.confusion(best.confusion)
    run.save_figure(
        "confusion",
        figure,
        table,
        title="What was taken for what",
        caption="Counts of series; colour is the share of the row. Kinds of `other` by their name.",
    )
    curves = {
        way: judged.arms[way, "header as it is"].coverage
        for way in ("all", "tags", "slices")
        if (way, "header as it is") in judged.arms
    }
    figure, table = series_figures.coverage(curves)
    run.save_figure(
        "coverage",
        figure,
        table,
        title="How much can be left to the sorter",
        caption="Unsure series come last. Bands are Wilson intervals of the series so far.",
    )
    _errors(run, judged)
    _attributes(run, judged)
    _time(run, timed, config)
    run.save_table("verdicts", best.errors)
    run.section("Methods", key="methods", text=f"{paragraph(_study_doc(), 'Methods')} {_training(model)}")


def _study_doc() -> str | None:
    from radfoundry.studies import mri_series

    return mri_series.__doc__


def _verdict(run: Run, judged: Judged, timed: dict[str, float], *, phantoms: bool) -> None:
    best = judged.arms[judged.headline].estimates
    anonymised = judged.arms["all", "anonymised"].estimates
    accuracy, sure, when = (_whole(best, name) for name in ("accuracy", "sure", "accuracy_when_sure"))
    wrong = _whole(best, "confident_error")
    confident = round(wrong.value * wrong.n)
    text = (
        f"{accuracy.value:.1%} of {accuracy.n} series named rightly; {sure.value:.1%} without a person, "
        f"and of these {when.value:.1%}. {confident or 'No'} error{'s' if confident != 1 else ''} with a "
        f"probability above 0.9. {timed['by header'] + timed['header']:.3f} s a series by header alone"
    )
    with_slices = timed["with slices"] + timed["header"]
    text += f", {with_slices:.2f} s where slices are read." if timed["n with slices"] else "."
    run.verdict(
        text,
        [
            ("Accuracy", accuracy, _whole(best, "accuracy_trivial")),
            (
                "Modality, kinds of other as one",
                _whole(best, "accuracy_modality"),
                _whole(best, "accuracy_modality_trivial"),
            ),
            ("Accuracy when sure", when, None),
            (
                "Accuracy, anonymised headers",
                _whole(anonymised, "accuracy"),
                _whole(best, "accuracy_trivial"),
            ),
        ],
        against="the most frequent label",
    )
    if phantoms:
        run.note(
            "These are phantoms, drawn by the same generator as the training series. Their accuracy shows "
            "that the parts work together, and says nothing of scanners: use --series and --truth."
        )
    studies = len({c.series.study for c in judged.found})
    if accuracy.n < FEW or studies < FEW // 10:
        run.note(
            f"{accuracy.n} series of {studies} studies: series of one study share scanner and protocol, so "
            "intervals over series are too narrow."
        )
    counted = Counter(judged.truth)
    few = [label for label, n in counted.items() if n < 5]
    if few:
        run.note(
            f"{len(few)} of {len(counted)} labels have fewer than 5 series; nothing is known of them singly."
        )


def _sample(run: Run, judged: Judged) -> None:
    table = Counter(
        (label, item.header.vendor or "not told") for label, item in zip(judged.truth, judged.found)
    )
    vendors = sorted({vendor for _, vendor in table})
    labels = sorted(set(judged.truth))
    run.section(
        "The series",
        kind="table",
        key="sample",
        columns=["label", *vendors, "all"],
        rows=[
            [label, *(table[label, v] or "" for v in vendors), sum(table[label, v] for v in vendors)]
            for label in labels
        ],
        caption=f"{len(judged.found)} series of {len({c.series.study for c in judged.found})} studies.",
    )


def _evidence(run: Run, judged: Judged) -> None:
    arms = {key: _whole(arm.estimates, "accuracy") for key, arm in judged.arms.items()}
    trivial = _whole(judged.arms[judged.headline].estimates, "accuracy_trivial")
    often = _whole(judged.arms[judged.headline].estimates, "accuracy_modality_trivial")
    figure, table = series_figures.evidence(arms, trivial)
    run.save_figure(
        "evidence",
        figure,
        table,
        title="Which evidence names a series",
        caption="Rules that abstain count as wrong here. Slices alone see no header, so hiding tags "
        "changes nothing for them.",
    )
    rows = []
    for (way, state), arm in judged.arms.items():
        names = ("accuracy", "accuracy_modality", "sure", "accuracy_when_sure", "confident_error")
        get = {n: _whole(arm.estimates, n) for n in names}
        anatomy = next((e for e in arm.estimates if e.name == "accuracy_anatomy"), None)
        rows.append(
            [
                way,
                state,
                words(get["accuracy"]),
                words(get["accuracy_modality"]),
                words(get["sure"]),
                words(get["accuracy_when_sure"]),
                round(get["confident_error"].value * get["confident_error"].n),
                words(anatomy),
            ]
        )
    columns = [
        "evidence",
        "headers",
        "accuracy",
        "modality alone",
        "share sure",
        "accuracy when sure",
        "errors at p > 0.9",
        "anatomy",
    ]
    run.save_table("arms", pd.DataFrame(rows, columns=columns))
    run.section(
        "Accuracy by evidence",
        kind="table",
        key="arms",
        columns=columns,
        rows=rows,
        caption=f"{trivial.n} series; Wilson intervals. {trivial.note}: {trivial.value:.1%}. Modality alone "
        f"takes the kinds of `other` as one; {often.note}: {often.value:.1%}.",
    )


def _errors(run: Run, judged: Judged) -> None:
    pictures, captions = [], []
    wrong = [(item, truth) for item, truth in zip(judged.found, judged.truth) if item.verdict.label != truth]
    wrong.sort(key=lambda pair: -(pair[0].verdict.confidence or 0.0))
    for item, truth in wrong[:MOST_ERRORS]:
        verdict = item.verdict
        sure = (
            ""
            if verdict.confidence is None
            else f" ({verdict.confidence:.2f}{', unsure' if verdict.unsure else ''})"
        )
        hidden = unshown(item.header, verdict) or LEGIBLE.get(parted(truth)[1], "")
        shown = None if hidden else item.thumbnail
        pictures.append(shown if shown is not None else np.zeros((96, 96), np.uint8))
        said = f"{', '.join(explain(item.header))}. {'; '.join(verdict.trace)}"
        captions.append(
            {
                "title": f"{truth}, called {verdict.label}{sure}",
                "text": said + (f". Picture not shown: {hidden}; it may name a patient" if hidden else ""),
                "tag": "confident error" if (verdict.confidence or 0) > 0.9 else "error",
            }
        )
    if pictures:
        run.save_images(
            "errors",
            pictures,
            captions,
            title="Every error",
            caption=f"{len(wrong)} of {len(judged.found)} series, the most confident first"
            + (f"; {MOST_ERRORS} shown." if len(wrong) > MOST_ERRORS else "."),
        )
    else:
        run.section("Every error", key="errors", text=f"None in {len(judged.found)} series.")


def _attributes(run: Run, judged: Judged) -> None:
    rows = Counter(
        (
            c.verdict.attributes.plane or "not told",
            c.verdict.attributes.dimension or "not told",
            {True: "yes", False: "no", None: "not told"}[c.verdict.attributes.fat_suppressed],
        )
        for c in judged.found
    )
    run.section(
        "Attributes",
        kind="table",
        key="attributes",
        columns=["plane", "2D or 3D", "fat suppression", "series"],
        rows=[[*key, n] for key, n in rows.most_common()],
        caption="Read from headers, not predicted; not told where the header does not say.",
    )


def _time(run: Run, timed: dict[str, float], config: Config) -> None:
    n, n_slices = int(timed["n"]), int(timed["n with slices"])
    rows: list[tuple[str, float]] = [
        ("find and open files", timed["find"]),
        ("merge the header", timed["header"]),
        ("verdict by header", timed["by header"]),
        ("verdict with slices, reading them included", timed["with slices"]),
    ]
    run.section(
        "Time",
        kind="table",
        key="time",
        columns=["step", "seconds a series"],
        rows=[[name, f"{seconds:.4f}" if math.isfinite(seconds) else "–"] for name, seconds in rows],
        caption=f"Medians of {n} series, {n_slices} of them with slices to read, one at a time, the model "
        f"loaded; finding is a mean over the folder. Image tower {config.image_tower}.",
    )
    run.add_estimates(
        [
            Estimate(
                f"seconds_{name.replace(' ', '_')}",
                value,
                method="median",
                n=n_slices if name == "with slices" else n,
            )
            for name, value in timed.items()
            if not name.startswith("n") and math.isfinite(value)
        ]
    )


def _training(model: SeriesModel) -> str:
    made = model.trained
    series = made.get("series", [0, 0, 0])
    return (
        f"Here: {series[0]} series trained, {series[1]} chose the epoch, {series[2]} calibrated, of "
        f"{made.get('groups', 0)} studies; {len(model.modalities)} labels, {len(model.anatomies)} anatomies; "
        f"share of errors reckoned with {model.errors['tags']['modality']:.0%}; text tower "
        f"{model.text.source}, image tower {model.image_tower}."
    )


def _f(value: float, low: float | None = None, high: float | None = None) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")


def _whole(estimates: Sequence[Estimate], name: str) -> Estimate:
    """The estimate of that name over all series."""
    return next(e for e in estimates if e.name == name and e.subgroup is None)
