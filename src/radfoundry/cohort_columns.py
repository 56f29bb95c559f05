"""The columns of a cohort: familiar names, and each column as its role demands (text, number or date)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.errors import TableError
from radfoundry.splits import as_dates

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
TEXT = re.compile(r"case_id|patient_id|split|report|sex|site|scanner|view|(image|mask)(:.*)?")
NUMBER = re.compile(r"age|roi_[xyz]|(time|event):.+")


def rename(rows: pd.DataFrame, where: str) -> tuple[pd.DataFrame, dict[str, str]]:
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


def as_written(message: str, renamed: dict[str, str]) -> str:
    """The message with the column's name as it stands in the table, where it was read under another."""
    for old, new in renamed.items():
        message = message.replace(f"column {new!r}", f"column {old!r} (read as {new!r})")
    return message


def typed(table: pd.DataFrame, at: np.ndarray, where: str, meta: dict[str, Any]) -> pd.DataFrame:
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
            f"number belongs{more(wrong)}. Write a number with a decimal point, or leave the cell empty"
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
            f"{more(wrong)}. Write it as YYYY-MM-DD"
        )
    return dates


def _as_split(values: pd.Series, at: np.ndarray, where: str) -> pd.Series:
    parts = values.map(lambda v: SPLIT_WORDS.get(str(v).lower()), na_action="ignore")
    wrong = np.flatnonzero(parts.isna())
    if len(wrong):
        raise TableError(
            f"{where}: row {at[wrong[0]]}, column 'split': {values.iloc[wrong[0]]!r} is not a part"
            f"{more(wrong)}. Use train, validation, test or external, in every row"
        )
    return parts


def _dicom_age(value: object) -> object:
    """'045Y' or '06M' (DICOM AS) in years; anything else as it came."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", str(value).strip())
    if not match:
        return value
    return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]]


def more(rows: np.ndarray | list[int]) -> str:
    """How many further rows have the fault of the first, for the end of a message."""
    return f" (and {len(rows) - 1} further rows)" if len(rows) > 1 else ""
