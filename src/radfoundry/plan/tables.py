"""Feature tables as matrices in the order of a cohort's cases: one, or all the sets of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from radfoundry.cohort import Cohort
from radfoundry.errors import InputError, TableError, UnknownName
from radfoundry.plan.grid import FeatureSpec, Grid
from radfoundry.plan.label_columns import LABELS, MOST_CLASSES, refuse_covariate, refuse_labels, telling
from radfoundry.registry import nearest

ID_NAMES = ("case_id", "ID", "PatientID", "patient_id")
"""Names of the column that joins a table to the cohort, the first that is there."""


@dataclass(frozen=True)
class Features:
    """matrices: set to (n, p) float32, NaN where a value is missing, infinite or too large for 32 bits.

    names: set to its columns. complete: (n,) whether a case is in every table. notes: what a reader should
    know.
    """

    matrices: Mapping[str, np.ndarray]
    names: Mapping[str, tuple[str, ...]]
    complete: np.ndarray
    notes: tuple[str, ...]


def read(grid: Grid, cohort: Cohort, target: str = "", y: np.ndarray | None = None) -> Features:
    """Every feature set of the grid for the cases of a cohort.

    target, y: the label that is asked for and its (n,) 0/1; a column that tells it alone is in the notes.
    TableError or InputError name the set, the file and the column: a case twice, a text column, a label,
    nothing left, a set that is constant over all cases.
    """
    matrices: dict[str, np.ndarray] = {}
    names: dict[str, tuple[str, ...]] = {}
    complete = np.ones(len(cohort), bool)
    notes = []
    files: dict[Path, pd.DataFrame] = {}
    for name, spec in grid.features.items():
        if spec.join:
            continue
        found, present = _one(name, spec, cohort, files, target)
        matrices[name], names[name] = finite(found), tuple(str(c) for c in found.columns)
        complete &= present
        lost = int((np.isnan(matrices[name]) & found.notna().to_numpy())[present].sum())
        if lost:
            notes.append(f"{name}: {lost} values are infinite or too large for 32 bits and count as missing")
        if not present.all():
            notes.append(f"{int((~present).sum())} cases of {cohort.name} are not in the table of {name!r}")
        if not present.any():
            raise TableError(
                f"features: {name}: no case of {cohort.name} is in its table. Compare the case ids"
            )
    for name, spec in grid.features.items():
        if spec.join:
            matrices[name] = np.hstack([matrices[part] for part in spec.join])
            names[name] = tuple(c for part in spec.join for c in names[part])
    for name, matrix in matrices.items():
        notes += _check(name, matrix[complete])
        if y is not None and not grid.features[name].join:
            notes += telling(name, matrix[complete], y[complete], names[name])
    return Features(matrices, names, complete, tuple(notes))


def finite(values: pd.DataFrame | np.ndarray) -> np.ndarray:
    """As float32, with NaN for what is missing, infinite or too large for 32 bits."""
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes infinite, and that missing
        matrix = np.asarray(values, np.float32)
    return np.where(np.isfinite(matrix), matrix, np.float32(np.nan))


def _check(name: str, matrix: np.ndarray) -> list[str]:
    """A set must say something about some case; missing values are counted."""
    with np.errstate(invalid="ignore"):
        known = np.isfinite(matrix)
        low = np.where(known, matrix, np.inf).min(axis=0)
        high = np.where(known, matrix, -np.inf).max(axis=0)
    varies = high > low
    if not varies.any():
        raise InputError(
            f"features: {name}: all {matrix.shape[1]} columns are constant or empty over {len(matrix)} "
            "cases, so nothing can be learned from them. Leave the set out, or look at how it was made"
        )
    notes = []
    if not varies.all():
        notes.append(f"{name}: {int((~varies).sum())} of {matrix.shape[1]} columns are constant and unused")
    share = 1 - known.mean()
    if share > 0:
        notes.append(f"{name}: {share:.1%} of the values are missing; they take the training cases' median")
    return notes


def _one(
    name: str, spec: FeatureSpec, cohort: Cohort, files: dict[Path, pd.DataFrame], target: str
) -> tuple[pd.DataFrame, np.ndarray]:
    if spec.table is None:
        return _of_cohort(name, spec.columns, cohort, target), np.ones(len(cohort), bool)
    if spec.table not in files:
        files[spec.table] = load(
            spec.table, f"features: {name}: {spec.table}", hint="Paths are read from where the grid lies"
        )
    table = files[spec.table]
    where = f"features: {name}: {spec.table}"
    return of_cases(table[_chosen(name, spec.columns, table, spec.table)], cohort, where)


def of_cases(
    table: pd.DataFrame, cohort: Cohort, where: str = "the feature table"
) -> tuple[pd.DataFrame, np.ndarray]:
    """Features of a loaded table in the order of the cohort's cases, and (n,) whether it has the case.

    A table that has none of the cases is taken as one by patient, which serves all cases of a patient.
    TableError for a column that is a label of the cohort, see `refuse_labels`; where: what it begins with.
    """
    ids = cohort.table["case_id"].astype(str)
    if not np.isin(table.index, ids).any():
        ids = pd.Series(cohort.patients.astype(str))
    found = table.reindex(ids).reset_index(drop=True)
    refuse_labels([str(c) for c in found.columns], finite(found), cohort, where)
    return found, ids.isin(table.index).to_numpy()


def load(path: Path, where: str, *, hint: str = "Check the path") -> pd.DataFrame:
    """A table by case, its ids (text, leading zeros kept) as index; a column `vector` is spread out.

    where: what messages begin with. Raises InputError for no file, TableError for a damaged one, for no
    column of ids, and for a case that is there twice.
    """
    try:
        table = (
            pd.read_parquet(path)
            if path.suffix == ".parquet"
            else pd.read_csv(path, dtype=dict.fromkeys(ID_NAMES, str))
        )
    except FileNotFoundError as cause:
        raise InputError(f"{where} does not exist. {hint}") from cause
    except Exception as cause:  # whatever pandas and pyarrow say of a damaged file
        raise TableError(f"{where} is not readable as a table: {str(cause).splitlines()[0]}") from cause
    identity = next((c for c in ID_NAMES if c in table), None)
    if identity is None:
        raise TableError(
            f"{where} has no column 'case_id'. It has: {', '.join(map(str, table.columns[:10]))}"
        )
    ids = table[identity].astype(str)
    twice = ids[ids.duplicated()]
    if len(twice):
        row = twice.index[0] + 2
        raise TableError(f"{where}: row {row}: case {twice.iloc[0]!r} occurs twice. One row a case")
    if "vector" in table:
        lengths = table["vector"].map(len)
        if lengths.nunique() != 1:
            raise TableError(f"{where}: column vector has lengths {lengths.min()} to {lengths.max()}")
        spread = pd.DataFrame(np.stack(table["vector"].to_list()).astype(float))
        return spread.rename(columns=lambda i: f"v{i}").set_index(pd.Index(ids))
    return table.drop(columns=identity).set_index(pd.Index(ids))


def features_of(table: pd.DataFrame) -> list[str]:
    """Numeric columns that are neither labels nor ids."""
    others = (*LABELS, "Unnamed")
    return [
        c for c in map(str, table.columns)
        if is_numeric_dtype(table[c]) and c not in ID_NAMES and not c.startswith(others)
    ]  # fmt: skip


def _chosen(name: str, patterns: Sequence[str], table: pd.DataFrame, path: Path) -> list[str]:
    columns = [str(c) for c in table.columns]
    if not patterns:
        found = features_of(table)
        if not found:
            raise TableError(f"features: {name}: {path} has no numeric column")
        return found
    found = []
    for pattern in patterns:
        hits = [c for c in columns if fnmatchcase(c, pattern)]
        if not hits:
            hint = nearest(pattern, columns)
            raise UnknownName(f"features: {name}: {path} has no column {pattern!r}.{hint}")
        found += hits
    for column in dict.fromkeys(found):
        if not is_numeric_dtype(table[column]):
            value = table[column].dropna().iloc[0] if table[column].notna().any() else ""
            raise TableError(
                f"features: {name}: column {column!r} of {path} holds text ({value!r}); give numeric columns"
            )
    return list(dict.fromkeys(found))


def _of_cohort(name: str, columns: Sequence[str], cohort: Cohort, target: str) -> pd.DataFrame:
    """Columns of the cohort as numbers; categories become one indicator each (the levels hold no label)."""
    known = [c for c in cohort.table.columns if not c.startswith(LABELS)]
    parts = []
    for column in columns:
        if column not in known:
            hint = nearest(column, known)
            raise UnknownName(f"features: {name}: {cohort.name} has no covariate {column!r}.{hint}")
        refuse_covariate(column, cohort, target, f"features: {name}: {cohort.name}")
        values = cohort.table[column]
        if is_numeric_dtype(values) and not is_bool_dtype(values):
            parts.append(values.astype(float).rename(column).to_frame())
            continue
        if values.nunique() > MOST_CLASSES:
            raise TableError(
                f"features: {name}: column {column!r} has {values.nunique()} different texts, too many for "
                "categories. Give a numeric column"
            )
        parts.append(pd.get_dummies(values.astype("string").fillna("missing"), prefix=column, dtype=float))
    return pd.concat([p.reset_index(drop=True) for p in parts], axis=1)
