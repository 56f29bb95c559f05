"""Two prediction tables side by side: matched by case and target, tested several ways, corrected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from radfoundry.errors import NotEnoughData, TableError
from radfoundry.evaluate import compare
from radfoundry.evaluate.classification import auroc
from radfoundry.evaluate.compare import Comparison
from radfoundry.evaluate.intervals import placements
from radfoundry.evaluate.parts import Part, Repeat, make_part
from radfoundry.evaluate.resample import codes_of, draw_blocks
from radfoundry.evaluate.table import metric_values
from radfoundry.predictions import is_multiclass, is_survival, survival_targets, validate

PERMUTED_UP_TO = 5_000_000  # cases x permutations: beyond it minutes buy no better p-value
KINDS: tuple[Literal["harrell", "uno"], ...] = ("harrell", "uno")
BOOTSTRAPPED = ("auprc", "balanced_accuracy", "f1", "brier")


@dataclass(frozen=True)
class Paired:
    """comparisons: all tests; notes: what was assumed; only_a, only_b: cases without a partner."""

    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    only_a: int
    only_b: int


def compare_tables(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    n_permutations: int = 2000,
    seed: int = 0,
    threshold: float | None = None,
    competing: bool = False,
) -> Paired:
    """Test model a against model b on the cases that both scored, target by target and split by split.

    AUC: paired DeLong (clustered by patient where patients repeat) and a permutation; AUPRC, balanced
    accuracy, F1, Brier: paired patient bootstrap; accuracy, sensitivity, specificity: McNemar's exact
    test (where patients repeat: a permutation by patient); per-fold AUC: Nadeau-Bengio, where both
    tables carry the same folds. Each kind of test is one family over the targets of a split: Holm and
    Benjamini-Hochberg p-values are filled in. Times to an event, apart: Harrell's and Uno's C on cases that
    are not of split train; with `competing`, Harrell's alone, other causes as censored. TableError when
    nothing matches, when the truths differ, when a table holds several models, or several splits where the
    other tells none.
    """
    first, second = validate(a, model="a"), validate(b, model="b")
    names = _one_model(first, "first"), _one_model(second, "second")
    if names[0] == names[1]:
        names = f"{names[0]} (a)", f"{names[1]} (b)"
    timed = is_survival(first), is_survival(second)
    times, classes = (first[timed[0]], second[timed[1]]), (first[~timed[0]], second[~timed[1]])
    if any(t.empty for t in times) and any(t.empty for t in classes):
        raise TableError(
            "one table predicts times to an event alone, the other none. Compare them apart: each with a "
            "table of its kind"
        )
    found = []
    if all(len(t) for t in times):
        found.append(_survival(*times, names, level, n_boot, seed, competing))
    else:
        found.append(_alone("times to an event", *times))
    if all(len(t) for t in classes):
        found.append(_classes(*classes, names, level, n_boot, n_permutations, seed, threshold))
    else:
        found.append(_alone("targets of classes", *classes))
    return Paired(
        tuple(c for one in found for c in one.comparisons),
        tuple(dict.fromkeys(n for one in found for n in one.notes)),
        sum(one.only_a for one in found),
        sum(one.only_b for one in found),
    )


def _alone(kind: str, a: pd.DataFrame, b: pd.DataFrame) -> Paired:
    """What one table holds and the other does not."""
    n = [len(t[["case_id", "target"]].drop_duplicates()) for t in (a, b)]
    note = f"{kind} stand in the {'first' if n[0] else 'second'} table alone: {sum(n)} left out"
    return Paired((), (note,) if any(n) else (), *n)


def _classes(
    first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str], level: float, n_boot: int,
    n_permutations: int, seed: int, threshold: float | None,
) -> Paired:  # fmt: skip
    """Targets of classes, each with all its tests."""
    left, right, unmatched, notes = _match(first, second)
    out: list[Comparison] = []
    for target, split in _units(left):
        rows = [t[(t["target"] == target) & (split is None or t["split"] == split)] for t in (left, right)]
        label = None if split is None else f"split {split}"
        parts = [make_part(t, name, target, label, threshold) for t, name in zip(rows, names, strict=True)]
        if not (parts[0].binary and parts[1].binary):
            notes.append(f"target {target!r} has several classes: each is compared by accuracy only")
        found = _tests(parts[0], parts[1], level, n_boot, n_permutations, seed, notes)
        out += [replace(c, target=target, model_a=names[0], model_b=names[1], subgroup=label) for c in found]
    return Paired(tuple(_corrected(out)), tuple(dict.fromkeys(notes)), *unmatched)


def _survival(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str], level: float, n_boot: int, seed: int,
    competing: bool,
) -> Paired:  # fmt: skip
    """Harrell's and Uno's C of the two on the cases both scored, for each outcome and split."""
    from radfoundry.evaluate.survival import compare_models  # it uses this module's neighbours
    from radfoundry.evaluate.survival.table import NO_UNO

    fitted: list[str] = []
    a, b = _held_out(a, "first", fitted), _held_out(b, "second", fitted)
    left, right, unmatched, notes = _match(a, b)
    notes += [*fitted, *([f"c_uno {NO_UNO}"] if competing else [])]
    both = pd.concat([left.assign(model=names[0]), right.assign(model=names[1])], ignore_index=True)
    out = []
    for target, split in _units(left):
        rows = both[(both["target"] == target) & (split is None or both["split"] == split)]
        rows = rows.drop(columns="split", errors="ignore") if split is not None else rows
        label = None if split is None else f"split {split}"
        for kind in KINDS[:1] if competing else KINDS:
            found = compare_models(
                rows, *names, target=target, kind=kind, level=level, n_boot=n_boot, seed=seed,
                competing=competing,
            )  # fmt: skip
            out.append(replace(found, subgroup=label))
    return Paired(tuple(_corrected(out)), tuple(dict.fromkeys(notes)), *unmatched)


def _held_out(table: pd.DataFrame, which: str, notes: list[str]) -> pd.DataFrame:
    """Rows that are not of split train, as `evaluate` judges them."""
    from radfoundry.evaluate.survival.cutoffs import TRAINING

    if "split" not in table:
        return table
    fitted = table["split"].astype(str).str.lower().isin(TRAINING)
    if fitted.all():
        raise TableError(
            f"every time to an event of the {which} table is of split train: scores are compared on cases "
            "that no model was fitted on. Give those of another split"
        )
    if fitted.any():
        notes.append(
            f"{which} table: {int(fitted.sum())} rows of split train were left out: only predictions made "
            "out of sample are compared"
        )
    return table[~fitted]


def _one_model(table: pd.DataFrame, which: str) -> str:
    models = table["model"].unique()
    if len(models) > 1:
        raise TableError(
            f"the {which} table holds {len(models)} models ({', '.join(models)}). "
            "Keep one: --model-a NAME, --model-b NAME, or filter column 'model'"
        )
    return str(models[0])


def _units(left: pd.DataFrame) -> list[tuple[str, str | None]]:
    """What is tested by itself: training and test cases are never pooled."""
    if "split" not in left or left["split"].nunique() < 2:
        return [(target, None) for target in left["target"].unique()]
    known = left[left["split"].notna()]
    return list(known[["target", "split"]].drop_duplicates().itertuples(index=False, name=None))


def _match(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, tuple[int, int], list[str]]:
    key = ["case_id", "target", *(c for c in ("split",) if c in a and c in b)]
    notes = [f"{w} table: {n}" for w, t in (("first", a), ("second", b)) for n in t.attrs["notes"]]
    if any("rows are numbered" in n for n in notes):
        raise TableError("a table has no case_id, so its rows can not be paired. Add the column case_id")
    keys_a, keys_b = (pd.MultiIndex.from_frame(t[key]) for t in (a, b))
    left, right = a[keys_a.isin(keys_b)], b[keys_b.isin(keys_a)]
    unmatched = (int(keys_a[~keys_a.isin(keys_b)].nunique()), int(keys_b[~keys_b.isin(keys_a)].nunique()))
    if left.empty:
        raise TableError(
            f"no {' x '.join(key)} is in both tables. Targets of the first: "
            f"{', '.join(a['target'].unique()[:5])}; of the second: {', '.join(b['target'].unique()[:5])}"
        )
    if any(unmatched):
        notes.append(
            f"without a partner, left out: {unmatched[0]} of the first, {unmatched[1]} of the second"
        )
    for column in _truths(left):
        _same_truth(left, right, key, column)
    for which, own, other in (("first", left, right), ("second", right, left)):
        if "split" in own and "split" not in other and own["split"].nunique() > 1:
            raise TableError(
                f"the {which} table holds several parts ({', '.join(map(str, own['split'].unique()))}), the "
                "other has no column 'split'. Keep the test cases alone"
            )
    patients = left.groupby("case_id")["patient_id"].first()
    right = right.assign(patient_id=right["case_id"].map(patients))
    return left, right, unmatched, notes


def _truths(left: pd.DataFrame) -> list[str]:
    names = survival_targets(left) if is_survival(left).any() else []
    return [f"{what}:{name}" for name in names for what in ("time", "event")] or ["y_true"]


def _same_truth(left: pd.DataFrame, right: pd.DataFrame, key: list[str], column: str) -> None:
    if column not in right:
        raise TableError(f"column {column!r} stands in the first table alone. Give it in both")
    truth = [t.groupby(key)[column].first() for t in (left, right)]
    kind = str if column == "y_true" and is_multiclass(left).any() else float
    differs = truth[0].astype(kind) != truth[1].reindex(truth[0].index).astype(kind)
    differs &= truth[0].notna() | truth[1].reindex(truth[0].index).notna()
    if differs.any():
        targets = ", ".join(differs.index[differs].get_level_values("target").unique()[:5])
        raise TableError(
            f"column {column!r} differs between the tables in {int(differs.sum())} cases (target {targets}). "
            "Give both the same truth"
        )


def _tests(
    a: Part, b: Part, level: float, n_boot: int, n_permutations: int, seed: int, notes: list[str]
) -> list[Comparison]:
    out: list[Comparison] = []
    y, patient = _truth(a), a.repeats[0].codes
    aligned = a.aligned and b.aligned and np.array_equal(a.repeats[0].case, b.repeats[0].case)
    if not aligned:
        raise TableError(f"target {a.target!r}: not every repeat scores the same cases. Complete the repeats")
    if a.binary and b.binary:
        try:
            out.append(_delong(a, b, level))
            repeats = max(len(a.repeats), len(b.repeats))
            if min(len(a.repeats), len(b.repeats)) not in (1, repeats):
                notes.append("no permutation of AUCs: the tables hold different numbers of repeats")
            elif a.n * n_permutations * repeats <= PERMUTED_UP_TO:
                rng = np.random.default_rng(seed)
                ranks = _ranks(a, repeats), _ranks(b, repeats)
                moved = compare.permutation(
                    _mean_auroc, y, *ranks, patient, n=n_permutations, rng=rng, name="auroc"
                )
                out.append(replace(moved, method=_over_repeats(a, b) + moved.method))
            else:
                notes.append(
                    "no permutation of AUCs on so many cases: DeLong's test is as good there, and fast"
                )
        except NotEnoughData as why:
            notes.append(f"target {a.target!r}: no AUC. {why}")
        out += _bootstrapped(a, b, level, n_boot, seed)
        out += _by_fold(a, b, level)
    out += _decisions(a, b, level, n_permutations, seed, notes)
    return out


def _truth(part: Part) -> np.ndarray:
    return part.repeats[0].y


def _over_repeats(a: Part, b: Part) -> str:
    return "mean over repeats; " if max(len(a.repeats), len(b.repeats)) > 1 else ""


def _ranks(part: Part, repeats: int) -> np.ndarray:
    """(n, repeats) ranks of the scores, a scale that both models share; a single repeat stands for all."""
    each = [stats.rankdata(r.score[:, 0]) for r in part.repeats]
    return np.stack(each if len(each) == repeats else each * repeats, axis=1)


def _mean_auroc(y: np.ndarray, ranks: np.ndarray) -> float:
    return float(np.mean([auroc(y, column) for column in ranks.T]))


def _delong(a: Part, b: Part, level: float) -> Comparison:
    y = _truth(a)
    both = [np.mean([placements(y, r.score[:, 0]) for r in p.repeats], axis=0) for p in (a, b)]
    found = compare.delong_paired_from(y, np.stack(both), level, cluster=a.repeats[0].codes)
    return replace(found, method=_over_repeats(a, b) + found.method)


def _bootstrapped(a: Part, b: Part, level: float, n_boot: int, seed: int) -> list[Comparison]:
    one = np.ones((a.n_patients, 1))
    values = [metric_values(p, one) for p in (a, b)]
    blocks = [
        [metric_values(p, counts) for p in (a, b)]
        for counts in draw_blocks(a.n_patients, n_boot, np.random.default_rng(seed))
    ]
    out = []
    for name in BOOTSTRAPPED:
        if all(name in v and np.isfinite(v[name][0]) for v in values):
            draws = np.concatenate([x[name] - z[name] for x, z in blocks])
            first, second = (float(v[name][0]) for v in values)
            out.append(compare.from_draws(name, first, second, draws, level, a.n, a.n_patients))
    return out


def _decisions(
    a: Part, b: Part, level: float, n_permutations: int, seed: int, notes: list[str]
) -> list[Comparison]:
    if a.repeats[0].decision is None or b.repeats[0].decision is None:
        notes.append(f"target {a.target!r}: {a.rule if a.repeats[0].decision is None else b.rule}")
        return []
    if a.rule != b.rule or "default" in a.rule:
        notes.append(f"decisions of {a.model}: {a.rule}; of {b.model}: {b.rule}")
    if len(a.repeats) > 1 or len(b.repeats) > 1:
        notes.append("accuracy, sensitivity and specificity: tested on the first repeat only")
    y = _truth(a)
    right = [_right(p.repeats[0], y) for p in (a, b)]
    subsets = {"accuracy": np.ones(len(y), bool)}
    if a.binary and b.binary:
        subsets |= {"sensitivity": y == 1, "specificity": y == 0}
    out = []
    for name, rows in subsets.items():
        if not rows.any():
            continue
        found = compare.mcnemar(right[0][rows], right[1][rows], level)
        patient = a.repeats[0].codes[rows]
        if len(np.unique(patient)) < rows.sum():
            found = _clustered(name, right, rows, patient, level, n_permutations, seed)
        out.append(replace(found, name=name))
    return out


def _right(repeat: Repeat, y: np.ndarray) -> np.ndarray:
    return np.asarray(repeat.decision == y)


def _clustered(
    name: str,
    right: list[np.ndarray],
    rows: np.ndarray,
    patient: np.ndarray,
    level: float,
    n: int,
    seed: int,
) -> Comparison:
    """Permutation p and patient-bootstrap interval of a difference of paired proportions."""
    d = right[0][rows].astype(float) - right[1][rows]
    codes, g = codes_of(patient, len(d))
    total, size = np.bincount(codes, weights=d, minlength=g), np.bincount(codes, minlength=g)
    rng = np.random.default_rng(seed)
    draws = np.concatenate([(total @ c) / (size @ c) for c in draw_blocks(g, n, rng)])
    signs = rng.choice((-1.0, 1.0), size=(n, g))
    p = (1 + (np.abs(signs @ total) >= abs(total.sum()) - 1e-9).sum()) / (n + 1)
    first, second = (float(r[rows].mean()) for r in right)
    found = compare.from_draws(name, first, second, draws, level, len(d), g)
    return replace(found, p=float(p), method=f"permutation by patient and patient bootstrap, {n} draws")


def _by_fold(a: Part, b: Part, level: float) -> list[Comparison]:
    """Nadeau-Bengio over per-fold AUCs, where both tables tell the same folds and each has both classes."""
    key = [c for c in ("repeat", "seed", "fold") if c in a.rows and c in b.rows]
    if "fold" not in key or {c for c in ("repeat", "seed") if c in a.rows} != set(key) - {"fold"}:
        return []
    folds = [dict(iter(p.rows.groupby(key))) for p in (a, b)]
    if set(folds[0]) != set(folds[1]) or len(folds[0]) < 3:
        return []
    areas: list[list[float]] = [[], []]
    for name, rows in folds[0].items():
        other = folds[1][name]
        if set(rows["case_id"]) != set(other["case_id"]) or rows["y_true"].nunique() < 2:
            return []
        for i, part in enumerate((rows, other)):
            areas[i].append(auroc(part["y_true"].to_numpy(int), part["score"].to_numpy(float)))
    per_repeat = len(folds[0]) / len(a.repeats)
    if per_repeat < 2:
        return []
    found = compare.nadeau_bengio(*areas, test_train_ratio=1 / (per_repeat - 1), level=level)
    posterior = compare.correlated_t(*areas, test_train_ratio=1 / (per_repeat - 1))
    words = (
        f"within ±{posterior.rope:g}: worse {posterior.worse:.2f}, same {posterior.same:.2f}, "
        f"better {posterior.better:.2f} (Bayesian correlated t)"
    )
    return [replace(found, name="auroc_by_fold", n=a.n, n_clusters=a.n_patients, note=found.note or words)]


def _corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """Holm and BH within each family: the same metric and test over the targets of a split."""
    families: dict[tuple[str, str, str | None], list[int]] = {}
    for i, c in enumerate(comparisons):
        families.setdefault((c.name, c.method.split(" (")[0], c.subgroup), []).append(i)
    out = list(comparisons)
    for members in families.values():
        p = [comparisons[i].p for i in members]
        for i, h, q in zip(members, compare.holm(p), compare.benjamini_hochberg(p), strict=True):
            out[i] = replace(out[i], p_holm=float(h), p_bh=float(q))
    return out
