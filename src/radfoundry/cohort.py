"""The study table: one row a case. Read it, check it, describe it, write it.

Columns (see docs/reference/formats.md): `case_id`, `patient_id`, `image` or `image:<view>`, `mask[:name]`,
`roi_x|y|z` in LPS mm, targets `y:<name>`, survival `time:<name>` and `event:<name>`, `report`, `split`,
`truth:<name>` (what a phantom knows and no model may see); every other plain name is a covariate.

In messages a row is the row of the spreadsheet: the header is row 1, the first case is row 2.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from radfoundry.cohort_columns import as_written, more, rename, typed
from radfoundry.cohort_files import FORMAT, Kind, locate, read_csv, read_meta, read_parquet
from radfoundry.errors import ReadError, TableError
from radfoundry.registry import nearest
from radfoundry.splits import check_patients
from radfoundry.table_files import whole
from radfoundry.table_one import table_one as _table_one

__all__ = ["Cohort", "read_cohort", "table_one", "validate", "write_cohort"]

ROLE = re.compile(r"case_id|patient_id|split|report|roi_[xyz]|(image|mask)(:.*)?|(y|time|event|truth):.*")


@dataclass(frozen=True)
class Cohort:
    """A validated study table.

    table: one row a case, columns as in the module docstring; index 0..n-1.
    root: folder against which relative image paths are resolved.
    meta: content of cohort.yaml (`modality`, `licence`, `targets: {name: {kind, positive, classes}}`, ...).
    notes: what was assumed while reading, to be said aloud in a report.
    """

    table: pd.DataFrame
    root: Path
    name: str = "cohort"
    meta: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def image_columns(self) -> list[str]:
        """`image` and every `image:<view>`, in the table's order."""
        return [c for c in self.table if c == "image" or c.startswith("image:")]

    @property
    def targets(self) -> list[str]:
        """Names behind `y:`."""
        return [c[2:] for c in self.table if c.startswith("y:")]

    @property
    def covariates(self) -> list[str]:
        """Plain columns with at least one value: age, sex, site, view, ... Never labels, text or truth."""
        return [c for c in self.table if not ROLE.fullmatch(c) and self.table[c].notna().any()]

    @property
    def patients(self) -> np.ndarray:
        """Patient of each row, (n,) str."""
        return self.table["patient_id"].to_numpy(dtype=object)

    def image_path(self, case_index: int, column: str = "image") -> Path:
        """Absolute path of one image (a `#frame=3` suffix is kept).

        Raises TableError when the case has no image in that column.
        """
        value = self.table[self._column(column)].iloc[case_index]
        if pd.isna(value):
            case = self.table["case_id"].iloc[case_index]
            raise TableError(f"{self.name}: case {case!r} has no image in column {column!r}. Fill it in")
        return self.root / str(value)

    def mask_path(self, case_index: int, column: str = "mask") -> Path | None:
        """Absolute path of one mask, or None where the case has none."""
        value = self.table[self._column(column)].iloc[case_index]
        return None if pd.isna(value) else self.root / str(value)

    def kind(self, target: str) -> Kind:
        """How a target is to be read: cohort.yaml decides, else two values are binary, text is class."""
        stated = self._about(target).get("kind")
        if stated in ("binary", "ordinal", "class", "number"):
            return stated
        values = self.table[self._column(f"y:{target}")].dropna()
        if values.nunique() <= 2:
            return "binary"
        if not pd.api.types.is_numeric_dtype(values):
            return "class"
        return "ordinal" if values.nunique() <= 10 and (values % 1 == 0).all() else "number"

    def labels(self, target: str, *, allow_constant: bool = False) -> np.ndarray:
        """Labels of a target, (n,): ints, floats (NaN where missing), or str for named classes.

        A binary target of two words becomes 0/1 where cohort.yaml names the positive class.
        Raises TableError when the column is missing, empty, or holds a single value.
        """
        column = self.table[self._column(f"y:{target}")]
        distinct = column.dropna().unique()
        if len(distinct) == 0:
            raise TableError(f"{self.name}: column 'y:{target}' is empty in every row. Fill in labels")
        if len(distinct) == 1 and not allow_constant:
            raise TableError(
                f"{self.name}: column 'y:{target}' is constant: every labelled row is "
                f"{distinct.tolist()[0]!r}. One class alone can be neither learned nor evaluated: add cases "
                "of the other class"
            )
        positive = self._about(target).get("positive")
        if positive is not None and self.kind(target) == "binary":
            same = _equals(column, positive)
            if same.nunique() < 2 and len(distinct) == 2:
                raise TableError(
                    f"{self.name}: the positive class {positive!r} is not in column 'y:{target}', which "
                    f"holds {distinct.tolist()}. Name one of them under targets in cohort.yaml"
                )
            column = same.astype(float).where(column.notna())
        if not pd.api.types.is_numeric_dtype(column):
            return column.to_numpy(dtype=object)
        values = column.to_numpy(dtype=float)
        whole = np.isfinite(values).all() and (values % 1 == 0).all()
        return values.astype(np.int64) if whole else values

    def subset(self, rows: np.ndarray | Iterable[int]) -> Cohort:
        """The cases of a boolean mask or of indices, in that order."""
        index = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
        if index.dtype != bool:
            index = index.astype(np.intp)
        return replace(self, table=self.table.loc[index].reset_index(drop=True))

    def digest(self) -> str:
        """sha256 of the table's content. Neither column order nor where files lie counts."""
        table = self.table[sorted(self.table.columns)].copy()
        for column in _file_columns(table):
            table[column] = table[column].map(lambda v: str(v).rsplit("/", 1)[-1], na_action="ignore")
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.9g")
        return hashlib.sha256(text.encode()).hexdigest()

    def _about(self, target: str) -> Mapping[str, Any]:
        return (self.meta.get("targets") or {}).get(target) or {}

    def _column(self, name: str) -> str:
        if name in self.table:
            return name
        prefix = name.split(":")[0]
        same = [c for c in self.table if c.split(":")[0] == prefix] or list(self.table)
        raise TableError(
            f"{self.name}: no column {name!r}.{nearest(name, same)} Columns of that sort: {', '.join(same)}"
        )


def read_cohort(path: str | Path, *, check_files: bool = True, need_images: bool = True) -> Cohort:
    """Read and check a CSV or Parquet table, or a folder that holds `cohort.csv|parquet`.

    check_files: whether the images must exist. need_images: whether there must be image columns at all (not
    where features come from tables of their own). Raises TableError naming row and column of the first
    fault, and what to do about it.
    """
    file = locate(Path(path))
    meta = read_meta(file)
    rows = read_parquet(file) if file.suffix.lower() == ".parquet" else read_csv(file)
    name = str(meta.get("name") or (file.parent.name if file.stem == "cohort" else file.stem))
    return validate(
        rows, root=file.parent, name=name, meta=meta, where=file.name, check_files=check_files,
        need_images=need_images,
    )  # fmt: skip


def validate(
    rows: pd.DataFrame,
    *,
    root: Path,
    name: str = "cohort",
    meta: dict[str, Any] | None = None,
    where: str = "cohort",
    check_files: bool = True,
    need_images: bool = True,
) -> Cohort:
    """Turn loose rows into a Cohort: familiar names, types, defaults, and every check of the contract.

    `where` names the table in messages. Raises TableError as `read_cohort` does.
    """
    meta = dict(meta or {})
    table, renamed = rename(rows, where)
    notes = [f"column {old!r} was read as {new!r}" for old, new in renamed.items()]
    if table.empty:
        raise TableError(f"{where}: no cases: the table has a header but no row below it. Add one row a case")
    spreadsheet_row = np.arange(len(table)) + 2
    blank = table.isna().all(axis=1).to_numpy()
    table, at = table.loc[~blank].reset_index(drop=True), spreadsheet_row[~blank]
    if table.empty:
        raise TableError(f"{where}: no cases: all rows are blank. Add one row a case")
    try:
        table = typed(table, at, where, meta)
        table, notes = _identify(table, at, where, notes)
        cohort = Cohort(table, Path(root), name, meta, (*notes, *_targets_missing(table, meta)))
        if need_images or cohort.image_columns:
            _check_images(cohort, at, where, check_files)
        _check_values(cohort, at, where)
    except TableError as error:
        raise TableError(as_written(str(error), renamed)) from error
    return cohort


def write_cohort(cohort: Cohort, path: str | Path) -> Path:
    """Write the table as .csv or .parquet with `<stem>.yaml` beside it; image paths become relative to it.

    Both files appear whole or not at all. Raises RunError where they cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise TableError(f"{path.name}: a cohort is written as .csv or .parquet. Choose one of these endings")
    table = cohort.table.copy()
    for column in _file_columns(table):
        table[column] = [_relocate(v, cohort.root, path.parent) for v in table[column]]
    if "date" in table:
        table["date"] = pd.to_datetime(table["date"]).dt.strftime("%Y-%m-%d")
    meta = {"format": FORMAT, "name": cohort.name, **{k: v for k, v in cohort.meta.items() if k != "format"}}
    about = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)
    with whole(path) as part:
        if path.suffix == ".csv":
            table.to_csv(part, index=False, lineterminator="\n")
        else:
            table.to_parquet(part, index=False)
        with whole(path.with_suffix(".yaml")) as side:
            side.write_text(about, encoding="utf-8")
    return path


def table_one(cohort: Cohort, by: str | None = None) -> pd.DataFrame:
    """Characteristics of the cohort, overall and by group; see `radfoundry.table_one`.

    `by` is a column, or the name of a target.
    """
    column = f"y:{by}" if by in cohort.targets else by
    if column is not None:
        cohort._column(column)
    shown = cohort.covariates + [f"y:{t}" for t in cohort.targets if f"y:{t}" != column]
    return _table_one(cohort.table, [c for c in shown if c != column], by=column, patient="patient_id")


# --- identity ------------------------------------------------------------------------------------------


def _identify(
    table: pd.DataFrame, at: np.ndarray, where: str, notes: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """case_id and patient_id, with defaults that are said aloud."""
    notes = list(notes)
    for column in ("case_id", "patient_id"):
        if column in table and _is_decimal(table[column]):
            table[column] = table[column].str.removesuffix(".0")
            notes.append(f"numbers in {column!r} were read without their '.0'")
    if "case_id" not in table:
        table.insert(0, "case_id", [f"case-{row:05d}" for row in at])
        notes.append("no column 'case_id': cases are named by their row")
    empty = np.flatnonzero(table["case_id"].isna())
    if len(empty):
        raise TableError(f"{where}: row {at[empty[0]]}, column 'case_id': empty. Give each case its own name")
    again = np.flatnonzero(table["case_id"].duplicated())
    if len(again):
        value = table["case_id"].iloc[again[0]]
        first = at[np.flatnonzero(table["case_id"] == value)[0]]
        raise TableError(
            f"{where}: row {at[again[0]]}, column 'case_id': {value!r} was used in row {first} already"
            f"{more(again)}. A case has one row: rename it, or use 'image:<view>' columns for more images"
        )
    if "patient_id" not in table:
        table.insert(1, "patient_id", table["case_id"])
        notes.append("no column 'patient_id': every case is taken to be another patient")
    lacking = table["patient_id"].isna()
    if lacking.any():
        table["patient_id"] = table["patient_id"].where(~lacking, table["case_id"])
        notes.append(f"'patient_id' is empty in {lacking.sum()} rows, each taken to be a patient of its own")
    return table, notes


def _is_decimal(names: pd.Series) -> bool:
    """Whether these are whole numbers of which some were written as 12.0, which is how pandas leaves them."""
    present = names.dropna().astype(str)
    return bool(present.str.fullmatch(r"\d+(\.0)?").all() and present.str.endswith(".0").any())


def _targets_missing(table: pd.DataFrame, meta: dict[str, Any]) -> list[str]:
    """Targets of the YAML that the table has not: a misspelling would change how labels are read."""
    lacking = [name for name in meta.get("targets") or {} if f"y:{name}" not in table]
    return [
        f"target {name!r} is described in the YAML file, but there is no column 'y:{name}'"
        for name in lacking
    ]


# --- checks --------------------------------------------------------------------------------------------


def _check_images(cohort: Cohort, at: np.ndarray, where: str, check_files: bool) -> None:
    table, columns = cohort.table, cohort.image_columns
    if not columns:
        raise TableError(
            f"{where}: no column 'image' (or 'image:<view>').{nearest('image', table.columns)} "
            f"Name the column of image paths 'image'. Columns found: {', '.join(table.columns)}"
        )
    none = np.flatnonzero(table[columns].isna().all(axis=1))
    if len(none):
        raise TableError(f"{where}: row {at[none[0]]}, column {columns[0]!r}: empty{more(none)}. Add a path")
    if not check_files:
        return
    for column in _file_columns(table):
        faults = {i: _file_fault(value, cohort.root) for i, value in enumerate(table[column])}
        wrong = [i for i, fault in faults.items() if fault]
        if wrong:
            raise TableError(
                f"{where}: row {at[wrong[0]]}, column {column!r}: {faults[wrong[0]]}{more(wrong)}. "
                f"Paths are relative to {cohort.root}"
            )


def _check_values(cohort: Cohort, at: np.ndarray, where: str) -> None:
    table = cohort.table
    if "age" in table:
        _refuse(table["age"] < 0, table["age"], at, where, "is a negative age. Write the age in years")
        _refuse(table["age"] > 130, table["age"], at, where, "is not an age in years. Mend or empty it")
    for column in table:
        sort, _, name = column.partition(":")
        if sort == "y":
            _check_target(cohort, name, at, where)
        if (
            sort in ("time", "event")
            and (other := f"{'event' if sort == 'time' else 'time'}:{name}") not in table
        ):
            raise TableError(f"{where}: column {column!r} needs a column {other!r} beside it. Add it")
        if sort == "time":
            reason = "is a negative time. Count from the start date"
            _refuse(table[column] < 0, table[column], at, where, reason)
        if sort == "event":
            wrong = table[column].notna() & ~table[column].isin([0, 1])
            _refuse(wrong, table[column], at, where, "is no event. Write 1 (happened) or 0 (censored)")
    if "split" in table:
        check_patients(table["patient_id"], table["split"], rows=at, where=where)


def _check_target(cohort: Cohort, name: str, at: np.ndarray, where: str) -> None:
    """A name, and no third value where the YAML says binary."""
    if not name:
        raise TableError(f"{where}: a column is called 'y:', a target without a name. Write e.g. 'y:ila'")
    values = cohort.table[f"y:{name}"]
    kinds = list(dict.fromkeys(values.dropna()))
    if cohort._about(name).get("kind") == "binary" and len(kinds) > 2:
        row = at[np.flatnonzero(values == kinds[2])[0]]
        raise TableError(
            f"{where}: row {row}, column 'y:{name}': {kinds[2]!r} is a third value beside {kinds[0]!r} and "
            f"{kinds[1]!r}, but the YAML file says binary. Mend the label, or call it class or ordinal"
        )


def _refuse(wrong: pd.Series, values: pd.Series, at: np.ndarray, where: str, reason: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        value = values.iloc[rows[0]]
        raise TableError(
            f"{where}: row {at[rows[0]]}, column {values.name!r}: {value:g} {reason}{more(rows)}"
        )


def _file_columns(table: pd.DataFrame) -> list[str]:
    return [c for c in table if re.fullmatch(r"(image|mask)(:.*)?", c)]


def _equals(column: pd.Series, value: object) -> pd.Series:
    """Numbers are compared as numbers, because a column read as float writes 1 as "1.0"."""
    number = pd.to_numeric(str(int(value) if isinstance(value, bool) else value), errors="coerce")
    if pd.api.types.is_numeric_dtype(column) and not pd.isna(number):
        return column == number
    return column.astype(str) == str(value)


def _is_url(value: str) -> bool:
    return bool(re.match(r"[a-z][a-z0-9+.]+://|dicomweb:", value))


def _file_fault(value: object, root: Path) -> str:
    """What is wrong with a path, or "". Behind `#` stands what `read` is to choose."""
    if not isinstance(value, str) or _is_url(value):
        return ""
    file = root / value
    if "#" in value and not file.exists():
        from radfoundry.io.reader import split_path

        try:
            file, _ = split_path(file)
        except ReadError as error:
            return str(error).removeprefix(f"{root}/")
    return "" if file.exists() else f"no such file: {value}"


def _relocate(value: object, old: Path, new: Path) -> object:
    if not isinstance(value, str) or _is_url(value) or os.path.isabs(value):
        return value
    return Path(os.path.relpath((old / value).absolute(), new.absolute())).as_posix()
