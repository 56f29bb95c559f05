"""Kappa against published tables and other software, and what must hold for any ratings."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa

from radfoundry.errors import InputError, InputMismatch, NotEnoughData
from radfoundry.evaluate import kappa as module
from radfoundry.evaluate.agreement import icc, krippendorff
from radfoundry.evaluate.kappa import cohen, fleiss, rate, reader_kappa
from radfoundry.evaluate.kappa_counts import cohen_from_table, fleiss_from_counts
from tests._data import data_dir

# Fleiss, Psychol Bull 1971;76:378: thirty patients, five diagnoses, six psychiatrists.
FLEISS = np.array([[int(digit) for digit in str(row)] for row in (
    444444, 222555, 233335, 555555, 222444, 113333, 333355, 113334, 114444, 555555,
    144444, 124444, 222333, 144444, 224445, 333335, 111455, 111112, 224444, 133555,
    555555, 244444, 224555, 114444, 144445, 222224, 111155, 224444, 133333, 555555,
)])  # fmt: skip
# SAS/STAT, PROC FREQ, a 3 by 3 table of two raters; its printed statistics as statsmodels tests against.
SAS = np.array([[0, 4, 1], [0, 8, 0], [0, 1, 5]])
# Cohen, Psychol Bull 1968;70:213, table 1: proportions of 200 patients, weights of disagreement 0 1 3 6.
COHEN = np.array([[0.44, 0.07, 0.09], [0.05, 0.20, 0.05], [0.01, 0.03, 0.06]]) * 200
COHEN_FAR = np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]]) / 6

ratings = arrays(float, st.tuples(st.just(2), st.integers(5, 40)), elements=st.integers(1, 5).map(float))


def test_diagnoses_of_fleiss() -> None:
    """0.430 in the paper; z 17.7 by R's irr (kappam.fleiss); SE 0.0542 by irrCAC 0.4.4 (Gwet)."""
    counts = (FLEISS[:, :, None] == np.arange(1, 6)).sum(axis=1)
    found = fleiss_from_counts(counts)
    assert found.value == pytest.approx(0.430, abs=5e-4)
    assert found.value == pytest.approx(fleiss_kappa(counts))
    assert found.value / found.se_null == pytest.approx(17.7, abs=0.05)
    assert found.se == pytest.approx(0.0542, abs=5e-5)
    assert fleiss(FLEISS).value == found.value
    drawn = fleiss(FLEISS, rng=np.random.default_rng(0), draws=500)
    assert drawn.value == found.value and abs((drawn.high - drawn.low) / 3.92 / found.se - 1) < 0.15


@pytest.mark.parametrize(
    ("weighted", "expected"),
    [(False, (0.4842, 0.1380, 0.1484, 0.0011)), (True, (0.4701, 0.1457, 0.1426, 0.0010))],
)
def test_kappa_and_its_standard_errors_are_those_of_sas(weighted: bool, expected: tuple[float, ...]) -> None:
    far = rate(np.array([[0, 1, 2.0]]), "linear" if weighted else "none").far
    found = cohen_from_table(SAS, 1 - far)
    assert (found.value, found.se, found.se_null, found.p) == pytest.approx(expected, abs=6e-5)


def test_weighted_kappa_of_cohen_1968() -> None:
    """0.492 unweighted and 0.348 weighted, as printed in the paper."""
    assert cohen_from_table(COHEN).value == pytest.approx(0.492, abs=5e-4)
    assert cohen_from_table(COHEN, 1 - COHEN_FAR).value == pytest.approx(0.348, abs=5e-4)


@settings(max_examples=60, deadline=None)
@given(ratings, st.sampled_from(["none", "linear", "quadratic"]))
def test_kappa_is_that_of_scikit_learn_and_statsmodels(x: np.ndarray, weights: str) -> None:
    a, b = x.astype(int)
    found = cohen(a, b, weights=weights)  # type: ignore[arg-type]
    if len(np.unique(x)) == 1:
        assert math.isnan(found.value) and "all ratings are equal" in str(found.note)
        return
    scale = list(range(1, 6))
    theirs = cohen_kappa_score(a, b, labels=scale, weights=None if weights == "none" else weights)
    assert found.value == pytest.approx(theirs, abs=1e-9)
    if math.isfinite(found.low) and found.low > -1 and found.high < 1:
        table = np.array([[((a == i) & (b == j)).sum() for j in scale] for i in scale])
        power = {"none": None, "linear": "linear", "quadratic": "quadratic"}[weights]
        reference = cohens_kappa(table, wt=power)
        assert (found.low, found.high) == pytest.approx((reference.kappa_low, reference.kappa_upp))


@settings(max_examples=40, deadline=None)
@given(ratings)
def test_order_of_raters_and_of_cases_changes_nothing(x: np.ndarray) -> None:
    one, other = cohen(*x, weights="quadratic"), cohen(*x[::-1, ::-1], weights="quadratic")
    assert (one.value, one.low) == pytest.approx((other.value, other.low), nan_ok=True)


def test_a_category_that_nobody_used_keeps_its_place() -> None:
    a, b = np.array([1, 1, 2, 5, 5, 5]), np.array([1, 2, 2, 5, 5, 1])
    found = cohen(a, b, weights="linear")
    assert found.value == pytest.approx(cohen_kappa_score(a, b, labels=[1, 2, 3, 4, 5], weights="linear"))
    assert abs(found.value - cohen_kappa_score(a, b, weights="linear")) > 0.01  # 1, 2, 5 as if 1, 2, 3


def test_words_are_categories_but_have_no_distance() -> None:
    a, b = np.array(["no", "no", "yes", "yes", "yes"]), np.array(["no", "yes", "yes", "yes", "yes"])
    assert cohen(a, b).value == pytest.approx(cohen_kappa_score(a, b))
    with pytest.raises(InputMismatch, match="Number the categories"):
        cohen(a, b, weights="linear")


def test_interval_by_cases_is_near_the_asymptotic_one_and_patients_widen_it() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(1, 5, 400)
    b = np.where(rng.random(400) < 0.6, a, rng.integers(1, 5, 400))
    plain = cohen(a, b, weights="quadratic")
    drawn = cohen(a, b, weights="quadratic", rng=rng, draws=800)
    assert drawn.value == plain.value
    assert (drawn.low, drawn.high) == pytest.approx((plain.low, plain.high), abs=0.02)
    ten = {"weights": "quadratic", "patient": np.repeat(np.arange(400), 10)}
    copies = cohen(np.repeat(a, 10), np.repeat(b, 10), **ten, rng=rng, draws=800)  # type: ignore[arg-type]
    assert (copies.n, copies.n_clusters) == (4000, 400) and "patients resampled" in copies.method
    assert copies.high - copies.low == pytest.approx(drawn.high - drawn.low, rel=0.15)


def test_one_rater_who_uses_one_category_has_kappa_zero_and_no_interval() -> None:
    found = cohen(np.ones(20), np.repeat([0, 1], 10))
    assert found.value == 0 and math.isnan(found.low) and "one category only" in str(found.note)
    assert "all ratings are equal" in str(cohen(np.ones(4), np.ones(4)).note)
    assert "all ratings are equal" in str(fleiss(np.ones((5, 3))).note)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: cohen(np.ones(4), np.ones(5)), InputMismatch, "unequal length"),
        (lambda: cohen(np.ones((2, 2)), np.ones((2, 2))), InputMismatch, "two raters"),
        (lambda: cohen(np.array([1, math.nan, 2]), np.ones(3)), InputMismatch, "number 2"),
        (lambda: cohen(np.ones(1), np.ones(1)), NotEnoughData, "two at least"),
        (lambda: fleiss(np.ones((4, 1))), InputMismatch, "two raters"),
        (lambda: fleiss(np.array([[1, math.nan], [1, 2], [2, 2.0]])), InputMismatch, "drop"),
        (lambda: fleiss_from_counts(np.array([[2, 1], [2, 2]])), InputMismatch, "equally many"),
        (lambda: cohen_from_table(np.ones((2, 3))), InputMismatch, "square"),
        (lambda: reader_kappa(np.ones((2, 3, 4)), np.ones(5), rng=np.random.default_rng(0)), InputMismatch,
         "cases"),
        (lambda: reader_kappa(np.full((1, 2, 3), math.nan), np.ones(3), rng=np.random.default_rng(0)),
         InputMismatch, "missing"),
    ],
)  # fmt: skip
def test_ratings_that_cannot_be_compared_are_refused(call, error, words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_missing_ratings_are_left_out_by_case_and_counted() -> None:
    a, b = np.array([1, 2, math.nan, 1, 2, 1]), np.array([1, 2, 1, math.nan, 1, 1])
    found = cohen(a, b, missing="drop")
    assert found.n == 4 and "2 cases" in str(found.note)
    assert found.value == pytest.approx(cohen_kappa_score([1, 2, 2, 1], [1, 2, 1, 1]))


def study(
    rng: np.random.Generator, *, readers: int = 6, n: int = 80, skill: tuple[float, float] = (0.4, 0.7)
) -> tuple[np.ndarray, np.ndarray]:
    """Two modalities in which a read follows the truth in a share of the cases and is a guess elsewhere."""
    y = (rng.random(n) < 0.5).astype(float)
    guess = (rng.random((2, readers, n)) < 0.5).astype(float)
    knows = rng.random((2, readers, n)) < np.array(skill)[:, None, None]
    return np.where(knows, y, guess), y


def of(found, name: str, model: str | None = None, subgroup: str | None = None):
    return next(e for e in found if (e.name, e.model, e.subgroup) == (name, model, subgroup))


def test_reader_kappas_are_those_of_scikit_learn_reader_by_reader() -> None:
    rng = np.random.default_rng(2)
    x, y = study(rng)
    found = reader_kappa(x, y, rng=rng, modalities=["unaided", "aided"], draws=200)
    each = [[cohen_kappa_score(y, one) for one in modality] for modality in x]
    assert of(found.estimates, "kappa_truth", "aided", "reader 3").value == pytest.approx(each[1][2])
    for m, name in enumerate(["unaided", "aided"]):
        mean = of(found.estimates, "kappa_truth", name)
        assert mean.value == pytest.approx(np.mean(each[m])) and mean.low < mean.value < mean.high
        pairs = [cohen_kappa_score(x[m, a], x[m, b]) for a in range(6) for b in range(a)]
        assert of(found.estimates, "kappa_pairwise", name).value == pytest.approx(np.mean(pairs))
        counts = aggregate_raters(x[m].T.astype(int))[0]
        assert of(found.estimates, "kappa_fleiss", name).value == pytest.approx(fleiss_kappa(counts))
    better = next(d for d in found.differences if d.name == "kappa_truth")
    assert (better.model_a, better.model_b) == ("aided", "unaided")
    assert better.difference == pytest.approx(np.mean(each[1]) - np.mean(each[0]))
    assert 0 < better.low < better.difference < better.high and better.p < 0.05


def test_two_way_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Kappa with the truth is a reader's skill, which differs here; two-way draws are cautious."""
    rng = np.random.default_rng(3)
    hits = widths = one_way = 0.0
    for _ in range(60):
        skill = np.clip(rng.normal(0.6, 0.12, (1, 8, 1)), 0, 1)
        y = (rng.random(60) < 0.5).astype(float)
        x = np.where(rng.random((1, 8, 60)) < skill, y, rng.random((1, 8, 60)) < 0.5)
        both = of(reader_kappa(x, y, rng=rng, draws=200).estimates, "kappa_truth", "modality 1")
        cases = of(
            reader_kappa(x, y, rng=rng, draws=200, readers_random=False).estimates,
            "kappa_truth",
            "modality 1",
        )
        hits += both.low <= 0.6 <= both.high
        widths += both.high - both.low
        one_way += cases.high - cases.low
    assert hits / 60 >= 0.9 and widths > 1.2 * one_way


def test_reads_without_their_pair_are_left_out_of_the_difference() -> None:
    rng = np.random.default_rng(4)
    x, y = study(rng, readers=4, n=60)
    x[0, 0, :20] = math.nan
    found = reader_kappa(x, y, rng=rng, draws=100, missing="drop")
    paired = reader_kappa(x[:, :, 20:], y[20:], rng=rng, draws=100)
    both = np.isfinite(x).all(axis=0)
    expected = [np.mean([cohen_kappa_score(y[keep], m[j][keep]) for j, keep in enumerate(both)]) for m in x]
    difference = next(d for d in found.differences if d.name == "kappa_truth")
    assert difference.difference == pytest.approx(expected[1] - expected[0])
    assert "220 pairs of reads" in str(difference.note)
    whole = of(found.estimates, "kappa_fleiss", "modality 1")
    assert whole.value == pytest.approx(of(paired.estimates, "kappa_fleiss", "modality 1").value)
    assert "20 reads missing, 40 cases read by all" in str(whole.note)


def test_a_reader_drawn_twice_counts_twice_but_makes_no_pair_with_himself() -> None:
    rng = np.random.default_rng(7)
    x, y = study(rng, readers=4, n=50)
    rated = rate(np.concatenate([x[0], y[None]]), "none")
    panel = module._Panel(rated.codes[:-1], rated.codes[-1], rated)
    drawn, cases = [0, 0, 0, 1, 2, 2], rng.integers(0, 50, 50)
    who = np.bincount(drawn, minlength=4)[:, None].astype(float)
    counts = np.bincount(cases, minlength=50)[:, None].astype(float)
    truth, pairwise, among_all = panel.averages(counts, who)[:, 0]
    own = [cohen_kappa_score(y[cases], x[0, j, cases]) for j in drawn]
    assert truth == pytest.approx(np.mean(own))
    pairs = [(a, b) for i, a in enumerate(drawn) for b in drawn[:i] if a != b]
    each = [cohen_kappa_score(x[0, a, cases], x[0, b, cases]) for a, b in pairs]
    assert pairwise == pytest.approx(np.mean(each))
    share = x[0][drawn][:, cases].mean()
    agreed = np.mean([(x[0, a, cases] == x[0, b, cases]).mean() for a, b in pairs])
    expected = share**2 + (1 - share) ** 2
    assert among_all == pytest.approx((agreed - expected) / (1 - expected))


def test_one_reader_agrees_with_the_truth_and_with_nobody_else() -> None:
    rng = np.random.default_rng(5)
    x, y = study(rng, readers=1)
    found = reader_kappa(x, y, rng=rng, draws=100).estimates
    assert math.isfinite(of(found, "kappa_truth", "modality 1").low)
    pairwise = of(found, "kappa_pairwise", "modality 1")
    assert math.isnan(pairwise.value) and "one reader" in str(pairwise.note)


def test_three_modalities_make_three_differences_with_holm() -> None:
    rng = np.random.default_rng(6)
    x, y = study(rng, readers=4)
    found = reader_kappa(np.concatenate([x, x[:1]]), y, rng=rng, draws=100).differences
    own = [d for d in found if d.name == "kappa_truth"]
    assert len(own) == 3 and all(d.p_holm >= d.p for d in own)
    assert own[1].difference == 0 and (own[1].model_a, own[1].model_b) == ("modality 3", "modality 1")


def test_malignancy_read_by_four_in_lidc() -> None:
    """904 lesions; readers are anonymous there, so who is which column means nothing: only statistics that do
    not pair readers apply. statsmodels 0.15.0 (Fleiss), krippendorff 0.9.0, pingouin 0.7.0 (ICC(1,1))."""
    table = pd.read_csv(data_dir("reader_studies", "lidc_annotations.csv.gz"))
    lists = table.groupby("lesion_cluster")["malignancy"].apply(list)
    x = np.array([row for row in lists if len(row) == 4], float)
    assert x.shape == (904, 4)
    assert fleiss(x).value == pytest.approx(0.19278522956, abs=1e-9)
    for scale, alpha in (("nominal", 0.1930084637), ("ordinal", 0.4319223687), ("interval", 0.4674722376)):
        assert krippendorff(x, scale).value == pytest.approx(alpha, abs=1e-9)  # type: ignore[arg-type]
    single = icc(x)[0]
    assert (single.value, single.low, single.high) == pytest.approx((0.467679, 0.43, 0.50), abs=5e-3)
    shuffled = np.random.default_rng(0).permuted(x, axis=1)
    assert fleiss(shuffled).value == pytest.approx(fleiss(x).value)
    assert icc(shuffled)[0].value == pytest.approx(single.value)


def test_single_readers_intervals_keep_patients_whole() -> None:
    rng = np.random.default_rng(8)
    x, y = study(rng, readers=3, n=60)
    one = of(reader_kappa(x, y, rng=rng, draws=100).estimates, "kappa_truth", "modality 1", "reader 1")
    copies = np.repeat(x, 9, axis=2), np.repeat(y, 9)
    many = reader_kappa(*copies, rng=rng, patient=np.repeat(np.arange(60), 9), draws=600).estimates
    own = of(many, "kappa_truth", "modality 1", "reader 1")
    assert one.method == "asymptotic" and "against chance" in str(one.note)
    assert own.method == "patients resampled, 600 draws" and own.n_clusters == 60 and own.note is None
    assert own.high - own.low == pytest.approx(one.high - one.low, rel=0.2)


def test_a_reference_is_taken_from_each_other_modality_and_one_difference_needs_no_holm() -> None:
    rng = np.random.default_rng(9)
    x, y = study(rng, readers=4)
    three, names = np.concatenate([x, x[:1]]), ["a", "b", "c"]
    found = reader_kappa(three, y, rng=rng, draws=60, modalities=names, reference="b").differences
    own = [d for d in found if d.name == "kappa_truth"]
    assert [(d.model_a, d.model_b) for d in own] == [("a", "b"), ("c", "b")]
    assert all(math.isfinite(d.p_holm) for d in own)
    two = reader_kappa(x, y, rng=rng, draws=60).differences
    assert all(math.isfinite(d.p) and math.isnan(d.p_holm) for d in two)
    with pytest.raises(InputError, match=r"no modality 'd' to refer to\. There are a, b, c"):
        reader_kappa(three, y, rng=rng, draws=60, modalities=names, reference="d")
