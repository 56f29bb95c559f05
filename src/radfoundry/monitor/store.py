"""The monitor store: events and their outcomes in SQL, written once however often they are ingested.

    with open_store("monitor.db") as store:
        store.ingest("drafts", events)
        table = store.outcomes("drafts", since=datetime(2026, 1, 5, tzinfo=UTC))

A batch of events is one transaction, so a crash loses at most the batch in hand, never half an event; ingest
the same events again and the rest is added. The same content changes nothing. Other content under a known id
is refused, unless `replace`: then it becomes the version that counts, and the one before is kept.

Needs the extra `monitor` (SQLAlchemy 2, alembic, psycopg 3), imported on opening.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from radfoundry.errors import InputError, RunError
from radfoundry.monitor import database
from radfoundry.monitor.ingest import BATCH, Ingested, batches, write
from radfoundry.monitor.records import COLUMNS, MOST_TEXT, UNFIT, Event, Outcome, pseudonym, utc

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Engine

__all__ = ["Event", "Ingested", "Outcome", "Store", "open_store", "pseudonym", "upgrade"]


def open_store(where: str | Path, *, create: bool = True) -> Store:
    """Open the store at a path (SQLite) or URL (PostgreSQL), making its tables where there are none.

    create: False refuses a place without a store, which reading commands want.
    Raises InputError for an address that cannot be read, a database of something else, and for a store of
    another version (see `upgrade`); RunError when the database cannot be reached.
    """
    url = database.address(where)
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        if not create and not path.is_file():
            raise InputError(f"there is no store at {path}. Ingest into it first, or check the path")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise RunError(f"the folder {path.parent} cannot be made: {cause.strerror}") from cause
    engine = database.connect(url)
    try:
        database.prepare(engine, create=create)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine)


def upgrade(where: str | Path) -> tuple[str, str]:
    """Bring an older store to this version; its revisions before and after. Rows are kept.

    One transaction: after a crash the store is as it was. Programs that call this at once take turns.
    Raises InputError where there is no store, or a newer one.
    """
    url = database.address(where)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise InputError(f"there is no store at {url.database} to upgrade. Check the path")
    engine = database.connect(url)
    try:
        database.upgradable(engine)
        return database.migrate(engine)
    finally:
        engine.dispose()


class Store:
    """An open store; made by `open_store`. Close it, or use it in `with`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({database.shown(self.engine.url)})"

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def ingest(
        self,
        stream: str,
        events: Iterable[Event],
        *,
        source: str = "",
        replace: bool = False,
        batch: int = BATCH,
    ) -> Ingested:
        """Store events; what is there already with the same content changes nothing.

        stream: what the events belong to, such as "drafts/chest". events: read once, a batch at a time.
        source: where they came from, kept with the batch. replace: other content of a known id becomes its
        next version; without it such an event is refused.
        Raises InputError for a wrong or changed event, by its place among those given (ids may identify
        patients and are not printed). Its batch is not stored then; the batches before it are.
        """
        if not 1 <= batch <= BATCH:
            raise ValueError(f"batch must lie between 1 and {BATCH}, not {batch}")
        for name, text in (("stream", stream), ("source", source)):
            if len(text) > MOST_TEXT or UNFIT.search(text) or (name == "stream" and not text):
                raise InputError(f"{name} must be text of 1 to {MOST_TEXT} characters, without NUL")
        total = Ingested()
        for rows, repeats in batches(events, batch, replace):
            with database.writing(self.engine, f"stream/{stream}") as connection:
                done = write(connection, stream, rows, source, replace)
            total += done + Ingested(unchanged=repeats)
        return total

    def outcomes(
        self,
        stream: str,
        since: datetime | None = None,
        until: datetime | None = None,
        items: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Outcomes of a stream, one row an event and item, by time; of corrected events the newest version.

        since: inclusive, until: exclusive; both with a time zone. items: these only.
        Columns: event_id, happened_at (UTC), model, model_version, site, view, item, criticality, expected
        and observed (1, 0, or NaN where unknown), value, and one column a covariate.
        """
        import pandas as pd
        import sqlalchemy as sa

        from radfoundry.monitor.schema import EVENT, OUTCOME

        kept = [EVENT.c.stream == stream, EVENT.c.replaced_in.is_(None)]
        if since is not None:
            kept.append(EVENT.c.happened_at >= utc(since, "since"))
        if until is not None:
            kept.append(EVENT.c.happened_at < utc(until, "until"))
        asked = sa.select(EVENT.c.id, *(EVENT.c[name] for name in COLUMNS[:6]), EVENT.c.covariates)
        which = [*kept] if items is None else [*kept, OUTCOME.c.item.in_(list(items))]
        found = sa.select(OUTCOME).join(EVENT, EVENT.c.id == OUTCOME.c.event).where(*which)
        with database.reading(self.engine) as connection:
            events = connection.execute(asked.where(*kept)).all()
            judged = connection.execute(found).all()
        left = pd.DataFrame(events, columns=["id", *COLUMNS[:6], "covariates"])
        left["happened_at"] = pd.to_datetime(left["happened_at"], utc=True)
        right = pd.DataFrame(judged, columns=["id", *COLUMNS[6:]])
        right = right.astype(dict.fromkeys(("expected", "observed", "value"), "float64"))
        whole = left.merge(right, on="id").sort_values(["happened_at", "event_id", "item"], kind="stable")
        extra = _expanded(whole.pop("covariates"))
        return whole[list(COLUMNS)].join(extra).reset_index(drop=True)

    def streams(self) -> pd.DataFrame:
        """One row a stream: events (as they count now), first and last of them, models, last_ingest."""
        import pandas as pd
        import sqlalchemy as sa

        from radfoundry.monitor.schema import EVENT

        counted = (
            sa.select(
                EVENT.c.stream,
                sa.func.count().label("events"),
                sa.func.min(EVENT.c.happened_at).label("first"),
                sa.func.max(EVENT.c.happened_at).label("last"),
                sa.func.count(sa.distinct(EVENT.c.model + " " + EVENT.c.model_version)).label("models"),
                sa.func.max(EVENT.c.ingested_at).label("last_ingest"),
            )
            .where(EVENT.c.replaced_in.is_(None))
            .group_by(EVENT.c.stream)
            .order_by(EVENT.c.stream)
        )
        with database.reading(self.engine) as connection:
            rows = connection.execute(counted).all()
        table = pd.DataFrame(rows, columns=["stream", "events", "first", "last", "models", "last_ingest"])
        for name in ("first", "last", "last_ingest"):
            table[name] = pd.to_datetime(table[name], utc=True)
        return table

    def counts(self, stream: str | None = None) -> pd.DataFrame:
        """One row a stream, item and criticality: how its outcomes fell.

        Columns: stream, item, criticality, events, expected and observed (how many 1), omitted (expected,
        not observed), invented (observed, not expected), unknown (either is missing).
        """
        import pandas as pd
        import sqlalchemy as sa

        from radfoundry.monitor.schema import EVENT, OUTCOME

        expected, observed = OUTCOME.c.expected, OUTCOME.c.observed
        flags = {
            "expected": expected == 1,
            "observed": observed == 1,
            "omitted": sa.and_(expected == 1, observed == 0),
            "invented": sa.and_(expected == 0, observed == 1),
            "unknown": sa.or_(expected.is_(None), observed.is_(None)),
        }
        keys = [EVENT.c.stream, OUTCOME.c.item, OUTCOME.c.criticality]
        counted = sa.select(
            *keys,
            sa.func.count().label("events"),
            *(sa.func.sum(sa.case((flag, 1), else_=0)).label(name) for name, flag in flags.items()),
        )
        counted = counted.join(EVENT, EVENT.c.id == OUTCOME.c.event).where(EVENT.c.replaced_in.is_(None))
        if stream is not None:
            counted = counted.where(EVENT.c.stream == stream)
        with database.reading(self.engine) as connection:
            rows = connection.execute(counted.group_by(*keys).order_by(*keys)).all()
        numbers = ["events", *flags]
        return pd.DataFrame(rows, columns=["stream", "item", "criticality", *numbers]).astype(
            dict.fromkeys(numbers, "int64")
        )

    def history(self, stream: str, event_id: str) -> pd.DataFrame:
        """All versions of an event, oldest first: version, digest, outcomes, ingested_at, source, counts.

        counts: whether this version is the one that is read.
        """
        import pandas as pd
        import sqlalchemy as sa

        from radfoundry.monitor.schema import EVENT, INGEST, OUTCOME

        how_many = sa.select(sa.func.count()).where(OUTCOME.c.event == EVENT.c.id).scalar_subquery()
        asked = (
            sa.select(EVENT.c.version, EVENT.c.digest, how_many, EVENT.c.ingested_at, INGEST.c.source,
                      EVENT.c.replaced_in.is_(None))
            .join(INGEST, INGEST.c.id == EVENT.c.ingest)
            .where(EVENT.c.stream == stream, EVENT.c.event_id == event_id)
            .order_by(EVENT.c.version)
        )  # fmt: skip
        with database.reading(self.engine) as connection:
            rows = connection.execute(asked).all()
        names = ["version", "digest", "outcomes", "ingested_at", "source", "counts"]
        return pd.DataFrame(rows, columns=names).astype({"counts": bool})


def _expanded(texts: pd.Series) -> pd.DataFrame:
    """Covariates, JSON text by row, as columns."""
    import pandas as pd

    codes, distinct = pd.factorize(texts)
    return pd.DataFrame([json.loads(text) for text in distinct]).take(codes).set_index(texts.index)
