"""Sample sizes against published tables and other software, against simulation, and for impossible wishes.

Sources of the golden values stand beside them. pROC 1.18.0 and base R 4.2 were run for this file; the
other numbers are printed in the documentation or the tests of the packages named (pmsampsize, pmvalsampsize,
presize, pwrss, diagsampsi), or in the paper named.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.cli.main import main
from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.intervals import clopper_pearson, wilson
from radfoundry.plan import power, precision, riley
from radfoundry.plan.sample_size import (
    auc_precision,
    auc_se,
    compare_aucs,
    compare_paired_proportions,
    develop_model,
    r2_from_auc,
    r2_maximum,
    sens_spec_precision,
    simulate_auc,
    simulate_comparison,
    trade_off,
    validate_model,
)

# --- AUC ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auc", "positives", "negatives", "se", "within"),
    [
        (0.85, 40, 40, 0.0437, 5e-5),  # presize's test of prec_auc, after Hanley and McNeil 1982
        (0.85, 60, 60, 0.0356, 5e-5),  # the same
        (0.80, 50, 50, 0.044, 6e-4),  # S. Simon, childrensmercy.org 2004, by van Schalkwyk's calculator
        (0.80, 75, 75, 0.036, 6e-4),  # the same
    ],
)
def test_hanley_mcneil_se(auc: float, positives: int, negatives: int, se: float, within: float) -> None:
    assert auc_se(auc, positives, negatives) == pytest.approx(se, abs=within)


def test_binormal_moments_equal_proc_delong() -> None:
    """pROC 1.18.0: mean of var() and cov() (DeLong) over 200 samples of 1000 + 1000 binormal scores.

    AUCs .85 and .75, scores correlated by .5 in both classes; tests/golden/plan/delong.R made them.
    """
    golden = json.loads((Path(__file__).parents[1] / "golden/plan/delong.json").read_text(encoding="utf-8"))
    m = n = golden["per_class"]
    assert auc_se(0.85, m, n, "binormal") ** 2 == pytest.approx(golden["var_a"], rel=0.015)
    assert auc_se(0.75, m, n, "binormal") ** 2 == pytest.approx(golden["var_b"], rel=0.015)
    covariance = power.auc_covariance_binormal(0.85, 0.75, m, n, 0.5)
    assert covariance == pytest.approx(golden["cov"], rel=0.015)


def test_covariance_is_exact_in_tiny_samples() -> None:
    """Three positives and four negatives, 200,000 studies of the two empirical AUCs."""
    m, n, r, draws = 3, 4, 0.7, 200_000
    rng = np.random.default_rng(8)
    first = rng.normal(size=(draws, m + n))
    second = r * first + math.sqrt(1 - r * r) * rng.normal(size=(draws, m + n))
    found = []
    for scores, shift in ((first, 1.2), (second, 0.6)):
        found.append((scores[:, :m, None] + shift > scores[:, None, m:]).mean(axis=(1, 2)))
    a, b = (0.5 * (1 + math.erf(shift / 2)) for shift in (1.2, 0.6))
    expected = power.auc_covariance_binormal(a, b, m, n, r)
    assert np.cov(*found)[0, 1] == pytest.approx(expected, rel=0.02)
    assert found[0].std() == pytest.approx(auc_se(a, m, n, "binormal"), rel=0.01)


@pytest.mark.parametrize("scores", ["binormal", "negative-exponential"])
def test_simulation_agrees_with_the_formula_of_its_model(scores: str) -> None:
    model = {"binormal": "binormal", "negative-exponential": "hanley-mcneil"}[scores]
    simulated = simulate_auc(0.8, 20, 200, scores=scores, draws=800, seed=1)  # type: ignore[arg-type]
    assert simulated.sd == pytest.approx(auc_se(0.8, 20, 200, model), abs=4 * simulated.sd_error)  # type: ignore[arg-type]
    assert simulated.sd_error < 0.002
    other = {"binormal": "hanley-mcneil", "hanley-mcneil": "binormal"}[model]
    assert abs(simulated.sd - auc_se(0.8, 20, 200, other)) > 4 * simulated.sd_error  # type: ignore[arg-type]
    assert 0.88 < simulated.coverage < 0.96  # 20 positives: DeLong's interval is known to be a little short
    again = simulate_auc(0.8, 20, 200, scores=scores, draws=800, seed=1)  # type: ignore[arg-type]
    assert again == simulated


def test_simulated_coverage_is_nominal_with_enough_cases() -> None:
    simulated = simulate_auc(0.8, 150, 150, draws=600, seed=3)
    assert simulated.coverage == pytest.approx(0.95, abs=3 * simulated.coverage_error)
    assert simulated.width == pytest.approx(2 * 1.96 * auc_se(0.8, 150, 150, "binormal"), rel=0.02)


@given(
    auc=st.floats(0.52, 0.98),
    prevalence=st.floats(0.02, 0.98),
    width=st.floats(0.02, 0.4),
    model=st.sampled_from(["hanley-mcneil", "binormal"]),
)
@settings(max_examples=60, deadline=None)
def test_auc_n_is_the_smallest_that_reaches_the_width(
    auc: float, prevalence: float, width: float, model: str
) -> None:
    found = auc_precision(auc, prevalence, width=width, model=model)  # type: ignore[arg-type]
    reached = [
        2 * 1.959963985 * auc_se(auc, k * prevalence, k * (1 - prevalence), model)  # type: ignore[arg-type]
        for k in (found.n, found.n - 1)
    ]
    assert found.criteria[0].reached == pytest.approx(reached[0])
    assert reached[0] <= width + 1e-9
    assert found.n <= math.ceil(max(1 / prevalence, 1 / (1 - prevalence))) or reached[1] > width
    assert auc_precision(auc, prevalence, width=width / 2, model=model).n >= found.n  # type: ignore[arg-type]


# --- sensitivity and specificity ---------------------------------------------------------------------------


def test_buderer_1996() -> None:
    """Buderer's example, sensitivity .90, specificity .85, prevalence .20, +-.10: 173 and 62 screened.

    As the help of Stata's diagsampsi (Linden 2020) prints it. Whole positives come first here: 35 positives
    take 175 cases, where Buderer's 34.57 take 172.9.
    """
    found = sens_spec_precision(prevalence=0.2, sensitivity=0.9, specificity=0.85, width=0.2, interval="wald")
    needs = {c.name: c.needs for c in found.criteria}
    assert needs == {"interval of sensitivity": 175, "interval of specificity": 62}
    assert found.binding == "interval of sensitivity"


@pytest.mark.parametrize(("p", "half", "n"), [(0.90, 0.05, 139), (0.85, 0.07, 100)])
def test_buderer_positives(p: float, half: float, n: int) -> None:
    """Values an article on assurance of Buderer's n gives (its R script prints 139 and 100)."""
    assert precision.proportion_n(p, 2 * half, interval="wald") == n


@pytest.mark.parametrize("n", [1, 7, 40])
def test_expected_width_is_the_mean_over_the_intervals_of_evaluate(n: int) -> None:
    p = 0.83
    for kind, function in (("wilson", wilson), ("clopper-pearson", clopper_pearson)):
        total = sum(
            math.comb(n, k) * p**k * (1 - p) ** (n - k) * (function(k, n)[1] - function(k, n)[0])
            for k in range(n + 1)
        )
        assert precision.proportion_width(p, n, interval=kind) == pytest.approx(total, rel=1e-9)  # type: ignore[arg-type]


@given(
    p=st.floats(0.02, 0.98),
    width=st.floats(0.03, 0.4),
    interval=st.sampled_from(["wilson", "clopper-pearson", "wald"]),
)
@settings(max_examples=60, deadline=None)
def test_proportion_n_is_the_smallest(p: float, width: float, interval: str) -> None:
    n = precision.proportion_n(p, width, interval=interval)  # type: ignore[arg-type]
    assert precision.proportion_width(p, n, interval=interval) <= width  # type: ignore[arg-type]
    before = precision.proportion_width(p, n - 1, interval=interval)  # type: ignore[arg-type]
    assert n == 2 or before > width
    if interval == "clopper-pearson":  # conservative: never fewer than Wilson
        assert n >= precision.proportion_n(p, width)


def test_screening_gives_the_positives_promised() -> None:
    found = sens_spec_precision(prevalence=0.1, sensitivity=0.9, width=0.15)
    assert found.n == 10 * found.n_positive  # type: ignore[operator]
    need, sure = found.n_positive, precision.certain_screening(found.n_positive or 0, 0.1)
    rng = np.random.default_rng(0)
    reached = (rng.binomial(sure, 0.1, 20_000) >= need).mean()
    assert 0.89 < reached < 0.92
    assert (rng.binomial(found.n, 0.1, 20_000) >= need).mean() < 0.6  # why the note is printed


# --- developing a model ------------------------------------------------------------------------------------


def _needs(found) -> list[int]:
    return [c.needs for c in found.criteria]


def test_develop_as_documented_for_pmsampsize() -> None:
    """pmsampsize 1.1.3: R2 .288, 24 parameters, prevalence .174 give 623, 662 and 221.

    Version 1.0 rounded the second criterion's shrinkage to three digits and gave 668; its tests of the two
    other criteria stand.
    """
    assert _needs(develop_model(0.174, 24, r2=0.288, mape=None)) == [623, 662, 221]
    for prevalence, parameters, r2, first, third in [
        (0.174, 24, 0.55, 255, 221),
        (0.174, 36, 0.288, 934, 221),
        (0.25, 24, 0.288, 623, 289),
    ]:
        found = _needs(develop_model(prevalence, parameters, r2=r2, mape=None))
        assert (found[0], found[2]) == (first, third)


def test_develop_as_in_the_bmj() -> None:
    """Riley et al., BMJ 2020, pre-eclampsia: 30 parameters, prevalence .05, R2 .05: 5249 for shrinkage,
    544 for a mean error of .05; and 461 for 10 parameters at prevalence .3."""
    found = develop_model(0.05, 30, r2=0.05)
    assert (found.n, found.binding) == (5249, "shrinkage")
    assert _needs(found)[3] == 544
    assert _needs(develop_model(0.3, 10, r2=0.1))[3] == 461
    assert r2_maximum(0.05) == pytest.approx(0.33, abs=0.005)


@pytest.mark.parametrize(
    ("auc", "prevalence", "r2", "error"),
    [(0.78, 0.2, 0.1589681, 0.00038), (0.81, 0.77, 0.2119715, 0.00049), (0.8, 0.018, 0.02409601, 0.00019)],
)
def test_r2_from_auc_equals_r(auc: float, prevalence: float, r2: float, error: float) -> None:
    """R 4.2, glm of the simulation in Riley et al. 2021: mean of four runs of 500,000, and its error."""
    assert r2_from_auc(auc, prevalence) == pytest.approx(r2, abs=3 * error)


def test_develop_from_an_auc_is_near_the_simulation_of_pmsampsize() -> None:
    """pmsampsize 1.1.3, C .78, prevalence .2, 30 parameters: 1556, by one simulation of its R2 (.158)."""
    assert develop_model(0.2, 30, auc=0.78, mape=None).n == pytest.approx(1556, rel=0.01)


@given(
    prevalence=st.floats(0.02, 0.98),
    parameters=st.integers(1, 30),
    share_of_best=st.floats(0.05, 0.8),
    shrinkage=st.floats(0.85, 0.98),
)
@settings(max_examples=60, deadline=None)
def test_develop_n_is_the_smallest(
    prevalence: float, parameters: int, share_of_best: float, shrinkage: float
) -> None:
    ask = {"r2_nagelkerke": share_of_best, "shrinkage": shrinkage}
    if share_of_best * r2_maximum(prevalence) >= shrinkage:
        return
    found = develop_model(prevalence, parameters, **ask)  # type: ignore[arg-type]
    for criterion in found.criteria:
        at = {
            k: next(
                c.reached
                for c in develop_model(prevalence, parameters, n=k, **ask).criteria  # type: ignore[arg-type]
                if c.name == criterion.name
            )
            for k in (criterion.needs, criterion.needs - 1)  # type: ignore[operator]
            if k is not None and k >= 2
        }
        good = {
            k: v >= criterion.target - 1e-9 if criterion.symbol == "≥" else v <= criterion.target + 1e-9  # type: ignore[operator]
            for k, v in at.items()
        }
        assert good.pop(criterion.needs, True)
        assert not any(good.values())


# --- validating a model ------------------------------------------------------------------------------------


def test_validate_as_pmvalsampsize() -> None:
    """pmvalsampsize's tests (Python, simulation of a million): prevalence .018, C .8, O/E width 1.

    O/E 905 there: the SE is taken from steps of .0001 and misses the width by .0004; 906 is the smallest n.
    The slope is simulated there, integrated here.
    """
    normal = validate_model(0.018, 0.8, lp_normal=(-5, 2.5), oe_width=1)
    beta = validate_model(0.018, 0.8, risk_beta=(0.5, 0.5), oe_width=1)
    binormal = validate_model(0.018, 0.8, oe_width=1)
    assert _needs(normal) == [906, pytest.approx(4544, rel=0.005), 4252]
    assert _needs(beta) == [906, pytest.approx(1644, abs=2), 4252]
    assert _needs(binormal) == [906, pytest.approx(17080, rel=0.01), 4252]
    at = [c.reached for c in validate_model(0.018, 0.8, oe_width=1, n=905).criteria]
    assert 1 < at[0] < 1.0005


def test_validate_as_pmvalsampsize_second_example() -> None:
    """pmvalsampsize 0.1.0: prevalence .2, C .78, LP N(-1.75, 1.22): 2958, O/E 1538, C 511."""
    found = validate_model(0.2, 0.78, lp_normal=(-1.75, 1.22))
    assert _needs(found) == [pytest.approx(1538, rel=0.005), pytest.approx(2958, rel=0.005), 511]
    assert found.binding == "calibration slope"
    assert not any("implies" in note for note in found.notes)


def test_slope_variance_is_that_of_a_logistic_fit() -> None:
    """Against the spread of slopes fitted to simulated outcomes."""
    from radfoundry.evaluate.calibration import slope_intercept

    rng = np.random.default_rng(3)
    risk = riley._binormal(0.8, 0.3)
    n, slopes = 1500, []
    for _ in range(300):
        lp = rng.choice(risk.points, size=n, p=risk.weights)
        p = 1 / (1 + np.exp(-lp))
        slopes.append(slope_intercept((rng.random(n) < p).astype(int), p)[0].value)
    expected = math.sqrt(riley.slope_variance(risk) / n)
    assert np.std(slopes) == pytest.approx(expected, rel=4 / math.sqrt(2 * 300))


def test_net_benefit_variance_is_that_of_simulated_studies() -> None:
    """No published output was found for this criterion; the formula is checked by simulation alone."""
    prevalence, threshold, sensitivity, specificity, n = 0.2, 0.15, 0.8, 0.7, 4000
    rng = np.random.default_rng(5)
    positives = rng.binomial(n, prevalence, 20_000)
    true = rng.binomial(positives, sensitivity)
    false = rng.binomial(n - positives, 1 - specificity)
    benefit = (true - false * threshold / (1 - threshold)) / positives
    variance = riley.benefit_variance(prevalence, threshold, sensitivity, specificity) / n
    assert benefit.std() == pytest.approx(math.sqrt(variance), rel=0.03)


def test_threshold_rates_are_exact_for_normal_predictors() -> None:
    from scipy import stats

    sd = math.sqrt(2) * stats.norm.ppf(0.78)
    middle, cut = math.log(0.2 / 0.8), math.log(0.15 / 0.85)
    found = validate_model(0.2, 0.78, threshold=0.15).assumptions
    assert found["sensitivity"] == pytest.approx(stats.norm.sf(cut, middle + sd**2 / 2, sd), abs=1e-5)
    assert found["specificity"] == pytest.approx(stats.norm.cdf(cut, middle - sd**2 / 2, sd), abs=1e-5)


def test_incoherent_predictor_is_noted() -> None:
    found = validate_model(0.2, 0.78, lp_normal=(-0.5, 0.5))
    assert any("prevalence 0.38" in note and "AUC 0.63" in note for note in found.notes)
    assert found.n == pytest.approx(7644, rel=0.01)  # pmvalsampsize 0.1.0 for this pair


# --- comparing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paired", [True, False])
def test_power_formula_agrees_with_simulated_delong_tests(paired: bool) -> None:
    ask = compare_aucs(0.85, 0.75, 0.4, paired=paired, power=0.7)
    arms = 1 if paired else 2
    simulated = simulate_comparison(
        0.85, 0.75, ask.n_positive // arms, ask.n_negative // arms, paired=paired, draws=800, seed=2
    )
    assert simulated.power == pytest.approx(ask.criteria[0].reached, abs=0.02 + 3 * simulated.power_error)
    if paired:
        assert simulated.correlation == pytest.approx(power.auc_correlation(0.85, 0.75, 0.5), abs=0.08)


def test_delong_keeps_its_size() -> None:
    simulated = simulate_comparison(0.8, 0.8, 60, 60, draws=800, seed=4)
    assert simulated.power == pytest.approx(0.05, abs=4 * simulated.power_error)


def test_obuchowski_mcclish_asks_for_somewhat_more() -> None:
    """pROC 1.18.0, power.roc.test of binormal parameters (.85 against .75, correlation .5, power .8):
    99.2 cases and 99.2 controls. Their approximation is of rating data and larger by design."""
    ours = compare_aucs(0.85, 0.75, 0.5).n / 2
    assert 0.8 * 99.2 < ours < 99.2


def test_unpaired_with_hanley_mcneil_null() -> None:
    """[z sqrt(2 V1) + z sqrt(V1 + V2)]^2 / d^2 of Hanley and McNeil 1982, one-sided .05, large-sample V.

    The formula is the paper's; its table III was not at hand.
    """
    for b, power_, z_power in ((0.75, 0.8, 0.841621), (0.80, 0.9, 1.281552)):
        v = [q1 + q2 - 2 * a * a for a in (0.7, b) for q1, q2 in [precision.pair_probabilities(a)]]
        expected = (1.644854 * math.sqrt(2 * v[0]) + z_power * math.sqrt(sum(v))) ** 2 / (b - 0.7) ** 2
        found = compare_aucs(
            0.7, b, 0.5, paired=False, sides=1, power=power_, model="hanley-mcneil", equal_under_null=True
        )
        assert found.n / 4 == pytest.approx(expected, rel=0.01)


@given(a=st.floats(0.6, 0.95), gap=st.floats(0.03, 0.2), prevalence=st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None)
def test_correlated_scores_need_fewer_cases_than_two_groups(a: float, gap: float, prevalence: float) -> None:
    b = a - gap
    if b <= 0.52:
        return
    ns = [compare_aucs(a, b, prevalence, score_correlation=r).n for r in (0.0, 0.4, 0.8)]
    assert ns[0] >= ns[1] >= ns[2]
    assert compare_aucs(a, b, prevalence, paired=False).n >= ns[0]
    found = compare_aucs(a, b, prevalence)
    assert compare_aucs(a, b, prevalence, n=found.n).criteria[0].reached >= 0.8
    least = 2 * math.ceil(max(1 / prevalence, 1 / (1 - prevalence)))
    if found.n > least:
        assert compare_aucs(a, b, prevalence, n=found.n - 1).criteria[0].reached < 0.8


@pytest.mark.parametrize(
    ("n", "more", "less", "sides", "golden"),
    [
        (50, 0.32, 0.08, 1, 0.839357),  # pwrss 1.x tests, after example 5.3 of the G*Power manual (.839343)
        (100, 0.20, 0.10, 2, 0.373077084),  # pwrss tests
        (100, 0.20, 0.10, 1, 0.514606143),  # pwrss tests
        (249, 0.20, 0.10, 2, 0.801446921),  # pwrss tests
        (200, 0.20, 0.10, 1, 0.80298386),  # pwrss tests
    ],
)
def test_mcnemar_exact_power(n: int, more: float, less: float, sides: int, golden: float) -> None:
    assert power.mcnemar_power_exact(n, more, less, sides=sides)[0] == pytest.approx(golden, abs=1e-6)


def test_mcnemar_true_size_as_gpower() -> None:
    """G*Power manual, example 5.3: actual alpha .032578."""
    assert power.mcnemar_power_exact(50, 0.32, 0.08, sides=1)[1] == pytest.approx(0.032578, abs=2e-6)


def test_mcnemar_n_as_pwrss() -> None:
    """pwrss tests: discordant .20 and .10, power .8: 249 pairs."""
    assert compare_paired_proportions(0.6, 0.5, discordant=0.3).n == 249


def test_connor_power_as_pwrss() -> None:
    """pwrss tests, approximate: 500 pairs, .20 and .10: .98456731 two-sided, .993418 one-sided."""
    assert power.mcnemar_power_connor(500, 0.2, 0.1) == pytest.approx(0.98456731, abs=1e-7)
    assert power.mcnemar_power_connor(500, 0.2, 0.1, sides=1) == pytest.approx(0.993418, abs=1e-6)


@given(a=st.floats(0.55, 0.95), gap=st.floats(0.1, 0.3), extra=st.floats(0.0, 0.2))
@settings(max_examples=15, deadline=None)
def test_mcnemar_power_stays_once_reached(a: float, gap: float, extra: float) -> None:
    b = a - gap
    discordant = min(gap + extra, 2 - a - b, a + b)
    found = compare_paired_proportions(a, b, discordant=discordant)
    more, less = (discordant + gap) / 2, max((discordant - gap) / 2, 0.0)
    around = [power.mcnemar_power_exact(found.n + k, more, less)[0] for k in (-1, *range(40))]
    assert around[0] < 0.8 <= min(around[1:])
    approximate = compare_paired_proportions(a, b, discordant=discordant, test="approximate")
    assert power.mcnemar_power_connor(approximate.n, more, less) >= 0.8
    assert power.mcnemar_power_connor(approximate.n - 1, more, less) < 0.8


def test_mcnemar_n_waits_out_the_saw() -> None:
    """Every pair discordant, .65 against .35: power passes .8 at 90 pairs and falls below it until 97."""
    reached = [power.mcnemar_power_exact(n, 0.65, 0.35)[0] >= 0.8 for n in range(80, 140)]
    assert reached.index(True) + 80 == 90
    assert 139 - reached[::-1].index(False) + 1 == 97
    assert compare_paired_proportions(0.65, 0.35, discordant=1.0).n == 97


def test_sensitivities_are_paired_among_positives() -> None:
    alone = compare_paired_proportions(0.9, 0.8, discordant=0.18)
    screened = compare_paired_proportions(0.9, 0.8, discordant=0.18, prevalence=0.2)
    assert screened.n == 5 * alone.n
    assert screened.n_positive == alone.n
    assert alone.n_positive is None
    negatives = compare_paired_proportions(0.9, 0.8, discordant=0.18, prevalence=0.2, among="negatives")
    assert negatives.n == math.ceil(alone.n / 0.8)
    assert negatives.n_negative == alone.n
    assert screened.criteria[0].reached == alone.criteria[0].reached


# --- results, wishes that cannot be met, the command --------------------------------------------------------


def test_a_result_prints_itself_and_goes_to_json() -> None:
    found = validate_model(0.2, 0.78, threshold=0.15)
    text = str(found)
    assert "binding   calibration slope" in text
    assert f"needs {found.n} cases" in text
    assert all(c.name in text for c in found.criteria)
    assert max(len(line) for line in text.splitlines()) <= 110
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content["n"] == found.n
    assert content["binding"] == "calibration slope"
    assert content["criteria"][0]["needs"] == found.criteria[0].needs
    given_n = validate_model(0.2, 0.78, n=1000)
    assert given_n.binding is None
    assert "with 1000 cases" in str(given_n)
    met = {c.name: c.met for c in given_n.criteria}
    assert met == {"observed/expected": False, "calibration slope": False, "AUC": True}
    assert [line.endswith("not met") for line in str(given_n).splitlines()[4:7]] == [True, True, False]
    assert [c["met"] for c in given_n.as_dict()["criteria"]] == [False, False, True]
    assert all(c.met for c in found.criteria)
    assert compare_aucs(0.8, 0.7, 0.5, n=60).criteria[0].met is None


def test_trade_off_falls_with_n_and_passes_the_answer() -> None:
    found = auc_precision(0.8, 0.2, width=0.1)
    curve = trade_off(lambda n: auc_precision(0.8, 0.2, n=n), found.n)
    assert curve["reached"].is_monotonic_decreasing
    assert curve.loc[curve["n"] == found.n, "reached"].item() == found.criteria[0].reached
    assert curve["n"].min() < found.n / 7 < 3 * found.n < curve["n"].max()


BAD = {
    "AUC no better than chance": (lambda: auc_precision(0.5, 0.2, width=0.1), "no better than chance"),
    "AUC below chance": (lambda: auc_precision(0.3, 0.2, width=0.1), "no better than chance"),
    "AUC one": (lambda: auc_precision(1, 0.2, width=0.1), "below 1"),
    "AUC in percent": (lambda: auc_precision(80, 0.2, width=0.1), "is no AUC"),
    "AUC not a number": (lambda: auc_precision(math.nan, 0.2, width=0.1), "is no AUC"),
    "prevalence 0": (lambda: auc_precision(0.8, 0, width=0.1), "prevalence must lie between 0 and 1"),
    "prevalence 1": (lambda: develop_model(1, 5, auc=0.8), "prevalence must lie between 0 and 1"),
    "width 0": (lambda: auc_precision(0.8, 0.2, width=0), "width must lie between 0 and 1"),
    "width above 1": (lambda: auc_precision(0.8, 0.2, width=10), "plus or minus 0.05 give 0.1"),
    "neither width nor n": (lambda: auc_precision(0.8, 0.2), "exactly one of width and n, not neither"),
    "both": (lambda: auc_precision(0.8, 0.2, width=0.1, n=50), "exactly one of width and n, not both"),
    "n without a positive": (lambda: auc_precision(0.8, 0.01, n=20), "Give at least 100"),
    "level 95": (lambda: auc_precision(0.8, 0.2, width=0.1, level=95), "For 95 % give 0.95"),
    "no rate": (lambda: sens_spec_precision(prevalence=0.2, width=0.1), "sensitivity or the specificity"),
    "sensitivity 1": (lambda: sens_spec_precision(prevalence=0.2, sensitivity=1, width=0.1), "try 0.99"),
    "R2 above its maximum": (lambda: develop_model(0.05, 10, r2=0.5), "below 0.3277, the largest possible"),
    "R2 and AUC": (lambda: develop_model(0.05, 10, r2=0.1, auc=0.8), "by one of"),
    "no R2": (lambda: develop_model(0.05, 10), "by one of"),
    "no parameters": (lambda: develop_model(0.05, 0, auc=0.8), "parameters must be a whole number"),
    "shrinkage below R2": (lambda: develop_model(0.5, 5, r2=0.7, shrinkage=0.6), "below the shrinkage"),
    "two predictors": (
        lambda: validate_model(0.2, 0.8, lp_normal=(0, 1), risk_beta=(1, 1)),
        "not both",
    ),
    "SD 0": (lambda: validate_model(0.2, 0.8, lp_normal=(0, 0)), "SD above 0"),
    "beta below 0": (lambda: validate_model(0.2, 0.8, risk_beta=(-1, 1)), "two numbers above 0"),
    "threshold in percent": (lambda: validate_model(0.2, 0.8, threshold=15), "It is a risk"),
    "half of the rates": (
        lambda: validate_model(0.2, 0.8, threshold=0.1, sensitivity=0.8),
        "both sensitivity and specificity",
    ),
    "rates without threshold": (
        lambda: validate_model(0.2, 0.8, sensitivity=0.8, specificity=0.8),
        "give the risk threshold too",
    ),
    "no difference": (lambda: compare_aucs(0.8, 0.8, 0.5), "no difference to find"),
    "correlation 1": (lambda: compare_aucs(0.8, 0.7, 0.5, score_correlation=1), "between -1 and 1"),
    "correlation not a number": (
        lambda: compare_aucs(0.8, 0.7, 0.5, score_correlation=math.nan),
        "between -1 and 1",
    ),
    "seed below 0": (lambda: simulate_auc(0.8, 20, 20, draws=100, seed=-1), "seed must lie between 0"),
    "seed of a comparison below 0": (
        lambda: simulate_comparison(0.8, 0.7, 20, 20, draws=100, seed=-1),
        "seed must lie between 0",
    ),
    "power below alpha": (lambda: compare_aucs(0.8, 0.7, 0.5, power=0.04), "must lie above alpha"),
    "discordant too rare": (
        lambda: compare_paired_proportions(0.9, 0.8, discordant=0.05),
        "between 0.1 and 0.3",
    ),
    "same shares": (lambda: compare_paired_proportions(0.9, 0.9), "no difference to find"),
    "few draws": (lambda: simulate_auc(0.8, 20, 20, draws=10), "1000 is usual"),
    "one positive": (lambda: simulate_auc(0.8, 1, 20), "positives must be a whole number"),
}


@pytest.mark.parametrize("wish", BAD)
def test_impossible_values_are_refused_with_a_reason(wish: str) -> None:
    ask, words = BAD[wish]
    with pytest.raises(InputError) as error:
        ask()
    assert words in str(error.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: auc_precision(0.6, 0.5, width=1e-4),
        lambda: sens_spec_precision(prevalence=0.5, specificity=0.5, width=1e-4),
        lambda: compare_aucs(0.8, 0.79999, 0.5),
        lambda: validate_model(0.001, 0.8, slope_width=0.001),
        lambda: develop_model(0.5, 5000, r2=0.001),
    ],
)
def test_what_no_number_of_cases_reaches_is_said(ask) -> None:
    with pytest.raises(NotEnoughData, match="10,000,000 cases"):
        ask()


def test_more_than_thirty_parameters_drop_the_error_of_risks() -> None:
    found = develop_model(0.2, 31, auc=0.8)
    assert "error of risks" not in {c.name for c in found.criteria}
    assert any("30 parameters" in note for note in found.notes)


COMMANDS = {
    "auc": ["--auc", "0.8", "--prevalence", "0.2", "--width", "0.1"],
    "sens-spec": ["--sensitivity", "0.9", "--specificity", "0.8", "--prevalence", "0.2", "--width", "0.1"],
    "develop": ["--prevalence", "0.2", "--parameters", "10", "--auc", "0.8"],
    "validate": ["--prevalence", "0.2", "--auc", "0.8", "--threshold", "0.1"],
    "compare-auc": ["--auc-a", "0.85", "--auc-b", "0.8", "--prevalence", "0.2"],
    "mcnemar": ["--share-a", "0.9", "--share-b", "0.8"],
}


@pytest.mark.parametrize("question", COMMANDS)
def test_command_prints_json_and_writes_table_and_plot(
    question: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "sample-size", question, *COMMANDS[question]]
    out = tmp_path / "plan"
    assert main([*words, "--json", "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "sample_size.json").read_text(encoding="utf-8"))
    assert sorted(p.name for p in out.iterdir()) == [
        f"sample_size.{e}" for e in ("csv", "json", "png", "svg")
    ]
    assert main([*words, "--out", str(tmp_path / "t.csv")]) == 0
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == (out / "sample_size.csv").read_text(
        encoding="utf-8"
    )
    text = capsys.readouterr().out
    assert f"needs {printed['n']} cases" in text
    assert main([*words[:3], *_without_width(COMMANDS[question]), "--n", str(printed["n"]), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [c["reached"] for c in again["criteria"]] == [c["reached"] for c in printed["criteria"]]


def _without_width(words: list[str]) -> list[str]:
    return words[: words.index("--width")] if "--width" in words else words


@pytest.mark.parametrize("question", ["auc", "compare-auc"])
def test_command_simulates_with_a_seed(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "sample-size", question, *COMMANDS[question], "--simulate", "100", "--json", "--seed"]
    found = []
    for seed in ("1", "1", "2"):
        assert main([*words, seed]) == 0
        found.append(json.loads(capsys.readouterr().out)["simulation"])
    assert found[0] == found[1] != found[2]
    assert found[0]["draws"] == 100


def test_command_refuses_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan"
    words = ["plan", "sample-size", "auc", "--auc", "0.5", "--prevalence", "0.2", "--width", "0.1"]
    assert main([*words, "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: auc 0.5 is no better than chance")
    assert not captured.out
    assert not out.exists()


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "sample-size.md"
SHOWN = [
    (block[1], block[2])
    for text in re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    for block in re.finditer(r"^\$ radfoundry (.*)\n((?:(?!\$ ).*\n)*)", text, re.M)
]


@pytest.mark.parametrize(("command", "printed"), SHOWN, ids=[command for command, _ in SHOWN])
def test_the_page_shows_what_the_commands_print(
    command: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command.split())
    captured = capsys.readouterr()
    assert (captured.out or captured.err).strip() == printed.strip()


def test_the_page_shows_every_question() -> None:
    assert {command.split()[2] for command, _ in SHOWN} == set(COMMANDS)
