"""From the columns of other people's software to ours: names, wide tables, words for yes and no.

Nothing is guessed in silence: each step that changes a meaning adds a note. Where a guess could be wrong
the table is refused, and the message names the option that settles it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from radfoundry.errors import TableError
from radfoundry.predictions.columns import (
    ALIASES,
    RESERVED,
    ROW,
    class_columns,
    class_name,
    familiar,
    hint,
    plain,
    row_of,
    shown,
)

WORDS = {
    "positive": 1, "pos": 1, "yes": 1, "true": 1, "present": 1,
    "negative": 0, "neg": 0, "no": 0, "false": 0, "absent": 0,
}  # fmt: skip
SCORED = re.compile(r"(?:p|prob|proba|probability|pred|score)[_:](.+)")
TRUTHS = ("y_{}", "y:{}", "label_{}", "true_{}", "gt_{}", "{}")


def arrange(
    table: pd.DataFrame,
    notes: list[str],
    *,
    truth: str | None = None,
    models: Sequence[str] = (),
    positive: str | None = None,
) -> pd.DataFrame:
    """The table with our column names, long by target and model; what was assumed is added to `notes`.

    truth: column that holds the truth. models: those to keep, by their name in the column `model` or by the
    column that holds their scores. positive: the label that counts as 1.
    """
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise TableError(f"two columns are called {repeated[0]!r}. Rename or drop one")
    if truth is not None:
        table = table.drop(columns="y_true", errors="ignore") if truth != "y_true" else table
        table = table.rename(columns={_column(table, truth, "truth"): "y_true"})
    in_column = models and any(plain(c) in ("model", *ALIASES["model"]) for c in table.columns)
    if models and not in_column:
        table = _by_model(table, models)
    table = _rename(table, notes, unclear=("decision",) if len(models) > 1 and not in_column else ())
    if in_column:
        table = _keep(table, models)
    table = _by_finding(table, notes)
    table = _by_class(table, notes)
    table = _binary(table, notes, positive)
    table = _percent(table, notes)
    return _scored_by_decision(table, notes)


def _column(table: pd.DataFrame, wanted: str, what: str) -> str:
    found = [c for c in table.columns if wanted in (c, str(c).strip()) or plain(c) == plain(wanted)]
    if not found:
        columns = ", ".join(str(c) for c in table.columns if c != ROW)
        raise TableError(
            f"no column {wanted!r} for the {what}.{hint(wanted, table)} Columns found: {columns}"
        )
    return found[0]


def _by_model(table: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Columns of scores, one a model, to one row a case and model."""
    columns = [_column(table, name, "model") for name in models]
    rest = table.drop(columns=[*columns, "score"], errors="ignore")
    parts = [rest.assign(score=table[c], model=str(c).strip()) for c in columns]
    return pd.concat(parts, ignore_index=True)


def _keep(table: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    there = table["model"].astype(str)
    absent = [m for m in models if m not in set(there)]
    if absent:
        raise TableError(f"no model {absent[0]!r} in column 'model'. Models: {', '.join(there.unique())}")
    return table[there.isin(models)]


def _rename(table: pd.DataFrame, notes: list[str], unclear: Sequence[str] = ()) -> pd.DataFrame:
    """Familiar names to ours; a canonical name that is present always wins."""
    names = {c: (str(c).strip() if str(c).startswith("score:") else plain(c)) for c in table.columns}
    mapping = {c: p for c, p in names.items() if p in RESERVED or p.startswith("score:")}
    taken = {*mapping.values(), *unclear}
    taken |= {"score"} if any(p.startswith("score:") for p in names.values()) else set()
    familiar(names, mapping, taken, ALIASES, notes)
    return table.rename(columns=mapping).copy()


def _by_finding(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """A wide table with a pair of truth and score for each finding, to one row a case and finding."""
    pairs = {}
    for column in sorted(table.columns, key=lambda c: not str(c).startswith("pred")):  # prob_ before pred_
        name = SCORED.fullmatch(str(column))
        truth = name and next((t for t in (u.format(name[1]) for u in TRUTHS) if t in table), None)
        if name and truth:
            pairs[name[1]] = (truth, column)
    if not pairs or "y_true" in table or "score" in table:
        return table
    used = {c for pair in pairs.values() for c in pair}
    carried = [c for c in table.columns if c not in used and not re.match(r"(y|p|prob)[_:]", str(c))]
    notes.append(f"a wide table: {len(pairs)} pairs of truth and score ({_some(pairs)})")
    if "case_id" not in table:
        table = table.assign(case_id=np.arange(1, len(table) + 1).astype(str))
        carried = ["case_id", *carried]
    parts = []
    for target, (y, p) in pairs.items():
        part = table[carried].assign(target=target)
        part["y_true"], part["score"] = table[y].to_numpy(), numbers(table, str(p)).to_numpy()
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _by_class(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Columns prob_<class> to score:<class>, where the truth names those classes; 0 and 1 to one score."""
    if "score" in table or "y_true" not in table:
        return table
    if not class_columns(table):
        found = {m[1]: c for c in table.columns if (m := SCORED.fullmatch(str(c)))}
        labels = {class_name(v) for v in table["y_true"].dropna().unique()}
        spelling = {label.casefold(): label for label in labels}
        if len(found) < 2 or not spelling.keys() <= {name.casefold() for name in found}:
            return table
        classes = {c: f"score:{spelling.get(n.casefold(), n)}" for n, c in found.items()}
        notes.append(f"columns {_some(found.values())} were read as the scores of the classes {_some(found)}")
        table = table.rename(columns=classes)
    if set(class_columns(table)) == {"score:0", "score:1"}:
        table = table.rename(columns={"score:1": "score"}).drop(columns="score:0")
    return table


def _binary(table: pd.DataFrame, notes: list[str], positive: str | None) -> pd.DataFrame:
    """Labels to 1 and 0: by the one that was named positive, or by words that can mean nothing else."""
    classes = class_columns(table)
    if positive is None and classes:
        if len(classes) == 2:
            notes.append("two classes: --positive LABEL gives sensitivity, specificity and calibration")
        return table
    if classes:
        if f"score:{positive}" not in classes:
            raise TableError(f"no column score:{positive}. Columns of scores: {_some(classes)}")
        table = table.rename(columns={f"score:{positive}": "score"})
        table = table.drop(columns=[c for c in classes if c != f"score:{positive}"])
    for column in ("y_true", "decision"):
        if column not in table or (positive is None and pd.api.types.is_numeric_dtype(table[column])):
            continue
        known = table[column].notna()
        text = table[column].map(class_name)
        found = sorted(text[known].unique())
        if positive is not None and (column == "y_true" or positive in found):
            if positive not in found:
                raise TableError(
                    f"no case of column {column!r} is {positive!r}. Labels found: {_some(found)}"
                )
            code = (text == positive).astype(float)
            others = [label for label in found if label != positive]
            notes.append(f"column {column!r}: {positive} was read as 1, {_some(others) or 'nothing'} as 0")
        elif found and all(label.casefold() in WORDS for label in found):
            code = text.str.casefold().map(WORDS).astype(float)
            if table[column].dtype != bool:
                notes.append(f"column {column!r}: {_some(found)} were read as 0 and 1")
        else:
            continue
        table = table.assign(**{column: code.where(known)})
    return table


def _percent(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Scores written as 51.9% to 0.519."""
    for column in (*(["score"] if "score" in table else []), *class_columns(table)):
        if pd.api.types.is_numeric_dtype(table[column]):
            continue
        text = table[column].dropna().astype(str).str.strip()
        if len(text) and text.str.endswith("%").all():
            share = pd.to_numeric(text.str.rstrip("% "), errors="coerce") / 100
            if share.notna().all():
                notes.append(f"column {column!r}: percentages were divided by 100")
                table = table.assign(**{column: share.reindex(table.index)})
    return table


def _scored_by_decision(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Where there are calls and no score, the call serves as score: accuracy and the like can be given."""
    if "score" in table or class_columns(table) or not {"y_true", "decision"} <= set(table.columns):
        return table
    fraction = pd.to_numeric(table["decision"], errors="coerce") % 1
    if (fraction > 0).any():
        notes.append("column 'decision' holds fractions: it was read as score")
        return table.rename(columns={"decision": "score"})
    unclear = table["decision"].isna()
    if unclear.any():
        raise TableError(
            f"row {row_of(table, unclear)}, column 'decision': empty. Decide it, or drop the row"
        )
    truth, decided = (table[c].map(class_name) for c in ("y_true", "decision"))
    labels = sorted({*truth[table["y_true"].notna()], *decided})
    notes.append("no score: the decision serves as one, so an AUC is that of a single threshold")
    if set(labels) <= {"0", "1"}:
        return table.assign(score=decided.astype(float))
    if len(labels) < 3:
        raise TableError(not_binary(table, ~truth.isin(("0", "1")) | ~decided.isin(("0", "1")), "y_true"))
    return table.assign(**{f"score:{c}": (decided == c).astype(float) for c in labels})


def not_binary(table: pd.DataFrame, wrong: pd.Series, column: str) -> str:
    """Why the labels of a two-class column are refused, and what settles it."""
    value = table[column].iloc[int(np.argmax(wrong))]
    found = sorted({class_name(v) for v in table[column].dropna()})
    return (
        f"row {row_of(table, wrong)}, column {column!r}: {shown(value)} is neither 0 nor 1. Labels found: "
        f"{_some(found)}. Name the one that counts as positive (--positive LABEL, or positive= in Python); "
        "for several classes give one column score:<class> a class"
    )


def numbers(table: pd.DataFrame, column: str, *, allow_nan: bool = False, what: str = "a score") -> pd.Series:
    """One column as floats; TableError names the first row that is text or (unless allowed) empty."""
    values = table[column]
    found = pd.to_numeric(values, errors="coerce").astype(float)
    text = found.isna() & values.notna()
    if text.any():
        wrong = values.iloc[int(np.argmax(text))]
        raise TableError(
            f"row {row_of(table, text)}, column {column!r}: {wrong!r} is not a number. Give {what}"
        )
    if found.isna().any() and not allow_nan:
        raise TableError(
            f"row {row_of(table, found.isna())}, column {column!r}: NaN. Score this case, or drop the row"
        )
    return found


def _some(names) -> str:
    """Up to six names."""
    listed = [str(n) for n in names]
    return ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")
