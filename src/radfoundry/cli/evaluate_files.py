"""What `radfoundry evaluate --out` leaves behind: tables, curves, drawings."""

from __future__ import annotations

import json as jsonlib
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from radfoundry import table_files

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.evaluate.fairness import Fairness
    from radfoundry.evaluate.fairness.thresholds import GroupThreshold
    from radfoundry.evaluate.survival.table import SurvivalPart
    from radfoundry.report.figures import Drawing
    from radfoundry.types import Estimate


def write(
    out: Path,
    estimates: list[Estimate],
    table: pd.DataFrame,
    seed: int,
    level: float,
    fair: Fairness | None = None,
    thresholds: Sequence[GroupThreshold] = (),
    cutoff: float | str | None = None,
    in_sample: bool = False,
    competing: bool = False,
) -> None:
    """The estimates, gaps among them, as one file, or a folder; whole or not at all, RunError where not.

    The folder also holds curves, gaps, forest plots and, for times to an event, Kaplan-Meier curves (of
    competing risks, cumulative incidence), by `cutoff` where it is given.
    """
    import pandas as pd

    from radfoundry.predictions import is_survival

    gaps = fair.gaps if fair is not None else []
    records = [e.as_dict() for e in [*estimates, *(g.estimate() for g in gaps)]]
    text = jsonlib.dumps(records, indent=2, ensure_ascii=False, allow_nan=False)
    if out.suffix == ".json":
        return whole(out, text)
    if out.suffix == ".csv":
        return whole(out, pd.DataFrame(records).to_csv(index=False))
    timed = is_survival(table)
    drawn = curves(table[~timed], seed, level)  # before the first file is written
    if gaps:
        drawn["gaps"] = pd.DataFrame([g.as_dict() for g in gaps])
    if thresholds:
        from radfoundry.evaluate.fairness.thresholds import table_of

        drawn["group_thresholds"] = table_of(thresholds)
    with table_files.whole_folder(out) as folder:
        (folder / "metrics.json").write_text(text, encoding="utf-8")
        pd.DataFrame(records).to_csv(folder / "metrics.csv", index=False)
        for name, frame in drawn.items():
            frame.to_csv(folder / f"{name}.csv", index=False)
        if fair is not None:
            _forests(folder, estimates, fair)
        if timed.any():
            _survival_curves(folder, table[timed], level, cutoff, in_sample, competing)


def _forests(out: Path, estimates: list[Estimate], fair: Fairness) -> None:
    """A forest plot of the subgroups of every model and target, with its data."""
    from radfoundry.report.fairness_figures import forest_panels
    from radfoundry.report.figures import save

    used: set[str] = set()
    for (model, target), covariates in fair.groups.items():
        own = [e for e in fair.estimates if (e.model, e.target) == (model, target) and e.subgroup]
        own += [e for e in estimates if (e.model, e.target, e.subgroup) == (model, target, None)]
        figure, data = forest_panels(own, covariates)
        several = (len({m for m, _ in fair.groups}) > 1, len({t for _, t in fair.groups}) > 1)
        words = [w for w, many in zip((model, target), several, strict=True) if many]
        stem = _stem("subgroups", *words, used=used)
        save(figure, out / stem)
        data.to_csv(out / f"{stem}.csv", index=False)


def _survival_curves(
    out: Path, table: pd.DataFrame, level: float, cutoff: float | str | None, in_sample: bool, competing: bool
) -> None:
    """Curves of every outcome: of all cases, or of low and high risk by each model that can be cut so."""
    from radfoundry.errors import Notice
    from radfoundry.evaluate.survival import survival_parts
    from radfoundry.report.figures import save

    done: set[tuple[str, ...]] = set()
    used: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)  # said already when the cases were judged
        parts = list(survival_parts(table, in_sample=in_sample))
    for part in parts:
        words = [part.target, *([] if part.label is None else [part.label.removeprefix("split ")])]
        words += [part.model] if cutoff is not None else []
        if tuple(words) in done:  # without groups the curve is the same for every model
            continue
        done.add(tuple(words))
        drawn = _survival_curve(part, level, cutoff, competing)
        if drawn is not None:
            stem = _stem("cumulative_incidence" if competing else "kaplan_meier", *words, used=used)
            save(drawn[0], out / stem)
            drawn[1].to_csv(out / f"{stem}.csv", index=False)


def _survival_curve(
    part: SurvivalPart, level: float, cutoff: float | str | None, competing: bool
) -> Drawing | None:
    """One figure with its data; None where the event never came and incidence has no curve."""
    import numpy as np

    from radfoundry.errors import InputMismatch, NotEnoughData
    from radfoundry.evaluate.compare import p_words
    from radfoundry.evaluate.survival import aalen_johansen, kaplan_meier, logrank
    from radfoundry.evaluate.survival.table import INDEPENDENT, part_groups
    from radfoundry.report.survival_figures import kaplan_meier as draw

    event = (part.event == 1).astype(int)
    groups = {"all": np.ones(len(event), bool)}
    if cutoff is not None:
        with suppress(InputMismatch, NotEnoughData):  # its hazard ratio says why
            groups = part_groups(part, cutoff)
    if competing:
        made = {name: aalen_johansen(part.time[at], part.event[at], level=level).table()
                for name, at in groups.items() if event[at].any()}  # fmt: skip
        if not made:
            return None
        doubt = INDEPENDENT if part.clustered else ""
        return draw(
            made, unit="", ylabel=f"Cumulative incidence of {part.target}", test=doubt, incidence=True
        )
    made = {name: kaplan_meier(part.time[at], event[at], part.patient[at], level=level).table()
            for name, at in groups.items()}  # fmt: skip
    test = ""
    if len(groups) > 1 and event.any() and not part.clustered:
        test = f"Log-rank {p_words(logrank(part.time, event, groups['high risk']).p)}"
    return draw(made, unit="", ylabel=f"Free of {part.target}", test=test)


def _stem(*words: str, used: set[str]) -> str:
    """Words that may stand in a file name; numbered where `used` holds them already, whatever their case.

    >>> used: set[str] = set()
    >>> _stem("roc", "x/y", used=used), _stem("roc", "x y", used=used), _stem("roc", "肺炎", used=used)
    ('roc_x-y', 'roc_x-y_2', 'roc_肺炎')
    """
    first = stem = "_".join(re.sub(r"[^\w.-]+", "-", w).strip("-.") for w in words)
    number = 1
    while stem.casefold() in used:
        number += 1
        stem = f"{first}_{number}"
    used.add(stem.casefold())
    return stem


def curves(table: pd.DataFrame, seed: int, level: float) -> dict[str, pd.DataFrame]:
    """roc, pr, calibration and decision_curve of every binary model x target x split.

    Over repeats of cross-validation ROC and precision-recall are averaged, the others stacked, as the numbers
    beside them are. Where repeats score different cases the first one is drawn.
    """
    import numpy as np
    import pandas as pd

    from radfoundry.evaluate import calibration
    from radfoundry.evaluate import curves as shapes
    from radfoundry.evaluate.parts import parts

    found: dict[str, list[pd.DataFrame]] = {}
    for part in parts(table):
        first = part.repeats[0]
        if not part.binary or len(np.unique(first.y)) < 2:
            continue
        repeats = part.repeats if part.aligned else part.repeats[:1]
        y, score, who = first.y, np.stack([r.score[:, 0] for r in repeats]), first.codes
        rng = np.random.default_rng(seed)
        drawn = {
            "roc": shapes.roc_curve(y, score, who, level=level, rng=rng),
            "pr": shapes.pr_curve(y, score, who, level=level, rng=rng),
        }
        y, who, score = np.tile(y, len(score)), np.tile(who, len(score)), score.ravel()
        if part.is_probability:
            drawn["calibration"] = calibration.reliability_curve(y, score, level=level, cluster=who)
            benefit = calibration.net_benefit(y, score, cluster=who, n=500, level=level, rng=rng)
            names = {"model": "net_benefit", "all": "treat_all", "none": "treat_none"}
            drawn["decision_curve"] = benefit.rename(columns=names)
        for name, frame in drawn.items():
            frame.insert(0, "split", part.label or "")
            frame.insert(0, "target", part.target)
            frame.insert(0, "model", part.model)
            found.setdefault(name, []).append(frame)
    return {name: pd.concat(frames, ignore_index=True) for name, frames in found.items()}


def whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; folders are made. RunError where it cannot be written."""
    with table_files.whole(path) as part:
        part.write_text(text, encoding="utf-8")
