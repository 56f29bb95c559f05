"""The embedding loop: nothing lost, nothing repeated, one bad file stops nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from radfoundry import encoders
from radfoundry.cli.main import main
from radfoundry.cohort import Cohort
from radfoundry.encoders import Store, embed
from radfoundry.encoders import shelf as shelves
from radfoundry.encoders.encoder import Backend, Encoder
from radfoundry.errors import RadfoundryError, RunError, TableError

# Run as a process of its own: an encoder that takes its time, so that it can be killed at work.
WORKER = """
import sys, time
from dataclasses import replace
from radfoundry import encoders
from radfoundry.cohort import read_cohort
encoder = encoders.load("raw-pixels")
def slow(batch):
    time.sleep(0.1)
    with open(sys.argv[3], "a") as log:
        log.write("x" * len(batch))
    return encoder.backend.forward(batch)
backend = replace(encoder.backend, forward=slow)
import radfoundry.encoders.embed as loop
loop = sys.modules["radfoundry.encoders.embed"]
loop.COMMIT_EVERY_S = 0.2
encoders.embed(read_cohort(sys.argv[1]), replace(encoder, backend=backend), sys.argv[2], batch_size=2)
"""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return encoders.load("random-projection")


def write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path)


def make_cohort(folder: Path, n: int = 12) -> Cohort:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        write_image(folder / f"{i}.png", i)
    cases = [f"c{i:03d}" for i in range(n)]
    table = pd.DataFrame({"case_id": cases, "patient_id": cases, "image": [f"{i}.png" for i in range(n)]})
    table.to_csv(folder / "cohort.csv", index=False)
    (folder / "cohort.yaml").write_text("modality: CR\n")
    return Cohort(table, folder, "cohort", {"modality": "CR"})


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return make_cohort(tmp_path / "images")


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("radfoundry.io.read_image", refuse)


def with_forward(encoder: Encoder, forward: Callable[[np.ndarray], np.ndarray]) -> Encoder:
    return replace(encoder, backend=Backend(forward, "test", "test"))


def test_vectors_are_those_of_the_encoder_in_cohort_order(cohort: Cohort, encoder: Encoder, tmp_path) -> None:
    from radfoundry import io

    result = embed(cohort, encoder, tmp_path / "store", batch_size=5)
    images = [replace(io.read_image(cohort.image_path(i)), modality="CR") for i in range(len(cohort))]
    expected = encoder.encode(np.stack([encoder.prepare(image) for image in images]))
    np.testing.assert_allclose(result.embeddings.vectors, expected, atol=1e-5)
    assert result.embeddings.case_id.tolist() == cohort.table["case_id"].tolist()
    assert result.failures == [] and result.timing["computed"] == 12
    assert 0 < result.timing["model_seconds"] < result.timing["seconds"]


def test_second_run_reads_no_image_and_writes_nothing(
    cohort: Cohort, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embed(cohort, encoder, tmp_path / "store")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*")}
    forbid_reading(monkeypatch)
    again = embed(cohort, encoder, tmp_path / "store")
    assert np.array_equal(first.embeddings.vectors, again.embeddings.vectors)
    assert again.timing["read"] == again.timing["computed"] == 0 and again.timing["reused"] == 12
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*")}


def test_another_cohort_of_the_same_files_reads_no_image(
    cohort: Cohort, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embed(cohort, encoder, tmp_path / "store")
    forbid_reading(monkeypatch)
    renamed = replace(cohort, table=cohort.table.assign(case_id=[f"other{i}" for i in range(12)]), name="new")
    again = embed(renamed, encoder, tmp_path / "store")
    assert np.array_equal(first.embeddings.vectors, again.embeddings.vectors)
    assert Store(tmp_path / "store").read(encoder.card.name, ["other3"]).key[0] == first.embeddings.key[3]


def test_changed_file_is_computed_again_and_touched_file_is_not(
    cohort: Cohort, encoder: Encoder, tmp_path: Path
) -> None:
    embed(cohort, encoder, tmp_path / "store")
    write_image(cohort.image_path(4), 99)
    os.utime(cohort.image_path(5), ns=(1, 1))
    result = embed(cohort, encoder, tmp_path / "store")
    assert (result.timing["read"], result.timing["computed"]) == (2, 1)
    why = Store(tmp_path / "store").why
    assert why("c004")[-1].endswith("computed again: file changed")
    assert why("c005")[-1].endswith("nothing computed: file changed")
    assert len(why("c006")) == 1


def test_equal_pixels_share_a_vector(cohort: Cohort, encoder: Encoder, tmp_path: Path) -> None:
    for i in (3, 9):
        write_image(cohort.image_path(i), 0)
    result = embed(cohort, encoder, tmp_path / "store", batch_size=4)
    assert result.timing["computed"] == 10 and len(result.embeddings.vectors) == 12
    assert result.embeddings.key[0] == result.embeddings.key[3] == result.embeddings.key[9]
    size = sum(p.stat().st_size for p in (tmp_path / "store").rglob("*.f32"))
    assert size == 10 * encoder.card.dim * 4


def test_corrupt_file_is_reported_and_stops_nothing(cohort: Cohort, encoder: Encoder, tmp_path: Path) -> None:
    whole = cohort.image_path(5).read_bytes()
    cohort.image_path(5).write_bytes(whole[: len(whole) // 2])
    cohort.image_path(7).unlink()
    cohort.image_path(8).write_bytes(b"")
    result = embed(cohort, encoder, tmp_path / "store", batch_size=3)
    assert [failure[0] for failure in result.failures] == ["c005", "c007", "c008"]
    assert all(column == "image" and message for _, column, message in result.failures)
    assert len(result.embeddings.vectors) == 9 and "c005" not in result.embeddings.case_id
    cohort.image_path(5).write_bytes(whole)
    mended = embed(cohort, encoder, tmp_path / "store")
    assert [failure[0] for failure in mended.failures] == ["c007", "c008"] and mended.timing["computed"] == 1


def test_wrong_modality_is_refused_image_by_image(cohort: Cohort, encoder: Encoder, tmp_path: Path) -> None:
    result = embed(replace(cohort, meta={"modality": "SM"}), encoder, tmp_path / "store")
    assert len(result.failures) == 12 and "modality SM" in result.failures[0][2]
    assert result.embeddings.vectors.shape == (0, encoder.card.dim)


def test_vector_that_is_not_finite_is_a_failure(cohort: Cohort, encoder: Encoder, tmp_path: Path) -> None:
    def overflow(batch: np.ndarray) -> np.ndarray:
        out = encoder.backend.forward(batch)
        out[1] = np.inf
        return out

    result = embed(cohort, with_forward(encoder, overflow), tmp_path / "store", batch_size=12)
    assert [failure[0] for failure in result.failures] == ["c001"] and "not finite" in result.failures[0][2]
    assert len(result.embeddings.vectors) == 11


def test_several_views_with_an_empty_cell(cohort: Cohort, encoder: Encoder, tmp_path: Path) -> None:
    paths = cohort.table["image"].tolist()
    table = cohort.table.rename(columns={"image": "image:frontal"}).iloc[:3].copy()
    table["image:lateral"] = [paths[5], None, paths[6]]
    views = replace(cohort, table=table)
    result = embed(views, encoder, tmp_path / "store")
    assert list(zip(result.embeddings.case_id, result.embeddings.column, strict=True)) == [
        ("c000", "image:frontal"), ("c000", "image:lateral"), ("c001", "image:frontal"),
        ("c002", "image:frontal"), ("c002", "image:lateral"),
    ]  # fmt: skip
    lateral = embed(views, encoder, tmp_path / "store", columns=["image:lateral"])
    assert lateral.embeddings.key.tolist() == result.embeddings.key[[1, 4]].tolist()
    with pytest.raises(TableError, match="no image column 'image:oblique'"):
        embed(views, encoder, tmp_path / "store", columns=["image:oblique"])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(12)), batch_size=st.integers(1, 13), workers=st.integers(1, 4))
def test_order_batch_and_threads_do_not_change_a_vector(
    cohort: Cohort, encoder: Encoder, tmp_path_factory, order: list[int], batch_size: int, workers: int
) -> None:
    reference = embed(cohort, encoder, cohort.root.parent / "reference").embeddings
    shuffled = replace(cohort, table=cohort.table.iloc[order].reset_index(drop=True))
    store = tmp_path_factory.mktemp("other") / "store"
    found = embed(shuffled, encoder, store, batch_size=batch_size, workers=workers).embeddings
    assert found.case_id.tolist() == reference.case_id[order].tolist()
    np.testing.assert_allclose(found.vectors, reference.vectors[order], atol=1e-5)


def test_interrupt_keeps_what_was_encoded(cohort: Cohort, encoder: Encoder, tmp_path: Path) -> None:
    calls = []

    def interrupted(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encoder.backend.forward(batch)

    with pytest.raises(KeyboardInterrupt):
        embed(cohort, with_forward(encoder, interrupted), tmp_path / "store", batch_size=2)
    result = embed(cohort, encoder, tmp_path / "store")
    assert result.timing["computed"] == 12 - 4 and len(result.embeddings.vectors) == 12


def test_full_disk_ends_the_run_and_keeps_the_store(
    cohort: Cohort, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = replace(cohort, table=cohort.table.iloc[:4])
    embed(head, encoder, tmp_path / "store")
    real = shelves.os.fsync

    def full(handle: int) -> None:
        if os.fstat(handle).st_size > 4 * encoder.card.dim * 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(shelves.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        embed(cohort, encoder, tmp_path / "store")
    monkeypatch.undo()
    result = embed(cohort, encoder, tmp_path / "store")
    assert result.timing["computed"] == 8 and len(result.embeddings.vectors) == 12


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write into read-only folders")
def test_read_only_folder(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    words = ["embed", str(cohort.root / "cohort.csv"), "--encoder", "raw-pixels", "--store"]
    assert main([*words, str(tmp_path / "locked" / "store")]) == 3
    assert not list((tmp_path / "locked").iterdir())


def test_unwritable_output_is_named_before_anything_is_read(
    cohort: Cohort, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def refuse(self: Path, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(shelves.Path, "mkdir", refuse)
    forbid_reading(monkeypatch)
    words = ["embed", str(cohort.root / "cohort.csv"), "--encoder", "raw-pixels", "--store"]
    assert main([*words, str(tmp_path / "store")]) == 3
    assert str(tmp_path / "store") in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_complete_store_is_used_where_nothing_can_be_written(
    cohort: Cohort, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(cohort, encoder, tmp_path / "store")

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(shelves, "write_whole", refuse)
    monkeypatch.setattr(shelves.filelock.FileLock, "acquire", refuse)
    assert len(embed(cohort, encoder, tmp_path / "store").embeddings.vectors) == 12


def test_foreign_folder_and_senseless_numbers_are_refused(cohort: Cohort, encoder: Encoder, tmp_path) -> None:
    with pytest.raises(RunError, match="no store of embeddings"):
        embed(cohort, encoder, cohort.root)
    with pytest.raises(RadfoundryError, match="at least 1"):
        embed(cohort, encoder, tmp_path / "store", batch_size=0)


def test_out_of_memory_says_what_to_do(cohort: Cohort, encoder: Encoder, tmp_path: Path) -> None:
    def exhausted(batch: np.ndarray) -> np.ndarray:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(RadfoundryError, match="--batch-size"):
        embed(cohort, with_forward(encoder, exhausted), tmp_path / "store")


def test_progress_counts_to_the_total(cohort: Cohort, encoder: Encoder, tmp_path: Path, capsys) -> None:
    seen: list[tuple[int, int]] = []
    embed(cohort, encoder, tmp_path / "store", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 12) for i in range(12)]
    embed(cohort, encoder, tmp_path / "another")  # not a terminal: no bar
    assert capsys.readouterr().err == ""


def _start(cohort: Cohort, store: Path, log: Path) -> subprocess.Popen:
    arguments = [str(cohort.root / "cohort.csv"), str(store), str(log)]
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", WORKER, *arguments])


def _rows(store: Path) -> int:
    try:
        return len(Store(store).read("raw-pixels").vectors)
    except RunError:  # no encoder stored yet
        return 0


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing was stored in time"
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_run_goes_on_without_loss_or_repeat(tmp_path: Path) -> None:
    cohort, store, log = make_cohort(tmp_path / "images", 40), tmp_path / "store", tmp_path / "log"
    process = _start(cohort, store, log)
    _until(lambda: _rows(store) >= 8)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = _rows(store)
    assert 8 <= kept < 40
    result = embed(cohort, encoders.load("raw-pixels"), store)
    assert result.timing["computed"] == 40 - kept and len(result.embeddings.vectors) == 40
    fresh = embed(cohort, encoders.load("raw-pixels"), tmp_path / "fresh")
    assert np.array_equal(result.embeddings.vectors, fresh.embeddings.vectors)


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    cohort, store, log = make_cohort(tmp_path / "images", 40), tmp_path / "store", tmp_path / "log"
    processes = [_start(cohort, store, log) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    result = embed(cohort, encoders.load("raw-pixels"), store)
    assert result.timing["read"] == 0 and len(result.embeddings.vectors) == 40
    fresh = embed(cohort, encoders.load("raw-pixels"), tmp_path / "fresh")
    assert np.array_equal(result.embeddings.vectors, fresh.embeddings.vectors)
    assert sum(p.stat().st_size for p in store.rglob("*.f32")) == 40 * 784 * 4  # nothing is stored twice
    assert len(log.read_text()) < 80  # and not everything was computed by both


def test_command_prints_json_exports_and_exits_1_on_failure(cohort: Cohort, tmp_path: Path, capsys) -> None:
    cohort.image_path(2).write_bytes(b"not an image")
    words = [
        "embed",
        str(cohort.root / "cohort.csv"),
        "--encoder",
        "raw-pixels",
        "--store",
        str(tmp_path / "s"),
    ]
    assert main([*words, "--json", "--export", str(tmp_path / "out.parquet")]) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["embedded"] == 11 and report["failures"][0]["case_id"] == "c002"
    assert "c002" in captured.err
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 11
    write_image(cohort.image_path(2), 2)
    assert main(words) == 0
    assert "12 of 12 images" in capsys.readouterr().out
    assert main([*words, "--why", "c000"]) == 0
    assert "computed for the first time" in capsys.readouterr().out
