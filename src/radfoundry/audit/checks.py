"""The checks, one function each: a Cohort (and what was computed from it) in, an AuditItem out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.audit import baselines, confounding, duplicates
from radfoundry.audit.baselines import Task
from radfoundry.audit.comparison import Comparison, adds_over
from radfoundry.audit.items import AuditItem, Status
from radfoundry.cohort import Cohort
from radfoundry.errors import NotEnoughData
from radfoundry.splits import Fold
from radfoundry.types import Embeddings, Estimate

RAW_PIXELS = "raw-pixels"


@dataclass(frozen=True)
class Evidence:
    """What the checks share.

    task: target, patients and folds, or None where the target cannot be classified (`refusal` says why).
    parts: arrays (n,) of str; two cases with different non-empty entries are on different sides somewhere.
    prints: fingerprints of the images. features: name to (n, d), embeddings and raw pixels.
    """

    cohort: Cohort
    target: str
    task: Task | None
    refusal: str
    parts: Sequence[np.ndarray]
    prints: duplicates.Prints
    embeddings: Mapping[str, Embeddings]
    features: Mapping[str, np.ndarray]
    head: str = baselines.FAST_HEAD
    seed: int = 0
    n_perm: int = 200
    n_boot: int = 2000
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def patient(self) -> np.ndarray:
        return self.cohort.patients.astype(str)

    @property
    def case(self) -> np.ndarray:
        return self.cohort.table["case_id"].astype(str).to_numpy(object)

    @property
    def label(self) -> np.ndarray:
        if self.task is None:
            return self.cohort.table[f"y:{self.target}"].astype(str).to_numpy(object)
        return np.array([*self.task.classes, ""], object)[self.task.code]  # code -1: no label

    @property
    def main_features(self) -> str | None:
        """The embeddings to be audited: the first trained ones, else any, else raw pixels."""
        trained = [name for name in self.features if not baselines.is_control(name)]
        return next(iter(trained or self.features), None)


def parts_of(
    cohort: Cohort, folds: Sequence[Fold] | None, predictions: pd.DataFrame | None
) -> list[np.ndarray]:
    """Who is kept apart from whom: by the `split` column, by each fold, by the folds of predictions."""
    n, found = len(cohort), []
    if "split" in cohort.table:
        split = cohort.table["split"]
        found.append(split.astype(object).where(split.notna(), "").astype(str).to_numpy(object))
    for fold in folds or ():
        side = np.full(n, "", object)
        side[fold.train], side[fold.test] = "train", "test"
        both = np.intersect1d(fold.train, fold.test)
        side[both] = "train and test"
        found.append(side)
    if predictions is not None and "fold" in predictions:
        place = {case: row for row, case in enumerate(cohort.table["case_id"].astype(str))}
        repeats = predictions["repeat"] if "repeat" in predictions else pd.Series(0, index=predictions.index)
        for _, group in predictions.groupby(repeats.fillna(0)):
            side = np.full(n, "", object)
            for case, fold in zip(group["case_id"].astype(str), group["fold"], strict=True):
                if case in place and not pd.isna(fold):
                    side[place[case]] = f"fold {int(fold)}"
            found.append(side)
    return found


# --- who is in the table -------------------------------------------------------------------------------


def patients(e: Evidence) -> AuditItem:
    """(1) A patient on both sides of a split."""
    name, patient = "patients", e.patient
    own = len(np.unique(patient)) == len(patient) and (patient == e.case).all()
    leaked: set[str] = set()
    for side in e.parts:
        table = pd.DataFrame({"patient": patient, "side": side})[side != ""]
        spread = table.groupby("patient")["side"].nunique()
        leaked |= set(spread.index[spread > 1])
        leaked |= set(table["patient"][table["side"] == "train and test"])
    if leaked:
        numbers = {p: k for k, p in enumerate(sorted(leaked), start=1)}
        shown = [i for i in range(len(patient)) if patient[i] in leaked]
        rows = [
            {"case_id": e.case[i], "shared_patient": numbers[patient[i]]}
            | {f"part_{k}": side[i] for k, side in enumerate(e.parts[:3])}
            for i in shown
        ]
        rows.sort(key=lambda row: row["shared_patient"])
        return AuditItem(
            name, "fail",
            f"{_count(len(leaked), 'patient')} ({_count(len(shown), 'case')}) in training and in test data.",
            rows=rows,
            advice="Move all cases of a patient to one part: radfoundry.splits groups by patient_id.",
        )  # fmt: skip
    if own:
        return AuditItem(
            name, "warn",
            "Every case counts as its own patient, so a patient with two images would not be noticed.",
            advice="Give a column patient_id, or state that there is one image a patient.",
        )  # fmt: skip
    n = len(np.unique(patient))
    if not e.parts:
        return AuditItem(
            name, "ok",
            f"{_count(len(patient), 'case')} of {_count(n, 'patient')}; no split was given: the folds used "
            "here are grouped by patient.",
        )  # fmt: skip
    return AuditItem(name, "ok", f"None of {_count(n, 'patient')} is on both sides of a split.")


def image_duplicates(e: Evidence) -> AuditItem:
    """(2) The same picture twice, by digest and perceptual hash."""
    name, prints = "duplicates", e.prints
    if len(prints.row) < 2:
        why = f" First reason: {prints.failures[0][2]}" if prints.failures else ""
        return AuditItem(name, "skipped", f"Fewer than two images could be read.{why}")
    return _duplicate_item(e, name, duplicates.find(prints), prints.row, proven=True, extra=_unread(prints))


def embedding_duplicates(e: Evidence) -> AuditItem:
    """(2) Pairs of different patients with suspiciously close embeddings."""
    name = "embedding-duplicates"
    trained = [key for key in e.embeddings if not baselines.is_control(key)]
    if not trained:
        return AuditItem(name, "skipped", "No embeddings were given.", advice="Give --encoder.")
    vectors = e.embeddings[trained[0]]
    place = {case: row for row, case in enumerate(e.case)}
    row = np.array([place.get(str(case), -1) for case in vectors.case_id], int)
    keep = row >= 0
    vectors = Embeddings(
        vectors.vectors[keep], vectors.case_id[keep], vectors.column[keep], vectors.key[keep],
        vectors.encoder, vectors.fingerprint,
    )  # fmt: skip
    pairs, threshold = duplicates.find_by_embedding(vectors, e.patient[row[keep]])
    if math.isnan(threshold):
        return AuditItem(
            name, "skipped", "Fewer than 30 images: no nearest-neighbour distribution to judge by."
        )
    extra = f" Heuristic: standardised {trained[0]} vectors, cosine of at least {threshold:.3f}."
    return _duplicate_item(e, name, pairs, row[keep], proven=False, extra=extra)


def _duplicate_item(
    e: Evidence, name: str, pairs: list[duplicates.Pair], row: np.ndarray, *, proven: bool, extra: str
) -> AuditItem:
    pairs = [p for p in pairs if row[p.first] != row[p.second]]
    separate = np.zeros(len(pairs), bool)
    for side in e.parts:
        separate |= duplicates.across(pairs, side[row])
    strangers = duplicates.across(pairs, e.patient[row])
    disagree = duplicates.across(pairs, e.label[row])
    shown = {"label": e.label[row]} | ({"part": e.parts[0][row]} if e.parts else {})
    table = duplicates.rows(pairs, e.case[row], shown)
    for entry, apart, strange in zip(table, separate, strangers, strict=True):
        entry["across_parts"], entry["across_patients"] = bool(apart), bool(strange)
    table.sort(key=lambda entry: (not entry["across_parts"], not entry["across_patients"]))
    return AuditItem(
        name,
        _duplicate_status(separate, strangers, proven),
        _duplicate_sentence(pairs, separate, strangers, disagree, len(row), bool(e.parts), proven) + extra,
        rows=table,
        advice=_duplicate_advice(separate, strangers, proven),
    )


def _duplicate_status(separate: np.ndarray, strangers: np.ndarray, proven: bool) -> Status:
    if separate.any() and proven:
        return "fail"
    return "warn" if separate.any() or strangers.any() else "ok"


def _duplicate_sentence(
    pairs: list[duplicates.Pair],
    separate: np.ndarray,
    strangers: np.ndarray,
    disagree: np.ndarray,
    n: int,
    has_parts: bool,
    proven: bool,
) -> str:
    what = "show the same picture" if proven else "are suspiciously alike"
    if not pairs:
        return f"No two of {n} images {what}."
    kinds = {k: sum(p.kind == k for p in pairs) for k in ("exact", "near", "mirrored")}
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    affected = len({p.first for p in pairs} | {p.second for p in pairs})
    text = f"{_count(len(pairs), 'pair')} of images {what}" + (f" ({listed})" if listed else "")
    text += f", {affected} of {n} images: {int(strangers.sum())} across patients"
    text += f", {int(separate.sum())} across parts of the split" if has_parts else ""
    return text + (f"; {int(disagree.sum())} with different labels." if disagree.any() else ".")


def _duplicate_advice(separate: np.ndarray, strangers: np.ndarray, proven: bool) -> str:
    if not (separate.any() or strangers.any()):
        return ""
    if not proven:
        return "Look at these pairs; a machine cannot tell a copy from a twin by its embedding."
    return "Look at the pairs; keep one image of each, or give both the same patient_id and split again."


def _unread(prints: duplicates.Prints) -> str:
    blank = int(prints.blank.sum())
    text = f" {_count(blank, 'image')} blank." if blank else ""
    return text + (f" {_count(len(prints.failures), 'image')} could not be read." if prints.failures else "")


def counts(e: Evidence) -> AuditItem:
    """(7) Cases and patients a class, and what an AUC can be worth with so few events."""
    name = "counts"
    if e.task is None:
        return AuditItem(name, "skipped", e.refusal)
    task = e.task
    cases = {label: int((task.code == k).sum()) for k, label in enumerate(task.classes)}
    patients = {label: len(np.unique(task.patient[task.code == k])) for k, label in enumerate(task.classes)}
    events = min(patients.values())
    half = _hanley_mcneil(0.8, events, sum(patients.values()) - events)
    missing = int((task.code < 0).sum())
    without = f", {missing} without label" if missing else ""
    ratio = "".join(
        f" {key} has {x.shape[1]} dimensions: {events / x.shape[1]:.2g} such patients for each."
        for key, x in e.features.items()
        if not baselines.is_control(key)
    )
    status: Status = "fail" if events < 10 else "warn" if events < 50 else "ok"
    rarest = Estimate("events", events, method="patients of the rarest class", target=e.target)
    return AuditItem(
        name, status,
        f"{', '.join(f'{n} of class {label}' for label, n in cases.items())}{without}; the rarest class has "
        f"{_count(events, 'patient')}, so an AUC of 0.80 carries about ±{half:.2f} if all are tested.{ratio}",
        [replace(rarest, n=int(task.known.sum()))],
        [{"class": label, "cases": n, "patients": patients[label]} for label, n in cases.items()],
        "" if status == "ok" else "Use penalised heads with few tuned settings, and report intervals.",
    )  # fmt: skip


def _hanley_mcneil(area: float, positive: int, negative: int) -> float:
    """Half-width of the 95% interval of an AUC (Hanley & McNeil, Radiology 1982;143:29)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positive - 1) * (q1 - area**2) + (negative - 1) * (q2 - area**2)
    return 1.96 * math.sqrt(spread / max(positive * negative, 1))


def covariates(e: Evidence) -> AuditItem:
    """(7) Covariates that say nothing, or are missing for many."""
    name, table = "covariates", e.cohort.table
    names = e.cohort.covariates
    if not names:
        return AuditItem(
            name, "skipped", "The cohort has no covariates (age, sex, site, scanner, view, date).",
            advice="Add them: without them a shortcut cannot be found.",
        )  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"covariate": c, "values": int(table[c].nunique()), "missing": float(table[c].isna().mean())}
        for c in names
    ]
    constant = [row["covariate"] for row in rows if row["values"] < 2]
    sparse = [row["covariate"] for row in rows if row["missing"] > 0.5]
    wanted = [c for c in ("age", "sex", "site", "scanner", "date", "view") if c not in names]
    faults = [f"{', '.join(constant)} constant"] * bool(constant)
    faults += [f"{', '.join(sparse)} missing in more than half of the cases"] * bool(sparse)
    absent = f" Not in the table: {', '.join(wanted)}." if wanted else ""
    if not faults:
        return AuditItem(name, "ok", f"{', '.join(names)} vary and are mostly present.{absent}", rows=rows)
    advice = "A constant covariate cannot be audited, nor a claim made across its other values."
    return AuditItem(name, "warn", f"{'; '.join(faults)}.{absent}", rows=rows, advice=advice)


# --- what a score must beat ----------------------------------------------------------------------------


def metadata(e: Evidence) -> AuditItem:
    """(3) The label from the covariates alone, without any image."""
    name = "metadata"
    if e.task is None:
        return AuditItem(name, "skipped", e.refusal)
    used = [c for c in e.cohort.covariates if e.cohort.table[c].nunique(dropna=False) > 1]
    if not used:
        return AuditItem(name, "skipped", "No covariate varies.")
    features, origin = baselines.metadata_features(e.cohort, used)
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
        alone = features[:, [o == c for o in origin]]
        scores = baselines.cross_scores(alone, target, e.task.folds, seed=e.seed)
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
    if abs(middle - 0.5) > 0.05:
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
        table = table[table["target"].astype(str) == e.target]
    if table.empty:
        return AuditItem(name, "skipped", f"The predictions have no rows for {e.target}.")
    models = table["model"].astype(str) if "model" in table else pd.Series("the model", index=table.index)
    found, rows, sentences, status = [], [], [], "ok"
    for model, group in table.groupby(models):
        mean = group.groupby(group["case_id"].astype(str))["score"].mean()
        score = pd.Series(e.case).map(mean).to_numpy(float)
        found.append(
            baselines.estimate("auroc", e.task, score[:, None], n_boot=e.n_boot, seed=e.seed, model=model)
        )
        if "metadata" not in e.scores:
            continue
        pair = _compare(e, e.scores["metadata"], score[:, None], "the covariates alone", model)
        status = "warn" if pair.verdict != "better" else status
        sentences.append(pair.sentence)
        found.append(pair.difference)
        rows.append(_row(pair))
    text = " ".join(sentences) or " ".join(f"{x.model}: {x}." for x in found)
    advice = "Do not claim that the images add to what the covariates say." if status != "ok" else ""
    return AuditItem(name, "warn" if status == "warn" else "ok", text, found, rows, advice)


def _compare(e: Evidence, first: np.ndarray, second: np.ndarray, baseline: str, model: str) -> Comparison:
    assert e.task is not None  # callers return before, when there is no task
    known = e.task.known
    return adds_over(
        first[known, 0], second[known, 0], e.task.code[known], e.task.patient[known],
        baseline=baseline, model=model, target=e.target, n_boot=e.n_boot, seed=e.seed,
    )  # fmt: skip


def _row(pair: Comparison) -> dict[str, object]:
    return {
        "model": pair.model.model, "auroc": pair.model.value, "baseline": pair.baseline.model,
        "auroc_baseline": pair.baseline.value, "difference": pair.difference.value,
        "low": pair.difference.low, "high": pair.difference.high, "verdict": pair.verdict,
    }  # fmt: skip


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    text = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return text[:1].upper() + text[1:]
