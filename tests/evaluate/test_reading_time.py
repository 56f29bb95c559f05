"""Reading times against lme4 and statsmodels, against a simulation with known effects, and bad clocks."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from radfoundry.errors import NotEnoughData, TableError
from radfoundry.evaluate.readers import reading_time as module
from radfoundry.evaluate.readers.reading_time import by_order, carry_over, crossed, reading_time, times
from radfoundry.evaluate.readers.reads import arrange

# Davies and Goldsmith 1972, section 6.6: zones of inhibition (mm) of 24 plates by 6 penicillin samples.
PENICILLIN = np.array([
    [27, 23, 26, 23, 23, 21], [27, 23, 26, 23, 23, 21], [25, 21, 25, 24, 24, 20], [26, 23, 25, 23, 23, 20],
    [25, 22, 26, 22, 23, 20], [24, 22, 25, 23, 22, 19], [24, 20, 23, 21, 22, 19], [26, 22, 26, 24, 24, 21],
    [24, 21, 24, 22, 22, 20], [24, 21, 24, 23, 22, 19], [26, 23, 26, 24, 24, 21], [25, 22, 26, 24, 24, 20],
    [26, 24, 26, 24, 25, 22], [26, 23, 26, 23, 23, 20], [26, 23, 25, 24, 24, 22], [25, 22, 25, 23, 23, 20],
    [25, 21, 24, 23, 23, 20], [25, 22, 24, 23, 23, 19], [24, 21, 23, 21, 21, 19], [26, 23, 26, 24, 24, 21],
    [25, 21, 24, 22, 22, 18], [25, 22, 25, 22, 22, 20], [24, 21, 24, 22, 24, 19], [24, 21, 24, 22, 21, 18],
])  # fmt: skip


def simulate(
    rng: np.random.Generator, *, readers: int = 12, n: int = 40, ratio: float = 0.6, learning: float = -0.02,
    session: float = 0.9, carry: float = 1.0, sequences: int = 2,
) -> pd.DataFrame:  # fmt: skip
    """A crossover with washout: SDs of log seconds: reader 0.3, case 0.3, both modalities 0.1, rest 0.4."""
    shape = np.meshgrid(np.arange(readers), [0, 1], np.arange(n), indexing="ij")
    reader, aided, case = (a.ravel() for a in shape)
    second = np.where(reader % sequences == 0, aided, 1 - aided)
    order = np.concatenate([rng.permutation(n) + 1 for _ in range(2 * readers)])
    log = 4 + rng.normal(0, 0.3, readers)[reader] + rng.normal(0, 0.3, n)[case]
    log += rng.normal(0, 0.1, (readers, 2))[reader, aided] + rng.normal(0, 0.4, len(reader))
    log += np.log(ratio) * aided + np.log(session) * second + learning * order / 10
    log += np.log(carry) * second * (1 - aided)
    return pd.DataFrame({
        "reader": [f"r{i}" for i in reader], "case_id": [f"c{i}" for i in case], "session": second + 1,
        "modality": np.array(["unaided", "aided"])[aided], "order": order, "seconds": np.exp(log),
    })  # fmt: skip


NAMES = ["unaided", "aided"]


def of(found, name: str):
    return next(e for e in found if e.name == name)


def test_penicillin_of_lme4() -> None:
    """lmer(diameter ~ 1 + (1 | plate) + (1 | sample)): SD 0.8467, 1.9316, 0.5499, REML 330.8606; 22.9722."""
    plate, sample = (a.ravel() for a in np.indices(PENICILLIN.shape))
    fit = crossed(PENICILLIN.ravel().astype(float), np.ones((144, 1)), [plate, sample])
    assert fit.sd == pytest.approx([0.8467, 1.9316, 0.5499], abs=6e-5)
    assert fit.criterion == pytest.approx(330.8606, abs=6e-5)
    assert fit.beta[0] == pytest.approx(22.9722, abs=5e-5) and fit.converged
    assert math.sqrt(fit.covariance[0, 0]) == pytest.approx(0.8086, abs=2e-4)


def test_the_mixed_model_is_that_of_statsmodels() -> None:
    reads, _ = times(simulate(np.random.default_rng(0), readers=6, n=25))
    reads = reads.sample(frac=0.9, random_state=0).reset_index(drop=True)
    design, columns, notes = module._design(reads, NAMES)
    assert columns == ["intercept", "modality aided", "session 2", "order"] and notes == []
    groups = [module._codes(reads, c) for c in (["reader"], ["case_id"], ["reader", "modality"])]
    fit = crossed(reads["log"].to_numpy(), design, groups)
    hot = [np.eye(g.max() + 1)[g] for g in groups]
    names = ["reader", "case", "cell"]
    spec = VCSpec(names, [[[str(i) for i in range(h.shape[1])]] for h in hot], [[h] for h in hot])
    other = MixedLM(reads["log"], design, groups=np.zeros(len(reads)), exog_vc=spec).fit(reml=True)
    assert fit.beta == pytest.approx(other.fe_params, abs=1e-4)
    assert np.sqrt(np.diag(fit.covariance)) == pytest.approx(other.bse_fe.to_numpy(), rel=2e-3)
    assert fit.sd == pytest.approx([*np.sqrt(other.vcomp), math.sqrt(other.scale)], abs=2e-3)
    assert fit.criterion <= -2 * other.llf + 1e-4


def test_known_effects_are_found_and_their_intervals_are_honest() -> None:
    rng = np.random.default_rng(1)
    hits = np.zeros(5)
    for _ in range(40):
        found = reading_time(simulate(rng, readers=8, n=20), modalities=NAMES)
        truth = {
            "learning_percent_per_10_cases": 100 * math.expm1(-0.02), "session_ratio": 0.9, "carry_over": 1,
            "time_ratio": 0.6,
        }  # fmt: skip
        rows = [*found.crossover[::2], *found.terms[:2]]
        hits[:4] += [e.low <= truth[e.name] <= e.high for e in rows]
        hits[4] += found.ratios[0].low <= 0.6 <= found.ratios[0].high
    assert (hits >= 34).all()


def test_twenty_readers_of_125_cases_take_seconds() -> None:
    table = simulate(np.random.default_rng(2), readers=20, n=125)
    start = time.perf_counter()
    found = reading_time(table, modalities=NAMES)
    assert time.perf_counter() - start < 5
    ratio = found.ratios[0]
    assert (ratio.modality_a, ratio.modality_b, ratio.n, ratio.readers) == ("aided", "unaided", 5000, 20)
    assert ratio.low < 0.6 < ratio.high and ratio.p < 1e-6 and found.converged
    own, signed = found.by_reader
    assert own.value == pytest.approx(ratio.value, rel=0.02) and signed.p == pytest.approx(2 / 2**20, rel=0.1)
    assert len(found.readers) == 40 and found.readers["n"].eq(125).all()


def test_the_readers_own_ratios_are_paired_t_and_wilcoxon_of_scipy() -> None:
    table = simulate(np.random.default_rng(3), readers=7, n=15)
    found = reading_time(table, modalities=NAMES)
    logs = table.assign(log=np.log(table["seconds"])).groupby(["reader", "modality"])["log"].mean().unstack()
    test = stats.ttest_rel(logs["aided"], logs["unaided"])
    own, signed = found.by_reader
    assert own.value == pytest.approx(math.exp((logs["aided"] - logs["unaided"]).mean()))
    assert own.p == pytest.approx(test.pvalue)
    assert (own.low, own.high) == pytest.approx(np.exp(test.confidence_interval()))
    assert signed.p == pytest.approx(stats.wilcoxon(logs["aided"] - logs["unaided"]).pvalue)


def test_the_sequence_effect_is_a_t_test_between_the_two_groups_of_readers() -> None:
    table = simulate(np.random.default_rng(4), readers=10, n=30, carry=0.7)
    reads, _ = times(table)
    found, notes = carry_over(reads, NAMES)
    logs = reads.groupby(["reader", "session"])["log"].mean().unstack().sum(axis=1)
    late = reads[(reads["session"] == 2) & (reads["modality"] == "unaided")]["reader"].unique()
    second = logs.index.isin(late)
    test = stats.ttest_ind(logs[second], logs[~second])
    one = of(found, "carry_over")
    assert one.value == pytest.approx(math.exp(logs[second].mean() - logs[~second].mean()))
    assert (one.low, one.high) == pytest.approx(np.exp(test.confidence_interval()))
    assert notes == [] and of(found, "time_ratio").model == "aided over unaided"


@pytest.mark.parametrize("shared", [False, True])
def test_carry_over_within_readers_who_mix_the_modalities_in_a_session(shared: bool) -> None:
    """Half of the cases are aided in the first session: other cases for each reader, or the same for all.
    Then the effect is one between cases too, and the interval is wider."""
    rng = np.random.default_rng(5)
    table = simulate(rng, readers=10, n=60)
    aided = (table["modality"] == "aided").to_numpy()
    reader = table["reader"].str[1:].astype(int).to_numpy() * (0 if shared else 1)
    first = (rng.random((10, 60)) < 0.5)[reader, table["case_id"].str[1:].astype(int)]
    table["session"] = np.where(first, ~aided, aided) + 1
    late = (table["session"] == 2) & ~aided
    table.loc[late, "seconds"] *= 0.5  # what was learnt from the aid stays
    (one,), notes = carry_over(times(table)[0], NAMES)
    assert one.low < 0.5 < one.high < 1 and "within readers" in one.method and notes == []
    assert (math.log(one.high / one.low) > 0.4) is shared


def test_one_sequence_cannot_tell_the_session_from_the_modality_and_says_so() -> None:
    found = reading_time(simulate(np.random.default_rng(6), sequences=1), modalities=NAMES)
    assert found.crossover == () and found.ratios[0].value < 0.6
    assert any("session 2 cannot be told from the modality" in note for note in found.notes)
    assert any("all readers began with unaided" in note for note in found.notes)


def test_readers_who_differ_in_what_the_modality_does_widen_the_interval() -> None:
    table = simulate(np.random.default_rng(7), n=60)
    slow = table["reader"].isin([f"r{i}" for i in range(0, 12, 3)]) & (table["modality"] == "aided")
    table.loc[slow, "seconds"] *= 1.6
    wide = reading_time(table, modalities=NAMES).ratios[0]
    narrow = reading_time(table, modalities=NAMES, reader_slope=False).ratios[0]
    assert math.log(wide.high / wide.low) > 2 * math.log(narrow.high / narrow.low)


def test_three_modalities_make_three_ratios_with_holm() -> None:
    table = simulate(np.random.default_rng(8), n=20)
    third = table[table["modality"] == "aided"].assign(modality="second aid", session=3)
    third["seconds"] *= np.exp(np.random.default_rng(0).normal(0, 0.2, len(third)))
    found = reading_time(pd.concat([table, third]), modalities=[*NAMES, "second aid"])
    assert [(r.modality_a, r.modality_b) for r in found.ratios] == [
        ("aided", "unaided"), ("second aid", "unaided"), ("second aid", "aided"),
    ]  # fmt: skip
    assert all(r.p_holm >= r.p for r in found.ratios) and found.ratios[2].p_holm > 0.05


def test_a_fit_that_does_not_converge_falls_back_on_the_readers_own_ratios(monkeypatch) -> None:
    def stopped(y: np.ndarray, x: np.ndarray, groups) -> module.Fit:
        fit = crossed(y, x, groups)
        return module.Fit(fit.beta, fit.covariance, fit.sd, fit.criterion, False)

    monkeypatch.setattr(module, "crossed", stopped)
    found = reading_time(simulate(np.random.default_rng(9)), modalities=NAMES)
    assert not found.converged and found.terms == () and found.ratios[0].method == "paired by reader, t"
    assert found.ratios[0].low < found.ratios[0].value < found.ratios[0].high
    assert any("did not converge" in note for note in found.notes)


def test_times_that_are_all_equal_have_no_interval() -> None:
    table = simulate(np.random.default_rng(10), readers=4, n=6).assign(seconds=30.0)
    found = reading_time(table, modalities=NAMES)
    assert not found.converged and found.ratios[0].value == pytest.approx(1)
    assert math.isnan(found.ratios[0].low) and math.isnan(found.ratios[0].p)


def test_far_times_are_counted_and_kept() -> None:
    table = simulate(np.random.default_rng(11))
    before = reading_time(table, modalities=NAMES)
    table.loc[5, "seconds"] = 36_000.0
    after = reading_time(table, modalities=NAMES)
    count = [int(note.split()[0]) for f in (before, after) for note in f.notes if "kept" in note]
    assert len(count) >= 1 and count[-1] == (count[0] + 1 if len(count) == 2 else 1)
    assert after.ratios[0].n == len(table) and after.ratios[0].value != before.ratios[0].value


@pytest.mark.parametrize(("seconds", "words"), [(0.0, "0.0"), (-3.0, "-3.0"), (math.inf, "inf")])
def test_times_that_no_clock_shows_are_refused_with_their_row(seconds: float, words: str) -> None:
    table = simulate(np.random.default_rng(12), readers=3, n=5)
    table.loc[7, "seconds"] = seconds
    with pytest.raises(TableError, match=f"row 9, column 'seconds': {words} is not a time above zero"):
        reading_time(table)


def test_missing_times_are_refused_or_dropped_and_counted() -> None:
    table = simulate(np.random.default_rng(13), n=10)
    table.loc[[3, 8], "seconds"] = math.nan
    with pytest.raises(TableError, match="row 5, column 'seconds'"):
        reading_time(table)
    found = reading_time(table, missing="drop", modalities=NAMES)
    assert "2 reads without seconds were left out" in found.notes
    own = found.by_reader[0]
    assert "2 reads without their pair" in str(own.note)
    both = table.assign(log=np.log(table["seconds"])).pivot(
        index=["reader", "case_id"], columns="modality", values="log"
    )
    difference = (both["aided"] - both["unaided"]).groupby("reader").mean()  # skips what lacks its pair
    assert own.value == pytest.approx(math.exp(difference.mean())) and own.n == 2 * (12 * 10 - 2)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t: t.drop(columns="seconds"), TableError, "no column 'seconds'"),
        (lambda t: t.assign(order="first"), TableError, "column 'order': first is not a number"),
        (lambda t: pd.concat([t, t[:1]]), TableError, "row 32: the reader read this case twice"),
        (lambda t: t[t["reader"] == "r0"], NotEnoughData, "1 readers"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(change, error, words: str) -> None:
    with pytest.raises(error, match=words):
        reading_time(change(simulate(np.random.default_rng(14), readers=3, n=5)))


def test_an_unknown_modality_is_named_with_those_present() -> None:
    with pytest.raises(TableError, match=r"no read has modality 'ai'. Modalities: aided, unaided"):
        reading_time(simulate(np.random.default_rng(15), readers=3, n=5), modalities=["ai", "aided"])


def test_one_modality_has_a_mean_and_no_ratio() -> None:
    table = simulate(np.random.default_rng(16), readers=4, n=20)
    found = reading_time(table[table["modality"] == "aided"])
    assert found.ratios == () and found.means[0].low < found.means[0].value < found.means[0].high


def test_seconds_along_the_list_are_geometric_means_of_ten_places() -> None:
    table = simulate(np.random.default_rng(17), readers=4, n=40, learning=-0.3)
    found = by_order(table)
    first = table[(table["modality"] == "aided") & (table["session"] == 2) & (table["order"] <= 10)]
    row = found[(found["modality"] == "aided") & (found["session"] == 2)].iloc[0]
    assert row["seconds"] == pytest.approx(stats.gmean(first["seconds"])) and row["n"] == len(first)
    assert list(found["order"].unique()) == [5.5, 15.5, 25.5, 35.5]
    assert found.groupby(["modality", "session"])["seconds"].apply(lambda s: s.is_monotonic_decreasing).all()


def test_a_ratio_as_an_estimate_keeps_its_p_values() -> None:
    one = reading_time(simulate(np.random.default_rng(18)), modalities=NAMES).ratios[0]
    estimate = one.estimate()
    assert estimate.model == "aided over unaided" and "Holm p" in str(estimate.note)
    assert one.as_dict()["p"] == one.p and "12 readers" in str(one)


@pytest.mark.parametrize("halves", ["readers", "cases"])
def test_one_planted_carry_over_comes_out_the_same_in_both_designs(halves: str) -> None:
    """Reads unaided after aided take 0.7 times as long; each sequence has readers of the same speeds."""
    rng = np.random.default_rng(19)
    reader, aided, case = (a.ravel() for a in np.meshgrid(range(8), [0, 1], range(60), indexing="ij"))
    aided_first = (reader + (case if halves == "cases" else 0)) % 2
    second = np.where(aided_first == 1, 1 - aided, aided)
    log = 4 + 0.2 * (reader // 2) + rng.normal(0, 0.3, 60)[case] + rng.normal(0, 0.03, len(case))
    log += np.log(0.6) * aided + np.log(0.9) * second + np.log(0.7) * second * (1 - aided)
    table = pd.DataFrame({
        "reader": [f"r{i}" for i in reader], "case_id": [f"c{i}" for i in case], "session": second + 1,
        "modality": np.array(NAMES)[aided], "seconds": np.exp(log),
    })  # fmt: skip
    one = of(carry_over(times(table)[0], NAMES)[0], "carry_over")
    assert ("within" in one.method) is (halves == "cases") and one.model == "unaided after aided"
    assert one.value == pytest.approx(0.7, rel=0.03)
    swapped = of(carry_over(times(table)[0], NAMES[::-1])[0], "carry_over")
    assert swapped.value == pytest.approx(1 / one.value, rel=1e-3)


def test_the_fit_is_the_dense_one_at_its_own_variances() -> None:
    """Restricted likelihood and generalised least squares with the whole (n, n) covariance written out."""
    rng = np.random.default_rng(20)
    reads, _ = times(simulate(rng, readers=4, n=15).sample(frac=0.85, random_state=1))
    y, x = reads["log"].to_numpy(), module._design(reads, NAMES)[0]
    groups = [module._codes(reads, c) for c in (["reader"], ["case_id"], ["reader", "modality"])]
    n, p = x.shape
    for chosen in (groups, groups[1:2], groups[::-1]):
        fit = crossed(y, x, chosen)
        v = fit.sd[-1] ** 2 * np.eye(n)
        for sd, g in zip(fit.sd, chosen):
            v += sd**2 * (g[:, None] == g)
        inverse = np.linalg.inv(v)
        inner = x.T @ inverse @ x
        beta = np.linalg.solve(inner, x.T @ inverse @ y)
        rest = (y - x @ beta) @ inverse @ (y - x @ beta)
        dense = np.linalg.slogdet(v)[1] + np.linalg.slogdet(inner)[1] + rest + (n - p) * math.log(2 * math.pi)
        assert fit.criterion == pytest.approx(dense, abs=1e-6)
        assert fit.beta == pytest.approx(beta, abs=1e-9)
        assert fit.covariance == pytest.approx(np.linalg.inv(inner), rel=1e-6, abs=1e-12)


def test_two_thousand_cases_take_seconds() -> None:
    table = simulate(np.random.default_rng(21), readers=6, n=2000)
    start = time.perf_counter()
    found = reading_time(table, modalities=NAMES)
    assert time.perf_counter() - start < 5  # the dense fit took over a minute
    assert found.converged and found.ratios[0].low < 0.6 < found.ratios[0].high


@pytest.mark.parametrize("column", ["order", "session"])
@pytest.mark.parametrize("all_of_it", [False, True])
def test_an_order_or_session_with_gaps_is_left_out_and_said(column: str, all_of_it: bool) -> None:
    table = simulate(np.random.default_rng(22), readers=4, n=10).astype({"order": float, "session": float})
    table.loc[slice(None) if all_of_it else [3], column] = np.nan
    found = reading_time(table, modalities=NAMES)
    gaps = len(table) if all_of_it else 1
    assert f"{column} is empty in {gaps} of 80 reads: it was left out" in found.notes
    without = reading_time(table.drop(columns=column), modalities=NAMES)
    assert found.ratios == without.ratios
    along = by_order(table)
    assert along["n"].sum() == (len(table) - gaps if column == "order" else len(table))


def test_text_in_session_stops_reading_times_and_nothing_else() -> None:
    table = simulate(np.random.default_rng(23), readers=3, n=6)
    table = table.assign(y_true=(table["case_id"] > "c2").astype(int), score=1.0, session="first")
    reads = arrange(table)
    assert any("'session' holds text" in note for note in reads.notes)
    with pytest.raises(TableError, match="row 2, column 'session': first is not a number"):
        reading_time(reads.rows)


def test_rows_are_named_as_in_the_file_after_a_row_was_dropped() -> None:
    table = simulate(np.random.default_rng(24), readers=3, n=6)
    table = table.assign(y_true=(table["case_id"] > "c2").astype(int), score=1.0)
    table.loc[1, "score"] = np.nan  # no read
    table.loc[7, "seconds"] = 0.0
    with pytest.raises(TableError, match="row 9, column 'seconds'"):
        reading_time(arrange(table).rows)
