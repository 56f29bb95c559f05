"""Who reads which case when, and in which modality: randomised, balanced reading lists for a reader study.

Designs. fully-crossed: every reader reads every case in every modality, in as many sessions as there are
modalities or more, no case twice in one of them. crossover: one period a modality with a washout between; in
the first, half of the readers start with each modality (halves="readers"), or every reader reads half of the
cases in each (halves="cases"). split-plot: readers and cases in groups, a crossover within each. sequential:
without aid and then at once with it, in one sitting. Chance comes from a seed, and the truth balances the
lists without being in them.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from radfoundry import table_files
from radfoundry.errors import InputError, NotEnoughData, TableError
from radfoundry.evaluate.readers.reads import natural
from radfoundry.plan.ranges import check_ranges
from radfoundry.predictions.columns import ROW, row_of
from radfoundry.predictions.shapes import WORDS

Kind = Literal["fully-crossed", "split-plot", "crossover", "sequential"]
KINDS: tuple[Kind, ...] = ("fully-crossed", "split-plot", "crossover", "sequential")
COLUMNS = ["reader", "session", "order", "case_id", "modality", "earliest_day"]
TELLING = 1e-3  # p below which the order of the case ids is said to tell the truth


@dataclass(frozen=True)
class ReaderDesign:
    """Reading lists of a study.

    lists: reader, session (from 1), order (position in the session, from 1), case_id, modality, earliest_day
    (days after the reader's first session). balance: a row a reader, session and modality, with group, cases,
    positives, prevalence and mean_order (mean position, 0 first to 1 last): truth is counted in it, so it is
    for those who run the study. notes: what could not be balanced, or has to be known.
    """

    kind: Kind
    lists: pd.DataFrame
    balance: pd.DataFrame
    modalities: tuple[str, ...]
    readers: tuple[str, ...]
    washout_days: int
    seed: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        sizes = self.lists.groupby("reader", sort=False).size()
        days = int(self.lists["earliest_day"].max())
        lines = [
            f"{self.kind}: {len(self.readers)} readers, {self.lists['case_id'].nunique()} cases, "
            f"{len(self.lists)} reads ({sizes.min()} to {sizes.max()} a reader)",
            f"sessions  {self.lists['session'].max()}, the last on day {days} at the earliest",
            f"seed      {self.seed}",
        ]
        return "\n".join([*lines, *(f"note      {note}" for note in self.notes)])

    def overview(self) -> pd.DataFrame:
        """One row a reader, session and modality: file, cases, earliest_day; nothing that tells the truth."""
        table = self.lists.groupby(["reader", "session", "modality"], sort=False, as_index=False).agg(
            cases=("case_id", "size"), earliest_day=("earliest_day", "min")
        )
        table.insert(1, "file", table["reader"].map(self.files()))
        return table

    def files(self) -> dict[str, str]:
        """Reader to the name of the reader's file, safe on every system and different for each."""
        width = len(str(len(self.readers)))
        plain = [re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:40] for name in self.readers]
        numbers = (f"{i:0{width}d}" for i in range(1, len(plain) + 1))
        return {
            name: "-".join(part for part in ("reader", number, word) if part) + ".csv"
            for name, number, word in zip(self.readers, numbers, plain, strict=True)
        }

    def write(self, folder: str | Path) -> Path:
        """One CSV a reader and overview.csv in a new folder, all or nothing. InputError where it exists."""
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is not empty. Name a new folder: lists are never mixed")
        part = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
        try:
            for name, file in self.files().items():
                own = self.lists[self.lists["reader"] == name].drop(columns="reader")
                table_files.write(own, part / file)
            table_files.write(self.overview(), part / "overview.csv")
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder


def design(
    cases: pd.DataFrame,
    readers: int | Sequence[str],
    modalities: Sequence[str] = ("unaided", "aided"),
    kind: Kind = "crossover",
    *,
    halves: Literal["readers", "cases"] = "readers",
    sessions: int | None = None,
    groups: int = 2,
    washout_days: int = 28,
    strata: Sequence[str] = (),
    seed: int = 0,
) -> ReaderDesign:
    """Randomised, balanced reading lists; the same seed gives the same lists.

    cases: case_id, y_true (0 or 1, or words such as yes and no), optional patient_id (cases of a patient stay
    in one part) and the columns named in `strata`; parts of the cases hold equal shares of each stratum and
    of the positives. readers: names, or how many. sessions: of each reader; one a modality by default, a
    multiple of that in designs with periods. groups: of a split-plot. washout_days: between two periods, so
    between two readings of a case. Raises TableError (row and column) for a wrong table of cases, InputError
    for impossible wishes, NotEnoughData for too few readers or cases.
    """
    if kind not in KINDS:
        raise InputError(f"no design {kind!r}. Designs: {', '.join(KINDS)}")
    if halves not in ("readers", "cases"):
        raise InputError(f"halves must be 'readers' or 'cases', not {halves!r}")
    check_ranges(seed=seed)
    table = _cases(cases, strata)
    names, modes = _readers(readers), _modalities(modalities)
    number = _sessions(sessions, kind, len(modes))
    if washout_days < 0 or washout_days != int(washout_days):
        raise InputError(f"washout_days must be a whole number from 0, not {washout_days:g}")
    groups = groups if kind == "split-plot" else 1
    notes = _enough(table, names, modes, kind, halves, groups, number)
    rng = np.random.default_rng(seed)
    drawn = [names[i] for i in rng.permutation(len(names))]
    blocks = _deal(table, groups, rng)
    rows: list[pd.DataFrame] = []
    turn = int(rng.integers(len(sequences(len(modes)))))  # who starts with what goes on through the groups
    for group in range(groups):
        own, members = table[blocks == group], drawn[group::groups]
        found = _group_lists(own, members, modes, kind, halves, number, washout_days, rng, turn)
        rows += [one.assign(group=group + 1) for one in found]
        turn += len(members)
    lists = pd.concat(rows, ignore_index=True)
    lists["reader"] = pd.Categorical(lists["reader"], categories=names)
    lists = lists.sort_values(["reader", "session", "order"], ignore_index=True)
    lists["reader"] = lists["reader"].astype(object)
    balance = _balance(lists, table)
    notes = [*notes, *_telling(table), *_unbalanced(lists, balance, kind, halves, modes)]
    return ReaderDesign(
        kind, lists[COLUMNS], balance, tuple(modes), tuple(names), int(washout_days), seed, tuple(notes)
    )


def _cases(cases: pd.DataFrame, strata: Sequence[str]) -> pd.DataFrame:
    """case_id, unit (patient) and stratum of every case, checked."""
    for column in ("case_id", "y_true", *strata):
        if column not in cases:
            listed = ", ".join(str(c) for c in cases.columns if c != ROW)
            raise TableError(f"column {column!r} is missing. Columns found: {listed}")
    if len(cases) == 0:
        raise TableError("the table of cases has no rows")
    table = cases.reset_index(drop=True)
    if ROW not in table:
        table = table.assign(**{ROW: np.arange(2, len(table) + 2)})

    def refuse(wrong: pd.Series, column: str, why: str) -> None:
        if wrong.any():
            raise TableError(f"row {row_of(table, wrong)}, column {column!r}: {why}")

    ids = table["case_id"].astype(str)
    refuse(table["case_id"].isna() | (ids.str.strip() == ""), "case_id", "empty. Every case needs one")
    refuse(ids.duplicated(), "case_id", "a second row of the same case. Keep one row a case")
    refuse(_formula(ids), "case_id", "a spreadsheet would run or break it. Begin with a letter or a digit")
    words = table["y_true"].map(lambda v: str(v).strip().casefold() if pd.notna(v) else v)
    y = pd.to_numeric(words.map(lambda v: WORDS.get(v, v)), errors="coerce")
    refuse(~y.isin((0, 1)), "y_true", "neither 0 nor 1. Lists are balanced by the truth")
    stratum = y.astype(int).astype(str)
    for column in strata:
        refuse(table[column].isna(), column, "empty. A stratum needs a value")
        stratum = stratum + "\x1f" + table[column].astype(str)
    patient = table.get("patient_id", ids)
    refuse(patient.isna(), "patient_id", "empty. Every case has a patient")
    return pd.DataFrame(
        {"case_id": ids, "y": y.astype(int), "patient": patient.astype(str), "stratum": stratum}
    )


def _formula(names: pd.Series) -> pd.Series:
    return names.str.startswith(("=", "+", "-", "@", "\t")) | names.str.contains(r"[\x00-\x1f]", regex=True)


def _readers(readers: int | Sequence[str]) -> list[str]:
    if isinstance(readers, int):
        width = len(str(readers))
        return [f"reader {i:0{width}d}" for i in range(1, readers + 1)]
    names = pd.Series([str(name).strip() for name in readers], dtype=object)
    if (names == "").any():
        raise InputError("a reader has no name. Name every reader, or give their number")
    if names.duplicated().any():
        raise InputError(f"two readers are called {names[names.duplicated()].iloc[0]!r}. Tell them apart")
    if len(names) and _formula(names).any():
        wrong = names[_formula(names)].iloc[0]
        raise InputError(f"a spreadsheet would run or break the name {wrong!r}. Begin it with a letter")
    return list(names)


def _modalities(modalities: Sequence[str]) -> list[str]:
    modes = [str(m).strip() for m in modalities]
    if len(modes) < 2 or len(set(modes)) < len(modes) or "" in modes:
        raise InputError(
            f"give two different modalities or more, not {', '.join(map(repr, modes)) or 'none'}"
        )
    if _formula(pd.Series(modes)).any():
        raise InputError("a modality's name must begin with a letter or a digit: a spreadsheet would run it")
    return modes


def _sessions(sessions: int | None, kind: Kind, modalities: int) -> int:
    least = 1 if kind == "sequential" else modalities
    number = least if sessions is None else sessions
    if number < least or number != int(number):
        raise InputError(
            f"a {kind} design of {modalities} modalities needs {least} sessions a reader at least, not "
            f"{number:g}: no case comes twice in one"
        )
    if kind in ("crossover", "split-plot") and number % modalities:
        raise InputError(
            f"{number} sessions do not make {modalities} periods of equal length. Give a multiple of "
            f"{modalities}"
        )
    return int(number)


def _enough(
    table: pd.DataFrame, names: list[str], modes: list[str], kind: Kind, halves: str, groups: int, number: int
) -> list[str]:
    """Refuse what the design can not be made of; notes on what it can be, but not evenly."""
    if groups < 1 or (kind == "split-plot" and groups < 2):
        raise InputError(f"a split-plot design has two groups or more, not {groups}")
    if len(names) < 2 * groups:
        where = f" in {groups} groups" if groups > 1 else ""
        raise NotEnoughData(
            f"{len(names)} readers{where}: two readers{' a group' if groups > 1 else ''} are the least from "
            "which anything about other readers can be said. Find more, or plan fewer groups"
        )
    by_readers = kind in ("crossover", "split-plot") and halves == "readers"
    if by_readers and len(names) // groups < len(modes):
        raise NotEnoughData(
            f"{len(names) // groups} readers{' a group' if groups > 1 else ''} can not start with "
            f"{len(modes)} modalities in turn. Find more readers, or take halves='cases'"
        )
    parts = math.ceil(number / len(modes)) if kind != "sequential" else number
    if kind == "fully-crossed":
        parts = max(parts, len(sequences(len(modes))))
    elif kind != "sequential" and halves == "cases":
        parts = max(parts, len(modes))
    least = groups * max(2, parts)
    counts = table.groupby("y")["patient"].nunique().reindex([0, 1], fill_value=0)
    for y, what in ((1, "positive"), (0, "negative")):
        if counts[y] < least:
            raise NotEnoughData(
                f"{counts[y]} patients with a {what} case: this design deals them to {parts} sessions or "
                f"halves{f' in each of {groups} groups' if groups > 1 else ''}, and {least} are the least. "
                "Add cases, or plan fewer groups or sessions"
            )
    notes = []
    if len(names) % groups:
        notes.append(f"{len(names)} readers do not make {groups} equal groups: sizes differ by one")
    if kind == "sequential":
        notes.append(
            f"{modes[-1]} always follows {modes[0]} at once: what it adds can not be told from a second "
            "look, and reading times can not be compared. A crossover can tell"
        )
    several = int((table.groupby("patient").size() > 1).sum())
    if several:
        notes.append(f"{several} patients have several cases: they stay together in a part of the cases")
    return notes


def _deal(table: pd.DataFrame, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Part (n,) of each case: patients dealt out in random order, stratum by stratum, so that sizes match.

    A patient counts in the stratum of the first case, a positive one where there is any. The deal goes on
    from one stratum to the next, so that the parts' sizes differ by one patient at most.
    """
    if parts == 1:
        return np.zeros(len(table), int)
    first = table.sort_values("y", ascending=False, kind="stable").drop_duplicates("patient")
    order = first.iloc[rng.permutation(len(first))].sort_values("stratum", kind="stable")
    turn = rng.permutation(parts)
    part = dict(zip(order["patient"], turn[np.arange(len(order)) % parts], strict=True))
    return table["patient"].map(part).to_numpy()


def sequences(modalities: int) -> list[tuple[int, ...]]:
    """Orders of the modalities that balance position and, from one period to the next, what came before.

    Williams, Aust J Sci Res A 1949;2:149: one square for an even number, two for an odd one.

    >>> sequences(2), len(sequences(3))
    ([(0, 1), (1, 0)], 6)
    """
    first = [0]
    for step in range(1, modalities):
        first.append((first[-1] + (step if step % 2 else -step)) % modalities)
    square = [tuple((x + shift) % modalities for x in first) for shift in range(modalities)]
    return square if modalities % 2 == 0 else [*square, *(row[::-1] for row in square)]


def _group_lists(
    own: pd.DataFrame, members: list[str], modes: list[str], kind: Kind, halves: str, number: int,
    washout_days: int, rng: np.random.Generator, turn: int,
) -> list[pd.DataFrame]:  # fmt: skip
    """Lists of the readers of a group, in random order; turn: which order of modalities the first one has."""
    count = len(modes)
    orders = sequences(count)
    by_cases = _deal(own, count, rng)
    found = []
    for k, name in enumerate(members):
        if kind == "sequential":
            reads = _sequential(own, modes, number, rng)
        else:
            if kind == "fully-crossed":
                plan = _mixed(own, count, rng)
            elif halves == "readers":
                plan = np.tile(orders[(turn + k) % len(orders)], (len(own), 1))
            else:
                plan = (by_cases[:, None] + turn + k + np.arange(count)) % count
            reads = _in_sessions(own, plan, modes, number, kind, washout_days, rng)
        found.append(reads.assign(reader=name))
    return found


def _mixed(own: pd.DataFrame, count: int, rng: np.random.Generator) -> np.ndarray:
    """(cases, periods) modality of each reading of a case, drawn for one reader, balanced in each period."""
    rows = np.array(sequences(count))
    return np.asarray(rows[_deal(own, len(rows), rng)])


def _in_sessions(
    own: pd.DataFrame, plan: np.ndarray, modes: list[str], number: int, kind: Kind, washout_days: int,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """One reader's reads; plan: (cases, periods) modality. A period has number // periods sessions or more.

    Sessions of a period are a day apart, and each case has its place in every period, so that two readings
    of a case are at least the washout apart.
    """
    count = len(modes)
    rows, session, day = [], 0, 0
    for period in range(count):
        parts = number // count + (period < number % count)
        mode = pd.Series(plan[:, period], own.index).astype(str)
        place = _deal(own.assign(stratum=own["stratum"] + mode), parts, rng)
        for part in range(parts):
            session += 1
            here = np.flatnonzero(place == part)
            here = here[rng.permutation(len(here))]
            rows.append(
                pd.DataFrame(
                    {
                        "session": session,
                        "order": np.arange(1, len(here) + 1),
                        "case_id": own["case_id"].to_numpy()[here],
                        "modality": np.array(modes, object)[plan[here, period]],
                        "earliest_day": day + part,
                    }
                )
            )
        day += parts - 1 + washout_days
    return pd.concat(rows, ignore_index=True)


def _sequential(own: pd.DataFrame, modes: list[str], number: int, rng: np.random.Generator) -> pd.DataFrame:
    """One reader's reads: each case in all modalities one after the other, in the order given."""
    place = _deal(own, number, rng)
    rows = []
    for part in range(number):
        here = np.flatnonzero(place == part)
        here = here[rng.permutation(len(here))].repeat(len(modes))
        rows.append(
            pd.DataFrame(
                {
                    "session": part + 1,
                    "order": np.arange(1, len(here) + 1),
                    "case_id": own["case_id"].to_numpy()[here],
                    "modality": modes * (len(here) // len(modes)),
                    "earliest_day": part,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _balance(lists: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    y = lists["case_id"].map(table.set_index("case_id")["y"])
    longest = lists.groupby(["reader", "session"])["order"].transform("max")
    place = (lists["order"] - 1) / (longest - 1).clip(lower=1)
    keys = ["reader", "group", "session", "modality"]
    found = lists.assign(y=y, place=place).groupby(keys, sort=False, as_index=False).agg(
        cases=("y", "size"), positives=("y", "sum"), prevalence=("y", "mean"), mean_order=("place", "mean")
    )  # fmt: skip
    return found


def _telling(table: pd.DataFrame) -> list[str]:
    """A note where the order of the case ids tells the truth: readers see them."""
    order = sorted(range(len(table)), key=lambda i: natural(table["case_id"].iloc[i]))
    rank = np.empty(len(table))
    rank[order] = np.arange(len(table))
    p = stats.mannwhitneyu(rank[table["y"] == 1], rank[table["y"] == 0]).pvalue
    if p >= TELLING:
        return []
    return [
        f"positives sort together by case_id (p = {p:.1g}), and readers see the ids: give neutral ones, such "
        "as numbers drawn at random"
    ]


def _unbalanced(
    lists: pd.DataFrame, balance: pd.DataFrame, kind: Kind, halves: str, modes: list[str]
) -> list[str]:
    notes = []
    if kind in ("crossover", "split-plot") and halves == "readers":
        first = lists[lists["session"] == 1].drop_duplicates("reader")["modality"].value_counts()
        counts = [int(first.get(m, 0)) for m in modes]
        if max(counts) > min(counts):
            told = ", ".join(f"{n} with {m}" for m, n in zip(modes, counts, strict=True))
            notes.append(f"readers do not start evenly: {told}")
    shares = balance["prevalence"]
    if shares.max() - shares.min() > 0.1:
        notes.append(
            f"the share of positives differs between parts, {shares.min():.2f} to {shares.max():.2f}: there "
            "are few cases for so many parts"
        )
    return notes
