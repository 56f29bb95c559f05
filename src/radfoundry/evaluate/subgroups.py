"""Who is in which subgroup: text covariates by value, ages by standard bands, numbers by quartile."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from radfoundry.errors import TableError
from radfoundry.registry import nearest

AGE_BANDS = (0, 18, 40, 60, 75, np.inf)


def groups(table: pd.DataFrame, covariate: str) -> dict[str, np.ndarray]:
    """Subgroup label to a boolean mask over the rows, in natural order; rows without a value come last.

    `age` goes by 0-17, 18-39, 40-59, 60-74, 75+ years; any other number with more than six values by
    quartile; everything else by value. TableError when the column is missing.

    >>> {k: v.tolist() for k, v in groups(pd.DataFrame({"age": [5, 80]}), "age").items()}
    {'age 0-17': [True, False], 'age 75+': [False, True]}
    """
    if covariate not in table.columns:
        hint = nearest(covariate, table.columns)
        raise TableError(f"no column {covariate!r} for subgroups.{hint} Columns: {', '.join(table.columns)}")
    column = _years(table[covariate]) if covariate.lower() == "age" else table[covariate]
    numeric = pd.to_numeric(column, errors="coerce")
    is_number = bool(numeric.notna().sum() == column.notna().sum()) and column.dtype != bool
    if is_number and column.notna().any():
        if covariate.lower() == "age":
            labels = _bands(numeric, AGE_BANDS)
        elif numeric.nunique() > 6:
            labels = _quartiles(numeric)
        else:
            labels = numeric.map(lambda v: f"{v:g}", na_action="ignore")
    else:
        labels = column.astype("string")
    order = _natural_order(labels, numeric if is_number else None)
    result = {f"{covariate} {name}": (labels == name).fillna(False).to_numpy(bool) for name in order}
    missing = labels.isna().to_numpy(bool)  # no value, or one outside every band
    if missing.any():
        result[f"{covariate} unknown"] = missing
    return result


def _years(ages: pd.Series) -> pd.Series:
    """DICOM ages (034Y, 011M, 006W, 003D) in years; a column with any other text stays as it is."""
    parts = ages.astype("string").str.extract(r"^\s*(\d{1,3})([YMWD])\s*$")
    if not (parts[1].notna() | ages.isna()).all() or not parts[1].notna().any():
        return ages
    share = parts[1].map({"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25})
    return parts[0].astype(float) * share.astype(float)


def _bands(values: pd.Series, edges: tuple[float, ...]) -> pd.Series:
    names = [f"{int(a)}-{int(b) - 1}" if np.isfinite(b) else f"{int(a)}+" for a, b in pairwise(edges)]
    return pd.cut(values, edges, right=False, labels=names).astype("string")


def _quartiles(values: pd.Series) -> pd.Series:
    edges = np.unique(values.quantile([0, 0.25, 0.5, 0.75, 1]).to_numpy())
    names = [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    if len(set(names)) < len(names) or len(names) < 2:
        return values.map(lambda v: f"{v:g}", na_action="ignore")
    return pd.cut(values, edges, labels=names, include_lowest=True).astype("string")


def _natural_order(labels: pd.Series, numeric: pd.Series | None) -> list[str]:
    present = [str(v) for v in labels.dropna().unique()]
    if numeric is None:
        return sorted(present)
    lowest = numeric.groupby(labels.astype(object)).min()
    return sorted(present, key=lambda name: lowest[name])
