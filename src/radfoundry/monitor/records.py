"""What goes into the store: an event with its outcomes, checked and made comparable.

An event is one case that was judged: a drafted report, a study that a black-box model read. Its outcomes are
one per item: a finding expected and observed or not, or a metric with a value.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from radfoundry.errors import InputError

Covariate = str | int | float | bool | None

MOST_TEXT = 200
"""Characters of an id, an item, a model name: more is a report that slipped into the wrong column."""
MOST_JSON = 20_000
MOST_OUTCOMES = 10_000

EVENT_TEXT = ("event_id", "model", "model_version", "site", "view")
COLUMNS = ("event_id", "happened_at", "model", "model_version", "site", "view", "item", "criticality",
           "expected", "observed", "value")  # fmt: skip
"""Columns of `Store.outcomes`; covariates follow, so none of them may have one of these names."""

UNFIT = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL stores no NUL, UTF-8 has no lone surrogate


@dataclass(frozen=True, slots=True)
class Outcome:
    """One judged item of an event.

    item: a finding id or the name of a metric. expected: what the reference says (1 present, 0 absent, None
    unknown). observed: what the judged system says. value: a number, where the item is a metric.
    """

    item: str
    criticality: str = ""
    expected: int | None = None
    observed: int | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One judged case. happened_at: with its time zone; kept in UTC.

    event_id: unique within its stream; no identifier of a patient is needed, see `pseudonym`. model and
    model_version: the judged system. covariates: more of what strata are made from, plain values by name.
    """

    event_id: str
    happened_at: datetime
    outcomes: tuple[Outcome, ...] = ()
    model: str = ""
    model_version: str = ""
    site: str = ""
    view: str = ""
    covariates: Mapping[str, Covariate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """An event that was checked, as the tables hold it. digest: SHA-256 of everything but its id."""

    event: dict[str, Any]
    outcomes: list[tuple[str, str, int | None, int | None, float | None]]
    digest: str


def pseudonym(event_id: str, key: bytes) -> str:
    """HMAC-SHA256 of an id, as hex: the same id gives the same name, and without the key no way leads back.

    key: at least 16 bytes, kept apart from the store; ValueError when it is shorter.

    >>> pseudonym("accession 1", b"sixteen bytes ok")[:12]
    'b47578a3c773'
    """
    if len(key) < 16:
        raise ValueError(f"a key of {len(key)} bytes can be guessed. Use 16 or more: secrets.token_bytes(32)")
    return hmac.new(key, event_id.encode(), hashlib.sha256).hexdigest()


def row_of(event: Event, place: str) -> Row:
    """The event as the tables hold it; InputError, which says `place` and the field but no content.

    Outcomes are sorted by item, so their order decides nothing.
    """
    fields = {name: _text(getattr(event, name), name, place) for name in EVENT_TEXT}
    if not fields["event_id"]:
        raise InputError(f"{place}: event_id is empty. Give each case an id that is unique in its stream")
    happened_at = utc(event.happened_at, f"{place}: happened_at")
    covariates = _covariates(event.covariates, place)
    if len(event.outcomes) > MOST_OUTCOMES:
        raise InputError(f"{place}: {len(event.outcomes):,} outcomes; at most {MOST_OUTCOMES:,} are stored")
    outcomes = sorted((_outcome(o, place) for o in event.outcomes), key=lambda row: row[0])
    for one, following in itertools.pairwise(outcomes):
        if one[0] == following[0]:
            raise InputError(f"{place}: item {one[0]!r} occurs twice. Keep one outcome an item")
    payload = [happened_at.isoformat(timespec="microseconds"), *(fields[f] for f in EVENT_TEXT[1:]),
               covariates, outcomes]  # fmt: skip
    digest = hashlib.sha256(json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()).hexdigest()
    return Row(fields | {"happened_at": happened_at, "covariates": covariates}, outcomes, digest)


def utc(when: datetime, name: str) -> datetime:
    """The moment in UTC; InputError without a time zone, because local times are ambiguous."""
    if not isinstance(when, datetime) or when.tzinfo is None or when != when:  # pandas' NaT is not itself
        raise InputError(
            f"{name} needs a date and time with its time zone, such as "
            "datetime(2026, 1, 5, 8, 30, tzinfo=ZoneInfo('Europe/Zurich'))"
        )
    if type(when) is not datetime:  # pandas' Timestamp has nanoseconds, which no database here keeps
        when = datetime(when.year, when.month, when.day, when.hour, when.minute, when.second,
                        when.microsecond, when.tzinfo, fold=when.fold)  # fmt: skip
    return when.astimezone(UTC)


def _text(value: Any, name: str, place: str) -> str:
    if not isinstance(value, str) or len(value) > MOST_TEXT or UNFIT.search(value):
        raise InputError(
            f"{place}: {name} must be text of at most {MOST_TEXT} characters, without NUL or broken Unicode"
        )
    return value


def _outcome(one: Outcome, place: str) -> tuple[str, str, int | None, int | None, float | None]:
    item = _text(one.item, "item", place)
    if not item:
        raise InputError(f"{place}: an outcome has no item. Name the finding or the metric")
    try:
        value = None if one.value is None or math.isnan(one.value) else float(one.value)
    except (TypeError, ValueError):
        raise InputError(f"{place}: the value of item {item!r} is no number") from None  # it may say whose
    if value is not None and math.isinf(value):
        raise InputError(f"{place}: the value of item {item!r} is infinite. Leave it out")
    return (item, _text(one.criticality, "criticality", place), _flag(one.expected, item, place),
            _flag(one.observed, item, place), value)  # fmt: skip


def _flag(value: Any, item: str, place: str) -> int | None:
    if value is None or value != value:  # NaN is unknown as well
        return None
    if value not in (0, 1):
        raise InputError(f"{place}: expected and observed of item {item!r} must be 0, 1 or None")
    return int(value)


def _covariates(values: Mapping[str, Covariate], place: str) -> str:
    for name, value in values.items():
        _text(name, "the name of a covariate", place)
        if name in COLUMNS or not name:
            raise InputError(f"{place}: a covariate cannot be called {name!r}, which is a column of its own")
        if isinstance(value, str):
            _text(value, f"covariate {name}", place)
        elif not isinstance(value, int | float | None) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise InputError(f"{place}: covariate {name} must be text, a finite number, true, false or None")
    text = json.dumps(dict(values), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if len(text) > MOST_JSON:
        raise InputError(f"{place}: its covariates need {len(text):,} characters; at most {MOST_JSON:,}")
    return text
