"""The store on both databases: what goes in comes out, once, whole, whatever happens in between."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from radfoundry.errors import InputError, MissingExtra, RunError
from radfoundry.monitor import database, ingest
from radfoundry.monitor.schema import EVENT, INGEST, METADATA, OUTCOME
from radfoundry.monitor.store import Event, Ingested, Outcome, Store, open_store, pseudonym, upgrade
from tests.monitor._events import ITEMS, START, events

ROOT = Path(__file__).parents[2]


def everything(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with store.engine.connect() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            for table in METADATA.sorted_tables
        }


def child(code: str, *words: str) -> subprocess.Popen[str]:
    head = "import sys\nfrom tests.monitor._events import events\nfrom radfoundry.monitor.store import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def changed(event: Event, observed: int = 1) -> Event:
    """The event with another verdict on its first item."""
    first = dataclasses.replace(event.outcomes[0], observed=observed)
    return dataclasses.replace(event, outcomes=(first, *event.outcomes[1:]))


class TestStore:
    def test_what_goes_in_comes_out(self, place: str) -> None:
        local = timezone(timedelta(hours=-7))
        one = Event(
            "a", datetime(2026, 3, 1, 20, 15, 30, 123456, tzinfo=local),
            (Outcome("nodule", "critical", 1, 0), Outcome("dice", value=0.25), Outcome("mass", observed=1)),
            "drafter", "2", "north", "PA", {"age": 61, "Größe": 1.5, "sex": "F", "icu": False, "note": None},
        )  # fmt: skip
        with open_store(place) as store:
            assert store.ingest("s", [one], source="file.csv") == Ingested(new=1, outcomes=3)
        with open_store(place, create=False) as store:
            table = store.outcomes("s")
        assert table["item"].tolist() == ["dice", "mass", "nodule"]
        np.testing.assert_array_equal(table["expected"], [np.nan, np.nan, 1])
        np.testing.assert_array_equal(table["observed"], [np.nan, 1, 0])
        np.testing.assert_array_equal(table["value"], [0.25, np.nan, np.nan])
        assert (table["happened_at"] == pd.Timestamp("2026-03-02 03:15:30.123456", tz="UTC")).all()
        row = table.iloc[2]
        assert row[["event_id", "model", "model_version", "site", "view", "criticality"]].tolist() == [
            "a", "drafter", "2", "north", "PA", "critical"]  # fmt: skip
        assert (row["age"], row["Größe"], row["sex"], row["icu"], row["note"]) == (61, 1.5, "F", False, None)

    def test_ingesting_again_changes_no_row(self, place: str) -> None:
        with open_store(place) as store:
            store.ingest("s", events(30), batch=7)
            before = everything(store)
            assert store.ingest("s", events(30), source="again") == Ingested(unchanged=30)
            backwards = [dataclasses.replace(e, outcomes=e.outcomes[::-1]) for e in events(30)][::-1]
            assert store.ingest("s", [*backwards, *backwards]) == Ingested(unchanged=60)
            assert everything(store) == before

    def test_same_id_in_two_streams_is_two_events(self, place: str) -> None:
        with open_store(place) as store:
            store.ingest("s", events(3))
            assert store.ingest("t", events(3)).new == 3
            assert store.streams()["stream"].tolist() == ["s", "t"]
            assert len(store.outcomes("s")) == len(store.outcomes("t")) == 9

    def test_changed_content_is_refused_whole_and_without_the_id(self, place: str) -> None:
        with open_store(place) as store:
            store.ingest("s", events(5))
            before = everything(store)
            wrong = [*events(2, first=10), changed(next(events(1)), observed=0)]
            with pytest.raises(
                InputError, match=r"event 3 of those given .* other content.*replace=True"
            ) as e:
                store.ingest("s", wrong)
            assert "case-00000" not in str(e.value)
            assert everything(store) == before

    def test_replacing_counts_the_new_version_and_keeps_the_old(self, place: str) -> None:
        old, new = next(events(1)), changed(next(events(1)), observed=0)
        with open_store(place) as store:
            store.ingest("s", events(5), source="first")
            assert store.ingest("s", [new], source="second", replace=True) == Ingested(replaced=1, outcomes=3)
            table = store.outcomes("s")
            assert len(table) == 15
            read = table[(table["event_id"] == old.event_id) & (table["item"] == ITEMS[0])]
            assert read["observed"].tolist() == [0]
            history = store.history("s", old.event_id)
            assert history["version"].tolist() == [1, 2] and history["counts"].tolist() == [False, True]
            assert history["source"].tolist() == ["first", "second"] and history["outcomes"].tolist() == [
                3,
                3,
            ]
            assert store.streams()["events"].tolist() == [5]
            before = everything(store)
            # The old file once more: its content is known, and the correction stays.
            assert store.ingest("s", [old]) == Ingested(superseded=1)
            assert store.ingest("s", [new], replace=True) == Ingested(unchanged=1)
            assert everything(store) == before
            assert store.ingest("s", [old], replace=True).replaced == 1  # asked for: the correction is undone
            assert store.history("s", old.event_id)["counts"].tolist() == [False, False, True]

    def test_one_id_twice_in_one_call(self, place: str) -> None:
        one = next(events(1))
        with open_store(place) as store:
            with pytest.raises(InputError, match="events 1 and 2 of those given have one id"):
                store.ingest("s", [one, changed(one, 0)])
            assert store.ingest("s", [one, changed(one, 0)], replace=True) == Ingested(
                new=1, replaced=1, outcomes=6
            )
            assert store.outcomes("s")["observed"].iloc[2] == 0

    def test_reads_by_time_and_item(self, place: str) -> None:
        with open_store(place) as store:
            store.ingest("s", events(40))
            since, until = START + timedelta(hours=50), START + timedelta(hours=100)
            table = store.outcomes("s", since, until, items=["nodule"])
            assert table["event_id"].tolist() == [f"case-{i:05d}" for i in range(10, 20)]
            assert set(table["item"]) == {"nodule"}
            assert len(store.outcomes("s", items=[])) == len(store.outcomes("nothing")) == 0
            assert list(store.outcomes("nothing").columns)[:3] == ["event_id", "happened_at", "model"]
            with pytest.raises(InputError, match="time zone"):
                store.outcomes("s", datetime(2026, 1, 1))

    def test_counts_are_those_of_the_outcomes(self, place: str) -> None:
        with open_store(place) as store:
            store.ingest("s", events(50))
            store.ingest("s", [Event("x", START, (Outcome("nodule", "minor", 1, None),))])
            counts, table = store.counts("s").set_index("item"), store.outcomes("s")
        assert counts["events"].to_dict() == table.groupby("item").size().to_dict()
        omitted = table[(table["expected"] == 1) & (table["observed"] == 0)].groupby("item").size()
        invented = table[(table["expected"] == 0) & (table["observed"] == 1)].groupby("item").size()
        assert counts["omitted"].to_dict() == omitted.to_dict()
        assert counts["invented"].to_dict() == invented.to_dict()
        assert counts["unknown"].to_dict() == {"nodule": 1, "pleural_effusion": 0, "pneumothorax": 0}

    def test_failure_inside_a_batch_leaves_none_of_it(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = ingest._insert

        def fails(connection: Any, *rest: Any) -> int:
            real(connection, *rest)
            connection.execute(sa.text("SELECT * FROM no_such_table"))
            return 0

        with open_store(place) as store:
            store.ingest("s", events(5))
            before = everything(store)
            monkeypatch.setattr(ingest, "_insert", fails)
            with pytest.raises(RunError, match=r"no_such_table.*run again"):
                store.ingest("s", events(5, first=5))
            assert everything(store) == before

    def test_killed_in_the_middle_of_a_transaction_and_run_again(self, new_place: Callable[[], str]) -> None:
        place, clean = new_place(), new_place()
        code = """
import os, signal, sqlalchemy
store, seen = open_store(sys.argv[1]), []
def kill(connection, cursor, statement, *_):
    seen.extend([1] if statement.startswith("INSERT INTO outcome") else [])
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
sqlalchemy.event.listen(store.engine, "after_cursor_execute", kill)
store.ingest("s", events(200), batch=40)
"""
        killed = child(code, place)
        assert killed.wait(60) == -signal.SIGKILL, killed.communicate()
        with open_store(clean) as reference:
            reference.ingest("s", events(200), batch=40)
            wanted = reference.outcomes("s")
        with open_store(place) as store:
            half = store.outcomes("s")
            assert half["event_id"].nunique() == 80 and len(half) == 240
            with store.engine.connect() as connection:
                assert connection.execute(sa.select(sa.func.count()).select_from(EVENT)).scalar() == 80
                assert connection.execute(sa.select(sa.func.count()).select_from(OUTCOME)).scalar() == 240
                assert connection.execute(sa.select(sa.func.count()).select_from(INGEST)).scalar() == 2
            assert store.ingest("s", events(200), batch=40) == Ingested(120, 80, outcomes=360)
            pd.testing.assert_frame_equal(store.outcomes("s"), wanted)
            assert store.history("s", "case-00199")["version"].tolist() == [1]

    def test_two_programs_at_once_make_fill_and_correct_one_store(self, new_place: Callable[[], str]) -> None:
        place, clean = new_place(), new_place()
        code = """
import dataclasses
store = open_store(sys.argv[1])
given = list(events(300, first=int(sys.argv[2])))
done = store.ingest("s", given[::int(sys.argv[3])], batch=10)
print(done.new, done.unchanged + done.superseded)
for turn in range(5):
    site = f"{sys.argv[2]}/{turn}"
    store.ingest("s", [dataclasses.replace(e, site=site) for e in events(20, first=100)], replace=True)
"""
        both = [child(code, place, "0", "1"), child(code, place, "100", "-1")]
        said = [one.communicate(timeout=60) for one in both]
        assert [one.returncode for one in both] == [0, 0], said
        new, known = np.array([[int(word) for word in out.split()] for out, _ in said]).sum(axis=0)
        assert (new, known) == (400, 200)
        with open_store(clean) as reference, open_store(place) as store:
            reference.ingest("s", events(400))
            wanted, found = reference.outcomes("s"), store.outcomes("s")
            pd.testing.assert_frame_equal(found.drop(columns="site"), wanted.drop(columns="site"))
            assert (found["site"] != wanted["site"]).sum() == 60
            history = store.history("s", "case-00107")
            assert history["version"].tolist() == list(range(1, 12))
            assert history["counts"].tolist() == [False] * 10 + [True]

    def test_store_of_the_first_revision_is_upgraded_with_its_rows(
        self, new_place: Callable[[], str]
    ) -> None:
        place, clean = new_place(), new_place()
        old = Store(database.connect(database.address(place)))
        assert database.migrate(old.engine, "0001") == ("", "0001")
        old.ingest("s", events(25))
        rows = everything(old)
        indexes = {index["name"] for index in sa.inspect(old.engine).get_indexes("event")}
        assert "event_by_time" not in indexes
        old.close()
        with pytest.raises(InputError, match=r"revision 0001; this version needs 0002.*upgrade"):
            open_store(place)
        both = [child("print(*upgrade(sys.argv[1]))", place) for _ in range(2)]
        said = [one.communicate(timeout=60) for one in both]
        assert sorted(out.strip() for out, _ in said) == ["0001 0002", "0002 0002"], said
        with open_store(place) as store, open_store(clean) as reference:
            assert everything(store) == rows
            indexes = {index["name"] for index in sa.inspect(store.engine).get_indexes("event")}
            assert "event_by_time" in indexes
            reference.ingest("s", events(25))
            pd.testing.assert_frame_equal(store.outcomes("s"), reference.outcomes("s"))
            assert store.ingest("s", events(30)) == Ingested(5, 25, outcomes=15)

    def test_migrations_make_the_tables_of_the_schema(self, place: str) -> None:
        with open_store(place) as store, store.engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"version_table": database.VERSION_TABLE, "compare_type": True}
            )
            assert compare_metadata(context, METADATA) == []

    def test_newer_store_is_refused(self, place: str) -> None:
        with open_store(place) as store, store.engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {database.VERSION_TABLE} SET version_num = '0099'"))
        for act in (open_store, upgrade):
            with pytest.raises(InputError, match=r"0099, which is newer.*Install a newer radfoundry"):
                act(place)

    def test_database_of_another_program_is_left_alone(self, place: str) -> None:
        engine = database.connect(database.address(place))
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE event (name TEXT)"))
        with pytest.raises(InputError, match=r"no monitor store made \(event\)"):
            open_store(place)
        assert sa.inspect(engine).get_table_names() == ["event"]
        engine.dispose()

    def test_reading_makes_no_store(self, place: str) -> None:
        with pytest.raises(InputError, match="Ingest into it first"):
            open_store(place, create=False)
        with pytest.raises(InputError, match=r"no (monitor )?store"):
            upgrade(place)
        with open_store(place) as store:
            assert len(store.streams()) == len(store.counts()) == 0

    def test_outcome_needs_its_event_and_a_binary_verdict(self, place: str) -> None:
        with open_store(place) as store:
            store.ingest("s", events(1))
            row = {"event": 1, "item": "x", "criticality": "", "expected": 1}
            for wrong in (row | {"event": 99}, row | {"expected": 2}):
                with pytest.raises(sa.exc.IntegrityError), store.engine.begin() as connection:
                    connection.execute(sa.insert(OUTCOME), wrong)

    def test_hostile_text_is_only_text(self, place: str) -> None:
        name = "'); DROP TABLE event; -- %s ? :x \\ \" ü"
        one = Event(name, START, (Outcome(name, name, 1, 0),), covariates={name: name})
        with open_store(place) as store:
            store.ingest(name, [one])
            table = store.outcomes(name, items=[name])
            assert table[["event_id", "item", "criticality", name]].iloc[0].tolist() == [name] * 4
            assert len(store.history(name, name)) == 1


class TestPostgres:
    def test_plain_scheme_is_understood(self, postgres: str) -> None:
        with open_store(postgres.replace("+psycopg", "") + "postgres") as store:
            assert store.engine.dialect.driver == "psycopg"
            assert "not-checked" not in repr(store) and "***" in repr(store)

    @pytest.mark.parametrize("password", ["s3cret-Word", "p@ss/w:rd%"])
    @pytest.mark.parametrize(
        "ending", ["no_such_database", "postgres?nonsense=1", "postgres?options=-cnone%3D1"]
    )
    def test_no_password_in_errors_and_logs(
        self, postgres: str, password: str, ending: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        from urllib.parse import quote

        caplog.set_level(logging.DEBUG)
        where = postgres.replace("not-checked", quote(password, safe="")) + ending
        with pytest.raises(RunError, match=r"\*\*\*") as e:
            open_store(where)
        shown = "".join(traceback.format_exception(e.value)) + caplog.text
        for form in (password, quote(password, safe="")):
            assert form not in shown

    def test_unreachable_server_is_named_without_the_password(self) -> None:
        where = "postgresql://me:s3cret-Word@127.0.0.1:1/x?password=0ther-Word&connect_timeout=2"
        with pytest.raises(RunError, match=r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/x.*refused") as e:
            open_store(where)
        assert "Word" not in "".join(traceback.format_exception(e.value))

    def test_words_of_a_driver_lose_every_form_of_the_password(self) -> None:
        url = database.address("postgresql://me:p%40ss%2Fw@h/x?password=0ther&sslpassword=th%20ird")
        said = "bad conninfo 'password=p@ss/w p%40ss%2Fw 0ther th ird th+ird' for me\nmore"
        assert database.without_password(said, url) == "bad conninfo 'password=*** *** *** *** ***' for me"
        assert database.shown(url) == "postgresql+psycopg://me:***@h/x"


class TestSqlite:
    @pytest.mark.parametrize("where", [
        "postgresql:/me:s3cret@host/x", "postgres:me:s3cret@host/x", "postgresql//me:s3cret@h:p/x",
        "postgresql://me:s3cret@host:port/x", "mysql://me:s3cret@host/x", "postgresql+psycopg2://me:s3cret@h/x",
    ])  # fmt: skip
    def test_mistyped_urls_are_refused_without_an_echo(
        self, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError) as e:
            open_store(where)
        assert "s3cret" not in "".join(traceback.format_exception(e.value))
        assert "postgresql+psycopg://USER" in str(e.value)
        assert list(tmp_path.iterdir()) == []

    def test_store_in_memory_is_refused(self) -> None:
        for where in (":memory:", "sqlite://", "sqlite:///:memory:"):
            with pytest.raises(InputError, match="memory"):
                open_store(where)

    def test_file_of_another_kind_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "report.txt"
        path.write_text("not a database, and long enough to have a header " * 100)
        with pytest.raises(InputError, match="not an SQLite database"):
            open_store(path)
        assert path.read_text().startswith("not a database")

    def test_unusable_folder_is_explained(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="cannot be made"):
            open_store(tmp_path / "file" / "monitor.db")

    def test_waits_for_another_writer_and_says_when_it_gave_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_store(tmp_path / "m.db").close()
        monkeypatch.setattr(database, "BUSY_S", 0.2)
        other = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with open_store(tmp_path / "m.db") as store:
            with pytest.raises(RunError, match="busy"):
                store.ingest("s", events(1))
            assert len(store.outcomes("s")) == 0  # readers do not wait
            other.execute("ROLLBACK")
            assert store.ingest("s", events(1)).new == 1
        other.close()

    def test_file_is_in_wal_mode_with_foreign_keys(self, tmp_path: Path) -> None:
        with open_store(tmp_path / "new" / "m.db") as store, store.engine.connect() as connection:
            asked = [connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                     for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")]  # fmt: skip
        assert asked == ["wal", 1, 2, 60_000]

    def test_ten_thousand_outcomes_a_second(self, tmp_path: Path) -> None:
        items = [f"finding_{j}" for j in range(20)]
        given = [
            Event(f"case-{i}", START + timedelta(minutes=i), tuple(Outcome(n, "minor", 1, 0) for n in items))
            for i in range(1000)
        ]
        with open_store(tmp_path / "m.db") as store:
            began = time.process_time()  # of this process: the machine may be busy
            assert store.ingest("s", given).outcomes == 20_000
            assert time.process_time() - began < 2


@pytest.mark.parametrize(("wrong", "words"), [
    ({"event_id": ""}, "event_id is empty"),
    ({"event_id": "x" * 201}, "at most 200 characters"),
    ({"event_id": 7}, "event_id must be text"),
    ({"site": "a\x00b"}, "site must be text"),
    ({"view": "\ud800"}, "view must be text"),
    ({"happened_at": datetime(2026, 1, 1)}, "time zone"),
    ({"happened_at": pd.NaT}, "time zone"),
    ({"happened_at": "2026-01-01"}, "time zone"),
    ({"outcomes": (Outcome(""),)}, "has no item"),
    ({"outcomes": (Outcome("a", expected=2),)}, "0, 1 or None"),
    ({"outcomes": (Outcome("a", observed=0.5),)}, "0, 1 or None"),
    ({"outcomes": (Outcome("a", value=float("inf")),)}, "infinite"),
    ({"outcomes": (Outcome("a"), Outcome("a"))}, "occurs twice"),
    ({"outcomes": tuple(Outcome(f"a{i}") for i in range(10_001))}, "at most 10,000"),
    ({"covariates": {"item": "x"}}, "cannot be called"),
    ({"covariates": {"x": [1]}}, "must be text, a finite number"),
    ({"covariates": {"x": float("nan")}}, "must be text, a finite number"),
    ({"covariates": {f"x{i}": "y" * 190 for i in range(200)}}, "at most 20,000"),
])  # fmt: skip
def test_wrong_events_are_refused_by_their_place(wrong: dict[str, Any], words: str, tmp_path: Path) -> None:
    with open_store(tmp_path / "m.db") as store:
        given = [*events(2), dataclasses.replace(next(events(1, first=9)), **wrong)]
        with pytest.raises(InputError, match=words) as e:
            store.ingest("s", given)
        assert "event 3 of those given" in str(e.value)
        assert len(store.outcomes("s")) == 0
    with pytest.raises(InputError, match="stream must be text"), open_store(tmp_path / "m.db") as store:
        store.ingest("", [])


def test_numpy_and_pandas_values_are_plain_ones(tmp_path: Path) -> None:
    plain = Event("a", datetime(2026, 1, 5, 8, 0, 0, 999999, tzinfo=UTC), (Outcome("x", "", 1, 0, 0.5),))
    when = pd.Timestamp("2026-01-05 08:00:00.999999999", tz="UTC")
    theirs = Event("a", when, (Outcome("x", "", np.int64(1), np.float64(0), np.float32(0.5)),))  # type: ignore[arg-type]
    with open_store(tmp_path / "m.db") as store:
        store.ingest("s", [plain])
        assert store.ingest("s", [theirs]) == Ingested(unchanged=1)


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtra, match=r"radfoundry\[monitor\]"):
        open_store(tmp_path / "m.db")


def test_pseudonym_is_hmac_sha256() -> None:
    # RFC 4231, test case 1.
    key, wanted = b"\x0b" * 20, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    assert pseudonym("Hi There", key) == wanted
    assert pseudonym("Hi There", b"\x0c" * 20) != wanted
    with pytest.raises(ValueError, match="16 or more"):
        pseudonym("Hi There", b"short")
