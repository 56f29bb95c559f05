"""Cox regression and added value: as lifelines documents them, and what must hold."""

from __future__ import annotations

import math
import sys

import numpy as np
import pandas as pd
import pytest

from radfoundry.errors import InputMismatch, MissingExtra, NotEnoughData, TableError
from radfoundry.evaluate.survival import models as survival_models
from radfoundry.evaluate.survival.accuracy import compare_c
from radfoundry.evaluate.survival.models import Design, added_value, cox, likelihood_ratio
from tests._data import data_dir

pytest.importorskip("lifelines", reason="Cox models need lifelines (extra survival)")

ROSSI = ["fin", "age", "race", "wexp", "mar", "paro", "prio"]
# Remission in weeks of 42 children with leukaemia (Freireich et al., Blood 1963;21:699), 6-MP and placebo.
MP = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
MP_EVENT = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def rossi() -> pd.DataFrame:
    return pd.read_csv(data_dir("stats_references") / "lifelines_rossi.csv")


def leukaemia() -> pd.DataFrame:
    arm = [0] * 21 + [1] * 21
    return pd.DataFrame({"week": MP + PLACEBO, "relapse": MP_EVENT + [1] * 21, "placebo": arm})


def made(n: int = 300, effect: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Two scores, of which the second acts on the hazard with `effect`."""
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(2, n))
    time, lost = draw.exponential(np.exp(-a - effect * b)), draw.exponential(3.0, n)
    event = (time <= lost).astype(int)
    return pd.DataFrame({"time": np.minimum(time, lost), "event": event, "a": a, "b": b,
                         "group": np.where(a > 0, "high", "low")})  # fmt: skip


def test_rossi_as_lifelines_documents_it() -> None:
    """The example of its manual: coefficients, log-likelihood -658.75, likelihood ratio 33.27 on 7 df."""
    fit = cox(rossi(), ROSSI, time="week", event="arrest")
    documented = dict(zip(ROSSI, (-0.38, -0.06, 0.31, -0.15, -0.43, -0.08, 0.09)))
    assert fit.coefficients.to_dict() == pytest.approx(documented, abs=0.0051)
    assert fit.log_likelihood == pytest.approx(-658.75, abs=0.005) and (fit.n, fit.events) == (432, 114)
    assert (
        2 * (fit.log_likelihood - fit.log_likelihood_null) == pytest.approx(33.27, abs=0.005) and fit.df == 7
    )
    prior = next(e for e in fit.estimates if e.name == "hazard_ratio:prio")
    assert (prior.value, prior.low, prior.high) == pytest.approx((1.10, 1.04, 1.16), abs=0.005)


def test_the_check_of_rossi_is_the_documented_one() -> None:
    """proportional_hazard_test(..., time_transform="rank") in lifelines' manual: age and wexp change."""
    check = cox(rossi(), ROSSI, time="week", event="arrest").proportional
    documented = {
        "fin": 0.02,
        "age": 11.45,
        "race": 1.43,
        "wexp": 7.31,
        "mar": 0.71,
        "paro": 0.13,
        "prio": 0.02,
    }
    assert check["chi_square"].to_dict() == pytest.approx(documented, abs=0.006)
    assert check["p_holm"]["age"] == pytest.approx(7 * check["p"]["age"]) and check["p_holm"].max() <= 1
    said = str(cox(rossi(), ROSSI, time="week", event="arrest"))
    assert "age: the hazard ratio changes over time" in said and "fin: the" not in said


def test_leukaemia_as_r() -> None:
    """coxph with Efron's ties: coefficient 1.572, standard error 0.412 (Therneau and Grambsch)."""
    fit = cox(leukaemia(), ["placebo"], time="week", event="relapse")
    ratio = fit.estimates[0]
    assert fit.coefficients["placebo"] == pytest.approx(1.572, abs=0.001)
    assert math.log(ratio.high / ratio.low) / (2 * 1.959964) == pytest.approx(0.412, abs=0.001)


def test_risk_and_survival_are_those_of_lifelines() -> None:
    from lifelines import CoxPHFitter

    names = ["age", "prio", "fin"]
    fit = cox(rossi(), names, time="week", event="arrest")
    theirs = CoxPHFitter().fit(rossi()[[*names, "week", "arrest"]], "week", "arrest")
    assert fit.risk(rossi()) == pytest.approx(theirs.predict_log_partial_hazard(rossi()).to_numpy())
    survival = theirs.predict_survival_function(rossi(), times=[10, 52]).to_numpy().T
    assert fit.survival(rossi(), [10, 52]) == pytest.approx(survival)
    with pytest.raises(NotEnoughData, match="52 of follow-up at most"):
        fit.survival(rossi(), [60])


def test_categories_have_the_commonest_as_reference() -> None:
    table = pd.DataFrame({"eor": ["GTR", "STR", "GTR", "biopsy"], "age": [1.0, 2, 3, 4]})
    design = Design.of(table, ["age", "eor"])
    assert list(design.matrix(table)) == ["age", "eor=STR", "eor=biopsy"]
    with pytest.raises(TableError, match="'none' did not occur when the model was fitted"):
        design.matrix(table.assign(eor="none"))
    with pytest.raises(TableError, match="'age': 4 cases have no value"):
        design.matrix(table.assign(age=np.nan))


def test_strata_have_their_own_baseline() -> None:
    fit = cox(made(), ["b"], time="time", event="event", strata=["group"])
    assert fit.estimates[0].value == pytest.approx(math.e, rel=0.2)
    with pytest.raises(NotEnoughData, match="no single baseline"):
        fit.survival(made(), [1.0])


def test_rows_of_one_patient_do_not_narrow_the_interval() -> None:
    table = made()
    five = table.loc[np.repeat(table.index, 5)].assign(who=np.repeat(np.arange(len(table)), 5))
    one = cox(table, ["a"], time="time", event="event").estimates[0]
    many = cox(five, ["a"], time="time", event="event", patient="who").estimates[0]
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.25)
    assert "robust by patient" in many.method and many.n_clusters == 300 and many.n == 1500


def test_a_penalty_shrinks_and_says_so() -> None:
    free = cox(made(), ["a", "b"], time="time", event="event")
    held = cox(made(), ["a", "b"], time="time", event="event", penalty=1.0)
    assert (held.coefficients.abs() < free.coefficients.abs()).all() and held.proportional.empty
    assert "shrunken" in str(held.estimates[0].note)


def test_the_likelihood_ratio_is_of_nested_models() -> None:
    full = cox(rossi(), ROSSI, time="week", event="arrest")
    part = cox(rossi(), ROSSI[:3], time="week", event="arrest")
    found = likelihood_ratio(full, part)
    assert found.df == 4 and found.statistic == pytest.approx(2 * (full.log_likelihood - part.log_likelihood))
    with pytest.raises(InputMismatch, match="must hold every covariate"):
        likelihood_ratio(part, full)
    with pytest.raises(InputMismatch, match="432 and 400 cases"):
        likelihood_ratio(full, cox(rossi()[:400], ["age"], time="week", event="arrest"))


# --- added value --------------------------------------------------------------------------------------


def test_a_score_that_acts_adds_and_noise_does_not() -> None:
    table = made(300, 1.0)
    found = added_value(table["time"], table["event"], table["a"], table["b"], n_boot=300)
    assert found.test.p < 1e-6 and found.delta.low > 0 and found.hazard_ratio.low > 1
    noise = made(300, 0.0, seed=3)
    none = added_value(noise["time"], noise["event"], noise["a"], noise["b"], n_boot=300)
    assert none.test.p > 0.05 and none.delta.low < 0.005 and none.alone.high < 0
    assert "together - clinical" in str(none)
    assert "p < 0.0001" in str(found.test) and "p < 0.0001" in str(found.hazard_ratio.note)
    assert "= <" not in str(found.test) + str(found.hazard_ratio)


def test_noise_is_called_an_addition_about_as_often_as_it_should() -> None:
    called = 0
    for seed in range(20):
        table = made(60, 0.0, seed=seed)
        fits = [cox(table, names, time="time", event="event") for names in (["a", "b"], ["a"])]
        called += likelihood_ratio(*fits).p < 0.05
    assert called <= 5  # of 20, with one expected: six or more would have a chance below 0.001


def test_a_given_score_of_both_is_compared_as_it_is() -> None:
    table = made()
    both = table["a"] + table["b"]
    found = added_value(table["time"], table["event"], table["a"], table["b"], together=both, n_boot=200)
    plain = compare_c(table["time"], table["event"], both, table["a"])
    assert found.delta.difference == pytest.approx(plain.difference)


def test_weights_of_the_two_scores_come_from_other_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    table, seen = made(100), []
    fit = survival_models.cox

    def spy(rows: pd.DataFrame, *args, **kwargs):
        seen.append(set(rows["patient"]))
        return fit(rows, *args, **kwargs)

    monkeypatch.setattr(survival_models, "cox", spy)
    patient = np.repeat(np.arange(50), 2)
    found = added_value(table["time"], table["event"], table["a"], table["b"], patient, n_splits=5, n_boot=50)
    folds = [rows for rows in seen if len(rows) < 50]
    assert len(folds) == 5 and sum(50 - len(rows) for rows in folds) == 50
    assert "rows of one patient taken as independent" in str(found.test.note)


# --- bad input ----------------------------------------------------------------------------------------


def test_models_that_cannot_converge_say_why() -> None:
    table = made()
    with pytest.raises(
        NotEnoughData, match=r"did not converge: columns depend on each other, as a and twice"
    ):
        cox(table.assign(twice=2 * table["a"]), ["a", "twice"], time="time", event="event")
    apart = table.assign(perfect=table["event"].astype(float))
    with pytest.raises(NotEnoughData, match=r"perfect never varies among the .* cases with the event"):
        cox(apart, ["perfect"], time="time", event="event")
    with pytest.raises(NotEnoughData, match="'same' has one value in all 300 cases"):
        cox(table.assign(same=1.0), ["a", "same"], time="time", event="event")


def test_few_events_are_noted() -> None:
    few = made(60)
    few.loc[few.index[8:], "event"] = 0
    assert any("fewer than 10 each" in note for note in cox(few, ["a"], time="time", event="event").notes)


@pytest.mark.parametrize(
    ("changes", "covariates", "error", "words"),
    [
        ({"event": 0}, ["a"], NotEnoughData, "no event among 300"),
        ({"time": -1.0}, ["a"], InputMismatch, "not above zero"),
        ({"a": np.nan, "b": 1.0}, ["a"], NotEnoughData, "one value"),
        ({}, ["A"], TableError, "no column 'A'"),
        ({}, [], InputMismatch, "at least one covariate"),
    ],
)
def test_wrong_columns_are_refused(changes: dict, covariates: list, error, words: str) -> None:
    with pytest.raises(error, match=words):
        cox(made().assign(**changes), covariates, time="time", event="event")


def test_added_value_needs_two_scores_that_vary() -> None:
    table = made(60)
    with pytest.raises(NotEnoughData, match="the model score is constant"):
        added_value(table["time"], table["event"], table["a"], np.ones(60))
    with pytest.raises(InputMismatch, match="model has shape"):
        added_value(table["time"], table["event"], table["a"], table["b"][:-1])
    with pytest.raises(InputMismatch, match="clinical has 2 repeats"):
        added_value(table["time"], table["event"], table[["a", "b"]], table["b"])


def test_without_lifelines_the_command_to_install_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lifelines", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"radfoundry\[survival\]"):
        cox(made(40), ["a"], time="time", event="event")
