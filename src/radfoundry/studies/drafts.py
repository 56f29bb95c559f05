"""Parts of draft monitoring that the study and `radfoundry reports` share: pairs, cells, events, charts.

Matching. A finding that one text names more exactly than the other (basal atelectasis, atelectasis) counts as
the same finding; `exact` asks for the same entry of the dictionary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from radfoundry.errors import InputError, NotEnoughData, TableError
from radfoundry.evaluate.finding_cells import Cells, Uncertain, from_tables
from radfoundry.evaluate.findings import ALL_NEGATIVE
from radfoundry.text import extractors, mentions
from radfoundry.text.findings import Dictionary
from radfoundry.text.mentions import Extraction, Report
from radfoundry.types import Estimate

if TYPE_CHECKING:
    from radfoundry.monitor.chart import Chart
    from radfoundry.monitor.charts import Stratified
    from radfoundry.monitor.records import Event
    from radfoundry.monitor.series import Baseline, Series
    from radfoundry.text.reading import Reports

Match = Literal["related", "exact"]
STRATA = ("view", "site", "model_version")
INVENTED = "invention"
"""Item of an event: whether the draft invents anything of a criticality."""


@dataclass(frozen=True)
class Pairs:
    """Reports with their drafts, in one order. meta: index report_id; notes: what was left out."""

    reports: list[Report]
    drafts: list[Report]
    meta: pd.DataFrame
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.reports)

    @property
    def dated(self) -> np.ndarray:
        """Which pairs can be followed over time, (pairs,) bool."""
        return (
            self.meta["date"].notna().to_numpy() if "date" in self.meta else np.zeros(len(self), dtype=bool)
        )

    @property
    def digest(self) -> str:
        """Of all ids and texts: which data a run was made of."""
        found = hashlib.sha256()
        for report, draft in zip(self.reports, self.drafts, strict=True):
            for part in (report.report_id, report.text, draft.text):
                found.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
        return found.hexdigest()

    def take(self, which: np.ndarray) -> Pairs:
        """Some of the pairs, by a mask."""
        at = np.flatnonzero(which)
        return replace(self, reports=[self.reports[i] for i in at], drafts=[self.drafts[i] for i in at],
                       meta=self.meta.iloc[at])  # fmt: skip


def check_settings(asked: Any) -> None:
    """Raises InputError for numbers of a study or command that cannot be meant; others are not looked at."""
    for name, least in (("baseline_weeks", 2), ("arl0", 2), ("pairs", 20), ("n_boot", 1)):
        value = getattr(asked, name, least)
        if not least <= value < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} must be at least {least} and finite, not {value}")
    alpha = getattr(asked, "alpha", 0.5)
    if not 0 < alpha < 1:
        raise InputError(f"--alpha must lie between 0 and 1, not {alpha}")


def counted(n: int, words: str) -> str:
    """A number with its noun. words: what follows, the letters of the plural behind a bar.

    >>> counted(1, "report|s without a draft"), counted(2, "report|s without a draft")
    ('1 report without a draft', '2 reports without a draft')
    """
    singular, plural = words.split(" ", 1) if " " in words else (words, "")
    return f"{n:,} {singular.split('|')[0] if n == 1 else singular.replace('|', '')} {plural}".rstrip()


def pair(reports: Reports, drafts: Reports) -> Pairs:
    """Match drafts to the radiologists' reports by id. Raises InputError when nothing matches."""
    written = {one.report_id: one for one in reports.reports}
    drafted = {one.report_id: one for one in drafts.reports}
    both = [key for key in written if key in drafted]
    if not both:
        raise InputError(
            f"no draft of {drafts.source.name} has the id of a report of {reports.source.name}. "
            "Both need the same report_id"
        )
    notes = []
    for n, words in (
        (len(drafted) - len(both), "draft|s without a radiologist's report"),
        (len(written) - len(both), "report|s without a draft"),
    ):
        if n:
            notes.append(f"Left out: {counted(n, words)}.")
    meta = reports.meta.reindex(both)
    more = drafts.meta.reindex(both)
    meta = meta.join(more[[c for c in more if c not in meta]])
    return Pairs([written[k] for k in both], [drafted[k] for k in both], meta, tuple(notes))


def readable(
    pairs: Pairs, read: Sequence[Extraction], drafted: Sequence[Extraction]
) -> tuple[Pairs, list[Extraction], list[Extraction]]:
    """The pairs of which both texts could be read, and their extractions."""
    good = np.array([not (a.error or b.error) for a, b in zip(read, drafted, strict=True)], dtype=bool)
    lost = int((~good).sum())
    if not good.any():
        first = next(e.error for e in [*read, *drafted] if e.error)
        raise NotEnoughData(f"no pair of texts could be read; the first: {first}")
    left_out = [f"Left out: {counted(lost, 'pair|s that could not be read')}."] if lost else []
    notes = (*pairs.notes, *left_out)
    kept = replace(pairs.take(good), notes=notes)
    return kept, [e for e, ok in zip(read, good) if ok], [e for e, ok in zip(drafted, good) if ok]


def cells(
    reference: pd.DataFrame,
    call: pd.DataFrame,
    ids: Sequence[str],
    dictionary: Dictionary,
    *,
    uncertain: Uncertain = "present",
    match: Match = "related",
) -> Cells:
    """Reports x findings of two findings tables, with related findings matched (see the module)."""
    levels = {one.id: str(one.criticality) for one in dictionary}
    made = from_tables(reference, call, report_id=list(ids), criticality=levels, uncertain=uncertain)
    return matched(made, dictionary, match)


def matched(made: Cells, dictionary: Dictionary, match: Match) -> Cells:
    """The cells as they are, or with related findings matched."""
    return made if match == "exact" else related(made, dictionary)


def related(made: Cells, dictionary: Dictionary) -> Cells:
    """A finding of one side counts on the other where that names an ancestor or descendant of it."""
    place = {name: i for i, name in enumerate(made.findings)}
    kin = np.zeros((len(place), len(place)), np.float32)
    for name, i in place.items():
        for above in dictionary.ancestors(name):
            kin[i, place[above]] = kin[place[above], i] = 1
    r, c = made.reference.astype(np.float32), made.call.astype(np.float32)
    return replace(
        made,
        reference=made.reference | (made.call & (r @ kin > 0)),
        call=made.call | (made.reference & (c @ kin > 0)),
    )


def spoken(rows: Sequence[Estimate], made: Cells) -> list[Estimate]:
    """The rows as they are shown: what their clusters are, and no finding that neither side ever names.

    Such a finding agrees about nothing.
    """
    named = set(np.asarray(made.findings)[(made.reference | made.call).any(axis=0)])
    return [replace(row, cluster=made.unit) for row in rows if not row.target or row.target in named]


def with_baseline(
    judge: Callable[..., list[Estimate]], made: Cells, *, rng: np.random.Generator, draws: int, **how: Any
) -> list[Estimate]:
    """What `validate` or `compare_drafts` says of cells, and behind it of the same with nothing called.

    Of the all-negative baseline (an extractor that finds nothing, an empty draft) each figure of findings
    together stands once, without an interval, unless `judge` gave it already.
    """
    rows = judge(made, rng=rng, draws=draws, **how)
    known = {(row.name, row.subgroup) for row in rows if row.model == ALL_NEGATIVE and not row.target}
    # A generator of its own: its draws are not looked at and must not shift those of the others.
    for row in judge(made.all_negative(), rng=np.random.default_rng(0), draws=1, **how):
        if not row.target and (row.name, row.subgroup) not in known:
            known.add((row.name, row.subgroup))
            rows.append(replace(row, low=math.nan, high=math.nan, method="", model=ALL_NEGATIVE))
    return rows


def strata(meta: pd.DataFrame, names: Sequence[str] = STRATA, *, most: int = 8) -> dict[str, np.ndarray]:
    """label to mask for each value of view, site and model version that occurs."""
    found: dict[str, np.ndarray] = {}
    for name in names:
        if name not in meta:
            continue
        values = meta[name].fillna("").replace("", "unknown")
        for value in values.value_counts().index[:most] if values.nunique() > 1 else []:
            found[f"{name.replace('_', ' ')} {value}"] = (values == value).to_numpy()
    return found


def annotated(path: Any, dictionary: Dictionary) -> pd.DataFrame:
    """A findings table, by hand or of `reports extract`: CSV, Parquet or JSON Lines.

    It needs report_id, finding and status. Raises InputError, TableError or UnknownName.
    """
    try:
        if str(path).endswith(".parquet"):
            table = pd.read_parquet(path)
        elif str(path).endswith(".jsonl"):
            table = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        else:  # a report may well be called NA
            table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
            # the apostrophe that our own CSV has before what looks like a formula, an id of -5 for one
            table = table.replace(r"^'(?=[=+@-].)", "", regex=True)
    except FileNotFoundError as cause:
        raise InputError(f"there is no file {path}. Check the path") from cause
    except Exception as cause:  # whatever pandas and pyarrow say of a damaged file
        raise TableError(f"{path} is not readable as a table: {str(cause).splitlines()[0]}") from cause
    found = mentions.check(table, dictionary, name=str(path))
    return found.assign(report_id=extractors.whole(list(found["report_id"])))


# -- the monitor ------------------------------------------------------------------------------------


def events(pairs: Pairs, made: Cells) -> list[Event]:
    """One event a pair: each finding of either text, and for each criticality whether one was invented.

    Raises InputError where pairs have no date.
    """
    from radfoundry.monitor.records import Event, Outcome

    if not pairs.dated.all():
        raise InputError("every report needs a date to be followed over time. Add a column `date`")
    when = pd.to_datetime(pairs.meta["date"], utc=True)
    levels = tuple(dict.fromkeys(made.level))
    at = np.asarray(made.level)
    found = []
    both, omitted, invented = made.cells(True, True), made.cells(True, False), made.cells(False, True)
    for i, key in enumerate(made.report_id):
        reference, call = both[i] | omitted[i], both[i] | invented[i]
        outcomes = [
            Outcome(made.findings[j], made.level[j], int(reference[j]), int(call[j]))
            for j in np.flatnonzero(reference | call)
        ]
        outcomes += [
            Outcome(f"{INVENTED}:{one}", one, 0, int((invented[i] & (at == one)).any())) for one in levels
        ]
        row = pairs.meta.iloc[i]
        said = {name: str(row[name]) for name in STRATA if name in row and pd.notna(row[name])}
        found.append(Event(
            str(key), when.iloc[i].to_pydatetime(), tuple(outcomes), model=str(row.get("model", "") or ""),
            model_version=said.get("model_version", ""), site=said.get("site", ""), view=said.get("view", ""),
        ))  # fmt: skip
    return found


@dataclass(frozen=True)
class Watch:
    """What is charted. levels: criticalities. rate: omission (of findings) or invention (of reports)."""

    name: str
    rate: Literal["omission", "invention"]
    levels: tuple[str, ...]


WATCHES = (
    Watch("omissions, critical and significant", "omission", ("critical", "significant")),
    Watch("omissions, minor", "omission", ("minor",)),
    Watch("inventions, critical and significant", "invention", ("critical", "significant")),
)


def watched(outcomes: pd.DataFrame, watch: Watch) -> pd.DataFrame:
    """Rows of the monitor that belong to a watch, with the column `hit` (1, 0 or NaN)."""
    from radfoundry.monitor.series import hits

    own = outcomes[outcomes["criticality"].isin(watch.levels)]
    is_flag = own["item"].str.startswith(f"{INVENTED}:")
    own = own[is_flag if watch.rate == "invention" else ~is_flag]
    return own.assign(hit=hits(own, watch.rate))


def charts(
    outcomes: pd.DataFrame, watch: Watch, *, baseline_weeks: int, arl0: float, alpha: float,
    rng: np.random.Generator,
) -> dict[str, Chart]:  # fmt: skip
    """p-chart, EWMA and CUSUM of one watch, standardised to the mix of views in the baseline.

    Findings of one report go together, so the limits allow for weeks that differ more than by chance alone.
    Raises NotEnoughData.
    """
    from radfoundry.monitor.charts import cusum, ewma, p_chart

    series = weeks(outcomes, watch, "view")
    base = in_control(series, baseline_weeks)
    return {
        "p": p_chart(series, base, alpha=alpha, name=watch.name),
        "ewma": ewma(series, base, rng=rng, arl0=arl0, name=watch.name),
        "cusum": cusum(series, base, rng=rng, arl0=arl0, name=watch.name),
    }


def charts_by(
    outcomes: pd.DataFrame, watch: Watch, by: str, *, baseline_weeks: int, arl0: float,
    rng: np.random.Generator,
) -> Stratified:  # fmt: skip
    """The CUSUM of one watch for each value of view, site or model version."""
    from radfoundry.monitor.charts import by as of_each
    from radfoundry.monitor.charts import cusum

    def chart(own: Series) -> Chart:
        base = in_control(own, baseline_weeks)
        return cusum(own, base, rng=rng, arl0=arl0, name=f"{watch.name}, {own.strata[0]}")

    return of_each(weeks(outcomes, watch, by), chart)


def in_control(series: Series, baseline_weeks: int) -> Baseline:
    """The rate of the first weeks. Raises NotEnoughData where no week is left to watch."""
    from radfoundry.monitor.series import baseline

    if baseline_weeks >= len(series.start):
        raise NotEnoughData(
            f"a baseline of {baseline_weeks} weeks leaves none of {len(series.start)} to watch. Take a "
            "shorter --baseline-weeks"
        )
    return baseline(series, baseline_weeks, overdispersed=True)


def weeks(outcomes: pd.DataFrame, watch: Watch, by: str) -> Series:
    """Weekly counts of a watch by a stratum. Raises NotEnoughData without a known row."""
    from radfoundry.monitor.series import weekly

    own = watched(outcomes, watch)
    own = own[own["hit"].notna()]  # a rate has its own rows: omissions are of findings in reports
    if not len(own):
        raise NotEnoughData(f"{watch.name}: nothing to chart")
    stratum = own[by].replace("", "unknown")
    return weekly(own["happened_at"], own["hit"], strata=stratum if stratum.nunique() > 1 else None)
