"""Obuchowski-Rockette against published tables, and what must hold for any reader study."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import ndtr
from sklearn.metrics import roc_auc_score, roc_curve

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.compare import holm
from radfoundry.evaluate.intervals import auc_covariance, placements
from radfoundry.evaluate.readers import analyse, anova
from radfoundry.evaluate.readers.binormal import fit, joined, tables
from radfoundry.evaluate.readers.merits import (
    covariance,
    draw_cases,
    estimates,
    leave_one_out,
    merit_of,
    partial_auroc,
)
from radfoundry.evaluate.readers.reads import Reads, arrange, read
from tests._data import data_dir

PUBLISHED = "VanDyke_published_results_MRMCaov_vignette.txt"


@pytest.fixture(scope="module")
def vandyke() -> Reads:
    """114 patients, 45 with an aortic dissection, 5 readers, cine (1) and spin-echo (2) MRI."""
    return read(data_dir("reader_studies", "VanDyke.csv"), threshold=3)


def simulated(
    rng: np.random.Generator, *, modalities: int = 2, readers: int = 4, negatives: int = 25,
    positives: int = 25, apart: float = 1.5, effect: float = 0.0, reader_sd: float = 0.25,
    modality_reader_sd: float = 0.2,
) -> Reads:  # fmt: skip
    """Latent normal ratings with effects of reader, modality x reader, case and their products."""
    n = negatives + positives
    y = np.repeat([0, 1], [negatives, positives])
    skill = apart + reader_sd * rng.normal(size=(1, readers))
    skill = skill + modality_reader_sd * rng.normal(size=(modalities, readers))
    skill[0] += effect
    case = rng.normal(size=n) * 0.6
    case_modality = rng.normal(size=(modalities, 1, n)) * 0.3
    own = rng.normal(size=(modalities, readers, n)) * 0.7
    rating = skill[..., None] * y + case + case_modality + own
    names = [tuple(f"{kind}{i}" for i in range(size)) for kind, size in zip("mrc", rating.shape)]
    rows = pd.DataFrame({"case_id": names[2], "patient_id": names[2]})
    return Reads(*names, y, rating, (rating > apart / 2).astype(float), rows)


def frame(reads: Reads) -> pd.DataFrame:
    """One row a read."""
    where = np.argwhere(np.isfinite(reads.rating))
    return pd.DataFrame(
        [(reads.modalities[i], reads.readers[j], reads.cases[k], reads.y[k], reads.rating[i, j, k])
         for i, j, k in where], columns=["modality", "reader", "case_id", "y_true", "score"],
    )  # fmt: skip


# ------------------------------------------------------------------ published numbers


def sections() -> list[str]:
    """The four outputs that the vignette prints."""
    text = data_dir("reader_studies", PUBLISHED).read_text()
    return text.split("Multi-Reader Multi-Case Analysis of Variance")[1:]


def printed_numbers(section: str) -> list[str]:
    return re.findall(r"(?<![\w.])-?\d+\.\d+(?:e-?\d+)?(?![\w.])", section)


def numbers_of(reads: Reads, effects: anova.Effects, kind: str) -> list[float]:
    """Everything that MRMCaov prints, computed here."""
    theta = estimates(reads, merit_of("auroc"))
    i, j = theta.shape
    cov = np.full((i, j, i, j), math.nan)
    if effects != "fixed cases":
        cov = covariance(reads, merit_of("auroc"), kind)  # type: ignore[arg-type]
    found = anova.components(theta, cov)
    test = anova.global_test(found, i, j, effects)
    ours = [found.ms_t, found.ms_tr, found.var, found.cov1, found.cov2, found.cov3, found.reader]
    ours += [found.modality_reader, *(c / found.var for c in (found.cov1, found.cov2, found.cov3))]
    ours += [test.statistic, test.df1, test.df2, test.p, test.denominator]
    contrasts = [anova.difference(theta, found, 0, 1, effects, 0.95)]
    contrasts += [anova.average(theta, cov, a, effects, 0.95) for a in range(i)]
    contrasts += [anova.reader_difference(theta, cov, 0, 1, r, 0.95) for r in range(j)]
    for one in contrasts:
        ours += [one.value, one.se, one.df, one.low, one.high, one.statistic, one.p]
    for one in analyse(reads, effects=effects, covariance=None if effects == "fixed cases" else kind).readers:  # type: ignore[arg-type]
        ours += [one.value, one.low, one.high]
    ours += [anova.one_reader(theta, cov, a, r, 0.95).se for a in range(i) for r in range(j)]
    for a in range(i):
        own = anova.components(theta[[a]], cov[[a]][:, :, [a]])
        ours += [own.ms_r, own.cov2, own.var]
    return ours


@pytest.mark.parametrize(
    ("section", "effects", "kind", "how_many"),
    [
        (0, "random", "delong", 38), (1, "random", "unbiased", 38), (2, "fixed readers", "jackknife", 100),
        (3, "fixed cases", "jackknife", 20),
    ],
)  # fmt: skip
def test_every_published_number_of_vandyke_to_every_printed_digit(
    vandyke: Reads, section: int, effects: anova.Effects, kind: str, how_many: int
) -> None:
    """Smith and Hillis, vignette of MRMCaov: each number it prints is one of ours, rounded as printed."""
    printed = printed_numbers(sections()[section])
    assert len(printed) >= how_many
    ours = np.array([v for v in numbers_of(vandyke, effects, kind) if math.isfinite(v)])
    for text in printed:
        half = 0.5 * 10.0 ** -len(text.split(".")[1]) * (1 + 1e-6)
        assert np.abs(ours - float(text)).min() <= half, f"{text} is none of ours"


def test_the_delong_table_of_vandyke(vandyke: Reads) -> None:
    """The same by name, through the public entry."""
    study = analyse(vandyke)
    one, two = study.averages
    assert (one.value, one.low, one.high) == pytest.approx((0.8970370, 0.8253461, 0.9687280), abs=5e-8)
    assert (two.value, two.low, two.high) == pytest.approx((0.9408374, 0.8942155, 0.9874592), abs=5e-8)
    apart = study.differences[0]
    assert apart.difference == pytest.approx(-0.04380032, abs=5e-9)
    assert (apart.low, apart.high) == pytest.approx((-0.0878671960, 0.0002665519), abs=5e-11)
    assert (apart.p, apart.statistic) == pytest.approx((0.05123303, -2.117747), abs=5e-7)
    assert study.test is not None and study.components is not None
    assert (study.test.statistic, study.test.df2) == pytest.approx((4.484854, 15.06611), abs=5e-6)
    assert study.components.cov3 == pytest.approx(0.0002358497, abs=5e-11)


@pytest.mark.parametrize(
    ("effects", "statistic", "df2", "p"),
    [("fixed readers", 5.475953, math.inf, 0.01927984), ("fixed cases", 8.704, 4, 0.04195875)],
)
def test_fixed_readers_and_fixed_cases_of_vandyke(
    vandyke: Reads, effects: anova.Effects, statistic: float, df2: float, p: float
) -> None:
    """Chi-square 5.475953, p .01927984; F 8.704000 of 1 and 4, p .04195875 (the vignette of MRMCaov)."""
    kind = "jackknife" if effects == "fixed readers" else None
    test = analyse(vandyke, effects=effects, covariance=kind).test
    assert test is not None and (test.df1, test.df2) == (1, df2)
    assert test.statistic == pytest.approx(statistic, abs=5e-7 if df2 > 4 else 5e-4)
    assert test.p == pytest.approx(p, abs=5e-9)


def test_several_non_inferiorities_are_corrected_and_judged_by_the_corrected_p() -> None:
    reads = simulated(np.random.default_rng(11), modalities=3)
    plain = analyse(reads, reference="m0").differences
    t = [stats.t.isf(0.014, float(str(d.method).split("t with ")[1].split()[0])) for d in plain]
    margin = max(q * d.difference / d.statistic - d.difference for q, d in zip(t, plain))
    study = analyse(reads, reference="m0", margin=margin)
    first, second = sorted(study.noninferiority, key=lambda one: one.p)
    assert [c.p_holm for c in (first, second)] == pytest.approx([2 * first.p, max(2 * first.p, second.p)])
    for one in study.noninferiority:
        told = "shown" if one.p_holm < 0.025 else "not shown"
        assert f": {told} at one-sided 0.025, Holm" in str(one.note)
    wider = next(m for m in np.arange(0.01, 0.5, 0.001) if _half_corrected(reads, m))
    between = [
        c for c in analyse(reads, reference="m0", margin=wider).noninferiority if c.p < 0.025 < c.p_holm
    ]
    assert between and "not shown" in str(between[0].note)


def _half_corrected(reads: Reads, margin: float) -> bool:
    """Whether some p lies below 0.025 and its correction does not."""
    found = analyse(reads, reference="m0", margin=margin).noninferiority
    return any(c.p < 0.025 < c.p_holm for c in found)


def test_a_reader_absent_from_a_modality_is_said_to_change_the_average(vandyke: Reads) -> None:
    rating = vandyke.rating.copy()
    rating[0, 2] = np.nan
    study = analyse(replace(vandyke, rating=rating), method="auto")
    said = "the modalities were read by different readers (1 4 of 5, 2 5 of 5): averages are over those"
    assert said in study.notes
    rating[1, 2] = np.nan
    assert not any(
        "different readers" in n for n in analyse(replace(vandyke, rating=rating), method="auto").notes
    )


def test_rounding_is_no_negative_variance(vandyke: Reads) -> None:
    alike = replace(vandyke, rating=np.full_like(vandyke.rating, 3.0))
    study = analyse(alike)
    assert study.components is not None and study.components.reader == 0
    assert not any("negative" in note for note in study.notes) and str(study.test) == "no test: no variance"
    copies = replace(vandyke, rating=np.repeat(vandyke.rating[:, :1], 5, axis=1))  # five times one reader
    assert not any("is negative (-" in note and "e-" in note for note in analyse(copies).notes)


@pytest.mark.parametrize("method", ["obuchowski-rockette", "bootstrap"])
def test_a_seed_below_zero_is_refused(vandyke: Reads, method: str) -> None:
    with pytest.raises(InputError, match="seed must be 0 or above, not -1"):
        analyse(vandyke, method=method, seed=-1)  # type: ignore[arg-type]


def test_sensitivity_of_vandyke_jackknifes_positive_cases_alone(vandyke: Reads) -> None:
    """F 6.689493, df2 15.71732, p 0.02008822 of OR-DBM; all 114 cases would give F 6.6442."""
    study = analyse(vandyke, merit="sensitivity")
    assert [one.value for one in study.averages] == pytest.approx([0.8222222, 0.92], abs=5e-8)
    assert study.test is not None
    assert study.test.statistic == pytest.approx(6.689493, abs=5e-7)
    assert (study.test.df2, study.test.p) == pytest.approx((15.71732, 0.02008822), abs=5e-6)
    assert study.averages[0].n == 45


def test_the_jackknife_of_vandyke(vandyke: Reads) -> None:
    study = analyse(vandyke, covariance="jackknife")
    assert study.test is not None
    assert study.test.statistic == pytest.approx(4.456319, abs=5e-7)
    assert (study.test.df2, study.test.p) == pytest.approx((15.25967, 0.0516657), abs=5e-6)


# ------------------------------------------------------------------ figures of merit


def test_figures_of_merit_are_those_of_scikit_learn(vandyke: Reads) -> None:
    found = {
        name: estimates(vandyke, merit_of(name))
        for name in ("auroc", "sensitivity", "specificity", "accuracy")
    }
    high = estimates(vandyke, partial_auroc(specificity=(0.8, 1)))
    steep = estimates(vandyke, partial_auroc(sensitivity=(0.7, 1)))
    for i, j in np.ndindex(2, 5):
        x, d, y = vandyke.rating[i, j], vandyke.decision[i, j], vandyke.y
        assert found["auroc"][i, j] == pytest.approx(roc_auc_score(y, x))
        assert found["sensitivity"][i, j] == pytest.approx(d[y == 1].mean())
        assert found["specificity"][i, j] == pytest.approx(1 - d[y == 0].mean())
        assert found["accuracy"][i, j] == pytest.approx((d == y).mean())
        fpr, tpr, _ = roc_curve(y, x, drop_intermediate=False)
        grid = np.union1d(np.linspace(0, 0.2, 5), fpr[fpr <= 0.2])
        assert high[i, j] == pytest.approx(trapezoid(grid, fpr, tpr) / 0.2)
        grid = np.union1d(np.linspace(0.7, 1, 5), tpr[tpr >= 0.7])
        assert steep[i, j] == pytest.approx(trapezoid(grid, tpr, 1 - fpr) / 0.3)


def trapezoid(grid: np.ndarray, x: np.ndarray, height: np.ndarray) -> float:
    """Area on a grid that holds every corner; at a vertical piece both ends of it count."""
    total = 0.0
    for a, b in pairwise(grid):
        inside = np.flatnonzero((x[:-1] <= a + 1e-12) & (x[1:] >= b - 1e-12) & (x[1:] > x[:-1]))[0]
        ends = np.interp([a, b], x[inside : inside + 2], height[inside : inside + 2])
        total += (b - a) * ends.mean()
    return total


def test_the_whole_range_as_a_partial_area_is_the_auc(vandyke: Reads) -> None:
    whole = estimates(vandyke, merit_of("auroc"))
    for span in ({"specificity": (0, 1)}, {"sensitivity": (0, 1)}):
        assert estimates(vandyke, partial_auroc(**span)) == pytest.approx(whole)


def test_a_range_must_be_one_within_0_to_1() -> None:
    for wrong in ({}, {"specificity": (0.9, 0.8)}, {"sensitivity": (-1, 1)},
                  {"specificity": (0, 1), "sensitivity": (0, 1)}):  # fmt: skip
        with pytest.raises(InputError, match="range"):
            partial_auroc(**wrong)


def test_the_jackknife_in_one_pass_is_the_loop(vandyke: Reads) -> None:
    merit = partial_auroc(specificity=(0.8, 1))
    at_once = leave_one_out(vandyke, merit)
    for case in (0, 50, 113):
        without = vandyke.kept(vandyke.patient != np.unique(vandyke.patient)[case], "")
        assert at_once[..., case] == pytest.approx(estimates(without, merit))


def test_the_binormal_fit_is_the_maximum_a_general_optimiser_finds(vandyke: Reads) -> None:
    for i, j in [(0, 0), (0, 2), (0, 4), (1, 0), (1, 4)]:
        table = joined(tables(vandyke.y, vandyke.rating[i, j], np.ones((114, 1)))[0])

        def minus_log_likelihood(p: np.ndarray, table: np.ndarray = table) -> float:
            cuts = p[2] + np.concatenate([[0.0], np.cumsum(np.exp(p[3:]))])
            total = 0.0
            for counts, at in zip(table, (cuts, math.exp(p[1]) * cuts - p[0])):
                total -= counts @ np.log(np.maximum(np.diff(ndtr(np.r_[-np.inf, at, np.inf])), 1e-300))
            return total

        start = np.concatenate([[1.0, 0.0, 0.0], np.full(table.shape[1] - 2, -0.5)])
        best = optimize.minimize(minus_log_likelihood, start, method="BFGS", options={"gtol": 1e-8})
        ours = fit(table)
        assert ours is not None
        assert (ours.a, ours.b) == pytest.approx((best.x[0], math.exp(best.x[1])), abs=2e-4)


def test_a_binormal_curve_is_recovered_from_many_ratings() -> None:
    rng = np.random.default_rng(5)
    y = np.repeat([0, 1], 4000)
    x = np.where(y == 1, rng.normal(1.5 / 0.8, 1 / 0.8, 8000), rng.normal(size=8000))
    found = fit(tables(y, x, np.ones((8000, 1)))[0])
    assert found is not None
    assert (found.a, found.b) == (pytest.approx(1.5, abs=0.08), pytest.approx(0.8, abs=0.05))
    assert found.auc == pytest.approx(ndtr(1.5 / math.hypot(1, 0.8)), abs=0.01)


def test_degenerate_ratings_fall_back_to_the_empirical_auc_aloud(vandyke: Reads) -> None:
    study = analyse(vandyke, merit="auroc_binormal")
    assert any("no binormal curve is determined" in n and "reader 4 in 2" in n for n in study.notes)
    assert study.readers[8].value == pytest.approx(0.99935588, abs=5e-9)
    assert study.readers[0].value != pytest.approx(0.9196457, abs=1e-3)


# ------------------------------------------------------------------ analysis of variance


@pytest.mark.parametrize("merit", ["auroc", "sensitivity", "accuracy", "auroc_binormal"])
def test_dbm_by_pseudovalues_is_or_by_the_jackknife(vandyke: Reads, merit: str) -> None:
    """Hillis et al. 2005."""
    chosen = merit_of(merit)
    theta = estimates(vandyke, chosen)
    ms, test = anova.dbm(theta, leave_one_out(vandyke, chosen))
    study = analyse(vandyke, merit=merit, covariance="jackknife")
    assert study.test is not None and study.components is not None
    assert (test.statistic, test.df2, test.p) == pytest.approx(
        (study.test.statistic, study.test.df2, study.test.p), rel=1e-9
    )
    assert ms.t / ms.n == pytest.approx(study.components.ms_t, rel=1e-9)
    assert (ms.tc - ms.trc) / (5 * ms.n) == pytest.approx(study.components.cov2 - study.components.cov3)


def test_three_modalities_have_one_global_test_and_holm_over_pairs() -> None:
    study = analyse(simulated(np.random.default_rng(1), modalities=3, effect=0.9))
    assert study.test is not None and (study.test.df1, len(study.differences)) == (2, 3)
    raw = [one.p for one in study.differences]
    assert [one.p_holm for one in study.differences] == pytest.approx(holm(raw))
    widths = {round(one.high - one.low, 12) for one in study.differences}
    assert len(widths) == 1  # one error term for all pairs


def test_a_reference_is_taken_from_each_other_modality() -> None:
    reads = simulated(np.random.default_rng(1), modalities=3)
    study = analyse(reads, reference="m2")
    assert [(one.model_a, one.model_b) for one in study.differences] == [("m0", "m2"), ("m1", "m2")]
    with pytest.raises(InputError, match="no modality 'x'"):
        analyse(reads, reference="x")


@pytest.mark.parametrize("method", ["obuchowski-rockette", "u-statistics", "bootstrap"])
def test_non_inferiority_is_shown_exactly_when_the_lower_limit_is_above_minus_the_margin(method: str) -> None:
    reads = simulated(np.random.default_rng(2), effect=-0.2)
    low = analyse(reads, method=method).differences[0].low  # type: ignore[arg-type]
    assert low < 0
    wide = analyse(reads, method=method, margin=-low + 0.01).noninferiority[0]  # type: ignore[arg-type]
    narrow = analyse(reads, method=method, margin=-low - 0.01).noninferiority[0]  # type: ignore[arg-type]
    assert wide.p < 0.025 < narrow.p
    assert "shown at one-sided 0.025" in str(wide.note) and "not shown" in str(narrow.note)


def test_the_difference_of_vandyke_is_not_inferior_by_the_published_standard_error(vandyke: Reads) -> None:
    found = analyse(vandyke, margin=0.05).noninferiority[0]
    assert found.statistic == pytest.approx(-2.117747, abs=5e-7)
    assert found.p == pytest.approx(stats.t.sf((0.05 - 0.04380032) / 0.0206825, 15.06611), abs=1e-6)


def test_one_modality_gives_estimates_and_no_comparison(vandyke: Reads) -> None:
    both = analyse(vandyke)
    reads = read(data_dir("reader_studies", "VanDyke.csv"), modalities=("1",))
    one = analyse(reads)
    assert one.differences == () and one.test is None
    assert "one modality: nothing to compare it with" in one.notes
    assert (one.averages[0].low, one.averages[0].high) == (both.averages[0].low, both.averages[0].high)


def test_swapping_modalities_turns_the_sign(vandyke: Reads) -> None:
    swapped = analyse(read(data_dir("reader_studies", "VanDyke.csv"), modalities=("2", "1"))).differences[0]
    straight = analyse(vandyke).differences[0]
    assert (swapped.low, swapped.high, swapped.p) == pytest.approx(
        (-straight.high, -straight.low, straight.p)
    )


@pytest.mark.parametrize("kind", ["delong", "jackknife", "bootstrap"])
def test_copies_of_a_patients_cases_leave_the_error_unchanged(kind: str) -> None:
    """Copies say nothing new where patient_id says so; as patients of their own they would narrow it."""
    reads = simulated(np.random.default_rng(4), negatives=30, positives=30, modality_reader_sd=0.0)
    rows = frame(reads)
    rows = rows.assign(patient_id=rows["case_id"])
    copies = pd.concat([rows, rows.assign(case_id=rows["case_id"] + "b")])
    options = {"effects": "fixed readers", "covariance": kind, "n_boot": 800}
    once = analyse(arrange(rows), **options).differences[0]  # type: ignore[arg-type]
    twice = analyse(arrange(copies), **options).differences[0]  # type: ignore[arg-type]
    strangers = copies.assign(patient_id=copies["case_id"])
    narrow = analyse(arrange(strangers), **options).differences[0]  # type: ignore[arg-type]
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.06)
    assert narrow.high - narrow.low < 0.97 * (once.high - once.low)
    assert (twice.n, twice.n_clusters) == (120, 60)


def test_bootstrap_and_delong_covariances_agree(vandyke: Reads) -> None:
    merit = merit_of("auroc")
    drawn = covariance(vandyke, merit, "bootstrap", n_boot=3000, rng=np.random.default_rng(0))
    exact = covariance(vandyke, merit, "delong")
    assert np.abs(drawn - exact).max() < 0.15 * exact.max()


def test_draws_keep_the_number_of_patients_of_each_class(vandyke: Reads) -> None:
    counts = draw_cases(vandyke, 50, np.random.default_rng(0))
    assert (counts[vandyke.y == 1].sum(axis=0) == 45).all() and (counts.sum(axis=0) == 114).all()
    assert counts.std() > 0.5


def test_the_two_way_bootstrap_brackets_the_difference_and_widens_with_readers(vandyke: Reads) -> None:
    both = analyse(vandyke, method="bootstrap", n_boot=2000).differences[0]
    cases = analyse(vandyke, method="bootstrap", effects="fixed readers", n_boot=2000).differences[0]
    readers = analyse(vandyke, method="bootstrap", effects="fixed cases", n_boot=2000).differences[0]
    exact = analyse(vandyke, effects="fixed readers").differences[0]
    assert cases.high - cases.low == pytest.approx(exact.high - exact.low, rel=0.1)
    assert both.high - both.low > max(cases.high - cases.low, readers.high - readers.low)
    assert both.difference == pytest.approx(-0.04380032, abs=5e-9)
    assert both == analyse(vandyke, method="bootstrap", n_boot=2000).differences[0]


def test_all_results_go_into_a_run_folder(vandyke: Reads) -> None:
    study = analyse(vandyke, margin=0.05)
    names = [one.name for one in study.estimates()]
    assert len(names) == 2 + 10 + 1 + 1 + 5 and names[:2] == ["auroc", "auroc"]
    record = study.as_dict()
    assert record["test"]["df2"] == pytest.approx(15.06611, abs=5e-6)
    assert "1 minus 2: auroc 0.897 - 0.941 = -0.044" in str(study)


# ------------------------------------------------------------------ simulation


def rejections(effects: anova.Effects, runs: int, modality_reader_sd: float) -> float:
    """Share of null studies with p below .05, by the parts that `analyse` is made of."""
    rng = np.random.default_rng(2024)
    p = []
    for _ in range(runs):
        reads = simulated(rng, modality_reader_sd=modality_reader_sd)
        parts = np.stack([placements(reads.y, x) for x in reads.rating.reshape(8, -1)])
        theta = parts[:, reads.y == 1].mean(axis=1).reshape(2, 4)
        cov = auc_covariance(reads.y, parts).reshape(2, 4, 2, 4)
        p.append(anova.global_test(anova.components(theta, cov), 2, 4, effects).p)
    assert p[-1] == pytest.approx(analyse(reads, effects=effects).differences[0].p)
    return float(np.mean(np.array(p) < 0.05))


def test_without_a_difference_the_test_rejects_as_often_as_it_says() -> None:
    """Of 300 null studies 2.5 to 8.5 in 100 (nominal 5; standard error of the rate 1.3)."""
    assert 0.025 <= rejections("random", 300, 0.2) <= 0.085


def test_taking_readers_as_fixed_rejects_too_often_where_readers_differ_in_the_effect() -> None:
    assert rejections("fixed readers", 100, 0.6) > 0.12


# ------------------------------------------------------------------ bad input


def test_one_reader_is_refused_as_a_sample_of_readers_and_analysed_alone(vandyke: Reads) -> None:
    rows = frame(vandyke)
    reads = arrange(rows[rows["reader"] == "1"])
    for effects in ("random", "fixed cases"):
        with pytest.raises(NotEnoughData, match="effects='fixed readers'"):
            analyse(reads, effects=effects)  # type: ignore[arg-type]
    alone = analyse(reads, effects="fixed readers", covariance="jackknife").differences[0]
    assert (alone.low, alone.high) == pytest.approx((-0.078183215, 0.021822507), abs=5e-10)  # as published
    assert alone.p == pytest.approx(0.26933885, abs=5e-9)


@pytest.mark.parametrize(("merit", "klass", "what"), [
    ("auroc", 0, "positive"), ("auroc", 1, "negative"), ("sensitivity", 0, "positive"),
    ("specificity", 1, "negative"), ("auroc_binormal", 1, "negative"),
])  # fmt: skip
def test_one_class_of_cases_is_refused(vandyke: Reads, merit: str, klass: int, what: str) -> None:
    with pytest.raises(NotEnoughData, match=f"needs {what} cases: there is none"):
        analyse(vandyke.kept(vandyke.y == klass, ""), merit=merit)


def test_one_case_of_a_class_has_no_covariance(vandyke: Reads) -> None:
    keep = (vandyke.y == 0) | (np.arange(114) == np.flatnonzero(vandyke.y == 1)[0])
    with pytest.raises(NotEnoughData, match="one case of class 1"):
        analyse(vandyke.kept(keep, ""))


@pytest.mark.parametrize("method", ["obuchowski-rockette", "u-statistics", "bootstrap"])
def test_ties_everywhere_give_a_half_and_no_interval(vandyke: Reads, method: str) -> None:
    rows = frame(vandyke).assign(score=3)
    study = analyse(arrange(rows), method=method)  # type: ignore[arg-type]
    assert [one.value for one in study.averages] == pytest.approx([0.5, 0.5])
    assert all(math.isnan(one.low) and "no interval" in str(one.note) for one in study.averages)
    assert any("one rating for every case" in note for note in study.notes)


def test_readers_who_never_use_part_of_the_scale_are_named(vandyke: Reads) -> None:
    assert "fewer than the 5 grades used: reader 2 in 1 (4)" in analyse(vandyke).notes


@pytest.mark.parametrize("merit", ["auroc", "auroc_binormal", "specificity"])
def test_missing_reads_are_refused_with_two_ways_out(vandyke: Reads, merit: str) -> None:
    reads = arrange(frame(vandyke).drop(index=[0, 7]), threshold=3)
    with pytest.raises(
        NotEnoughData, match=r"2 of \d+ reads are missing \(2 of .*u-statistics.*complete_cases"
    ):
        analyse(reads, merit=merit)
    study = analyse(reads, merit=merit, complete_cases=True)
    assert any(
        "were read by all readers in all modalities; the others were left out" in n for n in study.notes
    )
    assert study.averages[0].n == (112 if merit != "specificity" else 67)


def test_a_missing_read_of_a_negative_case_is_nothing_to_sensitivity(vandyke: Reads) -> None:
    rows = frame(vandyke)
    reads = arrange(rows.drop(index=rows.index[rows["y_true"] == 0][:3]), threshold=3)
    assert analyse(reads, merit="sensitivity").test == analyse(vandyke, merit="sensitivity").test


def test_nothing_left_of_complete_cases_is_refused(vandyke: Reads) -> None:
    rows = frame(vandyke)
    split = rows[(rows["case_id"].astype(int) % 2 == 0) == (rows["reader"].astype(int) < 3)]
    with pytest.raises(NotEnoughData, match=r"0 of 114 cases.*U-statistics"):
        analyse(arrange(split), complete_cases=True)


def test_negative_variance_components_are_kept_or_floored_and_said() -> None:
    """Readers who agree on averages but share nothing of their cases: independent noise."""
    rng = np.random.default_rng(11)
    reads = simulated(rng, reader_sd=0.0, modality_reader_sd=0.0)
    noise = np.random.default_rng(1).normal(size=reads.rating.shape) + 1.5 * reads.y
    reads = Reads(reads.modalities, reads.readers, reads.cases, reads.y, noise, reads.decision, reads.rows)
    study = analyse(reads)
    assert study.components is not None and study.test is not None
    assert study.components.cov2 < study.components.cov3
    assert study.test.denominator == study.components.ms_tr
    assert any("Cov2 - Cov3 is negative" in n and "taken as 0" in n for n in study.notes)
    fixed = analyse(reads, effects="fixed readers")
    parts = fixed.components
    assert parts is not None and fixed.test is not None
    assert fixed.test.denominator == pytest.approx(parts.var - parts.cov1 + 3 * (parts.cov2 - parts.cov3))
    assert any("Cov2 - Cov3 is negative" in n and "kept" in n for n in fixed.notes)
    assert parts.reader < 0 or parts.modality_reader < 0
    assert any("variance component" in n and "kept as estimated" in n for n in fixed.notes)


def test_a_variance_that_comes_out_negative_gives_no_interval() -> None:
    """Two readers whose figures go against each other: 1 + (J - 1) Cov2 below zero is refused, not turned."""
    theta = np.array([[0.8, 0.7], [0.7, 0.75]])
    cov = np.zeros((2, 2, 2, 2))
    for a in range(2):
        cov[a, :, a, :] = [[0.001, -0.002], [-0.002, 0.001]]
    found = anova.components(theta, cov)
    assert anova.denominator(found, 2, 2, "fixed readers")[0] == pytest.approx(-0.001)
    assert math.isnan(anova.global_test(found, 2, 2, "fixed readers").p)
    for one in (anova.difference(theta, found, 0, 1, "fixed readers", 0.95),
                anova.average(theta, cov, 0, "fixed readers", 0.95)):  # fmt: skip
        assert math.isnan(one.se) and math.isnan(one.low) and math.isnan(one.p)
    floored = anova.average(theta, cov, 0, "random", 0.95)
    assert floored.se == pytest.approx(math.sqrt(0.005 / 2)) and floored.df == 1


def test_fixed_readers_of_three_modalities_have_a_chi_square_of_two_degrees() -> None:
    """X2 = (I - 1) MS(T) / (Var - Cov1 + (J - 1)(Cov2 - Cov3)); with two modalities I - 1 would not show."""
    study = analyse(simulated(np.random.default_rng(1), modalities=3), effects="fixed readers")
    parts, test = study.components, study.test
    assert parts is not None and test is not None
    error = parts.var - parts.cov1 + 3 * (parts.cov2 - parts.cov3)
    assert test.statistic == pytest.approx(2 * parts.ms_t / error)
    assert test.p == pytest.approx(stats.chi2.sf(test.statistic, 2))
    assert str(test).startswith("chi-square(2) = ")


@pytest.mark.parametrize("table", [
    [[10, 0], [2, 8]],  # two categories: one operating point, three parameters
    [[10, 3, 0, 0], [0, 0, 5, 9]],  # no overlap
    [[10, 3, 2], [0, 4, 9]],  # one inner point, the other at a sensitivity of 1
    [[5], [7]],
    [[0, 0], [3, 4]],
])  # fmt: skip
def test_tables_that_determine_no_binormal_curve_have_none(table: list[list[int]]) -> None:
    assert fit(np.array(table, float)) is None


def test_readers_who_read_alike_in_both_modalities_leave_no_error_term(vandyke: Reads) -> None:
    rows = frame(vandyke)
    same = pd.concat([rows[rows["modality"] == "1"].assign(modality=m) for m in ("1", "2")])
    study = analyse(arrange(same))
    apart = study.differences[0]
    assert apart.difference == 0 and math.isnan(apart.low) and "no test" in str(apart.note)
    assert any("the error term is not positive" in note for note in study.notes)


def test_no_decision_is_said_to_be_missing() -> None:
    reads = simulated(np.random.default_rng(0))
    undecided = arrange(frame(reads))
    with pytest.raises(NotEnoughData, match="sensitivity needs a decision for each read"):
        analyse(undecided, merit="sensitivity")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"merit": "auc"}, "no figure of merit 'auc'"), ({"effects": "fixed"}, "effects is one of"),
        ({"method": "dbm"}, "method is one of"), ({"margin": -0.1}, "margin"),
        ({"merit": "sensitivity", "covariance": "delong"}, "is for the empirical AUC"),
        ({"method": "bootstrap", "covariance": "delong"}, "option of obuchowski-rockette"),
        ({"method": "u-statistics", "effects": "fixed readers"}, "use bootstrap"),
        ({"covariance": "sandwich"}, "no covariance 'sandwich'"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(vandyke: Reads, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        analyse(vandyke, **options)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 3))
def test_relabelling_and_another_scale_change_nothing(seed: int, readers: int, modalities: int) -> None:
    reads = simulated(
        np.random.default_rng(seed), readers=readers, modalities=modalities, negatives=8, positives=8
    )
    study = analyse(reads)
    order = np.random.default_rng(seed).permutation(16)
    other = Reads(
        reads.modalities, reads.readers[::-1], tuple(np.array(reads.cases)[order]), reads.y[order],
        np.exp(reads.rating[:, ::-1][..., order]), reads.decision, reads.rows,
    )  # fmt: skip
    again = analyse(other)
    for one, two in zip(study.differences, again.differences):
        assert (two.difference, two.low, two.high) == pytest.approx(
            (one.difference, one.low, one.high), abs=1e-9, nan_ok=True
        )
    for one in study.averages:
        assert 0 <= one.value <= 1 and (math.isnan(one.low) or one.low <= one.value <= one.high)
