"""Gaps between groups: equal to the plain computation, exact under no difference, silent where n is small."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from radfoundry.errors import InputError, TableError
from radfoundry.evaluate.compare import holm
from radfoundry.evaluate.fairness import (
    METRICS,
    REST,
    SPREAD,
    Fairness,
    Gap,
    about,
    corrected,
    fairness,
    permutation,
)
from radfoundry.evaluate.fairness import groups as by_group
from radfoundry.evaluate.fairness.thresholds import group_thresholds
from radfoundry.evaluate.intervals import auc_covariance, placements, wilson
from radfoundry.evaluate.parts import parts
from radfoundry.predictions import validate


def made(
    n: int = 240, seed: int = 0, *, rows: int = 1, prevalence=(0.4, 0.4), shift=(1.0, 1.0), wide=(1.0, 1.0),
    patient: float = 0.5, men: float = 0.5,
) -> pd.DataFrame:  # fmt: skip
    """Patients in two groups, several rows each; a score is a patient's level, plus `shift` for positives.

    Each pair is of women and men; wide: standard deviation among positives; men: their share.
    """
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), rows)
    group = (np.arange(n) % 2 if men == 0.5 else (np.arange(n) < men * n).astype(int))[who]
    y = (rng.random(n * rows) < np.asarray(prevalence)[group]).astype(int)
    noise = rng.normal(0, 1, n * rows) * np.where(y == 1, np.asarray(wide)[group], 1.0)
    score = rng.normal(0, patient, n)[who] + noise + np.asarray(shift)[group] * y - 1
    return pd.DataFrame(
        {"patient_id": [f"p{i}" for i in who], "y_true": y, "score": 1 / (1 + np.exp(-score)),
         "sex": np.where(group, "M", "F"), "third": np.array(["a", "b", "c"])[who % 3],
         "case_id": [f"c{i}" for i in range(len(y))]}
    )  # fmt: skip


def quick(table: pd.DataFrame, *covariates: str, **options) -> Fairness:
    return fairness(table, covariates, **{"n_boot": 200, "n_perm": 199, **options})


def gap(found: Fairness, metric: str, kind: str = SPREAD, group: str | None = None) -> Gap:
    (one,) = (g for g in found.gaps if (g.metric, g.kind) == (metric, kind) and group in (None, g.group_a))
    return one


def test_values_are_those_of_the_plain_computation() -> None:
    t = made(rows=3)
    found = quick(t, "sex")
    by = dict(iter(t.groupby("sex")))
    decided = {name: rows["score"] >= 0.5 for name, rows in by.items()}
    expected = {
        "auroc": {k: roc_auc_score(r["y_true"], r["score"]) for k, r in by.items()},
        "sensitivity": {k: decided[k][r["y_true"] == 1].mean() for k, r in by.items()},
        "fpr": {k: decided[k][r["y_true"] == 0].mean() for k, r in by.items()},
        "selection_rate": {k: decided[k].mean() for k in by},
        "observed_minus_expected": {k: (r["y_true"] - r["score"]).mean() for k, r in by.items()},
    }
    for metric, values in expected.items():
        one = gap(found, metric)
        top, bottom = max(values, key=values.get), min(values, key=values.get)
        assert (one.group_a, one.group_b) == (f"sex {top}", f"sex {bottom}")
        assert one.gap == pytest.approx(values[top] - values[bottom], abs=1e-6)
        assert one.low < one.gap < one.high and (one.n, one.n_clusters) == (720, 240)
    odds = max(gap(found, "sensitivity").gap, gap(found, "fpr").gap)
    assert gap(found, "equalised_odds").gap == pytest.approx(odds)
    known = {(e.subgroup, e.name): e for e in found.estimates}
    assert known["sex F", "ppv"].value == pytest.approx(by["F"]["y_true"][decided["F"]].mean())
    assert known[None, "selection_rate"].value == pytest.approx((t["score"] >= 0.5).mean())
    assert known["sex M", "auroc"].method == "clustered DeLong"


def test_the_rest_compares_pairs_within_a_group_only() -> None:
    t = made(300)
    found = quick(t, "third")
    pairs = {}
    for name, rows in t.groupby("third"):
        size = (rows["y_true"] == 1).sum() * (rows["y_true"] == 0).sum()
        pairs[name] = size, roc_auc_score(rows["y_true"], rows["score"])
    rest = sum(pairs[k][0] * pairs[k][1] for k in "bc") / (pairs["b"][0] + pairs["c"][0])
    one = gap(found, "auroc", REST, "third a")
    assert (one.value_a, one.value_b) == pytest.approx((pairs["a"][1], rest), abs=1e-6)
    others = t[t["third"] != "a"]
    assert gap(found, "selection_rate", REST, "third a").value_b == pytest.approx(
        (others["score"] >= 0.5).mean()
    )
    assert not [g for g in quick(t, "sex").gaps if g.kind == REST]  # with two groups it would say it twice


def test_standard_errors_are_delongs() -> None:
    """With one row a patient exactly; with several, up to the factor of the covariance of the classes."""
    for rows, tolerance in ((1, 1e-4), (3, 0.01)):
        t = made(rows=rows)
        variance = 0.0
        for _, own in t.groupby("sex"):
            y, score = own["y_true"].to_numpy(), own["score"].to_numpy()
            cluster = own["patient_id"].to_numpy() if rows > 1 else None
            variance += float(auc_covariance(y, placements(y, score)[None], cluster)[0, 0])
        assert gap(quick(t, "sex"), "auroc").se == pytest.approx(math.sqrt(variance), rel=tolerance)


def test_a_permuted_statistic_is_the_statistic_of_permuted_labels() -> None:
    t = made(rows=2)
    part = next(parts(validate(t)))
    engine = by_group.Engine.of(by_group.split(part, "sex", None), ["auroc", "sensitivity", "fpr"])
    labels = next(engine.cells.shuffled(3, np.random.default_rng(0), by_class=True))
    patients = np.unique(t["patient_id"])
    for draw in range(3):
        moved = pd.Series(labels[:, draw], patients[engine.cells.patient])
        changed = t.assign(sex=t["patient_id"].map(moved).map({0: "F", 1: "M"}))
        for g, (_, own) in enumerate(changed.groupby("sex")):
            value = engine.values(labels)["auroc"].value[g, draw]
            assert value == pytest.approx(roc_auc_score(own["y_true"], own["score"]), abs=1e-5)
        again = quick(changed, "sex")
        seen = permutation.contrasts(engine.values(labels)["auroc"], engine.cells.patient)
        one = gap(again, "auroc")
        assert seen.t_spread[draw] == pytest.approx(one.gap / one.se, rel=1e-3)
        assert seen.spread[draw] == pytest.approx(one.gap, abs=1e-5)


def test_labels_move_with_whole_patients_and_within_class_where_a_patient_has_one() -> None:
    def cells_of(rows: int) -> permutation.Cells:
        part = next(parts(validate(made(60, rows=rows, prevalence=(0.2, 0.7)))))
        return by_group.Engine.of(by_group.split(part, "sex", None), ["auroc"]).cells

    one, several = cells_of(1), cells_of(2)
    assert len(one.group) == len(several.group) == 60  # a cell is a patient: sex does not change
    for labels in one.shuffled(300, np.random.default_rng(0), by_class=True):
        ill = labels[one.positive > 0]
        assert (ill.sum(axis=0) == one.group[one.positive > 0].sum()).all() and (ill != ill[:, :1]).any()
        assert (labels.sum(axis=0) == 30).all()
    free = next(several.shuffled(200, np.random.default_rng(0), by_class=True))
    assert (free.sum(axis=0) == 30).all() and free[several.positive > 0].sum(axis=0).std() > 0
    t = made(60)
    assert "within class" in gap(quick(t, "sex", min_class=5), "auroc").method
    assert "within class" not in gap(quick(t, "sex", min_class=5), "selection_rate").method


def test_patients_with_harder_negatives_do_not_hide_the_gap_of_their_group() -> None:
    """Ill women are positive in every row, ill men in half: the others score high, and men's AUC is lower.

    Permuted within strata of patients' classes, ill men would stay with the men, and so would the gap.
    """
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(300), 4)
    men, ill = who % 2 == 1, (rng.random(300) < 0.4)[who]
    y = (ill & (~men | (rng.random(len(who)) < 0.5))).astype(int)
    score = 1 / (1 + np.exp(-rng.normal(0.5 * y + 1.5 * ill - 1.2, 1)))
    t = pd.DataFrame({"patient_id": who, "y_true": y, "score": score, "sex": np.where(men, "M", "F")})
    one = gap(quick(t.assign(case_id=np.arange(len(t))), "sex"), "auroc")
    assert one.low > 0 and one.p < 0.05 and one.by_chance < 0.03


def test_dealt_labels_are_a_fair_shuffle() -> None:
    labels = np.array([0, 0, 0, 1, 2])
    found = permutation._dealt(labels, 3, 6000, np.random.default_rng(0)).T
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 20 and stats.chisquare(counts).pvalue > 0.001


def _p_values(runs: int, metric: str, *, n_perm: int = 99, by_row: bool = False, **world) -> np.ndarray:
    """Permutation p of many made data sets."""
    return np.array([_p(made(seed=s, **world), metric, n_perm, by_row, seed=s) for s in range(runs)])


def _p(t: pd.DataFrame, metric: str, n_perm: int, by_row: bool, seed: int) -> float:
    """One p, straight from the arrays."""
    y, score, group = t["y_true"].to_numpy(), t["score"].to_numpy(), (t["sex"] == "M").to_numpy(int)
    who = np.arange(len(t)) if by_row else pd.factorize(t["patient_id"])[0]
    cell, owner, label = permutation.cells_of(who, group)
    sizes = [np.bincount(cell[y == k], minlength=len(owner)) for k in (1, 0)]
    cells = permutation.Cells(owner, label, 2, *sizes)
    ranked = [permutation.Components(y, score, cell, len(owner))]
    selected = permutation.Ratio(np.bincount(cell, score >= 0.5), np.bincount(cell).astype(float))

    def t_of(labels: np.ndarray, one: bool = False) -> np.ndarray:
        chosen = permutation.choices(labels, 2)
        if metric == "auroc":
            values = permutation.auroc_by_group(cells, ranked, chosen, one)
        else:
            (values,) = permutation.rates_by_group(cells, [selected], chosen, one)
        return permutation.contrasts(values, cells.patient).t_spread

    seen = t_of(cells.observed(), True)
    drawn = cells.shuffled(n_perm, np.random.default_rng(seed), by_class=metric == "auroc")
    larger = sum((t_of(labels) >= seen * (1 - permutation.NEARLY)).sum() for labels in drawn)
    return (larger + 1) / (n_perm + 1)


@pytest.mark.parametrize(
    "world",
    [
        # Equal AUC, other prevalence, patients with three rows: labels are exchangeable given the class.
        {"n": 90, "rows": 3, "prevalence": (0.2, 0.5)},
        # Equal AUC (the shift grows with the spread), but a small group whose AUC varies far more.
        {
            "n": 500,
            "prevalence": (0.2, 0.2),
            "shift": (1.0, math.sqrt(17 / 2)),
            "wide": (1.0, 4.0),
            "patient": 0.0,
            "men": 0.25,
        },
    ],
    ids=["other prevalence", "other variance"],
)
def test_permutation_keeps_its_size_where_the_aucs_are_equal(world: dict) -> None:
    p = _p_values(300, "auroc", **world)
    low, high = stats.binom.ppf([0.0005, 0.9995], 300, 0.05) / 300
    assert low <= (p <= 0.05).mean() <= high
    assert abs(p.mean() - 0.5) < 4 * math.sqrt(1 / 12 / 300)


def test_a_difference_in_auc_is_found() -> None:
    assert (_p_values(40, "auroc", n=200, shift=(0.6, 2.2)) <= 0.05).mean() > 0.7


def test_ignoring_patients_would_find_differences_that_are_none() -> None:
    """Ten like rows a patient: rows as units reject far too often, patients do not."""
    world = {"n": 40, "rows": 10, "patient": 3.0}
    by_row, by_patient = (
        (_p_values(120, "selection_rate", by_row=rows, **world) <= 0.05).mean() for rows in (True, False)
    )
    assert by_row > 0.3 and by_patient <= stats.binom.ppf(0.9995, 120, 0.05) / 120


def test_the_family_is_corrected_by_metric_and_kind_over_targets_and_covariates() -> None:
    t = pd.concat([made(seed=s, shift=(0.6, 1.8)).assign(target=f"t{s}") for s in range(3)])
    found = quick(t, "sex", "third", n_perm=399)
    family = [g for g in found.gaps if (g.metric, g.kind) == ("auroc", SPREAD)]
    assert len(family) == 6 and {g.tests for g in family} == {6}
    assert [g.p_holm for g in family] == pytest.approx(holm([g.p for g in family]))
    rest = [g for g in found.gaps if (g.metric, g.kind) == ("auroc", REST)]
    assert {g.tests for g in rest} == {9}


def test_what_n_can_tell_follows_its_formula() -> None:
    """z[1 - .05/2] + z[.8] = 2.8016 standard errors; n falls with the square of the gap."""
    base = Gap("auroc", "sex", SPREAD, "sex F", "sex M", gap=0.05, se=0.04, p=0.3, n=400, n_clusters=400)
    (one,) = corrected([base])
    assert one.detectable == pytest.approx(2.8016 * 0.04, abs=1e-4)
    assert one.more_patients == math.ceil(400 * ((one.detectable / 0.05) ** 2 - 1))
    words = one.verdict()
    assert words.startswith("not distinguishable with this n: it finds a gap of 0.112 with 80 % power")
    assert f"about {about(one.more_patients)} more patients" in words
    two = corrected([base, base])[0]
    assert two.detectable > one.detectable and two.tests == 2  # another question costs
    told = corrected([Gap("auroc", "sex", SPREAD, "a", "b", gap=0.2, se=0.04, p=0.001, n_clusters=400)])[0]
    assert told.distinguishable and told.verdict() == "" and math.isnan(told.more_patients)


def test_the_detectable_gap_is_found_four_times_in_five() -> None:
    """The formula against simulation: two groups of 150 patients, AUCs that differ by the detectable gap."""
    sizes = [gap(quick(made(300, s), "sex"), "auroc").detectable for s in range(5)]
    area = lambda shift: stats.norm.cdf(shift / math.sqrt(2 * 1.25))  # noqa: E731  (0.25 between patients)
    high = math.sqrt(2.5) * stats.norm.ppf(area(0.3) + np.mean(sizes))
    found = _p_values(120, "auroc", n=300, shift=(0.3, high))
    assert 0.65 < (found <= 0.05).mean() < 0.95


def test_the_gap_expected_by_chance_grows_with_the_number_of_groups() -> None:
    t = made(600).assign(many=lambda t: (t.index // 2) % 10)
    found = quick(t, "sex", "many:value")
    two, ten = (g for g in found.gaps if (g.metric, g.kind) == ("auroc", SPREAD))
    assert ten.by_chance > 3 * two.by_chance > 0
    assert ten.gap > two.gap


def test_a_covariate_that_changes_within_a_patient_keeps_the_covariance() -> None:
    """Each patient in both groups: the difference is told far better than by two independent groups."""
    t = made(200, rows=2, patient=3.0).assign(view=lambda t: np.where(t.index % 2, "AP", "PA"))
    apart = t.assign(patient_id=t["patient_id"] + t["view"])
    paired, independent = (gap(quick(x, "view"), "selection_rate") for x in (t, apart))
    assert paired.gap == pytest.approx(independent.gap) and paired.n_clusters == 200
    assert paired.se < 0.75 * independent.se
    assert paired.high - paired.low < 0.8 * (independent.high - independent.low)
    assert "patients' rows of a group" in paired.method and "permutation of patients," in independent.method


def test_repeats_are_averaged_and_do_not_narrow_the_interval() -> None:
    t = pd.concat([made(seed=0).assign(repeat=0), made(seed=0).assign(repeat=1)])
    one, two = gap(quick(made(), "sex"), "auroc"), gap(quick(t, "sex"), "auroc")
    assert (two.gap, two.low, two.high, two.n) == pytest.approx((one.gap, one.low, one.high, one.n))
    assert two.se == pytest.approx(one.se, rel=1e-5)


def test_same_seed_same_result() -> None:
    first, again = (quick(made(), "sex", seed=3) for _ in range(2))
    assert [g.as_dict() for g in first.gaps] == [g.as_dict() for g in again.gaps]
    assert quick(made(), "sex", seed=4).gaps[0].low != first.gaps[0].low


@pytest.mark.parametrize("k", [100, 128, 129, 300])
def test_labels_of_many_groups_keep_their_numbers(k: int) -> None:
    group = np.repeat(np.arange(k), 2)
    cells = permutation.Cells(np.arange(2 * k), group, k, np.ones(2 * k), np.zeros(2 * k))
    assert (cells.observed()[:, 0] == group).all()
    labels = next(cells.shuffled(5, np.random.default_rng(0), by_class=True))
    assert all((np.bincount(column, minlength=k) == 2).all() for column in labels.T)


def test_gaps_of_a_hundred_groups_are_those_of_the_plain_computation() -> None:
    t = made(1000, rows=2).assign(site=lambda t: [f"s{int(p[1:]) % 100:03}" for p in t["patient_id"]])
    one = gap(quick(t, "site", min_n=5, min_class=500, n_perm=100), "selection_rate")
    rates = (t["score"] >= 0.5).groupby(t["site"]).mean()
    assert (one.value_a, one.value_b, one.groups) == (rates.max(), rates.min(), 100)
    assert math.isfinite(one.p)


def test_a_covariate_that_looks_like_an_identifier_has_no_gaps_and_a_note() -> None:
    t = made(400).assign(name=lambda t: [f"n{i % 150}" for i in range(len(t))])
    found = quick(t, "name", "sex")
    assert {g.covariate for g in found.gaps} == {"sex"}
    (note,) = (n for n in found.notes if n.startswith("name:"))
    assert "150 groups, more than 100: it looks like an identifier" in note


# --- bad input ---------------------------------------------------------------------------------------


def test_a_group_of_three_cases_has_no_value_and_no_part_in_gaps() -> None:
    t = made().assign(sex=lambda t: t["sex"].where(t.index > 2, "X"))
    found = quick(t, "sex")
    few = [e for e in found.estimates if e.subgroup == "sex X"]
    assert few and all(
        math.isnan(e.value) and e.note == "too few: 3 patients, at least 20 asked for" for e in few
    )
    assert "sex X takes no part in gaps: too few: 3 patients, at least 20 asked for" in found.notes
    assert "sex X" not in {g.group_a for g in found.gaps} | {g.group_b for g in found.gaps}


def test_rows_without_a_value_are_a_group_and_no_side_of_a_gap() -> None:
    t = made().assign(sex=lambda t: t["sex"].where(t.index > 99))
    found = quick(t, "sex")
    assert (
        "sex unknown: 100 cases without a value are shown as a group and take no part in gaps" in found.notes
    )
    known = {e.name: e for e in found.estimates if e.subgroup == "sex unknown"}
    assert math.isfinite(known["auroc"].value) and gap(found, "auroc").n == 140


def test_a_group_whose_name_ends_like_the_missing_ones_is_a_side_of_a_gap() -> None:
    found = quick(made().assign(sex=lambda t: t["sex"].replace("F", "told unknown")), "sex")
    assert {gap(found, "auroc").group_a, gap(found, "auroc").group_b} == {"sex M", "sex told unknown"}
    t = split_table().assign(sex=lambda t: t["sex"].replace("F", "told unknown"))
    chosen = group_thresholds(t, "sex", chosen_on="validation", judged_on="test", n_boot=100)
    assert [one.group for one in chosen] == ["sex M", "sex told unknown"]


def test_one_value_only_leaves_nothing_to_compare() -> None:
    found = quick(made().assign(sex="F"), "sex")
    assert "sex: one value only, so there is nothing to compare" in found.notes
    assert len(found.gaps) == len(METRICS) and all(
        math.isnan(g.gap) and math.isnan(g.p_holm) for g in found.gaps
    )
    assert str(found.gaps[0]) == "auroc highest - lowest: no gap: 1 group with enough patients"


def test_a_missing_covariate_is_named_with_the_nearest() -> None:
    with pytest.raises(TableError, match="no column 'sx' for subgroups\\. Did you mean 'sex'"):
        quick(made(), "sx")
    with pytest.raises(TableError, match="'quartle' is not understood"):
        quick(made(), "score:quartle")


def test_one_class_in_a_group_has_selection_but_no_auc() -> None:
    t = made().assign(y_true=lambda t: t["y_true"].where(t["sex"] == "F", 0))
    found = quick(t, "sex")
    men = {e.name: e for e in found.estimates if e.subgroup == "sex M"}
    assert math.isnan(men["auroc"].value) and "too few of class 1: 0 patients" in men["auroc"].note
    assert math.isnan(men["sensitivity"].value) and 0 < men["specificity"].value < 1
    assert math.isnan(gap(found, "auroc").gap) and math.isfinite(gap(found, "selection_rate").p)
    assert any("sex M: too few of class 1" in note for note in found.notes)


def test_constant_scores_differ_nowhere() -> None:
    found = quick(made().assign(score=0.3), "sex")
    one = gap(found, "auroc")
    assert (one.gap, one.value_a) == (0, 0.5) and math.isnan(one.p) and "no test" in one.note
    assert math.isnan(gap(found, "equalised_odds").p) and math.isnan(one.detectable)


def test_scores_that_are_no_probabilities_have_gaps_in_auc_only_without_a_threshold() -> None:
    t = made().assign(score=lambda t: 10 * t["score"] - 4)
    assert {g.metric for g in quick(t, "sex").gaps} == {"auroc"}
    asked = {g.metric for g in quick(t, "sex", threshold=1.0).gaps}
    assert asked == set(METRICS) - {"observed_minus_expected"}


def test_several_classes_have_no_gaps_and_a_note() -> None:
    t = made().drop(columns="score").assign(**{"score:0": 0.5, "score:1": 0.25, "score:2": 0.25})
    t["y_true"] = t.index % 3
    found = quick(t, "sex")
    assert not found.gaps and "two classes" in found.notes[0]


def test_too_few_permutations_for_the_family_are_said() -> None:
    t = pd.concat([made(seed=s).assign(target=f"t{s}") for s in range(6)])
    assert "take at least 120" in quick(t, "sex", n_perm=100).notes[-1]


def test_perfect_shares_keep_a_width() -> None:
    t = made(rows=2).assign(decision=lambda t: t["y_true"])
    sens = next(e for e in quick(t, "sex").estimates if (e.subgroup, e.name) == ("sex F", "sensitivity"))
    n = t[(t["sex"] == "F") & (t["y_true"] == 1)]["patient_id"].nunique()
    assert (sens.value, sens.high) == (1, 1) and sens.low == pytest.approx(wilson(n, n)[0])


# --- thresholds by group -----------------------------------------------------------------------------


def split_table() -> pd.DataFrame:
    t = made(800, shift=(1.0, 2.0))
    return t.assign(split=np.where(np.arange(len(t)) % 4 < 2, "validation", "test"))


def test_thresholds_of_groups_are_chosen_on_one_split_and_judged_on_another() -> None:
    t = split_table()
    found = group_thresholds(t, "sex", chosen_on="validation", judged_on="test", at=0.8, n_boot=100)
    assert [f.group for f in found] == ["sex F", "sex M"] and found[0].threshold < found[1].threshold
    for one in found:
        sex = one.group[-1]
        fit, test = (t[(t["split"] == s) & (t["sex"] == sex)] for s in ("validation", "test"))
        positive = fit[fit["y_true"] == 1]["score"]
        assert (positive >= one.threshold).mean() >= 0.8 > (positive > one.threshold).mean()
        own = {e.name: e for e in one.own}
        judged = test[test["y_true"] == 1]["score"] >= one.threshold
        assert own["sensitivity"].value == pytest.approx(judged.mean()) and own["sensitivity"].n == len(test)
        assert "analysis" in one.note
    common = [{e.name: e.value for e in f.common}["sensitivity"] for f in found]
    own_ = [{e.name: e.value for e in f.own}["sensitivity"] for f in found]
    assert abs(own_[0] - own_[1]) < abs(common[0] - common[1])


def test_the_goal_of_thresholds_is_by_default_that_of_the_common_rule() -> None:
    t = split_table()
    fit = t[(t["split"] == "validation") & (t["y_true"] == 0)]
    found = group_thresholds(t, "sex", chosen_on="validation", judged_on="test", equal="fpr", n_boot=100)
    assert found[0].goal == pytest.approx((fit["score"] >= 0.5).mean())
    for one in found:
        own = fit[fit["sex"] == one.group[-1]]["score"]
        assert (own >= one.threshold).mean() <= one.goal + 1e-12


def test_test_rows_do_not_move_a_threshold() -> None:
    t = split_table()
    other = t.assign(score=t["score"].where(t["split"] == "validation", 1 - t["score"]))
    options = {"chosen_on": "validation", "judged_on": "test", "n_boot": 100}
    first, second = (group_thresholds(x, "sex", **options) for x in (t, other))
    assert [f.threshold for f in first] == [f.threshold for f in second]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"chosen_on": "test", "judged_on": "test"}, InputError, "cannot be judged there"),
        ({"chosen_on": "tuning", "judged_on": "test"}, TableError, "no rows with 'tuning' in column 'split'"),
        ({"chosen_on": "validation", "judged_on": "test", "at": 80}, InputError, "between 0 and 1"),
    ],
)
def test_thresholds_are_refused_where_they_would_judge_themselves(options, error, words) -> None:
    with pytest.raises(error, match=words):
        group_thresholds(split_table(), "sex", **options)
    with pytest.raises(TableError, match="no such column"):
        group_thresholds(made(), "sex", chosen_on="validation", judged_on="test")


def test_times_to_an_event_have_no_thresholds_of_groups() -> None:
    times = made().assign(**{"target": "os", "time:os": 5.0, "event:os": 1, "split": "test"})
    with pytest.raises(TableError, match="every row predicts a time to an event"):
        group_thresholds(times, "sex", chosen_on="validation", judged_on="test")
    both = pd.concat([split_table(), times.assign(case_id=lambda t: t["case_id"] + "x",
                                                  patient_id=lambda t: t["patient_id"] + "x")])  # fmt: skip
    options = {"chosen_on": "validation", "judged_on": "test", "n_boot": 100}
    mixed, alone = (group_thresholds(t, "sex", **options) for t in (both.assign(
        target=both.get("target", pd.Series(dtype=str)).fillna("mass")), split_table()))  # fmt: skip
    assert [one.threshold for one in mixed] == [one.threshold for one in alone]
