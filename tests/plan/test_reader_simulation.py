"""Simulated reader studies: the model has what it says, and the power formula keeps what it promises.

Golden: the Obuchowski-Rockette table that MRMCaov's vignette prints for Van Dyke's data (DeLong).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests._data import data_dir

from radfoundry.datasets.simulated_readers import RoeMetz, graded, simulate_ratings
from radfoundry.errors import InputError
from radfoundry.evaluate.intervals import auc_covariance, placements
from radfoundry.evaluate.readers import anova as reader_anova
from radfoundry.plan.precision import auc_se
from radfoundry.plan.reader_power import VAN_DYKE, Components
from radfoundry.plan.reader_simulation import (
    check_power,
    components_of,
    empirical_aucs,
    fit_model,
    null_of,
    or_covariances,
    or_p_values,
)

MODEL = RoeMetz((0.80, 0.86), reader=0.05, modality_reader=0.02, spread=1.3)


# --- the model ---


@given(
    st.floats(0.55, 0.95), st.floats(0.55, 0.95), st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0.5, 2),
    st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_mean_auc_is_the_one_asked_for(
    a: float, b: float, reader: float, modality_reader: float, spread: float, seed: int
) -> None:
    model = RoeMetz((a, b), reader=reader, modality_reader=modality_reader, spread=spread)
    ratings = simulate_ratings(np.random.default_rng(seed), 400, model, 3, 20, 20)
    aucs = empirical_aucs(ratings, 20)[0].mean(axis=2)  # (400, 2)
    error = aucs.std(axis=0) / 20
    assert np.all(np.abs(aucs.mean(axis=0) - [a, b]) < 4.5 * error)


def test_variances_and_correlations_of_the_ratings_are_as_asked() -> None:
    rng = np.random.default_rng(4)
    ratings = simulate_ratings(rng, 30_000, MODEL, 2, 1, 2)  # one positive, two negatives
    x = ratings.reshape(len(ratings), -1)  # columns: modality, reader, case
    got = np.cov(x.T).reshape(2, 2, 3, 2, 2, 3)
    m, q = MODEL, MODEL.spread**2

    def close(found: float, wanted: float) -> bool:
        return found == pytest.approx(wanted, abs=0.03)

    whole = m.reader + m.modality_reader
    assert close(got[0, 0, 1, 0, 0, 1], whole + m.of_cases)  # a negative
    assert close(got[0, 0, 0, 0, 0, 0], whole + q * m.of_cases)  # a positive
    assert close(got[0, 0, 1, 1, 0, 1], m.reader + m.case + m.reader_case)  # other modality
    assert close(got[0, 0, 1, 0, 1, 1], m.case + m.modality_case)  # other reader
    assert close(got[0, 0, 1, 1, 1, 1], m.case)  # both other
    assert close(got[0, 0, 1, 0, 0, 2], whole)  # other case
    assert close(got[0, 0, 1, 0, 0, 0], 0.0)  # truths share nothing
    means = x.mean(axis=0).reshape(2, 2, 3)
    assert means[:, :, 0] == pytest.approx(np.repeat(m.means[:, None], 2, axis=1), abs=0.03)
    assert means[:, :, 1:] == pytest.approx(np.zeros((2, 2, 2)), abs=0.03)


def test_without_readers_the_error_variance_is_that_of_a_binormal_auc() -> None:
    model = RoeMetz((0.8, 0.8), reader=0, modality_reader=0)
    found = components_of(model, 30, 50)
    assert found.error == pytest.approx(auc_se(0.8, 30, 50, "binormal") ** 2, rel=1e-4)
    assert found.var_reader == pytest.approx(0, abs=1e-9)
    assert found.var_treatment_reader == pytest.approx(0, abs=1e-9)


def test_components_are_those_that_simulated_studies_have() -> None:
    m, n, readers, replicates = 15, 25, 4, 8000
    ratings = simulate_ratings(np.random.default_rng(1), replicates, MODEL, readers, m, n)
    aucs, above, below = empirical_aucs(ratings, m)
    exact = components_of(MODEL, m, n)
    wanted = np.array([exact.error, exact.cov1, exact.cov2, exact.cov3])
    delong = or_covariances(above, below).mean(axis=0)
    assert delong == pytest.approx(wanted, rel=0.08)  # DeLong is a little high in small samples
    assert (delong >= 0.98 * wanted).all()
    cov = np.cov(aucs.reshape(replicates, -1).T).reshape(2, readers, 2, readers)
    own = np.mean([cov[i, j, i, j] for i in (0, 1) for j in range(readers)])
    other = np.mean([cov[0, j, 1, j] for j in range(readers)])
    assert own == pytest.approx(exact.error + exact.var_reader + exact.var_treatment_reader, rel=0.05)
    assert other == pytest.approx(exact.cov1 + exact.var_reader, rel=0.06)


def test_a_model_is_found_for_published_components() -> None:
    model = fit_model(VAN_DYKE, (0.897, 0.941))
    found = components_of(model, VAN_DYKE.positives, VAN_DYKE.negatives)
    assert found.var_treatment_reader == pytest.approx(VAN_DYKE.var_treatment_reader, rel=1e-3)
    assert found.var_reader == pytest.approx(VAN_DYKE.var_reader, rel=1e-3)
    for name in ("cov1", "cov2", "cov3"):
        wanted = getattr(VAN_DYKE, name) / VAN_DYKE.error
        assert getattr(found, name) / found.error == pytest.approx(wanted, rel=1e-3)
    odd = Components(0.0002, 0.0008, 0.0001, 0.0001, 0.0007, 45, 69, var_reader=0.001)
    with pytest.raises(InputError, match="no Roe and Metz model"):
        fit_model(odd, (0.85, 0.9))


def test_grades_keep_the_order_of_the_ratings_and_use_the_scale() -> None:
    ratings = simulate_ratings(np.random.default_rng(0), 5, MODEL, 3, 40, 60)
    grades = graded(ratings, MODEL, 5)
    assert set(np.unique(grades)) == {1, 2, 3, 4, 5}
    order = np.argsort(ratings, axis=-1)
    assert (np.diff(np.take_along_axis(grades, order, axis=-1), axis=-1) >= 0).all()


def test_the_same_seed_gives_the_same_study() -> None:
    first, second, third = (
        simulate_ratings(np.random.default_rng(s), 2, MODEL, 3, 5, 6, levels=6) for s in (1, 1, 2)
    )
    assert (first == second).all() and (first != third).any()
    assert first.shape == (2, 2, 3, 11)


# --- the analysis ---


def van_dyke() -> tuple[np.ndarray, int]:
    """Ratings (1, 2, 5, 114), positives first."""
    table = pd.read_csv(data_dir("reader_studies", "VanDyke.csv"))
    table = table.sort_values(["truth", "case"], ascending=[False, True])
    ratings = np.array(
        [[table[(table.treatment == i) & (table.reader == j)].rating for j in range(1, 6)] for i in (1, 2)]
    )
    return ratings[None].astype(float), 45


def test_the_analysis_reproduces_van_dyke() -> None:
    ratings, positives = van_dyke()
    aucs, above, below = empirical_aucs(ratings, positives)
    covariances = or_covariances(above, below)
    assert covariances[0] == pytest.approx(
        [0.0007921325, 0.0003420090, 0.0003395265, 0.0002358497], abs=5e-11
    )
    assert aucs.mean(axis=2)[0] == pytest.approx([0.8970370, 0.9408374], abs=5e-8)
    p = or_p_values(aucs[:, None], covariances[:, None])
    assert p[0] == pytest.approx(0.05123303, abs=5e-9)
    fixed = or_p_values(aucs[:, None], covariances[:, None], random="readers")
    assert fixed[0] == pytest.approx(0.04195875, abs=5e-9)


@pytest.mark.parametrize(
    ("random", "effects"),
    [("readers and cases", "random"), ("cases", "fixed readers"), ("readers", "fixed cases")],
)
def test_the_analysis_equals_that_of_evaluate(random: Any, effects: Any) -> None:
    m, n, readers = 20, 30, 4
    ratings = simulate_ratings(np.random.default_rng(7), 6, MODEL, readers, m, n, levels=5)
    aucs, above, below = empirical_aucs(ratings, m)
    p = or_p_values(aucs[:, None], or_covariances(above, below)[:, None], random=random)
    y = np.r_[np.ones(m, int), np.zeros(n, int)]
    for one, theta, mine in zip(ratings, aucs, p, strict=True):
        parts = np.array([placements(y, row) for row in one.reshape(-1, m + n)])
        cov = auc_covariance(y, parts).reshape(2, readers, 2, readers)
        found = reader_anova.components(theta, cov)
        assert mine == pytest.approx(reader_anova.global_test(found, 2, readers, effects).p, rel=1e-9)


def test_constant_ratings_find_nothing() -> None:
    aucs, above, below = empirical_aucs(np.ones((1, 2, 3, 10)), 4)
    assert (aucs == 0.5).all()
    p = or_p_values(aucs[:, None], or_covariances(above, below)[:, None])
    assert p[0] == 1


# --- power ---


@pytest.mark.parametrize("groups", [1, 2])
def test_the_size_of_the_test_is_near_nominal(groups: int) -> None:
    found = check_power(
        null_of(MODEL), 6 if groups == 1 else 8, 40, 40, groups=groups, replicates=800, seed=5
    )
    assert math.isnan(found.predicted)
    assert 0.025 < found.power < 0.08  # four Monte-Carlo errors about 0.05, less below


def test_the_size_with_fixed_readers_is_near_nominal_though_readers_differ() -> None:
    model = RoeMetz((0.8, 0.8), reader=0.1, modality_reader=0.1)
    found = check_power(model, 6, 40, 40, random="cases", replicates=800, seed=6)
    assert 0.025 < found.power < 0.08


def test_a_model_of_ratings_has_no_sensitivity() -> None:
    with pytest.raises(InputError, match="not of sensitivity"):
        fit_model(replace(VAN_DYKE, merit="sensitivity"), (0.85, 0.9))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"groups": 2},
        {"random": "cases", "model": RoeMetz((0.80, 0.86), modality_reader=0)},
        {"margin": 0.05, "model": RoeMetz((0.84, 0.86))},
    ],
    ids=["crossed", "split-plot", "fixed readers", "margin"],
)
def test_simulated_power_is_what_the_formula_predicts(options: dict[str, Any]) -> None:
    model = options.pop("model", MODEL)
    found = check_power(model, 8, 40, 60, replicates=800, seed=2, **options)
    assert 0.2 < found.predicted < 0.98
    assert found.power == pytest.approx(found.predicted, abs=4 * found.power_error)
    assert found.mean_difference == pytest.approx(found.difference, abs=0.006)


def test_a_difference_at_the_margin_is_rarely_called_not_worse() -> None:
    found = check_power(RoeMetz((0.86, 0.81)), 6, 40, 60, margin=0.0500001, replicates=800, seed=3)
    assert found.power < 0.05
    assert found.predicted == pytest.approx(0.025, abs=1e-3)


def test_a_result_prints_and_becomes_json() -> None:
    found = check_power(null_of(MODEL), 4, 20, 20, levels=5, replicates=100)
    assert "size" in str(found) and "ratings of 5 grades" in str(found)
    assert found.as_dict()["predicted"] is None
    assert found == check_power(null_of(MODEL), 4, 20, 20, levels=5, replicates=100)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"auc": (1.0, 0.8)}, "between 0 and 1"),
        ({"auc": ()}, "one modality"),
        ({"reader": -0.1}, "variance"),
        ({"error": 0.0}, "above 0"),
        ({"spread": 0.0}, "spread"),
    ],
)
def test_impossible_models_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        RoeMetz(**{"auc": (0.8, 0.9)} | wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"readers": 5, "groups": 2}, "readers do not make 2"),
        ({"positives": 1}, "positives do not make"),
        ({"replicates": 10}, "draws"),
        ({"model": RoeMetz((0.8, 0.8, 0.9))}, "two modalities"),
        ({"levels": 1}, "levels"),
    ],
)
def test_impossible_studies_are_refused(wrong: dict[str, Any], words: str) -> None:
    plan = {"model": MODEL, "readers": 4, "positives": 10, "negatives": 10, "replicates": 100} | wrong
    with pytest.raises(InputError, match=words):
        check_power(**plan)
