"""Trivial explanations that a score must beat: covariates, shuffled labels, untrained features, the place.

One function a check: the evidence in, an AuditItem out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.audit import baselines, confounding, covariates
from radfoundry.audit.comparison import Comparison, adds_over
from radfoundry.audit.evidence import Evidence, tested_rows
from radfoundry.audit.items import AuditItem, Status
from radfoundry.errors import NotEnoughData
from radfoundry.predictions import is_survival
from radfoundry.types import Estimate


def metadata(e: Evidence) -> AuditItem:
    """(3) The label from the covariates alone, without any image."""
    name = "metadata"
    if e.task is None:
        return AuditItem(name, "skipped", e.refusal)
    used = [c for c in e.cohort.covariates if e.cohort.table[c].nunique(dropna=False) > 1]
    if not used:
        return AuditItem(name, "skipped", "No covariate varies.")
    features = covariates.read(e.cohort.table, used)
    target = e.task.indicators()
    found: list[Estimate] = []
    for head in (baselines.FAST_HEAD, "trees"):
        scores = baselines.cross_scores(features, target, e.task.folds, head=head, seed=e.seed)
        # Two heads are tried and the better is judged: 97.5% intervals (Bonferroni) keep the error at 5%.
        one = baselines.estimate(
            "auroc", e.task, scores, level=0.975, n_boot=e.n_boot, seed=e.seed, model=f"metadata, {head}"
        )
        if not found or one.low > max(x.low for x in found):
            e.scores["metadata"] = scores
        found.append(one)
    best = max(found, key=lambda x: x.low)
    rows: list[dict[str, Any]] = []
    for c in used:
        scores = baselines.cross_scores(features.only(c), target, e.task.folds, seed=e.seed)
        one = baselines.estimate("auroc", e.task, scores, n_boot=500, seed=e.seed, model=c)
        rows.append({"covariate": c, "auroc": one.value, "low": one.low, "high": one.high})
    rows.sort(key=lambda row: -row["auroc"])
    return _metadata_item(best, found, rows, used)


def _metadata_item(
    best: Estimate, found: list[Estimate], rows: list[dict[str, Any]], used: list[str]
) -> AuditItem:
    listed = _listed(used)
    reach = f"AUC {best.value:.2f} ({best.level:.1%} CI {best.low:.2f} to {best.high:.2f})"
    if best.low >= 0.8:
        return AuditItem(
            "metadata", "fail", f"{listed} alone predict the label: {reach}, without any image.", found, rows,
            f"Find out why: {rows[0]['covariate']} leads. It may encode the label, or how cases were chosen.",
        )  # fmt: skip
    if best.low > 0.5:
        return AuditItem(
            "metadata", "warn", f"{listed} alone reach {reach}: an image model has to beat that, not 0.50.",
            found, rows, "Report the gain over metadata (radfoundry.audit.adds_over).",
        )  # fmt: skip
    return AuditItem("metadata", "ok", f"{listed} alone do not predict the label: {reach}.", found, rows)


def shuffled(e: Evidence) -> AuditItem:
    """(4) The same features, folds and head with shuffled labels."""
    name, key = "shuffled-labels", e.main_features
    if e.task is None or key is None:
        return AuditItem(name, "skipped", e.refusal or "No features: no image could be read.")
    features = e.features[key]
    scores = baselines.cross_scores(features, e.task.indicators(), e.task.folds, head=e.head, seed=e.seed)
    e.scores[key] = scores
    model = f"{key} + {e.head}"
    real = baselines.estimate("auroc", e.task, scores, n_boot=e.n_boot, seed=e.seed, model=model)
    floor = baselines.shuffled_floor(e.task, features, n_perm=e.n_perm, head=e.head, seed=e.seed)
    low, middle, high = np.quantile(floor, [0.025, 0.5, 0.975])
    p = (1 + int(np.sum(floor >= real.value))) / (1 + len(floor))
    n, clusters = real.n, real.n_clusters
    estimates = [
        real,
        Estimate(
            "auroc, shuffled labels", float(middle), float(low), float(high), 0.95,
            f"{len(floor)} permutations by patient, median and quantiles", n, clusters, e.target, None, model,
        ),
        Estimate("p", p, method="permutation", n=n, n_clusters=clusters, target=e.target, model=model),
    ]  # fmt: skip
    says = (
        f"{key} with {e.head} reach AUC {real.value:.2f}; with shuffled labels 95% of {len(floor)} runs fall "
        f"between {low:.2f} and {high:.2f} (p = {p:.3g})."
    )
    # Under exchangeable labels the floor is centred on 0.5: a centre elsewhere is a fault of the protocol.
    # The median of few runs on few cases strays by chance (standard error 1.25 sd / sqrt(runs)).
    if abs(middle - 0.5) > max(0.05, 3 * 1.25 * floor.std() / len(floor) ** 0.5):
        advice = "Look for a leak in the folds or the preprocessing: nothing may predict shuffled labels."
        return AuditItem(name, "fail", f"{says} That floor is not at 0.50.", estimates, advice=advice)
    if p > 0.05:
        return AuditItem(
            name, "warn", f"{says} The score cannot be told from chance.", estimates,
            advice="Do not report it as a finding; collect more cases.",
        )  # fmt: skip
    return AuditItem(name, "ok", says, estimates)


def encoder_floor(e: Evidence) -> AuditItem:
    """(5) Trained embeddings against raw pixels and untrained encoders, one head, the same folds."""
    name = "encoder-floor"
    trained = [key for key in e.features if not baselines.is_control(key)]
    controls = [key for key in e.features if baselines.is_control(key)]
    if e.task is None:
        return AuditItem(name, "skipped", e.refusal)
    if not trained or not controls:
        lacking = "trained embeddings" if not trained else "control embeddings or readable images"
        return AuditItem(name, "skipped", f"There are no {lacking} to compare.", advice="Give --encoder.")
    scores = baselines.head_scores(e.task, dict(e.features), head=e.head, seed=e.seed)
    found = [
        baselines.estimate("auroc", e.task, s, n_boot=e.n_boot, seed=e.seed, model=key)
        for key, s in scores.items()
    ]
    if e.task.columns > 1:
        text = "; ".join(f"{x.model} {x.value:.2f} ({x.low:.2f} to {x.high:.2f})" for x in found)
        return AuditItem(name, "ok", f"Mean one-against-rest AUC: {text}.", found, advice="Compare by eye.")
    pairs = [_compare(e, scores[c], scores[t], c, t) for t in trained for c in controls]
    status: Status = "ok" if all(pair.verdict == "better" for pair in pairs) else "warn"
    return AuditItem(
        name, status, " ".join(pair.sentence for pair in pairs),
        found + [pair.difference for pair in pairs],
        [_row(pair) for pair in pairs],
        "" if status == "ok" else "Do not credit the pretraining with what untrained features reach too.",
    )  # fmt: skip


def place(e: Evidence) -> AuditItem:
    """(6) Site, scanner or view read from the images, and tied to the label."""
    name, key = "site", e.main_features
    columns = confounding.place_columns(e.cohort)
    if not columns or key is None:
        lacking = "no covariate of where images were made (site, scanner, view)" if key else "no features"
        return AuditItem(name, "skipped", f"There are {lacking}." if not key else f"There is {lacking}.")
    worst: Status = "ok"
    sentences, found, rows = [], [], []
    for column in columns:
        try:
            task = confounding.place_task(e.cohort, column, e.seed)
        except NotEnoughData as error:
            sentences.append(f"{error}.")
            continue
        area, levels = confounding.predictability(
            task, e.features[key], head=e.head, seed=e.seed, n_boot=e.n_boot, model=key
        )
        tie = confounding.association(task, e.task, seed=e.seed) if e.task else None
        status, sentence = _place_sentence(column, key, area, tie)
        worst = max((worst, status), key=("ok", "warn", "fail").index)
        sentences.append(sentence)
        found.append(area)
        if tie:
            method = f"Cramér's V, bias-corrected; permutation p = {tie.p:.3g}"
            found.append(Estimate(f"association:{column}", tie.v, method=method, n=tie.n, target=e.target))
        rows += [{"covariate": column, "level": level, "auroc": a} for level, a in levels.items()]
    if not found:
        return AuditItem(name, "skipped", " ".join(sentences))
    advice = "Test on a place not trained on, report by place, or match cases by it." if worst != "ok" else ""
    return AuditItem(name, worst, " ".join(sentences), found, rows, advice)


def _place_sentence(
    column: str, key: str, area: Estimate, tie: confounding.Association | None
) -> tuple[Status, str]:
    readable = area.low > 0.5
    reach = f"AUC {area.value:.2f}, 95% CI {area.low:.2f} to {area.high:.2f}"
    read = f"{key} {'tells' if readable else 'does not tell'} {column} ({reach})"
    if tie is None:
        return "ok", f"{read}."
    tied = tie.p < 0.05 and tie.v >= 0.1
    numbers = f"Cramér's V {tie.v:.2f}, p = {tie.p:.2g}"
    if readable and tied:
        text = f"{read}, and {column} goes with the label ({numbers}): a model may score by {column} alone."
        return ("fail" if tie.v >= 0.5 else "warn"), text
    if tie.p < 0.05 and not tied:
        return "ok", f"{read}; {column} goes with the label only weakly ({numbers})."
    if tied:
        return "warn", f"{read}, but {column} goes with the label ({numbers})."
    return "ok", f"{read}; {column} does not go with the label ({numbers})."


def predictions(e: Evidence, table: pd.DataFrame) -> AuditItem:
    """The scores that are to be believed, against metadata alone."""
    name = "score"
    if e.task is None or e.task.columns > 1 or "score" not in table:
        return AuditItem(name, "skipped", e.refusal or "Only a two-class score is compared.")
    if "target" in table:
        named = table["target"].astype(str)
        table = table if set(named) == {"y"} else table[named == e.target]  # y: no target was named
    timed = is_survival(table)
    if len(table) and timed.all():
        return AuditItem(
            name, "skipped", f"The predictions for {e.target} are of a time to an event, not of a label.",
            advice="Judge them with radfoundry evaluate.",
        )  # fmt: skip
    table = tested_rows(table[~timed])
    table = table[table["case_id"].astype(str).isin(e.case[e.task.known])]
    if table.empty:
        return AuditItem(
            name, "skipped", f"The predictions have no tested case of this cohort for {e.target}.",
            advice="Give predictions with the case_id of the cohort and the name of its target.",
        )  # fmt: skip
    if contrary := _contrary_truths(e, table):
        return AuditItem(
            name, "fail",
            f"y_true of the predictions differs from the label of the cohort in {contrary} of "
            f"{table['case_id'].nunique()} cases (1 is class {e.task.classes[1]} here).",
            advice="Find out which is right, and whether 0 and 1 were exchanged.",
        )  # fmt: skip
    models = table["model"].astype(str) if "model" in table else pd.Series("the model", index=table.index)
    found, rows, sentences, status = [], [], [], "ok"
    for model, group in table.groupby(models):
        score = _by_repeat(e, group)
        if score is None:
            return AuditItem(
                name, "skipped", f"{model} has several scores of one case, and nothing tells them apart.",
                advice="Number the resamples in a column 'repeat', or give one score a case.",
            )  # fmt: skip
        found.append(baselines.estimate("auroc", e.task, score, n_boot=e.n_boot, seed=e.seed, model=model))
        if "metadata" not in e.scores:
            continue
        try:
            pair = _compare(e, e.scores["metadata"], score, "the covariates alone", model)
        except NotEnoughData:
            status = "warn"
            sentences.append(f"{model} has too few cases scored in every repeat to hold against covariates.")
            continue
        status = "warn" if pair.verdict != "better" else status
        sentences.append(pair.sentence)
        found.append(pair.difference)
        rows.append(_row(pair))
    text = " ".join(sentences) or " ".join(f"{x.model}: {x}." for x in found)
    advice = "Do not claim that the images add to what the covariates say." if status != "ok" else ""
    return AuditItem(name, "warn" if status == "warn" else "ok", text, found, rows, advice)


def _by_repeat(e: Evidence, group: pd.DataFrame) -> np.ndarray | None:
    """(repeats, n, 1) scores of one model in the cohort's order; NaN where a case was not scored.

    A repeat is what `evaluate` takes for one. None: a case has several scores in a repeat.
    """
    keys = [c for c in ("repeat", "seed") if c in group]
    which = group.groupby(keys, dropna=False).ngroup().to_numpy() if keys else np.zeros(len(group), int)
    row = pd.Index(e.case).get_indexer(group["case_id"].astype(str))
    if pd.DataFrame({"which": which, "row": row}).duplicated().any():
        return None
    score = np.full((which.max() + 1, len(e.case), 1), np.nan)
    score[which, row, 0] = group["score"].to_numpy(float)
    return score


def _contrary_truths(e: Evidence, table: pd.DataFrame) -> int:
    """How many cases carry another truth in the predictions than in the cohort."""
    assert e.task is not None  # the caller returns before, when there is no task
    if "y_true" not in table:
        return 0
    label = pd.Series(e.task.code, index=e.case)
    given = pd.to_numeric(table["y_true"], errors="coerce").to_numpy(float)
    own = table["case_id"].astype(str).map(label).to_numpy(float)
    return int(table["case_id"][np.isfinite(given) & (given != own)].nunique())


def _compare(e: Evidence, first: np.ndarray, second: np.ndarray, baseline: str, model: str) -> Comparison:
    """Two scores (repeats, n, 1); each area is the mean over its own repeats, however many they are."""
    assert e.task is not None  # callers return before, when there is no task
    known = e.task.known
    repeats = math.lcm(len(first), len(second))
    one, other = (np.tile(s[:, known, 0], (repeats // len(s), 1)) for s in (first, second))
    return adds_over(
        one, other, e.task.code[known], e.task.patient[known],
        baseline=baseline, model=model, target=e.target, n_boot=e.n_boot, seed=e.seed,
    )  # fmt: skip


def _row(pair: Comparison) -> dict[str, object]:
    return {
        "model": pair.model.model, "auroc": pair.model.value, "baseline": pair.baseline.model,
        "auroc_baseline": pair.baseline.value, "difference": pair.difference.value,
        "low": pair.difference.low, "high": pair.difference.high, "verdict": pair.verdict,
    }  # fmt: skip


def _listed(words: Sequence[str]) -> str:
    text = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return text[:1].upper() + text[1:]
