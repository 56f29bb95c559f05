"""The study table: one row a case. Read it, check it, describe it, write it.

Columns (see docs/reference/formats.md): `case_id`, `patient_id`, `image` or `image:<view>`, `mask[:name]`,
`roi_x|y|z` in LPS mm, targets `y:<name>`, survival `time:<name>` and `event:<name>`, `report`, `split`,
`truth:<name>` (what a phantom knows and no model may see); every other plain name is a covariate.

In messages a row is the row of the spreadsheet: the header is row 1, the first case is row 2.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import yaml

from radfoundry.errors import ReadError, TableError
from radfoundry.registry import nearest
from radfoundry.splits import as_dates, check_patients
from radfoundry.table_one import table_one as _table_one

__all__ = ["Cohort", "read_cohort", "table_one", "validate", "write_cohort"]

FORMAT = 1
Kind = Literal["binary", "ordinal", "class", "number"]

# canonical name: names that other tools use for it (compared without case, blanks, - and _)
FAMILIAR: dict[str, tuple[str, ...]] = {
    "case_id": ("id", "case", "caseid", "accession", "studyid", "imageindex"),
    "patient_id": ("patient", "patientid", "subject", "subjectid", "pid"),
    "image": (
        "imagepath",
        "imagefile",
        "img",
        "imgpath",
        "file",
        "filename",
        "filepath",
        "path",
        "volumepath",
    ),
    "mask": ("maskpath", "maskfile", "segmentation", "labelmap"),
    "roi_x": ("coordx",),
    "roi_y": ("coordy",),
    "roi_z": ("coordz",),
    "y:target": ("target",),
    "y:label": ("label",),
    "y:class": ("class",),
    "age": ("patientage", "ageyears"),
    "sex": ("gender", "patientsex", "patientgender"),
    "view": ("viewposition",),
    "date": ("studydate", "examdate"),
    "site": ("hospital", "center", "centre", "institution"),
    "report": ("reporttext", "findingstext"),
    "split": ("fold", "set", "subset", "partition"),
}
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
    "external": "external",
}  # fmt: skip
MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "null", "NULL", "<NA>"))
TEXT = re.compile(r"case_id|patient_id|split|report|sex|site|scanner|view|(image|mask)(:.*)?")
NUMBER = re.compile(r"age|roi_[xyz]|(time|event):.+")
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
                f"{self.name}: column 'y:{target}' is constant: every labelled row is {distinct[0]!r}. "
                "One class alone can be neither learned nor evaluated: add cases of the other class"
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
    file = _locate(Path(path))
    meta = _read_meta(file)
    rows = _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)
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
    table, renamed = _rename(rows, where)
    notes = [f"column {old!r} was read as {new!r}" for old, new in renamed.items()]
    if table.empty:
        raise TableError(f"{where}: no cases: the table has a header but no row below it. Add one row a case")
    spreadsheet_row = np.arange(len(table)) + 2
    blank = table.isna().all(axis=1).to_numpy()
    table, at = table.loc[~blank].reset_index(drop=True), spreadsheet_row[~blank]
    if table.empty:
        raise TableError(f"{where}: no cases: all rows are blank. Add one row a case")
    try:
        table = _typed(table, at, where, meta)
        table, notes = _identify(table, at, where, notes)
        cohort = Cohort(table, Path(root), name, meta, (*notes, *_targets_missing(table, meta)))
        if need_images or cohort.image_columns:
            _check_images(cohort, at, where, check_files)
        _check_values(cohort, at, where)
    except TableError as error:
        raise TableError(_as_written(str(error), renamed)) from error
    return cohort


def write_cohort(cohort: Cohort, path: str | Path) -> Path:
    """Write the table as .csv or .parquet with `<stem>.yaml` beside it; image paths become relative to it.

    Both files appear whole or not at all.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise TableError(f"{path.name}: a cohort is written as .csv or .parquet. Choose one of these endings")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = cohort.table.copy()
    for column in _file_columns(table):
        table[column] = [_relocate(v, cohort.root, path.parent) for v in table[column]]
    if "date" in table:
        table["date"] = pd.to_datetime(table["date"]).dt.strftime("%Y-%m-%d")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    if path.suffix == ".csv":
        table.to_csv(temporary, index=False, lineterminator="\n")
    else:
        table.to_parquet(temporary, index=False)
    meta = {"format": FORMAT, "name": cohort.name, **{k: v for k, v in cohort.meta.items() if k != "format"}}
    side = path.with_suffix(".yaml")
    side_temporary = side.with_name(f".{side.name}.{os.getpid()}.part")
    side_temporary.write_text(yaml.safe_dump(meta, sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(side_temporary, side)
    os.replace(temporary, path)
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


# --- reading -------------------------------------------------------------------------------------------


def _locate(path: Path) -> Path:
    if path.is_dir():
        for candidate in ("cohort.csv", "cohort.parquet"):
            if (path / candidate).is_file():
                return path / candidate
        raise TableError(
            f"{path}: a folder without cohort.csv or cohort.parquet. "
            f"Make one: radfoundry cohort from {path} --out DIR"
        )
    if not path.is_file():
        raise TableError(f"{path}: no such file. Check the path")
    if path.stat().st_size == 0:
        raise TableError(f"{path.name}: the file is empty. It needs a header line and one row a case")
    if path.suffix.lower() not in (".csv", ".tsv", ".txt", ".parquet"):
        raise TableError(
            f"{path.name}: a cohort is a .csv or .parquet table. Export the sheet as CSV (UTF-8)"
        )
    return path


def _read_meta(file: Path) -> dict[str, Any]:
    for side in (file.with_suffix(".yaml"), file.with_name("cohort.yaml")):
        if not side.is_file():
            continue
        try:
            meta = yaml.safe_load(side.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as cause:
            raise TableError(f"{side.name}: not readable as YAML: {cause}. Mend or remove it") from cause
        if not isinstance(meta, dict):
            raise TableError(f"{side.name}: expected `name: value` lines, got {type(meta).__name__}")
        _check_meta(meta, side.name)
        return meta
    return {}


def _check_meta(meta: dict[str, Any], where: str) -> None:
    version = meta.get("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise TableError(f"{where}: format {version} is not known: update radfoundry")
    targets = meta.get("targets") or {}
    example = "Write e.g. `targets: {ila: {kind: binary, positive: 1}}`"
    if not isinstance(targets, dict):
        raise TableError(f"{where}: 'targets' is {targets!r}, no names with properties. {example}")
    for name, about in targets.items():
        if about is not None and not isinstance(about, dict):
            raise TableError(f"{where}: target {name!r} is {about!r}, no properties. {example}")
        kind = (about or {}).get("kind")
        if kind is not None and kind not in get_args(Kind):
            raise TableError(
                f"{where}: target {name!r} has kind {kind!r}.{nearest(str(kind), get_args(Kind))} "
                f"Kinds: {', '.join(get_args(Kind))}"
            )


def _read_parquet(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as cause:  # pyarrow's own errors are ValueErrors
        raise TableError(f"{file.name}: not readable as Parquet: {cause}. Write or copy it again") from cause


def _read_csv(file: Path) -> pd.DataFrame:
    """All cells as text; blank lines kept, so that row numbers agree with the spreadsheet."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        line = file.read_bytes()[: cause.start].count(b"\n") + 1
        raise TableError(f"{file.name}: row {line} is not UTF-8 text. Save it as CSV (UTF-8)") from cause
    if "\0" in text or not text.strip():
        raise TableError(f"{file.name}: not a text table (empty or binary). Export the sheet as CSV (UTF-8)")
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    advice = f"Close all quotes, and quote cells with {separator!r}"
    try:
        lines = csv.reader(StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
        rows = [[cell.strip() for cell in line] for line in lines]
    except csv.Error as cause:
        raise TableError(f"{file.name}: unreadable as CSV: {cause}. {advice}") from cause
    header, body = rows[0], rows[1:]
    if not any(header):
        raise TableError(f"{file.name}: row 1 is blank, and it has to name the columns. Remove blank lines")
    for number, row in enumerate(body, start=2):
        while len(row) > len(header) and not row[-1]:
            row.pop()
        if not any(row):
            row[:] = [""] * len(header)
        if len(row) != len(header):
            raise TableError(
                f"{file.name}: unreadable as CSV: row {number} has {len(row)} cells where the header has "
                f"{len(header)}. {advice}"
            )
    table = pd.DataFrame(
        [[None if cell in MISSING else cell for cell in row] for row in body],
        columns=range(len(header)), dtype=object,
    )  # fmt: skip
    return _with_header(table, header, file.name)


def _with_header(table: pd.DataFrame, header: list[str], where: str) -> pd.DataFrame:
    """Name the columns; a nameless one is dropped where empty, as spreadsheets leave it, else refused."""
    for number, name in enumerate(header):
        if not name and table[number].notna().any():
            raise TableError(f"{where}: row 1 has no name for column {number + 1}. Name it or remove it")
    named = [number for number, name in enumerate(header) if name]
    names = [header[number] for number in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"{where}: row 1 names column {twice[0]!r} twice. Rename or remove one")
    return table[named].set_axis(names, axis=1)


def _rename(rows: pd.DataFrame, where: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Familiar names to canonical ones, and which were; a canonical name already there wins."""
    table = rows.rename(columns=lambda c: str(c).strip())
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise TableError(f"{where}: column {twice[0]!r} is there twice. Rename or remove one")
    plain = {re.sub(r"[\s_\-]", "", c).lower(): c for c in reversed(table.columns)}
    known = {"".join(k.split("_")): k for k in FAMILIAR if ":" not in k}
    renamed: dict[str, str] = {}
    for canonical, others in FAMILIAR.items():
        if canonical in table:
            continue
        spellings = [k for k, v in known.items() if v == canonical] + list(others)
        found = next((plain[s] for s in spellings if s in plain and plain[s] not in renamed), None)
        if found is not None and found not in FAMILIAR:
            renamed[found] = canonical
    return table.rename(columns=renamed), renamed


def _as_written(message: str, renamed: dict[str, str]) -> str:
    """The message with the column's name as it stands in the table, where it was read under another."""
    for old, new in renamed.items():
        message = message.replace(f"column {new!r}", f"column {old!r} (read as {new!r})")
    return message


def _typed(table: pd.DataFrame, at: np.ndarray, where: str, meta: dict[str, Any]) -> pd.DataFrame:
    """Every column as its role demands: text, number or date."""
    table = table.copy()
    for column in table:
        values = _without_blanks(table[column])
        if TEXT.fullmatch(column):
            table[column] = _as_text(values)
        elif column == "date":
            table[column] = _as_date(values, at, where)
        elif NUMBER.fullmatch(column):
            table[column] = _as_number(values, column, at, where, ages=column == "age")
        else:
            table[column] = _guess(values, column, at, where, meta)
    if "split" in table:
        table["split"] = _as_split(table["split"], at, where)
    if "sex" in table:
        words = {"female": "F", "f": "F", "male": "M", "m": "M"}
        table["sex"] = table["sex"].map(lambda s: words.get(s.lower(), s), na_action="ignore")
    return table


def _without_blanks(values: pd.Series) -> pd.Series:
    """Empty text is a missing value in Parquet too; categories are read as what they name."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if not pd.api.types.is_object_dtype(values) and not pd.api.types.is_string_dtype(values):
        return values
    return values.astype(object).where(values.map(lambda v: str(v).strip() != ""), None)


def _as_text(values: pd.Series) -> pd.Series:
    whole = pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all()
    if whole:  # an id column with gaps arrives from Parquet as 12.0
        values = values.map(lambda v: f"{v:.0f}", na_action="ignore")
    text = values.map(lambda v: str(v).strip(), na_action="ignore").astype(object)
    return text.where(text.notna(), None)


def _as_number(
    values: pd.Series, column: str, at: np.ndarray, where: str, *, ages: bool = False
) -> pd.Series:
    if ages and values.dtype == object:
        values = values.map(_dicom_age, na_action="ignore")
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = np.flatnonzero((numbers.isna() & values.notna()) | np.isinf(numbers))
    if len(wrong):
        raise TableError(
            f"{where}: row {at[wrong[0]]}, column {column!r}: {values.iloc[wrong[0]]!r} is text where a "
            f"number belongs{_more(wrong)}. Write a number with a decimal point, or leave the cell empty"
        )
    return numbers


def _guess(values: pd.Series, column: str, at: np.ndarray, where: str, meta: dict[str, Any]) -> pd.Series:
    """Number if it can be, else text. A label column that is nearly all numbers is held to be numeric."""
    if pd.api.types.is_bool_dtype(values):
        return values.astype(int)
    if pd.api.types.is_numeric_dtype(values):
        return _as_number(values, column, at, where)
    stated = ((meta.get("targets") or {}).get(column[2:]) or {}) if column.startswith("y:") else {}
    words = {str(value).lower() for value in values.dropna()}
    if words and words <= {"true", "false"} and "positive" not in stated:
        return values.map(lambda v: float(str(v).lower() == "true"), na_action="ignore").astype(float)
    numbers = pd.to_numeric(values, errors="coerce")
    readable = numbers.notna().sum() / max(values.notna().sum(), 1)
    must = stated.get("kind") in ("ordinal", "number") or (
        stated.get("kind") == "binary" and str(stated.get("positive", 1)) in ("0", "1")
    )
    commas = values.dropna().astype(str).str.fullmatch(r"[-+]?\d+(,\d+)?")
    must = must or (readable < 1 and bool(commas.all()))  # decimal commas are no classes
    if readable == 1 or must or (column.startswith("y:") and readable >= 0.5):
        return _as_number(values, column, at, where)
    return _as_text(values)


def _as_date(values: pd.Series, at: np.ndarray, where: str) -> pd.Series:
    dates = as_dates(values)
    wrong = np.flatnonzero(dates.isna() & values.notna())
    if len(wrong):
        raise TableError(
            f"{where}: row {at[wrong[0]]}, column 'date': {values.iloc[wrong[0]]!r} is not a date"
            f"{_more(wrong)}. Write it as YYYY-MM-DD"
        )
    return dates


def _as_split(values: pd.Series, at: np.ndarray, where: str) -> pd.Series:
    parts = values.map(lambda v: SPLIT_WORDS.get(str(v).lower()), na_action="ignore")
    wrong = np.flatnonzero(parts.isna())
    if len(wrong):
        raise TableError(
            f"{where}: row {at[wrong[0]]}, column 'split': {values.iloc[wrong[0]]!r} is not a part"
            f"{_more(wrong)}. Use train, validation, test or external, in every row"
        )
    return parts


def _dicom_age(value: object) -> object:
    """'045Y' or '06M' (DICOM AS) in years; anything else as it came."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", str(value).strip())
    if not match:
        return value
    return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]]


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
            f"{_more(again)}. A case has one row: rename it, or use 'image:<view>' columns for more images"
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
        raise TableError(f"{where}: row {at[none[0]]}, column {columns[0]!r}: empty{_more(none)}. Add a path")
    if not check_files:
        return
    for column in _file_columns(table):
        faults = {i: _file_fault(value, cohort.root) for i, value in enumerate(table[column])}
        wrong = [i for i, fault in faults.items() if fault]
        if wrong:
            raise TableError(
                f"{where}: row {at[wrong[0]]}, column {column!r}: {faults[wrong[0]]}{_more(wrong)}. "
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
            f"{where}: row {at[rows[0]]}, column {values.name!r}: {value:g} {reason}{_more(rows)}"
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


def _more(rows: np.ndarray | list[int]) -> str:
    return f" (and {len(rows) - 1} further rows)" if len(rows) > 1 else ""
