"""The drawings of a reader study: ROC by reader, differences by reader, reading time, automation bias.

In the style of `figures`; each returns (figure, data drawn). Modalities keep their colours through all four:
the first (unaided) the first of the palette, the second (aided) the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from radfoundry.report.build import label as metric_label
from radfoundry.report.figures import (
    INK,
    LINE,
    PALETTE,
    SOFT,
    Drawing,
    _colours,
    _key,
    _limits,
    _with_value,
    styled,
)
from radfoundry.types import Estimate

WRONG = "#b3bac4"
CLOCK = (1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 420, 600, 900, 1800, 3600, 7200)
"""Seconds at which a time axis has its lines."""


def roc_points(y: np.ndarray, rating: np.ndarray) -> pd.DataFrame:
    """Operating points of one reader, from none positive to all: fpr, sensitivity.

    y: (n,) 0 or 1; rating: (n,), NaN where there is no read. The area under the straight lines between them
    is the Mann-Whitney AUC, ties counted one half.
    """
    read = np.isfinite(rating)
    truth, given = np.asarray(y)[read] == 1, np.asarray(rating, float)[read]
    cuts = np.append(np.inf, np.unique(given)[::-1])
    called = given[None] >= cuts[:, None]
    return pd.DataFrame({
        "fpr": called[:, ~truth].sum(axis=1) / max((~truth).sum(), 1),
        "sensitivity": called[:, truth].sum(axis=1) / max(truth.sum(), 1),
    })  # fmt: skip


def average_roc(curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The readers' mean sensitivity at each false positive rate: fpr, sensitivity, as in `roc_points`.

    Taken at every rate at which any reader has a point, just before and just after it, so that the area under
    it is the mean of the readers' areas.
    """
    grid = np.unique(np.concatenate([c["fpr"].to_numpy() for c in curves]))
    sides = []
    for curve in curves:
        fpr, sensitivity = curve["fpr"].to_numpy(), curve["sensitivity"].to_numpy()
        first, last = np.searchsorted(fpr, grid, "left"), np.searchsorted(fpr, grid, "right") - 1
        between = np.interp(grid, fpr, sensitivity)
        has = first <= last
        low = np.where(has, sensitivity[np.minimum(first, len(fpr) - 1)], between)
        high = np.where(has, sensitivity[last], between)
        sides.append(np.column_stack([low, high]).ravel())
    return pd.DataFrame({"fpr": np.repeat(grid, 2), "sensitivity": np.mean(sides, axis=0)})


@styled
def reader_roc(
    y: np.ndarray, rating: np.ndarray, *, modalities: Sequence[str], readers: Sequence[str],
    estimates: Mapping[str, Estimate] | None = None,
) -> Drawing:  # fmt: skip
    """The readers' mean ROC by modality, each reader thin behind it.

    y: (n,) 0 or 1; rating: (modalities, readers, n), NaN where there is no read. estimates: each modality's
    AUC, printed beside its name.
    """
    figure = Figure(figsize=(9.6, 5.2))
    axes = figure.add_axes((0.075, 0.115, 0.86 * 5.2 / 9.6, 0.86))  # square; the key stands beside it
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", ylabel="Sensitivity")
    axes.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (4, 3)))
    rows = []
    for name, of_modality, colour in zip(modalities, rating, _colours(modalities), strict=True):
        curves = {
            reader: roc_points(y, own)
            for reader, own in zip(readers, of_modality, strict=True)
            if _both_classes(y, own)
        }
        if not curves:
            continue
        thin = 0.85 if len(curves) < 12 else 0.6
        for reader, curve in curves.items():
            axes.plot(curve["fpr"], curve["sensitivity"], color=colour, lw=thin, alpha=0.42, zorder=1.5)
            rows.append(curve.assign(modality=name, reader=reader))
        mean = average_roc(list(curves.values()))
        axes.plot(
            mean["fpr"],
            mean["sensitivity"],
            color=colour,
            lw=2.6,
            label=_with_value(name, estimates),
            zorder=3,
        )
        rows.append(mean.assign(modality=name, reader="mean"))
    _key(axes, (1.04, 0.02), f"AUC, mean of {len(readers)} readers" if estimates else "Mean of readers")
    table = pd.concat(rows, ignore_index=True)
    return figure, table[["modality", "reader", "fpr", "sensitivity"]]


def _both_classes(y: np.ndarray, rating: np.ndarray) -> bool:
    return len(np.unique(np.asarray(y)[np.isfinite(rating)])) == 2


@styled
def reader_forest(
    readers: Mapping[str, Estimate], average: Estimate, *, metric: str, better: str = "", worse: str = ""
) -> Drawing:
    """The difference of two modalities by reader, and their average as a diamond.

    readers: reader to the difference; average: over readers, with its interval. metric: what differs, such as
    "auroc". better, worse: words for the right and the left of zero.
    """
    rows = [*readers.values(), average]
    words = [*readers, "Average"]
    height = 1.2 + 0.34 * len(rows)
    figure = Figure(figsize=(9.6, height))
    axes = figure.add_axes((0.22, 0.7 / height, 0.5, 1 - 1.1 / height))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.axvline(0, color=INK, lw=1)
    axes.axvline(average.value, color=PALETTE[0], lw=1, ls=(0, (4, 3)), zorder=0.9)
    for at, (one, word) in enumerate(zip(rows, words, strict=True)):
        y = len(rows) - 1 - at - (0.25 if one is average else 0)
        if one is average:
            _diamond(axes, one, y)
        else:
            if np.isfinite(one.low):
                axes.plot([one.low, one.high], [y, y], color=PALETTE[0], lw=2, alpha=0.5)
            axes.plot(one.value, y, "o", color=PALETTE[0], ms=5.5)
        _columns(axes, y, word, one, bold=one is average)
    for x, text, side in ((-0.42, "Reader", "left"), (-0.05, "n", "right"), (1.16, "Difference", "right"),
                          (1.2, f"{average.level:.0%} CI", "left")):  # fmt: skip
        axes.text(x, len(rows) - 0.35, text, ha=side, va="bottom", color=SOFT, fontsize=9.5,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.axhline(0.4, color=LINE, lw=0.9, xmin=-0.42, xmax=1.5, clip_on=False)
    low, high = _limits(rows)
    axes.set(ylim=(-0.8, len(rows) - 0.4), yticks=[], xlim=(min(low, -0.01), max(high, 0.01)))
    axes.set_xlabel(f"Difference in {metric_label(metric)}")
    for x, word, side in ((1, f"{better} →", "right"), (0, f"← {worse}", "left")):
        if better and worse:
            axes.annotate(word, (x, 0), xycoords="axes fraction", xytext=(0, -20), fontsize=9.5, color=SOFT,
                          textcoords="offset points", ha=side, va="top", annotation_clip=False)  # fmt: skip
    table = pd.DataFrame([
        {"reader": word, "difference": e.value, "low": e.low, "high": e.high, "n": e.n}
        for e, word in zip(rows, words, strict=True)
    ])  # fmt: skip
    return figure, table


def _diamond(axes: Axes, one: Estimate, y: float) -> None:
    if not np.isfinite(one.low):
        axes.plot(one.value, y, "D", color=PALETTE[0], ms=8)
        return
    corners = [(one.low, y), (one.value, y + 0.3), (one.high, y), (one.value, y - 0.3)]
    axes.add_patch(Polygon(corners, closed=True, facecolor=PALETTE[0], edgecolor=PALETTE[0], zorder=3))


def _columns(axes: Axes, y: float, word: str, one: Estimate, *, bold: bool) -> None:
    between = f"{_signed(one.low)} to {_signed(one.high)}" if np.isfinite(one.low) else "–"
    for x, text, side, colour in (
        (-0.42, word, "left", INK),
        (-0.05, f"{one.n:,}", "right", SOFT),
        (1.16, _signed(one.value), "right", INK),
        (1.2, between, "left", INK if bold else SOFT),
    ):
        axes.text(x, y, text, ha=side, va="center", color=colour, fontsize=10.5,
                  fontweight="bold" if bold else "normal", transform=axes.get_yaxis_transform())  # fmt: skip


def _signed(value: float) -> str:
    """With its sign, minus as long as plus."""
    return f"{value:+.3f}".replace("-", "−")


@styled
def reading_times(
    readers: pd.DataFrame, order: pd.DataFrame | None = None, *, modalities: Sequence[str],
    means: Sequence[Estimate] = (),
) -> Drawing:  # fmt: skip
    """Left: each reader's geometric mean seconds by modality. Right: seconds along the reading list.

    readers: reader, modality, seconds (`ReadingTime.readers`). order: modality, order, seconds, n, and
    session where there are several (`reading_time.by_order`). means: over readers, by modality, drawn thick.
    """
    with_order = order is not None and len(order) > 0
    figure = Figure(figsize=(9.6 if with_order else 5.4, 4.5), layout="constrained")
    ratios = [1, 1.25] if with_order else [1]
    panels = figure.subplots(1, len(ratios), width_ratios=ratios, sharey=True, squeeze=False)[0]
    left = panels[0]
    wide = readers.pivot(index="reader", columns="modality", values="seconds").reindex(columns=modalities)
    at = np.arange(len(modalities))
    colours = _colours(modalities)
    for _, own in wide.iterrows():
        left.plot(at, own.to_numpy(), color=SOFT, lw=0.9, alpha=0.5, zorder=1.5)
    for x, colour in zip(at, colours):
        left.plot(np.full(len(wide), x), wide.iloc[:, x], "o", color=colour, ms=4.5, alpha=0.6, zorder=2)
    if means:
        by_name = {str(e.model): e for e in means}
        known = [(x, by_name[m], c) for x, m, c in zip(at, modalities, colours) if m in by_name]
        left.plot([x for x, _, _ in known], [e.value for _, e, _ in known], color=INK, lw=2.6, zorder=3)
        for x, e, colour in known:
            if np.isfinite(e.low):
                left.vlines(x, e.low, e.high, color=INK, lw=2.2, zorder=3)
            left.plot(x, e.value, "o", color=colour, ms=9, mec=INK, mew=1.4, zorder=4)
            left.annotate(_seconds(e.value, None), (x, e.value), xytext=(-13 if x == 0 else 13, 0),
                          textcoords="offset points", ha="right" if x == 0 else "left", va="center",
                          fontsize=10.5, fontweight="bold", color=colour)  # fmt: skip
    left.set_xticks(at, modalities)
    left.set(xlim=(-0.45, len(modalities) - 0.55), ylabel="Geometric mean time of a read")
    left.grid(axis="x", visible=False)
    left.set_title(f"By reader ({len(wide)})", loc="left", fontsize=11, color=INK)
    if with_order and order is not None:
        _along(panels[1], order, modalities, colours)
    _log_seconds(left)
    parts = [readers.assign(panel="by reader")] + ([order.assign(panel="order")] if order is not None else [])
    return figure, pd.concat(parts, ignore_index=True)


def _along(axes: Axes, order: pd.DataFrame, modalities: Sequence[str], colours: Sequence[str]) -> None:
    sessions = sorted(order["session"].unique()) if "session" in order else [None]
    strokes = ["-", (0, (4, 2)), (0, (1, 1.5))]
    for name, colour in zip(modalities, colours):
        for at, session in enumerate(sessions):
            rows = order["modality"] == name
            own = order[rows & (order["session"] == session)] if session is not None else order[rows]
            if len(own) == 0:
                continue
            label = name if len(sessions) == 1 else f"{name}, session {session:g}"
            axes.plot(own["order"], own["seconds"], color=colour, ls=strokes[at % 3], label=label)
    axes.set(xlabel="Place in the reading list", xlim=(0, None))
    axes.set_title("Along the list", loc="left", fontsize=11, color=INK)
    legend = axes.legend(loc="best", handlelength=2.4, labelspacing=0.35)
    legend.set(frame_on=True)
    legend.get_frame().set(facecolor="white", edgecolor="none", alpha=0.85)


def _log_seconds(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator(CLOCK))
    axes.yaxis.set_major_formatter(FuncFormatter(_seconds))
    axes.yaxis.set_minor_locator(NullLocator())


def _seconds(value: float, _: object) -> str:
    """7.5 s, 12 s, 90 s, 5.2 min."""
    if value >= 100:
        return f"{value / 60:.2g} min"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


@styled
def automation_bias(
    estimates: Sequence[Estimate], switches: pd.DataFrame, readers: pd.DataFrame | None = None,
    *, unaided: str = "unaided", aided: str = "aided",
) -> Drawing:  # fmt: skip
    """Left: accuracy where the AI is right and where it is wrong, alone and aided. Right: changed decisions.

    estimates, switches, readers: of `evaluate.readers.automation_bias.AutomationBias`.
    """
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    by = {(e.model, e.subgroup): e for e in estimates if e.name == "accuracy"}
    groups = [g for g in (None, "AI right", "AI wrong") if (aided, g) in by]
    drawn = [_two_accuracies(left, x, group, by, readers, (unaided, aided)) for x, group in enumerate(groups)]
    left.set_xticks(range(len(groups)), [f"{g or 'All'}\n{_cases(by[aided, g])}" for g in groups])
    left.set(ylim=(-0.02, 1.08), xlim=(-0.52, len(groups) - 0.48), ylabel="Accuracy")
    left.set_yticks(np.linspace(0, 1, 6))
    left.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    left.grid(axis="x", visible=False)
    lone = by.get(("AI alone", None))
    if lone is not None and None in groups:
        left.plot([-0.3, 0.3], [lone.value] * 2, color=INK, lw=1.4, ls=(0, (3, 2)), zorder=2.5,
                  label=f"AI alone {100 * lone.value:.0f} %")  # fmt: skip
    left.set_title("Accuracy without and with the AI", loc="left", fontsize=11, color=INK)
    _key(left, "lower left")
    _switched(right, switches)
    parts = [pd.concat(drawn).assign(panel="accuracy")] if drawn else []
    return figure, pd.concat([*parts, switches.assign(panel="switches")], ignore_index=True)


def _cases(one: Estimate) -> str:
    return f"{one.n_clusters:,} {one.cluster}s" if one.n_clusters else f"{one.n:,} reads"


def _two_accuracies(
    axes: Axes, x: int, group: str | None, by: Mapping[tuple[str | None, str | None], Estimate],
    readers: pd.DataFrame | None, models: tuple[str, str],
) -> pd.DataFrame:  # fmt: skip
    """Unaided and aided side by side, each reader a thin line behind; the data drawn."""
    places = (x - 0.2, x + 0.2)
    columns = [f"accuracy:{m}" + (f":{group}" if group else "") for m in models]
    if readers is not None and set(columns) <= set(readers):
        for own in readers[columns].to_numpy(float):
            axes.plot(places, own, color=SOFT, lw=0.8, alpha=0.4, zorder=1.5)
    rows = []
    for place, model, colour in zip(places, models, PALETTE):
        one = by[model, group]
        if np.isfinite(one.low):
            axes.vlines(place, one.low, one.high, color=colour, lw=3, alpha=0.55, zorder=3)
        axes.plot(place, one.value, "o", color=colour, ms=8, zorder=4, label=model if x == 0 else None)
        if np.isfinite(one.value):
            top = one.high if np.isfinite(one.high) else one.value
            axes.annotate(f"{100 * one.value:.0f} %", (place, top), xytext=(0, 6), va="bottom", ha="center",
                          textcoords="offset points", color=colour, fontsize=10.5, fontweight="bold",
                          bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
                          zorder=5)  # fmt: skip
        rows.append({"group": group or "all", "modality": model, "accuracy": one.value, "low": one.low,
                     "high": one.high, "n": one.n})  # fmt: skip
    return pd.DataFrame(rows)


def _switched(axes: Axes, switches: pd.DataFrame) -> None:
    """What became of reads by who was right before: bars of aided right and aided wrong."""
    reads = switches.set_index("what")["reads"]
    rows = [
        ("Wrong alone,\nAI right", "positive flip", "right advice not taken", "positive flips", ""),
        ("Right alone,\nAI wrong", "wrong advice withstood", "negative flip", "", "negative flips"),
        ("Both right", "all right", "to wrong against the AI", "", ""),
        ("Both wrong", "to right against the AI", "all wrong", "", ""),
    ]
    for y, (_, good, bad, word_good, word_bad) in enumerate(rows):
        whole = reads[good] + reads[bad]
        axes.text(1.02, y, f"{whole:,}", ha="left", va="center", fontsize=9.5, color=SOFT)
        if not whole:
            continue
        part = reads[good] / whole
        axes.barh(y, part, color=PALETTE[2], height=0.58)
        axes.barh(y, 1 - part, left=part, color=WRONG, height=0.58)
        for value, centre, word, ink in (
            (part, part / 2, word_good, "white"), (1 - part, 1 - (1 - part) / 2, word_bad, INK),
        ):  # fmt: skip
            if value >= 0.09:
                named = f"{word}\n" if word and value >= 0.26 else ""
                axes.text(centre, y, f"{named}{100 * value:.0f} %", ha="center", va="center", color=ink,
                          fontsize=10)  # fmt: skip
    for x, word, side, colour in (
        (0, "aided right", "left", PALETTE[2]), (1, "aided wrong", "right", SOFT),
        (1.02, "reads", "left", SOFT),
    ):  # fmt: skip
        axes.text(x, -0.6, word, ha=side, va="center", fontsize=10, color=colour)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.8), xlabel="Share of the reads")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_title("What became of the reads with the AI", loc="left", fontsize=11, color=INK)
