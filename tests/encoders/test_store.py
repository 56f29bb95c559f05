"""The folder of vectors: whole or absent, shared, explained."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry import encoders
from radfoundry.encoders import shelf as shelves
from radfoundry.encoders.encoder import Encoder
from radfoundry.encoders.shelf import Entry, Origin, Shelf
from radfoundry.encoders.store import Store, key_of
from radfoundry.errors import RunError, TableError
from radfoundry.types import Image

DIM = 4


def entry(n: int, *, key: str | None = None, case: str | None = None, mtime: int = 0) -> Entry:
    origin = Origin(f"/images/{n}.png", 10, mtime, "CR")
    return Entry(key or f"key-{n}", "cohort", case or f"case-{n}", "image", origin, "as read", "0")


def vector(n: int) -> np.ndarray:
    return np.full(DIM, n, np.float32)


def fill(shelf: Shelf, *numbers: int) -> None:
    shelf.commit([entry(n) for n in numbers], {f"key-{n}": vector(n) for n in numbers})


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    made = Shelf(tmp_path / "shelf", DIM)
    made.create({"fingerprint": "f" * 64, "dim": DIM, "provenance": {"name": "fake"}})
    return made


def stored(shelf: Shelf, *keys: str) -> list[float]:
    fresh = Shelf(shelf.folder, DIM)
    fresh.refresh()
    return fresh.vectors(*fresh.places(keys))[:, 0].tolist()


def test_what_is_committed_is_read_by_another(shelf: Shelf) -> None:
    fill(shelf, 3, 1)
    fill(shelf, 2)
    assert stored(shelf, "key-1", "key-2", "key-3") == [1.0, 2.0, 3.0]
    assert shelf.key_of(entry(2).origin) == "key-2"
    assert shelf.key_of(entry(2, mtime=1).origin) is None


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=8))
def test_any_sequence_of_commits_stores_each_key_once(tmp_path_factory, commits: list[list[int]]) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("store"), DIM)
    for numbers in commits:  # a second Shelf object each time stands for another process
        fill(Shelf(shelf.folder, DIM), *dict.fromkeys(numbers))
    keys = sorted({f"key-{n}" for numbers in commits for n in numbers})
    assert stored(shelf, *keys) == [float(key[4:]) for key in keys]
    assert shelf.table().num_rows == len(keys)
    assert sum(p.stat().st_size for p in shelf.folder.glob("*.f32")) == len(keys) * DIM * 4


def test_small_parts_are_merged_and_nothing_is_lost(shelf: Shelf) -> None:
    reader = Shelf(shelf.folder, DIM)
    for n in range(shelves.MAX_SMALL_PARTS * 2 + 3):
        fill(shelf, n)
        reader.refresh()
    assert len(list(shelf.folder.glob("rows-*.parquet"))) <= shelves.MAX_SMALL_PARTS + 1
    assert stored(shelf, "key-0", "key-34") == [0.0, 34.0]
    assert reader.has("key-0") and reader.has("key-34")
    assert shelf.table().num_rows == 35


def test_full_segment_begins_the_next(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "SEGMENT_BYTES", 2 * DIM * 4)
    fill(shelf, 0, 1)
    fill(shelf, 2, 3)
    assert len(list(shelf.folder.glob("*.f32"))) == 2
    assert stored(shelf, "key-3", "key-0") == [3.0, 0.0]


def test_bytes_of_a_process_that_died_are_overwritten(shelf: Shelf) -> None:
    fill(shelf, 1)
    with open(shelf.folder / "vectors-00000.f32", "ab") as file:
        file.write(b"\xff" * 23)  # not even a whole number of vectors
    (shelf.folder / ".rows-00000002.parquet.1234.tmp").write_bytes(b"half")
    fill(shelf, 2)
    assert stored(shelf, "key-1", "key-2") == [1.0, 2.0]


@pytest.mark.parametrize("step", ["vectors", "table"])
def test_full_disk_leaves_the_store_as_it_was(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fill(shelf, 1)
    real, calls = os.fsync, []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) == {"vectors": 1, "table": 2}[step]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(shelves.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        fill(shelf, 2)
    monkeypatch.undo()
    fresh = Shelf(shelf.folder, DIM)
    fresh.refresh()
    assert fresh.has("key-1") and not fresh.has("key-2")
    assert not list(shelf.folder.glob("*.tmp")) and not list(shelf.folder.glob(".*.tmp"))
    fill(shelf, 2)
    assert stored(shelf, "key-1", "key-2") == [1.0, 2.0]


def test_cut_segment_is_refused_on_reading_and_on_writing(shelf: Shelf) -> None:
    fill(shelf, 1, 2)
    os.truncate(shelf.folder / "vectors-00000.f32", DIM * 4)
    with pytest.raises(RunError, match="holds 1 vectors where its table names 2"):
        stored(shelf, "key-2")
    with pytest.raises(RunError, match="Copy it again"):
        fill(shelf, 3)


def test_damaged_table_part_is_named(shelf: Shelf) -> None:
    fill(shelf, 1)
    next(shelf.folder.glob("rows-*")).write_bytes(b"PAR1 no")
    with pytest.raises(RunError, match=r"rows-00000001\.parquet is damaged"):
        shelf.table()


def test_lock_held_by_another_is_reported(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    monkeypatch.setattr(shelves, "LOCK_TIMEOUT_S", 0.1)
    with filelock.FileLock(shelf.folder / ".lock"), pytest.raises(RunError, match="locked by another"):
        fill(shelf, 1)


def test_worker_slots_differ_and_are_given_back(shelf: Shelf) -> None:
    with shelf.worker_slot() as first, Shelf(shelf.folder, DIM).worker_slot() as second:
        assert (first, second) == (0, 1)
    with shelf.worker_slot() as again:
        assert again == 0


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return encoders.load("raw-pixels")


def test_key_depends_on_pixels_geometry_recipe_and_encoder(encoder: Encoder) -> None:
    image = Image(np.arange(16, dtype=np.float32).reshape(4, 4), (0.0, 15.0), modality="CR")
    changed = image.array.copy()
    changed[3, 3] = 14
    card = encoder.card
    keys = [
        key_of(image, encoder),
        key_of(replace(image, array=changed), encoder),
        key_of(replace(image, array=image.array.reshape(2, 8)), encoder),
        key_of(replace(image, display_range=(0.0, 16.0)), encoder),
        key_of(replace(image, spacing_mm=(0.1, 0.2)), encoder),
        key_of(replace(image, modality="CT"), encoder),
        key_of(image, replace(encoder, fingerprint="other")),
        key_of(image, replace(encoder, card=replace(card, recipe=replace(card.recipe, size=14)))),
        key_of(image, encoder, roi="1,2,3"),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(replace(image, source="elsewhere.png", record=("copied",)), encoder) == keys[0]


def put(store: Store, encoder: Encoder, *rows: Entry, value: float = 1.0) -> None:
    store.create(encoder)
    vectors = {row.key: np.full(encoder.card.dim, value + i, np.float32) for i, row in enumerate(rows)}
    store.shelf(encoder).commit(rows, vectors)


def test_read_keeps_the_asked_order_and_refuses_what_is_absent(tmp_path: Path, encoder: Encoder) -> None:
    store = Store(tmp_path / "store")
    put(store, encoder, *(entry(n) for n in range(3)))
    found = store.read("raw-pixels", ["case-2", "case-0"], ["image"])
    assert found.vectors[:, 0].tolist() == [3.0, 1.0]
    assert found.case_id.tolist() == ["case-2", "case-0"] and found.key.tolist() == ["key-2", "key-0"]
    assert store.read(encoder.fingerprint[:8]).case_id.tolist() == ["case-0", "case-1", "case-2"]
    with pytest.raises(TableError, match="no vector of case 'case-9', column 'image'"):
        store.read("raw-pixels", ["case-9", "case-0"])
    with pytest.raises(RunError, match="holds no encoders 'dinov2'"):
        store.read("dinov2")


def test_newest_vector_of_a_case_wins(tmp_path: Path, encoder: Encoder) -> None:
    store = Store(tmp_path / "store")
    put(store, encoder, entry(1))
    put(store, encoder, entry(1, key="newer", mtime=5), value=8.0)
    assert store.read("raw-pixels", ["case-1"]).vectors[0, 0] == 8.0


def test_same_case_id_in_two_cohorts_has_to_be_told_apart(tmp_path: Path, encoder: Encoder) -> None:
    store = Store(tmp_path / "store")
    put(store, encoder, entry(1))
    put(store, encoder, replace(entry(2, case="case-1"), cohort="site B"), value=5.0)
    with pytest.raises(TableError, match="Say cohort=NAME"):
        store.read("raw-pixels", ["case-1"])
    assert store.read("raw-pixels", ["case-1"], cohort="site B").vectors[0, 0] == 5.0


def test_export_has_fixed_size_vectors_and_provenance(tmp_path: Path, encoder: Encoder) -> None:
    store = Store(tmp_path / "store")
    put(store, encoder, entry(1), entry(2))
    kept = store.read("raw-pixels", ["case-2", "case-1"])
    table = pq.read_table(store.export(kept, tmp_path / "out" / "vectors.parquet"))
    assert str(table.schema.field("vector").type) == f"fixed_size_list<element: float>[{encoder.card.dim}]"
    assert np.array_equal(np.stack(table["vector"].to_numpy()), kept.vectors)
    assert table["case_id"].to_pylist() == ["case-2", "case-1"]
    about = json.loads(table.schema.metadata[b"radfoundry"])
    assert about["fingerprint"] == encoder.fingerprint and about["provenance"]["name"] == "raw-pixels"
    assert b"/images/" not in (tmp_path / "out" / "vectors.parquet").read_bytes()


CHANGES = [
    ({"weights": "other"}, "encoder weights changed"),
    ({"code": 99}, "code version changed"),
    ({"recipe": {"size": 14}}, "preprocessing changed"),
    ({"engine": "abacus"}, "engine or precision changed"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=[reason for _, reason in CHANGES])
def test_why_names_the_part_of_the_encoder_that_changed(
    tmp_path: Path, encoder: Encoder, change: dict, reason: str
) -> None:
    store = Store(tmp_path / "store")
    put(store, encoder, entry(1))
    other = replace(encoder, fingerprint="0" * 64, provenance={**encoder.provenance, **change})
    put(store, other, entry(1, key="other"))
    first, second = store.why("case-1")
    assert first.endswith("computed for the first time")
    assert second.endswith(f"computed again: {reason}")


def test_why_tells_changed_files_from_touched_ones(tmp_path: Path, encoder: Encoder) -> None:
    store = Store(tmp_path / "store")
    put(store, encoder, entry(1))
    put(store, encoder, entry(1, key="changed", mtime=1))
    put(store, encoder, entry(1, key="changed", mtime=2))
    assert store.why("case-1")[1].endswith("computed again: file changed")
    assert store.why("case-1")[2].endswith("the pixels were the same, nothing computed: file changed")
    with pytest.raises(TableError, match="nothing about case 'case-7'"):
        store.why("case-7")


def test_foreign_folder_and_other_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="no store of embeddings"):
        Store(tmp_path)
    (tmp_path / "thesis.txt").unlink()
    (tmp_path / "store.json").write_text('{"format": 2}')
    with pytest.raises(RunError, match="format 2"):
        Store(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        Store(tmp_path)


def test_opening_writes_nothing(tmp_path: Path) -> None:
    Store(tmp_path / "store")
    assert not list(tmp_path.iterdir())
