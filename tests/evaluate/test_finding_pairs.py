"""Two extractors on the same reports: the clustered McNemar test and the paired bootstrap."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from radfoundry.errors import InputMismatch
from radfoundry.evaluate.compare import Comparison, holm
from radfoundry.evaluate.finding_cells import Cells
from radfoundry.evaluate.finding_pairs import compare_extractors, mcnemar_clustered

# Obuchowski 1998: PET and SPECT of 21 patients with hyperparathyroidism, glands that surgery found healthy.
# Both right, PET alone, SPECT alone, neither; as the R package clust.bin.pair 0.1.2 prints its `thyroids`.
GLANDS = (
    "0021 2010 3000 1000 2010 4000 3000 2000 1100 1000 2001 2000 3000 2000 0020 2001 2001 2010 2000 1000 2000"
)


def glands() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pet, spect, patient = [], [], []
    for j, counts in enumerate(GLANDS.split()):
        for kind, times in enumerate(map(int, counts)):
            pet += [kind in (0, 1)] * times
            spect += [kind in (0, 2)] * times
            patient += [j] * times
    return np.array(pet), np.array(spect), np.array(patient)


def test_obuchowski_agrees_with_r() -> None:
    pet, spect, patient = glands()
    found = mcnemar_clustered(pet, spect, patient)
    assert (found.n, found.n_clusters) == (51, 21)
    assert found.statistic == pytest.approx(2.8571, abs=5e-5)
    assert found.p == pytest.approx(0.09097, abs=5e-6)
    assert found.difference == pytest.approx(-6 / 51)


def test_one_cell_a_cluster_is_mcnemar_up_to_the_number_of_clusters() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.8, rng.random(300) < 0.7
    only_a, only_b = (a & ~b).sum(), (~a & b).sum()
    plain = (only_a - only_b) ** 2 / (only_a + only_b)
    found = mcnemar_clustered(a, b, np.arange(300))
    assert found.statistic == pytest.approx(plain * 299 / 300)
    assert mcnemar_clustered(a, b, None).p == found.p
    assert found.low < found.difference < found.high


def clustered(rng: np.random.Generator, m: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two equal extractors whose advantage changes from report to report."""
    sizes = rng.integers(1, 12, m)
    cluster = np.repeat(np.arange(m), sizes)
    tilt = rng.normal(0, 0.25, m)[cluster]
    return rng.random(len(cluster)) < 0.7 + tilt, rng.random(len(cluster)) < 0.7 - tilt, cluster


def test_clustered_p_agrees_with_flipping_the_sign_of_whole_clusters() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b, cluster = clustered(rng)
        d = np.bincount(cluster, weights=a.astype(float) - b)
        flips = rng.choice([-1.0, 1.0], size=(20_000, len(d))) @ d
        p = (np.abs(flips) >= abs(d.sum()) - 1e-9).mean()
        assert mcnemar_clustered(a, b, cluster).p == pytest.approx(p, abs=0.04)


def test_clustered_mcnemar_keeps_its_level_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(2)
    rejected = np.zeros(2)
    covered = 0
    for _ in range(500):
        a, b, cluster = clustered(rng)
        found = mcnemar_clustered(a, b, cluster)
        only = np.array([(a & ~b).sum(), (~a & b).sum()])
        rejected += [found.p < 0.05, stats.chi2.sf((only[0] - only[1]) ** 2 / only.sum(), 1) < 0.05]
        covered += found.low <= 0 <= found.high
    assert 0.03 < rejected[0] / 500 < 0.075
    assert rejected[1] / 500 > 0.15
    assert 0.92 < covered / 500 < 0.98


def test_pairs_without_information_give_no_interval() -> None:
    same = np.array([True, False, True])
    found = mcnemar_clustered(same, same, np.array([0, 0, 1]))
    assert found.p == 1 and found.statistic == 0 and math.isnan(found.low)
    assert math.isnan(mcnemar_clustered(same, ~same, np.zeros(3)).p)
    assert math.isnan(mcnemar_clustered(same[:0], same[:0], None).difference)


def extractors(seed: int = 3, reports: int = 200) -> tuple[Cells, Cells]:
    rng = np.random.default_rng(seed)
    reference = rng.random((reports, 8)) < 0.2
    ids = tuple(f"f{i}" for i in range(8))
    kind = {one: ("minor", "critical")[i % 2] for i, one in enumerate(ids)}
    good, poor = (
        np.where(reference, rng.random(reference.shape) < hit, rng.random(reference.shape) < 0.03)
        for hit in (0.9, 0.7)
    )
    one = Cells(reference, good, ids, kind, np.arange(reports).astype(str))
    return one, replace(one, call=poor)


def row(found: list[Comparison], name: str, subgroup: str | None = None) -> Comparison:
    rows = [one for one in found if one.name == name and one.subgroup == subgroup]
    assert len(rows) == 1
    return rows[0]


def test_two_extractors_are_compared_pooled_and_by_criticality() -> None:
    a, b = extractors()
    found = compare_extractors(
        a, b, rng=np.random.default_rng(0), draws=500, model_a="one-shot", model_b="zero-shot"
    )
    sens = row(found, "micro_sensitivity")
    assert sens.value_a == pytest.approx(a.call[a.reference].mean())
    assert sens.value_b == pytest.approx(b.call[a.reference].mean())
    assert sens.n == a.reference.sum() and sens.n_clusters == a.reference.any(1).sum()
    assert sens.low > 0 and sens.p < 0.001
    spec = row(found, "micro_specificity")
    assert spec.value_a == pytest.approx(1 - a.call[~a.reference].mean()) and spec.n == (~a.reference).sum()
    f1 = row(found, "micro_f1")
    assert f1.value_b == pytest.approx(sk.f1_score(b.reference, b.call, average="micro"))
    assert 0 < f1.low < f1.difference < f1.high
    for name in ("micro_sensitivity", "micro_accuracy", "micro_f1"):
        parts = [row(found, name, level) for level in ("critical", "minor")]
        assert [one.p_holm for one in parts] == pytest.approx(holm([one.p for one in parts]).tolist())
        assert math.isnan(row(found, name).p_holm)
    exact = row(found, "exact_match")
    assert exact.value_a == pytest.approx((a.call == a.reference).all(1).mean())
    assert all((one.model_a, one.model_b) == ("one-shot", "zero-shot") for one in found)
    assert "one-shot minus zero-shot" in str(sens.estimate().model)


def test_exact_matches_of_a_patients_reports_are_clustered() -> None:
    a, b = extractors()
    patient = np.arange(200) // 2
    alone, named = (
        row(compare_extractors(one, b, rng=np.random.default_rng(0), draws=20), "exact_match")
        for one in (a, replace(a, patient_id=patient))
    )
    assert alone.method.startswith("McNemar exact") and alone.n_clusters == 200
    right = [(one.call == one.reference).all(1) for one in (a, b)]
    expected = mcnemar_clustered(*right, patient)
    assert (named.p, named.low, named.n_clusters) == (expected.p, expected.low, 100)


def test_the_bootstrap_of_a_difference_is_paired() -> None:
    a, _ = extractors()
    found = row(compare_extractors(a, a, rng=np.random.default_rng(0), draws=50), "micro_f1")
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_cells_that_either_leaves_out_count_for_neither() -> None:
    a, b = extractors()
    known = np.ones(a.reference.shape, bool)
    known[:, 0] = False
    found = compare_extractors(replace(a, known=known), b, rng=np.random.default_rng(0), draws=50)
    assert row(found, "micro_accuracy").n == 200 * 7
    kept = (a.call == a.reference)[:, 1:]
    assert row(found, "exact_match").value_a == pytest.approx(kept.all(1).mean())


def test_extractors_of_other_reports_or_references_are_refused() -> None:
    a, b = extractors()
    with pytest.raises(InputMismatch, match="other reports"):
        compare_extractors(a, b.take(np.arange(199)), rng=np.random.default_rng(0))
    with pytest.raises(InputMismatch, match="different references"):
        compare_extractors(a, replace(b, reference=~b.reference), rng=np.random.default_rng(0))
