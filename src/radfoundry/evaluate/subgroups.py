"""Who is in which subgroup: by value, age band or quantile, and by several covariates at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from radfoundry.errors import TableError
from radfoundry.registry import nearest

AGE_BANDS = (0, 18, 40, 60, 75, np.inf)


QUANTILES = {"tertile": 3, "quartile": 4, "quintile": 5, "decile": 10}
MOST_QUANTILES = 20
UNKNOWN = "unknown"


def groups(table: pd.DataFrame, covariate: str) -> dict[str, np.ndarray]:
    """Subgroup label to a boolean mask over the rows, in natural order; rows without a value come last.

    `age` goes by 0-17, 18-39, 40-59, 60-74, 75+ years; any other number with more than six values by
    quartile; everything else by value. On request: `age:quartile`, `age:tertile`, `age:quantile=3` (cut
    points over the rows, equal values never torn apart), `age:value`, and `sex*age` for every combination
    that occurs. A column whose name holds a colon or an asterisk is itself. An infinite number is unknown.
    TableError when a column is missing or a rule is not understood.

    >>> {k: v.tolist() for k, v in groups(pd.DataFrame({"age": [5, 80]}), "age").items()}
    {'age 0-17': [True, False], 'age 75+': [False, True]}
    >>> list(groups(pd.DataFrame({"sex": ["F", "M"], "dose": [1.5, 9.0]}), "sex*dose:quantile=2"))
    ['sex F and dose 1.5 to 5.25', 'sex M and dose 5.25 to 9']
    """
    factors = [_labels(table, factor) for factor in _factors(table, covariate)]
    codes = np.stack(  # -1: no value, or one outside every band
        [pd.Categorical(labels.astype(object), categories=order).codes for labels, order, _ in factors],
        axis=1,
    )
    missing = (codes < 0).any(axis=1)
    kinds, which = np.unique(codes[~missing], axis=0, return_inverse=True)
    number = np.full(len(table), -1)
    number[~missing] = which.reshape(-1)
    result = {}
    for i, kind in enumerate(kinds):
        words = [f"{name} {order[code]}" for (_, order, name), code in zip(factors, kind, strict=True)]
        result[" and ".join(words)] = number == i
    if missing.any():
        result[_unknown(table, covariate)] = missing
    return result


def is_unknown(table: pd.DataFrame, covariate: str, label: str) -> bool:
    """Whether a label of `groups(table, covariate)` is that of the rows without a value."""
    return label == _unknown(table, covariate)


def _unknown(table: pd.DataFrame, covariate: str) -> str:
    names = [_covariate_and_rule(table, factor)[0] for factor in _factors(table, covariate)]
    return f"{'*'.join(names)} {UNKNOWN}"


def _factors(table: pd.DataFrame, covariate: str) -> list[str]:
    if covariate in table.columns:
        return [covariate]
    return [factor.strip() for factor in covariate.split("*")]


def _labels(table: pd.DataFrame, wanted: str) -> tuple[pd.Series, list[str], str]:
    """(label of each row, NA where unknown; the labels in natural order; the covariate's name)."""
    covariate, rule = _covariate_and_rule(table, wanted)
    column = _years(table[covariate]) if covariate.lower() == "age" else table[covariate]
    numeric = pd.to_numeric(column, errors="coerce")
    infinite = numeric.isin((np.inf, -np.inf))
    numeric, column = numeric.mask(infinite), column.mask(infinite)
    is_number = bool(numeric.notna().sum() == column.notna().sum()) and column.dtype != bool
    is_number = is_number and bool(column.notna().any())
    if rule.isdigit():
        if not is_number:
            raise TableError(f"{wanted!r}: quantiles need numbers, and column {covariate!r} holds other text")
        labels = _quantiles(numeric, int(rule))
    elif not is_number:
        words = {v: str(v) for v in column.dropna().unique() if str(v).strip().lower() != UNKNOWN}
        labels = column.map(words).astype("string")  # some tables write the word: unknown either way
    elif covariate.lower() == "age" and not rule:
        labels = _bands(numeric, AGE_BANDS)
    elif numeric.nunique() > 6 and not rule:
        labels = _quantiles(numeric, 4)
    else:
        labels = _by_value(numeric)
    return labels, _natural_order(labels, numeric if is_number else None), covariate


def _covariate_and_rule(table: pd.DataFrame, wanted: str) -> tuple[str, str]:
    """The column, and "" for its default, "value", or how many quantiles, as digits."""
    if wanted in table.columns:
        return wanted, ""
    covariate, colon, rule = wanted.rpartition(":")
    if not colon or covariate not in table.columns:
        name = covariate if colon else wanted
        hint = nearest(name, table.columns)
        raise TableError(f"no column {name!r} for subgroups.{hint} Columns: {', '.join(table.columns)}")
    given = re.fullmatch(r"quantiles?=(\d+)", rule)
    count = int(given[1]) if given else QUANTILES.get(rule.removesuffix("s"), 0)
    if rule == "value":
        return covariate, rule
    if not 2 <= count <= MOST_QUANTILES:
        ways = ", ".join([*QUANTILES, f"quantile=K (2 to {MOST_QUANTILES})", "value"])
        raise TableError(f"subgroup {wanted!r}: {rule!r} is not understood. After the colon write {ways}")
    return covariate, str(count)


def _years(ages: pd.Series) -> pd.Series:
    """DICOM ages (034Y, 011M, 006W, 003D) in years; a column with any other text stays as it is."""
    if pd.api.types.is_numeric_dtype(ages):
        return ages
    parts = ages.astype("string").str.extract(r"^\s*(\d{1,3})([YMWD])\s*$")
    if not (parts[1].notna() | ages.isna()).all() or not parts[1].notna().any():
        return ages
    share = parts[1].map({"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25})
    return parts[0].astype(float) * share.astype(float)


def _bands(values: pd.Series, edges: tuple[float, ...]) -> pd.Series:
    names = [f"{int(a)}-{int(b) - 1}" if np.isfinite(b) else f"{int(a)}+" for a, b in pairwise(edges)]
    return pd.cut(values, edges, right=False, labels=names).astype("string")


def _quantiles(values: pd.Series, count: int) -> pd.Series:
    edges = np.unique(values.quantile(np.linspace(0, 1, count + 1)).to_numpy())
    if len(edges) < 3:
        return _by_value(values)
    names = [f"{a} to {b}" for a, b in pairwise(_written(edges, 4))]
    return pd.cut(values, edges, labels=names, include_lowest=True).astype("string")


def _by_value(values: pd.Series) -> pd.Series:
    known = values.dropna().unique()
    return values.map(dict(zip(known, _written(known, 6), strict=True))).astype("string")


def _written(values: Sequence[float] | np.ndarray, digits: int) -> list[str]:
    """Numbers as text, no two alike: whole ones in full, others with `digits` or as many more as it takes.

    >>> _written([1000001, 20240131, 0.5], 4), _written([0.12341, 0.12342], 4)
    (['1000001', '20240131', '0.5'], ['0.12341', '0.12342'])
    """
    numbers = [float(v) for v in values]
    for count in range(digits, 18):
        names = [f"{v:.0f}" if v.is_integer() and abs(v) < 1e15 else f"{v:.{count}g}" for v in numbers]
        if len(set(names)) == len(set(numbers)):
            break
    return names


def _natural_order(labels: pd.Series, numeric: pd.Series | None) -> list[str]:
    present = [str(v) for v in labels.dropna().unique()]
    if numeric is None:
        return sorted(present)
    lowest = numeric.groupby(labels.astype(object)).min()
    return sorted(present, key=lambda name: lowest[name])
