"""Table 1: who is in the study, by group.

Continuous: median [first to third quartile] and mean (SD). Categorical: n (%). Percentages leave missing
values out of the denominator; missing is counted in a line of its own. Two groups get the standardised
mean difference (Austin, Stat Med 2009;28:3083, eq. 1 and 2; Yang and Dalton, SAS Global Forum 2012, for
more than two categories), more groups the largest over all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from radfoundry.errors import TableError

MAX_LEVELS = 10
MAX_GROUPS = 20

Line = tuple[str, str, dict[str, str], float]  # characteristic, level, cell of each group, smd


def table_one(
    table: pd.DataFrame, columns: Sequence[str], *, by: str | None = None, patient: str | None = None
) -> pd.DataFrame:
    """One line a characteristic (or level), one column a group, plus `overall` and `smd`.

    Index: (characteristic, level). Rows without a group are counted in `overall` only. Raises TableError for
    more than MAX_GROUPS groups.
    """
    groups: dict[str, pd.DataFrame] = {"overall": table}
    if by is not None:
        levels = sorted(table[by].dropna().unique())
        if len(levels) > MAX_GROUPS:
            raise TableError(
                f"column {by!r} has {len(levels)} values, too many for groups side by side. Choose a column "
                f"with at most {MAX_GROUPS}, or add one that bins it"
            )
        for level in levels:
            groups[f"{by}={_word(level)}"] = table[table[by] == level]
    lines: list[Line] = []
    lines.append(("cases", "n", {g: str(len(t)) for g, t in groups.items()}, np.nan))
    if patient is not None:
        lines.append(("patients", "n", {g: str(t[patient].nunique()) for g, t in groups.items()}, np.nan))
    for column in columns:
        lines += _describe(column, groups)
    index = pd.MultiIndex.from_tuples([line[:2] for line in lines], names=["characteristic", "level"])
    out = pd.DataFrame([line[2] for line in lines], index=index, columns=list(groups))
    if len(groups) > 2:
        out["smd"] = [line[3] for line in lines]
    return out


def as_text(frame: pd.DataFrame) -> str:
    """The same as lines for a terminal; a characteristic is named once."""
    shown = frame.reset_index()
    shown["characteristic"] = shown["characteristic"].where(~shown["characteristic"].duplicated(), "")
    if "smd" in shown:
        shown["smd"] = shown["smd"].map(lambda v: "" if pd.isna(v) else f"{v:.2f}")
    cells = [list(map(str, shown.columns)), *shown.astype(str).values.tolist()]
    width = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, width)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def smd_continuous(a: np.ndarray, b: np.ndarray) -> float:
    """Difference of means over the root of the mean variance.

    >>> round(smd_continuous(np.array([1.0, 2, 3]), np.array([2.0, 3, 4])), 3)
    1.0
    """
    if len(a) < 2 or len(b) < 2:
        return np.nan
    spread = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    gap = abs(a.mean() - b.mean())
    if spread == 0:
        return 0.0 if gap == 0 else np.inf
    return float(gap / spread)


def smd_categorical(a: np.ndarray, b: np.ndarray) -> float:
    """Mahalanobis distance between two vectors of proportions; for two levels, Austin's formula.

    >>> a, b = np.array(["F"] * 5 + ["M"] * 5), np.array(["F"] * 8 + ["M"] * 2)
    >>> round(smd_categorical(a, b), 4)   # 0.3 / sqrt((0.25 + 0.16) / 2)
    0.6626
    """
    if len(a) == 0 or len(b) == 0:
        return np.nan
    levels = sorted({*a, *b})[1:]
    if not levels:
        return 0.0
    p = np.array([[np.mean(a == level), np.mean(b == level)] for level in levels])
    cov = sum(np.diag(q) - np.outer(q, q) for q in p.T) / 2
    gap = p[:, 0] - p[:, 1]
    if np.linalg.matrix_rank(cov) < len(levels):  # a level is all of one group and none of the other
        return 0.0 if not gap.any() else np.inf
    return float(np.sqrt(gap @ np.linalg.solve(cov, gap)))


def _describe(column: str, groups: dict[str, pd.DataFrame]) -> list[Line]:
    whole = groups["overall"][column]
    if pd.api.types.is_datetime64_any_dtype(whole):
        lines = [(column, "first to last", {g: _period(t[column]) for g, t in groups.items()}, np.nan)]
    elif pd.api.types.is_numeric_dtype(whole) and not _is_coded(whole):
        lines = _continuous(column, groups)
    else:
        lines = _categorical(column, groups)
    if whole.isna().any():
        lines.append((column, "missing", {g: _share(t[column].isna()) for g, t in groups.items()}, np.nan))
    return lines


def _continuous(column: str, groups: dict[str, pd.DataFrame]) -> list[Line]:
    values = {g: t[column].dropna().to_numpy(float) for g, t in groups.items()}
    smd = _largest(smd_continuous, list(values.values())[1:])
    return [
        (column, "median [IQR]", {g: _median(v) for g, v in values.items()}, smd),
        (column, "mean (SD)", {g: _mean(v) for g, v in values.items()}, np.nan),
    ]


def _categorical(column: str, groups: dict[str, pd.DataFrame]) -> list[Line]:
    values = {g: t[column].dropna() for g, t in groups.items()}
    common = values["overall"].value_counts().index.tolist()
    levels = sorted(common) if len(common) <= MAX_LEVELS else common[:MAX_LEVELS]
    smd = _largest(smd_categorical, [v.astype(str).to_numpy() for v in list(values.values())[1:]])
    lines = [
        (column, _word(level), {g: _share(v == level) for g, v in values.items()}, smd if i == 0 else np.nan)
        for i, level in enumerate(levels)
    ]
    if len(common) > MAX_LEVELS:
        rest = f"{len(common) - MAX_LEVELS} others"
        lines.append((column, rest, {g: _share(~v.isin(levels)) for g, v in values.items()}, np.nan))
    return lines


def _largest(distance, values: list[np.ndarray]) -> float:
    pairs = [distance(a, b) for a, b in combinations(values, 2)]
    return float(np.nanmax(pairs)) if pairs and not np.isnan(pairs).all() else np.nan


def _is_coded(values: pd.Series) -> bool:
    """0/1 and small grades are counted, not averaged."""
    present = values.dropna()
    return present.nunique() <= 5 and bool((present % 1 == 0).all())


def _word(level: object) -> str:
    return f"{level:g}" if isinstance(level, int | float | np.number) else str(level)


def _share(chosen: pd.Series) -> str:
    n = len(chosen)
    return f"{int(chosen.sum())} ({100 * chosen.mean():.1f}%)" if n else "0"


def _median(values: np.ndarray) -> str:
    if len(values) == 0:
        return "–"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.1f} [{low:.1f} to {high:.1f}]"


def _mean(values: np.ndarray) -> str:
    if len(values) < 2:
        return "–"
    return f"{values.mean():.1f} ({values.std(ddof=1):.1f})"


def _period(dates: pd.Series) -> str:
    present = dates.dropna()
    return f"{present.min():%Y-%m-%d} to {present.max():%Y-%m-%d}" if len(present) else "–"
