"""The evidence that a binary classification study shows: one prediction table in, sections out.

Everything is computed by `radfoundry.evaluate` and stored in the run; the figures draw what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.audit import Audit
from radfoundry.audit.comparison import Comparison, adds_over, fold_placements
from radfoundry.evaluate import calibration, evaluate
from radfoundry.evaluate.curves import pr_curve, roc_curve
from radfoundry.evaluate.intervals import delong_from
from radfoundry.io import read_image
from radfoundry.plan.ablation import placed
from radfoundry.report import figures, flow_figure
from radfoundry.report.build import describe
from radfoundry.studies.inputs import Labelled
from radfoundry.studies.run import Run
from radfoundry.table_one import as_text
from radfoundry.types import Estimate

WORDS = {"test": "internal test", "external": "external test"}
BY_RANK = ("auroc", "auroc_bootstrap", "auprc", "sens_at_spec90")
"""Metrics that compare scores of different cases, and so of different folds."""


def paragraph(text: str | None, start: str) -> str:
    """The paragraph of a study's docstring that begins with `start`, without that word.

    >>> paragraph("Title\\n\\nQuestion. Does it\\nhelp?", "Question")
    'Does it help?'
    """
    found = next(p for p in (text or "").split("\n\n") if p.startswith(start))
    return " ".join(found.split()).removeprefix(f"{start}. ")


def by_case(table: pd.DataFrame) -> pd.DataFrame:
    """One row a case, scores averaged over repeats: to choose pictures of cases, and for no metric at all."""
    keep = {c: "first" for c in table.columns if c not in ("case_id", "score", "repeat", "fold", "seed")}
    merged = table.groupby("case_id", sort=True).agg({"score": "mean", **keep}).reset_index()
    if "threshold" in table and table["threshold"].notna().all():
        merged["threshold"] = table.groupby("case_id", sort=True)["threshold"].mean().to_numpy()
        merged["decision"] = (merged["score"] >= merged["threshold"]).astype(int)
    return merged


@dataclass(frozen=True)
class Matched:
    """Models on the cases and in the repeats that all of them share.

    scores: (repeats, n) of each; y, patient: (n,); folds: (repeats, n), that of the first model.
    """

    scores: list[np.ndarray]
    y: np.ndarray
    patient: np.ndarray
    folds: np.ndarray


def matched(table: pd.DataFrame, models: Sequence[str], split: str = "test") -> Matched:
    """Scores of each model on the cases and in the repeats that all share, truth, patients and folds."""
    part = table[table["split"] == split]
    wide = [part[part["model"] == m].pivot(index="case_id", columns="repeat", values="score") for m in models]
    whole = [scores.dropna(axis=1, how="all") for scores in wide]
    cases, repeats = whole[0].index, whole[0].columns
    for scores in whole[1:]:
        cases, repeats = cases.intersection(scores.index), repeats.intersection(scores.columns)
    own = part[part["model"] == models[0]]
    first = own.drop_duplicates("case_id").set_index("case_id").loc[cases]
    folds = own.pivot(index="case_id", columns="repeat", values="fold").loc[cases, repeats].to_numpy().T
    scores = [w.loc[cases, repeats].to_numpy(float).T for w in whole]
    return Matched(scores, first["y_true"].to_numpy(int), first["patient_id"].to_numpy(), folds)


def placed_in_folds(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each score as the normal quantile of its rank among the cases of its fold.

    For what pools folds that were scored by models of unlike scales. Decisions stay; thresholds go, they fit
    no rank.
    """
    by = [table[c] for c in ("model", "split", "repeat", "fold")]
    score = table["score"].groupby(by).transform(lambda s: placed(s.to_numpy(float)))
    return table.assign(score=score).drop(columns="threshold", errors="ignore")


def fold_auroc(table: pd.DataFrame, model: str, split: str = "test") -> Estimate:
    """AUC as the mean over outer folds, with DeLong's interval from placements within the fold.

    Placements are averaged over repeats, so that the interval rests on patients. See `fold_placements`.
    """
    m = matched(table, [model], split)
    inside = [fold_placements(m.y, s, f) for s, f in zip(m.scores[0], m.folds, strict=True)]
    found = delong_from(m.y, np.mean(inside, axis=0), cluster=m.patient)
    folds = sum(len(np.unique(f)) for f in m.folds)
    method = found.method if folds == 1 else f"mean of {folds} outer folds; {found.method} within folds"
    return replace(found, method=method, model=model, target=str(table["target"].iloc[0]))


def table_one(run: Run, data: Labelled) -> None:
    """Table 1 by class, with standardised mean differences."""
    from radfoundry.cohort import table_one as describe

    frame = describe(data.cohort, by=data.target).reset_index()
    run.log(f"table one\n{as_text(frame.set_index(['characteristic', 'level']))}")
    names = {f"y:{data.target}=0": data.negative, f"y:{data.target}=1": data.positive}
    frame = frame.rename(columns=names)
    frame["characteristic"] = frame["characteristic"].where(~frame["characteristic"].duplicated(), "")
    columns = [str(c) for c in frame.columns]
    rows = [
        [None if isinstance(v, float) and np.isnan(v) else v for v in row] for row in frame.to_numpy(object)
    ]
    run.set_section(
        "table_one",
        {
            "kind": "table",
            "columns": columns,
            "rows": rows,
            "caption": "smd: standardised mean difference between the classes; above 0.1 the classes differ.",
        },
    )


def flow(run: Run, read: int, data: Labelled, arms: Sequence[tuple[str, int]]) -> None:
    """Flow of cases from the table to the analysis."""
    figure, table = flow_figure.flow(
        [("cases in the table", read), ("cases analysed", len(data.y))], [data.dropped], list(arms)
    )
    run.save_figure("flow", figure, table)


def performance(
    run: Run, table: pd.DataFrame, model: str, *, n_boot: int, seed: int, within_folds: bool = False
) -> list[Estimate]:
    """Every metric of every model; the headline model by subgroups too. Returns all estimates.

    within_folds: scores of different folds are not compared: an AUC is the mean over outer folds
    (`fold_auroc`); other metrics of the order of scores, subgroups included, are of ranks within the fold.
    """
    groups = [c for c in ("sex", "age", "view", "site") if c in table and table[c].nunique() > 1]

    def judge(rows: pd.DataFrame) -> list[Estimate]:
        mine, others = rows[rows["model"] == model], rows[rows["model"] != model]
        found = evaluate(mine, n_boot=n_boot, seed=seed, subgroups=groups)
        return found + (evaluate(others, n_boot=n_boot, seed=seed) if len(others) else [])

    found = judge(table)
    if within_folds:
        found = _within_folds(found, judge(placed_in_folds(table)), table)
    run.add_estimates(found)
    for split in dict.fromkeys(table["split"]):
        own = [e for e in found if (e.model, e.subgroup) == (model, _label(found, split))]
        run.set_section(
            f"performance-{split}",
            {
                "kind": "table",
                "title": f"Performance, {WORDS.get(split, split)}",
                "columns": ["metric", "value", "95 % interval", "without images", "n", "how"],
                "rows": _performance_rows(own),
                "caption": f"{model}. “Without images” is what the best trivial rule reaches on the same "
                "cases: one class for all, the prevalence, or chance.",
            },
        )
    return found


def _within_folds(
    found: Sequence[Estimate], ranked: Sequence[Estimate], table: pd.DataFrame
) -> list[Estimate]:
    """`found` with what depends on the order of scores from `ranked`, and each AUC as the mean over folds."""
    by_rank = {(e.name, e.model, e.subgroup): e for e in ranked if e.name in BY_RANK}
    whole = {(m, s): _label(found, s) for m, s in zip(table["model"], table["split"], strict=True)}
    made = []
    for e in found:
        split = next((s for (m, s), label in whole.items() if (m, label) == (e.model, e.subgroup)), None)
        if e.name == "auroc" and split is not None:
            made.append(replace(fold_auroc(table, str(e.model), split), subgroup=e.subgroup))
        elif e.name in BY_RANK:
            if e.name != "auroc_bootstrap":  # of pooled ranks: not quite the AUC beside it
                swap = by_rank[e.name, e.model, e.subgroup]
                made.append(replace(swap, method=f"{swap.method}; ranks within folds" if swap.method else ""))
        else:
            made.append(e)
    return made


def _performance_rows(own: Sequence[Estimate]) -> list[list[Any]]:
    """A line a metric, its trivial value beside it; the bootstrap twin of the AUC stays in the metrics."""
    trivial = {e.name.removesuffix("_trivial"): e.value for e in own if e.name.endswith("_trivial")}
    rows = []
    for e in own:
        if e.name.endswith("_trivial") or e.name == "auroc_bootstrap":
            continue
        described = describe(e.as_dict(), 0)["text"]
        beside = 0.5 if e.name == "auroc" else trivial.get(e.name)
        how = "; ".join(filter(None, [e.method, e.note]))
        rows.append(
            [described["label"], described["value"], described["interval"], beside, described["n"], how]
        )
    return rows


def _label(found: Sequence[Estimate], split: str) -> str | None:
    """What `evaluate` calls a part: `split test` where a model has several, else nothing."""
    return f"split {split}" if any(e.subgroup == f"split {split}" for e in found) else None


def pick(
    found: Sequence[Estimate], name: str, model: str, split: str = "test", subgroup: str | None = None
) -> Estimate | None:
    """The estimate of that name for a model and a part, or None."""
    want = subgroup or _label(found, split)
    return next((e for e in found if (e.name, e.model, e.subgroup) == (name, model, want)), None)


def chance(e: Estimate) -> Estimate:
    """What any constant score reaches, to stand beside an AUC."""
    return Estimate("auroc_trivial", 0.5, method="chance", n=e.n, n_clusters=e.n_clusters, target=e.target)


def curves(
    run: Run, table: pd.DataFrame, found: Sequence[Estimate], model: str, *, n: int, seed: int,
    within_folds: bool = False,
) -> None:  # fmt: skip
    """ROC, precision-recall, calibration, decision curve and scores, for each part of the headline model.

    Over repeats of cross-validation ROC and precision-recall are averaged, the others stacked, as the numbers
    beside them are. within_folds: ROC and precision-recall are of ranks within the outer fold.
    """
    table = table[table["model"] == model]
    ranked = placed_in_folds(table) if within_folds else table
    for split in dict.fromkeys(table["split"]):
        m = matched(ranked, [model], split)
        (score,), y, who = m.scores, m.y, m.patient
        if len(np.unique(y)) < 2:
            continue
        suffix = "" if split == "test" else f"-{split}"
        words = "" if split == "test" else f" ({WORDS.get(split, split)})"
        auc, ap = pick(found, "auroc", model, split), pick(found, "auprc", model, split)
        lines = {model: roc_curve(y, score, who, n=n, rng=np.random.default_rng(seed))}
        roc = figures.roc(lines, {model: auc} if auc is not None else None)
        run.save_figure(f"roc{suffix}", *roc, title=f"ROC curve{words}")
        lines = {model: pr_curve(y, score, who, n=n, rng=np.random.default_rng(seed))}
        pr = figures.precision_recall(lines, float(y.mean()), {model: ap} if ap is not None else None)
        run.save_figure(f"precision_recall{suffix}", *pr, title=f"Precision and recall{words}")
        repeats = len(score)
        stacked = matched(table, [model], split).scores[0].ravel()
        y, who = np.tile(y, repeats), np.tile(who, repeats)
        if stacked.min() >= 0 and stacked.max() <= 1:
            _probability_curves(run, y, stacked, who, model, suffix, words)
        part = table[(table["model"] == model) & (table["split"] == split)]
        threshold = float(part["threshold"].mean()) if "threshold" in part else None
        classes = {"negative": stacked[y == 0], "positive": stacked[y == 1]}
        drawn = figures.score_distributions(classes, threshold=threshold)
        run.save_figure(f"scores{suffix}", *drawn, title=f"Distribution of scores{words}")


def _probability_curves(
    run: Run, y: np.ndarray, score: np.ndarray, who: np.ndarray, model: str, suffix: str, words: str
) -> None:
    reliability = calibration.reliability_curve(y, score, bins=min(10, max(3, len(y) // 20)), cluster=who)
    drawn = figures.calibration({model: reliability}, {model: score})
    run.save_figure(f"calibration{suffix}", *drawn, title=f"Calibration{words}")
    benefit = calibration.net_benefit(y, score).rename(columns={"model": "net_benefit", "all": "treat_all"})
    drawn = figures.decision_curve({model: benefit})
    run.save_figure(f"decision_curve{suffix}", *drawn, title=f"Decision curve{words}")


def forest(run: Run, found: Sequence[Estimate], model: str) -> None:
    """AUC by subgroup; groups too small for one are listed in the metrics with the reason."""
    overall, part = pick(found, "auroc", model), _label(found, "test")
    rows = [
        e
        for e in found
        if (e.name, e.model) == ("auroc", model)
        and np.isfinite(e.value)
        and e.subgroup != part
        and (e.subgroup or "").startswith(part or "")
    ]
    if rows and overall is not None:
        names = [str(e.subgroup).removeprefix(f"{part}, ") for e in rows]
        run.save_figure("subgroups", *figures.forest(rows, overall=overall, names=names))


def comparisons(
    run: Run, table: pd.DataFrame, pairs: Sequence[tuple[str, str]], *, seed: int, n_boot: int, title: str,
    within_folds: bool = False,
) -> list[Comparison]:  # fmt: skip
    """(model, baseline) pairs on the same cases, folds and repeats; worded by a stated rule.

    within_folds: areas are means over outer folds, as in `performance`.
    """
    made = []
    for model, baseline in pairs:
        m = matched(table, (model, baseline))
        mine, theirs = m.scores
        made.append(
            adds_over(
                theirs, mine, m.y, m.patient, baseline=baseline, model=model, seed=seed, n_boot=n_boot,
                fold=m.folds if within_folds else None,
            )
        )  # fmt: skip
    run.add_estimates([c.difference for c in made])
    if made:
        rows: list[list[Any]] = [
            [model, c.model.value, baseline, c.baseline.value, c.difference.value,
             f"{c.difference.low:.3f} to {c.difference.high:.3f}", c.verdict]
            for (model, baseline), c in zip(pairs, made)
        ]  # fmt: skip
        run.set_section(
            "comparison_table",
            {
                "kind": "table",
                "title": title,
                "columns": [
                    "model",
                    "AUC",
                    "against",
                    "its AUC",
                    "difference",
                    "95 % interval",
                    "the model is",
                ],
                "rows": rows,
                "caption": "On the same test cases and folds. " + " ".join(c.sentence for c in made),
            },
        )
    return made


def league(run: Run, found: Sequence[Estimate], *, name: str = "auroc") -> None:
    """All models by AUC, best first; the intervals say how firm that order is."""
    per_model = {e.model: [f for f in found if f.model == e.model] for e in found}
    rows = [
        e for model, own in per_model.items() if (e := pick(own, name, str(model))) and np.isfinite(e.value)
    ]
    rows.sort(key=lambda e: -e.value)
    if rows:
        floor = Estimate(name, 0.5, method="any constant score", n=rows[0].n, model="chance")
        run.save_figure("comparison", *figures.dots(rows, baseline=floor))


def audit_section(run: Run, audit: Audit) -> None:
    """The audit's items as a table, its numbers into the metrics."""
    run.set_section("audit", {**audit.section(), "caption": audit.headline})
    run.add_estimates([e for item in audit.items for e in item.estimates])


def errors(run: Run, data: Labelled, table: pd.DataFrame, model: str, split: str, *, most: int = 8) -> None:
    """The most confident wrong decisions with their pictures."""
    rows = table[(table["model"] == model) & (table["split"] == split)]
    part, repeats = by_case(rows), rows["repeat"].nunique()
    if "decision" not in part:
        return
    wrong = part[part["decision"] != part["y_true"]].copy()
    wrong["distance"] = (wrong["score"] - wrong["threshold"]).abs()
    place = {case: row for row, case in enumerate(data.case_id)}
    pictures, captions = [], []
    for row in wrong.sort_values("distance", ascending=False).head(most).itertuples():
        column = data.cohort.image_columns[0]
        pictures.append(read_image(data.cohort.image_path(place[row.case_id], column)).display())
        truth, called = (data.positive, data.negative) if row.y_true else (data.negative, data.positive)
        text = f"{truth}, called {called} with {row.score:.2f} (threshold {row.threshold:.2f})"
        captions.append({"title": row.case_id, "text": text,
                         "tag": "false negative" if row.y_true else "false positive"})  # fmt: skip
    said = f"{len(wrong)} of {len(part)} cases were called wrongly; the {len(pictures)} furthest from the "
    said += "threshold are shown."
    if repeats > 1:
        said = (
            f"The {len(pictures)} cases furthest on the wrong side of the threshold, by score and threshold "
            f"averaged over {repeats} repeats. The averages choose pictures only; no number on this page is "
            "made of them."
        )
    if pictures:
        run.save_images(
            "errors", pictures, captions, title=f"Most confident errors, {WORDS.get(split, split)}",
            caption=said,
        )  # fmt: skip


def thresholds(run: Run, table: pd.DataFrame, found: Sequence[Estimate], model: str, rule: str) -> None:
    """The operating point, with where it was chosen and what it gave on each part."""
    rows = []
    for split in dict.fromkeys(table["split"]):
        part = table[(table["model"] == model) & (table["split"] == split)]
        cut = part.groupby(["repeat", "fold"])["threshold"].first()
        numbers = [pick(found, name, model, split) for name in ("sensitivity", "specificity", "ppv", "npv")]
        cells = [f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" if e is not None else "–" for e in numbers]
        span = f"{cut.mean():.3f}" if len(cut) == 1 else f"{cut.min():.3f} to {cut.max():.3f}"
        rows.append([WORDS.get(split, split), span, *cells])
    run.set_section(
        "thresholds",
        {
            "kind": "table",
            "columns": ["cases", "threshold", "sensitivity", "specificity", "PPV", "NPV"],
            "rows": rows,
            "caption": f"Chosen by the rule “{rule}” on validation cases only, never on these.",
        },
    )
