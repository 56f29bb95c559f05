"""Covariates as numbers: what a table tells without any image.

The columns are read as they are; means, spreads and which levels are common are learned from training rows
alone, in each fold anew, as every other scaler is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

COMMON, MOST = 5, 30
"""A level of its own has so many training cases at least; so many levels at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Columns of a table. values: (n, k) float64, numbers as they are (NaN where missing), dates as days,
    categories as codes; names: (k,) columns; numeric: (k,) whether a column is a number or a date."""

    values: np.ndarray
    names: tuple[str, ...]
    numeric: tuple[bool, ...]

    def only(self, name: str) -> Covariates:
        """The column of that name alone."""
        at = self.names.index(name)
        return Covariates(self.values[:, [at]], (name,), (self.numeric[at],))


def read(table: pd.DataFrame, names: Sequence[str]) -> Covariates:
    """The named columns of a table; a missing category is a level like any other."""
    columns, numeric = [], []
    for name in names:
        values = table[name]
        is_date = pd.api.types.is_datetime64_any_dtype(values)
        is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        if is_date:
            days = (values.dt.tz_localize(None) - pd.Timestamp(0)).dt.total_seconds() / 86400
            columns.append(days.to_numpy(float))
        elif is_number:
            columns.append(values.astype(float).to_numpy())
        else:
            text = values.astype(object).where(values.notna(), "missing").astype(str)
            columns.append(np.unique(text.to_numpy(str), return_inverse=True)[1].astype(float))
        numeric.append(is_date or is_number)
    whole = np.stack(columns, axis=1) if columns else np.zeros((len(table), 0))
    return Covariates(whole, tuple(names), tuple(numeric))


@dataclass(frozen=True, slots=True)
class Encoding:
    """What training rows taught: (mean, spread) of a number, the common levels of a category."""

    columns: tuple[tuple[float, float] | np.ndarray, ...]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """(n, k) of `Covariates.values` to (n, p).

        A number becomes its standardised value, the square of it and a flag for a missing value; a category
        one column a common level and one for all others, those that training never saw included.
        """
        blocks = [np.zeros((len(values), 0))]
        for column, learned in zip(values.T, self.columns, strict=True):
            if isinstance(learned, np.ndarray):
                levels = column[:, None] == learned[None, :]
                blocks.append(np.column_stack([levels, ~levels.any(axis=1)]).astype(float))
                continue
            mean, spread = learned
            z = np.nan_to_num((column - mean) / spread)
            blocks.append(np.column_stack([z, z**2, np.isnan(column)]))
        return np.concatenate(blocks, axis=1)


def learn(values: np.ndarray, numeric: Sequence[bool]) -> Encoding:
    """The encoding of training rows (n, k)."""
    learned: list[tuple[float, float] | np.ndarray] = []
    for column, is_number in zip(values.T, numeric, strict=True):
        if is_number:
            known = column[np.isfinite(column)]
            centre, spread = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
            learned.append((centre, spread if spread > 1e-12 else 1.0))
        else:
            levels, count = np.unique(column, return_counts=True)
            common = np.argsort(-count, kind="stable")[:MOST]
            learned.append(np.sort(levels[common[count[common] >= COMMON]]))
    return Encoding(tuple(learned))
