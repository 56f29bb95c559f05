"""Who is in which subgroup: rules after a colon, combinations, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.errors import TableError
from radfoundry.evaluate.subgroups import groups, is_unknown

TABLE = pd.DataFrame({"age": np.arange(20, 80), "sex": ["F", "M", "F"] * 20, "site": ["a", "b"] * 30})


@pytest.mark.parametrize(
    ("rule", "count"),
    [("quartile", 4), ("tertile", 3), ("tertiles", 3), ("quintile", 5), ("decile", 10), ("quantile=3", 3),
     ("quantiles=6", 6), ("value", 60)],
)  # fmt: skip
def test_quantiles_on_request_hold_equal_shares(rule: str, count: int) -> None:
    found = groups(TABLE, f"age:{rule}")
    assert len(found) == count and {int(m.sum()) for m in found.values()} == {60 // count}
    assert next(iter(found)).startswith("age 20") and list(found)[-1].endswith("79")


def test_age_without_a_rule_keeps_its_bands_and_a_number_its_quartiles() -> None:
    assert list(groups(TABLE, "age")) == ["age 18-39", "age 40-59", "age 60-74", "age 75+"]
    assert len(groups(TABLE.assign(dose=TABLE["age"] * 1.5), "dose")) == 4


def test_combinations_are_those_that_occur_and_one_without_a_value_is_unknown() -> None:
    table = TABLE.assign(sex=TABLE["sex"].where(TABLE.index > 5), site=np.where(TABLE.index < 30, "a", "b"))
    found = groups(table, "sex*age:quantile=2*site")
    assert list(found) == [
        "sex F and age 20 to 49.5 and site a", "sex F and age 49.5 to 79 and site b",
        "sex M and age 20 to 49.5 and site a", "sex M and age 49.5 to 79 and site b", "sex*age*site unknown",
    ]  # fmt: skip
    assert (sum(m.astype(int) for m in found.values()) == 1).all() and found[
        "sex*age*site unknown"
    ].sum() == 6
    inside = found["sex F and age 49.5 to 79 and site b"]
    assert (table[inside]["sex"] == "F").all() and (table[inside]["age"] > 49.5).all()


def test_the_word_unknown_and_an_empty_cell_are_one_group() -> None:
    found = groups(pd.DataFrame({"sex": ["F", "unknown", None, "Unknown ", "M"]}), "sex")
    assert {k: v.tolist() for k, v in found.items()} == {
        "sex F": [True, False, False, False, False],
        "sex M": [False, False, False, False, True],
        "sex unknown": [False, True, True, True, False],
    }
    table = pd.DataFrame({"sex": ["F", "unknown", None, "Unknown ", "M"]})
    assert [is_unknown(table, "sex", name) for name in found] == [False, False, True]


def test_a_category_that_ends_like_the_missing_ones_is_a_category() -> None:
    table = pd.DataFrame({"site": ["a", "status unknown", None] * 4, "dose": [1.0, 2.0, 3.0] * 4})
    for covariate, named in (
        ("site", "site"),
        ("dose*site", "dose*site"),
        ("site*dose:quantile=2", "site*dose"),
    ):
        unknown = [n for n in groups(table, covariate) if is_unknown(table, covariate, n)]
        assert unknown == [f"{named} unknown"]
    assert "site status unknown" in groups(table, "site")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1000001, 1000002], ["1000001", "1000002"]),
        ([20200101, 20200109, 20210101], ["20200101", "20200109", "20210101"]),
        ([0.1234567, 0.1234568], ["0.1234567", "0.1234568"]),
        ([1.5, 2.0], ["1.5", "2"]),
    ],
)
def test_values_that_differ_are_never_one_group(values: list[float], names: list[str]) -> None:
    assert list(groups(pd.DataFrame({"x": values * 3}), "x")) == [f"x {name}" for name in names]


def test_quantiles_are_named_with_as_many_digits_as_it_takes() -> None:
    days = groups(pd.DataFrame({"date": 20200101 + np.arange(16)}), "date")
    assert next(iter(days)) == "date 20200101 to 20200105" and len(days) == 4
    assert {int(mask.sum()) for mask in days.values()} == {4}
    near = groups(pd.DataFrame({"x": 1 + np.arange(17) / 1e6}), "x:quantile=2")
    assert list(near) == ["x 1 to 1.00001", "x 1.00001 to 1.00002"]


@pytest.mark.parametrize(
    "values", [[np.inf, 1, 2, 3, 4, 5, 6, 7], ["-inf", "1", "2", "3", "4", "5", "6", "7"]]
)
def test_an_infinite_number_is_unknown(values: list) -> None:
    table = pd.DataFrame({"dose": values, "age": values})
    for covariate in ("dose", "dose:quantile=2", "dose:value", "age", "dose*age"):
        found = groups(table, covariate)
        (name,) = (n for n in found if is_unknown(table, covariate, n))
        assert found[name].tolist() == [True] + [False] * 7


def test_thousands_of_names_are_told_apart_at_once() -> None:
    table = pd.DataFrame({"a": [f"k{i}" for i in range(3000)], "b": [f"m{i % 1500}" for i in range(3000)]})
    assert len(groups(table, "a")) == 3000 and len(groups(table, "a*b")) == 3000  # not 4,500,000 pairs


def test_a_column_whose_name_holds_the_signs_is_itself() -> None:
    table = pd.DataFrame({"a*b": ["x", "y"], "y:c": ["u", "u"]})
    assert list(groups(table, "a*b")) == ["a*b x", "a*b y"] and list(groups(table, "y:c")) == ["y:c u"]


@pytest.mark.parametrize(
    ("covariate", "words"),
    [
        ("age:quartle", "'quartle' is not understood. After the colon write tertile, quartile"),
        ("age:quantile=1", "'quantile=1' is not understood"),
        ("age:quantile=99", "2 to 20"),
        ("age:quantile", "not understood"),
        ("sex:quartile", "quantiles need numbers"),
        ("aeg:quartile", "no column 'aeg' for subgroups. Did you mean 'age'"),
        ("sex*sise", "no column 'sise' for subgroups. Did you mean 'site'"),
        ("sex*age:third", "'third' is not understood"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_way_out(covariate: str, words: str) -> None:
    with pytest.raises(TableError) as error:
        groups(TABLE, covariate)
    assert words in str(error.value)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.one_of(st.none(), st.integers(-3, 9)), min_size=1, max_size=40),
    st.integers(2, 6),
    st.randoms(use_true_random=False),
)
def test_every_row_is_in_exactly_one_group_whatever_the_ties(values: list, count: int, random) -> None:
    table = pd.DataFrame({"x": pd.array(values, "Float64"), "s": [random.choice("ab") for _ in values]})
    for covariate in (f"x:quantile={count}", f"s*x:quantile={count}"):
        try:
            found = groups(table, covariate)
        except TableError as error:  # a column of nothing has no numbers to cut
            assert all(v is None for v in values) and "need numbers" in str(error)
            continue
        assert (sum(m.astype(int) for m in found.values()) == 1).all()
