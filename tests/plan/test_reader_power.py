"""Power of reader studies against RJafroc, against its own limits, and for impossible wishes.

Golden: RJafroc's tests (github.com/dpc10ster/RJafroc, tests/testthat/test-SsSampleSizeRoc.R, commit 0b362c1)
expect these powers for Van Dyke's data, empirical AUC, jackknife; the components are those that MRMCaov's
vignette prints for the same data.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.plan.reader_power import (
    VAN_DYKE,
    Components,
    detectable_difference,
    power_if,
    power_table,
    reader_power,
    reader_sample_size,
)

OBSERVED = 0.043800322


@pytest.mark.parametrize(
    ("readers", "cases", "random", "power"),
    [
        (10, 165, "readers and cases", 0.80541995),
        (10, 131, "cases", 0.80091813),
        (10, 53, "readers", 0.80496663),
        (6, 111, "readers and cases", 0.5526116),
    ],
)
def test_power_equals_rjafroc(readers: int, cases: int, random: Any, power: float) -> None:
    """To the six decimals that printed components allow."""
    assert reader_power(VAN_DYKE, OBSERVED, readers, cases, random=random).power == pytest.approx(
        power, abs=3e-7
    )


def test_cases_for_six_readers_equal_rjafroc() -> None:
    table = reader_sample_size(VAN_DYKE, OBSERVED, [6])
    assert int(table["cases"][0]) == 251
    assert table["power"][0] == pytest.approx(0.801, abs=5e-4)


def test_the_van_dyke_study_itself_had_the_se_that_mrmcaov_prints() -> None:
    """Van Dyke, DeLong: den .001069415, so SE .0206825 with 5 readers and 114 cases."""
    delong = Components.from_pilot(
        0.0015364254, 0.0002045840, 0.0007921325, 0.0003420090, 0.0003395265, 0.0002358497, 45, 69
    )
    found = reader_power(delong, OBSERVED, 5, 114)
    assert found.se == pytest.approx(0.0206825, abs=5e-8)
    assert found.df2 == pytest.approx(15.06611, abs=5e-5)


components = st.builds(
    lambda tr, r1, r2, r3, m, n: Components.from_correlations(
        tr, 0.85, r1, min(r2, r1), r3 * min(r2, r1), m, n
    ),
    st.floats(0, 0.002), st.floats(0.1, 0.45), st.floats(0.1, 0.45), st.floats(0, 1),
    st.integers(20, 200), st.integers(20, 200),
)  # fmt: skip


@given(components, st.floats(0.01, 0.2), st.integers(2, 20), st.integers(40, 600))
@settings(max_examples=60, deadline=None)
def test_power_grows_with_readers_cases_and_effect(
    given_: Components, difference: float, readers: int, cases: int
) -> None:
    def power(d: float, j: int, n: int) -> float:
        return reader_power(given_, d, j, n).power

    now = power(difference, readers, cases)
    assert 0.05 - 1e-9 <= now <= 1
    assert power(difference, readers + 1, cases) >= now - 1e-6
    assert power(1.2 * difference, readers, cases) >= now - 1e-9
    assert power(-difference, readers, cases) == pytest.approx(now)
    assert reader_power(given_, difference, readers, cases, random="cases").power >= now - 1e-9


def test_the_fewest_cases_reach_the_power_and_one_fewer_do_not() -> None:
    table = reader_sample_size(VAN_DYKE, 0.05, range(2, 11), power=0.9)
    assert list(table["best"] < 0.9) == list(table["cases"].isna())
    assert table["cases"].isna().any() and table["cases"].notna().any()
    for row in table.dropna().itertuples():
        assert reader_power(VAN_DYKE, 0.05, row.readers, int(row.cases)).power >= 0.9
        assert reader_power(VAN_DYKE, 0.05, row.readers, int(row.cases) - 1).power < 0.9
        assert row.positives + row.negatives == row.cases


def test_a_power_that_many_cases_lose_again_is_found() -> None:
    """Four readers: 0.9 is reached at 2752 cases, and lost again with a million."""
    few = reader_sample_size(VAN_DYKE, 0.05, [4], power=0.9)
    assert few["best"][0] > 0.9
    assert reader_power(VAN_DYKE, 0.05, 4, 1_000_000).power < 0.9


def test_a_table_holds_the_powers_of_its_cells() -> None:
    table = power_table(VAN_DYKE, 0.05, [4, 8], [60, 200], margin=None)
    assert table.loc[8, 200] == reader_power(VAN_DYKE, 0.05, 8, 200).power
    assert list(table.index) == [4, 8] and list(table.columns) == [60, 200]


def test_the_detectable_difference_has_the_power() -> None:
    found = detectable_difference(VAN_DYKE, 6, 150, power=0.8)
    assert reader_power(VAN_DYKE, found, 6, 150).power == pytest.approx(0.8, abs=1e-4)


def test_a_margin_is_a_one_sided_test_and_a_true_gain_helps() -> None:
    plain = reader_power(VAN_DYKE, 0.0, 6, 150, margin=0.05)
    assert plain.alpha == 0.025
    two_sided = reader_power(VAN_DYKE, 0.05, 6, 150)
    assert plain.power == pytest.approx(two_sided.power, abs=1e-4)  # but for the far tail
    assert plain.power < two_sided.power
    better, worse = (reader_power(VAN_DYKE, d, 6, 150, margin=0.05).power for d in (0.02, -0.02))
    assert worse < plain.power < better
    fixed = reader_power(VAN_DYKE, 0.0, 6, 150, margin=0.05, random="cases")
    assert math.isinf(fixed.df2) and fixed.power > plain.power


def test_a_split_plot_needs_more_cases_but_each_reader_reads_fewer() -> None:
    crossed = reader_sample_size(VAN_DYKE, 0.05, [8])["cases"][0]
    split = reader_sample_size(VAN_DYKE, 0.05, [8], groups=2)["cases"][0]
    assert crossed < split < 2 * crossed


def test_another_prevalence_scales_by_the_variance_of_a_binormal_auc() -> None:
    same = reader_power(VAN_DYKE, 0.05, 6, 228, prevalence=45 / 114)
    assert same.power == reader_power(VAN_DYKE, 0.05, 6, 228).power
    rare, even = (reader_power(VAN_DYKE, 0.05, 6, 228, prevalence=p, auc=0.9) for p in (0.1, 0.5))
    assert rare.power < same.power < even.power
    with pytest.raises(InputError, match="give auc too"):
        reader_power(VAN_DYKE, 0.05, 6, 228, prevalence=0.1)


def test_negative_components_are_floored_and_said() -> None:
    odd = replace(VAN_DYKE, var_treatment_reader=-0.0001, cov2=0.0002)
    found = reader_power(odd, 0.05, 6, 150)
    floored = replace(VAN_DYKE, var_treatment_reader=0.0, cov2=0.0002, cov3=0.0002)
    assert found.power == reader_power(floored, 0.05, 6, 150).power
    assert any("-0.0001" in note and "0 is used" in note for note in found.notes)
    assert any("Cov2 0.0002 is below Cov3" in note for note in found.notes)
    assert any("4 degrees of freedom" in note for note in found.notes)


def test_what_if_the_pilot_was_wrong() -> None:
    table = power_if(VAN_DYKE, 0.05, 6, 150)
    middle = table[(table["modality_reader"] == 1) & (table["cases"] == 1)]["power"].iloc[0]
    assert middle == reader_power(VAN_DYKE, 0.05, 6, 150).power
    assert table["power"].iloc[0] > middle > table["power"].iloc[-1]


def test_a_result_prints_and_becomes_json() -> None:
    found = reader_power(VAN_DYKE, 0.05, 6, 150, random="cases")
    assert "6 readers x 150 cases: power" in str(found) and "Van Dyke" in str(found)
    assert found.as_dict()["df2"] is None
    assert "not worse by 0.05" in str(reader_power(VAN_DYKE, 0.0, 6, 150, margin=0.05))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"readers": 1}, NotEnoughData, "one reader"),
        ({"readers": 7, "groups": 2}, InputError, "equal size"),
        ({"readers": 2, "groups": 2}, NotEnoughData, "two readers a group"),
        ({"cases": 4}, NotEnoughData, "fewer than two of a class"),
        ({"cases": 3}, InputError, "whole number"),
        ({"difference": 0.0}, InputError, "none to find"),
        ({"difference": 1.5}, InputError, "between -1 and 1"),
        ({"margin": -0.05}, InputError, "margin"),
        ({"difference": -0.06, "margin": 0.05}, InputError, "worse than the margin"),
        ({"alpha": 0.0}, InputError, "alpha"),
        ({"random": "nobody"}, InputError, "random must be one of"),
    ],
)
def test_impossible_wishes_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        reader_power(**{"components": VAN_DYKE, "difference": 0.05, "readers": 6, "cases": 150} | options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error": 0.0}, "above 0"),
        ({"cov1": 0.43}, "not correlations"),
        ({"cov3": math.nan}, "finite"),
        ({"positives": 1}, "two of each"),
    ],
)
def test_impossible_components_are_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(VAN_DYKE, **change)


def test_components_without_variance_of_modality_by_reader_are_refused() -> None:
    odd = replace(VAN_DYKE, var_treatment_reader=0.0, cov1=0.0007, cov2=0.0005, cov3=0.0001)
    with pytest.raises(InputError, match="leave no variance"):
        reader_power(odd, 0.05, 6, 150)


def test_power_out_of_reach_is_said() -> None:
    with pytest.raises(NotEnoughData, match="more readers"):
        detectable_difference(replace(VAN_DYKE, var_treatment_reader=0.5), 2, 150)


@pytest.mark.parametrize(
    ("merit", "factor"), [("sensitivity", 45 / 20), ("specificity", 69 / 180), ("accuracy", 114 / 200)]
)
def test_proportions_scale_with_the_cases_that_enter_them(merit: str, factor: float) -> None:
    """200 cases, 20 of them positive, after a pilot of 45 and 69."""
    pilot = replace(VAN_DYKE, merit=merit)
    found = reader_power(pilot, 0.05, 6, 200, prevalence=0.1)
    v = VAN_DYKE
    own = v.var_treatment_reader + factor * (v.error - v.cov1) + 5 * factor * (v.cov2 - v.cov3)
    assert found.se == pytest.approx(math.sqrt(2 * own / 6))
    assert reader_power(pilot, 0.05, 6, 228).power == reader_power(VAN_DYKE, 0.05, 6, 228).power
    with pytest.raises(InputError, match=f"auc is for areas under the curve, not for {merit}"):
        reader_power(pilot, 0.05, 6, 200, prevalence=0.1, auc=0.9)
