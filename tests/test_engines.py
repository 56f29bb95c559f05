"""Ray gives what one process gives, also when workers are killed; what goes wrong says so."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from radfoundry import encoders, engines
from radfoundry.cli.main import main
from radfoundry.cohort import Cohort, read_cohort
from radfoundry.encoders import shards
from radfoundry.errors import InputError, MissingExtra, NotEnoughData, RadfoundryError, RunError
from radfoundry.plan.ablation import Cases, ablate
from radfoundry.plan.grid import FeatureSpec, Grid
from tests._engine_tasks import dies_always, dies_once, square, too_few, total


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of two CPUs for this file; its workers import the tests."""
    os.environ.update({name: os.environ.get(name, value) for name, value in engines.SETTINGS.items()})
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'radfoundry[ray]')")
    before = set(descendants())  # joblib keeps processes of its own
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    yield
    assert descendants("ray::"), "the workers are looked for in the wrong place"
    children = [pid for pid in descendants() if pid not in before]
    ray.shutdown()
    deadline = time.monotonic() + 15
    while (alive := [pid for pid in children if running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive, "processes of the cluster outlive it"


def processes() -> dict[int, tuple[int, str]]:
    """{pid: (parent, command line)}, by `ps`."""
    said = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in said.stdout.splitlines()]
    return {int(pid): (int(parent), rest[0] if rest else "") for pid, parent, *rest in rows}


def descendants(name: str = "") -> list[int]:
    """Processes below this one whose command begins with `name`."""
    found, every = {os.getpid()}, processes()
    while more := {pid for pid, (parent, _) in every.items() if parent in found} - found:
        found |= more
    return [pid for pid in found - {os.getpid()} if every[pid][1].startswith(name)]


def running(pid: int) -> bool:
    return "<defunct>" not in processes().get(pid, (0, "<defunct>"))[1]


class Killer(threading.Thread):
    """Kills the first worker of this cluster that is found at work on a function."""

    def __init__(self, function: str) -> None:
        super().__init__(daemon=True)
        self.title, self.killed, self.over = f"ray::{function}", 0, threading.Event()

    def run(self) -> None:
        while not self.killed and not self.over.is_set():
            for pid in descendants(self.title)[:1]:
                os.kill(pid, signal.SIGKILL)
                self.killed = pid
            time.sleep(0.02)

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


# -- tasks --------------------------------------------------------------------------------------------


def results(function: Any, tasks: list[tuple], **how: Any) -> list[Any]:
    found = dict(engines.run(function, tasks, **how))
    assert sorted(found) == list(range(len(tasks)))
    return [found[index] for index in range(len(tasks))]


def test_local_is_the_default_and_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert results(square, [(x,) for x in range(4)]) == [0, 1, 4, 9]


def test_options_of_an_engine_that_would_be_ignored_are_refused() -> None:
    engines.check("ray", "auto", 0)
    engines.check("local", None, 3)
    with pytest.raises(InputError, match="Add --engine ray"):
        engines.check("local", "auto", 1)
    with pytest.raises(InputError, match="--jobs -1: give the number"):
        engines.check("ray", None, -1)


def test_a_killed_worker_loses_nothing(cluster: None, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    assert results(dies_once, [(x, marker) for x in range(4)], engine="ray") == [0, 1, 4, 9]
    assert marker.exists()


def test_a_task_that_kills_every_worker_is_given_up(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "RETRIES", 0)
    with pytest.raises(RunError, match="lost a task 1 times"):
        results(dies_always, [(1,)], engine="ray")


def test_an_error_of_a_task_arrives_as_itself(cluster: None) -> None:
    with pytest.raises(NotEnoughData, match="only 3 cases"):
        results(too_few, [(3,)], engine="ray")
    assert results(square, [(3,)], engine="ray") == [9]


def test_a_large_array_is_sent_once(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    put, sizes = ray.put, []
    monkeypatch.setattr(ray, "put", lambda item: (sizes.append(item.nbytes), put(item))[1])
    large, small = np.ones(100_000), np.ones(10)
    tasks = [(large, 1), (large, 2), (small, 3), (large, 4)]
    assert results(total, tasks, engine="ray") == [1e5, 2e5, 30.0, 4e5]
    assert sizes == [large.nbytes]


def test_a_gpu_that_no_node_has_is_refused_and_not_waited_for(cluster: None) -> None:
    with pytest.raises(RunError, match=r"GPUs, and each task needs 9\. .*ray status"):
        results(square, [(1,)], engine="ray", gpus=9)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"radfoundry\[ray\]"):
        results(square, [(1,)], engine="ray")


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no cluster ran in this process."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'radfoundry[ray]')")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "auto"])
def test_an_unreachable_cluster_is_said_at_once(
    address: str, apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address == "auto":
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    start = time.monotonic()
    with pytest.raises(RunError, match=r"cannot be reached .*ray start --head.*--engine local") as caught:
        results(square, [(1,)], engine="ray", address=address)
    assert address in str(caught.value)
    assert time.monotonic() - start < 10


def test_a_host_that_does_not_answer_is_given_up(apart: None, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def silent(place: tuple[str, int], timeout: float) -> None:
        waits.append((place, timeout))
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(RunError, match="timed out"):
        results(square, [(1,)], engine="ray", address="[fe80::1]:6379")
    assert waits == [(("fe80::1", 6379), engines.WAIT_S)]


# -- ablation ----------------------------------------------------------------------------------------


def made() -> tuple[Cases, Grid]:
    rng = np.random.default_rng(0)
    y = (np.arange(60) % 3 == 0).astype(int)
    X = rng.normal(size=(60, 300)).astype(np.float32)  # large enough for the object store on its way
    X[:, :2] += y[:, None]
    who = np.array([f"p{i:03d}" for i in range(60)])
    grid = Grid(
        {"made": FeatureSpec()},
        {"normalisation": ("z", "none"), "selector": ("none", "anova"), "k": (10,)},
        repeats=2, folds=3, inner=3,
    )  # fmt: skip
    return Cases(y, who, who, {"made": np.repeat(X, 2, axis=1)}), grid


def test_an_ablation_gives_the_same_scores_though_a_worker_is_killed(cluster: None) -> None:
    cases, grid = made()
    here = ablate(cases, grid, log=lambda _: None)
    with Killer("run_group") as killer:
        there = ablate(cases, grid, engine="ray", log=lambda _: None)
    assert killer.killed
    pd.testing.assert_frame_equal(here.folds, there.folds, check_exact=True)
    assert here.cells == there.cells and not there.failed


def ablate_by_command(folder: Path, name: str, *more: str) -> pd.DataFrame:
    """Scores of `radfoundry ablate` in a process of its own; nothing is kept between two names."""
    if not (folder / "grid.yaml").exists():
        cases, _ = made()
        table = pd.DataFrame(cases.matrices["made"][:, :4], columns=list("abcd"))
        table.assign(case_id=cases.case_id).to_csv(folder / "t.csv", index=False)
        cohort = pd.DataFrame({"case_id": cases.case_id, "patient_id": cases.patient, "y:grows": cases.y})
        cohort.to_csv(folder / "cohort.csv", index=False)
        (folder / "grid.yaml").write_text(
            "cohort: cohort.csv\ntarget: grows\nfeatures: {made: {table: t.csv}}\n"
            "vary: {normalisation: [z, none]}\nrepeats: 2\nfolds: 3\ninner: 2\n"
        )
    out = folder / name
    words = ["ablate", "grid.yaml", "--out", str(out), "--store", str(folder / f"store-{name}"), *more]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "radfoundry", *words, "--jobs", "1"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(out / "predictions.parquet")


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a Ray that is started meanwhile keeps its session; a short path, for its sockets."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'radfoundry[ray]')")
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # as docs/how-to/cluster.md has it
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def of_session(folder: Path) -> list[int]:
    return [pid for pid, (_, command) in processes().items() if f"{folder}/" in command and running(pid)]


def test_the_command_starts_a_cluster_of_its_own_and_ends_it(sessions: Path, tmp_path: Path) -> None:
    here = ablate_by_command(tmp_path, "local")
    there = ablate_by_command(tmp_path, "ray", "--engine", "ray")
    pd.testing.assert_frame_equal(here, there, check_exact=True)
    assert list(sessions.rglob("raylet.out")), "no cluster was started"
    deadline = time.monotonic() + 15
    while (alive := of_session(sessions)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive


@pytest.fixture
def head(sessions: Path) -> Iterator[str]:
    """The address of a head node. `ray stop` would end every Ray of this machine: it is ended by its id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = sessions / "start.txt"
    words = ["--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=1"]
    words += ["--include-dashboard=false", f"--temp-dir={sessions}", f"--object-store-memory={100 * 2**20}"]
    with log.open("w") as said:
        node = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *words],
            stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert node.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        node.terminate()  # a node ends its processes itself
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(45)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()


def test_the_command_runs_on_a_cluster_at_an_address(head: str, sessions: Path, tmp_path: Path) -> None:
    here = ablate_by_command(tmp_path, "local")
    there = ablate_by_command(tmp_path, "ray", "--engine", "ray", "--ray-address", head)
    pd.testing.assert_frame_equal(here, there, check_exact=True)
    logs = [path.name for path in sessions.rglob("*.log")]
    assert any(name.startswith("python-core-driver") for name in logs), "the cluster was not asked"
    assert len(set(sessions.glob("session_2*"))) == 1, "another cluster was started"
    assert of_session(sessions), "the cluster ended with the command"


# -- embedding ---------------------------------------------------------------------------------------


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50), dtype=np.uint8)
        Pillow.fromarray(pixels).save(folder / f"{i}.png")
    names = [f"c{i:03d}" for i in range(12)]
    table = pd.DataFrame({"case_id": names, "patient_id": names, "image": [f"{i}.png" for i in range(12)]})
    table.to_csv(folder / "cohort.csv", index=False)
    (folder / "cohort.yaml").write_text("modality: CR\n")
    return read_cohort(folder)


def embed_words(cohort: Cohort, store: Path, *more: str) -> list[str]:
    words = [
        "embed",
        str(cohort.root / "cohort.csv"),
        "--encoder",
        "raw-pixels",
        "--store",
        str(store),
    ]
    return [*words, "--json", *more]


def read(store: Path) -> np.ndarray:
    return encoders.Store(store).read("raw-pixels").vectors


def test_shards_give_the_vectors_of_one_process(
    cluster: None, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: Any
) -> None:
    import json

    (cohort.root / "3.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)  # paths relative to here mean the same to a worker
    there = Path("there")
    code = main(embed_words(cohort, there, "--engine", "ray", "--shards", "3"))
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert code == 1 and [f["case_id"] for f in report["failures"]] == ["c003"]
    assert report["timing"]["computed"] == report["embedded"] == 11 and report["timing"]["reused"] == 0
    assert "done here" not in said.err
    assert main(embed_words(cohort, tmp_path / "here")) == 1
    np.testing.assert_array_equal(read(there), read(tmp_path / "here"))

    (cohort.root / "3.png").unlink()
    shutil.copy(cohort.root / "4.png", cohort.root / "3.png")
    capsys.readouterr()
    assert main(embed_words(cohort, there, "--engine", "ray")) == 0
    assert json.loads(capsys.readouterr().out)["timing"]["read"] == 1


def test_when_all_is_stored_no_worker_is_asked(cohort: Cohort, tmp_path: Path, monkeypatch: Any) -> None:
    assert main(embed_words(cohort, tmp_path / "store")) == 0
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("radfoundry.io.read_image", lambda _: pytest.fail("an image was read"))
    assert main(embed_words(cohort, tmp_path / "store", "--engine", "ray")) == 0


def test_a_killed_shard_loses_no_vector(cluster: None, cohort: Cohort, tmp_path: Path) -> None:
    encoder = encoders.load("raw-pixels")
    job = shards.Job("raw-pixels", tmp_path / "store")
    with Killer("embed_shard") as killer:
        done = shards.run(cohort, job, encoder, shards=2, quiet=True)
    assert killer.killed and not done.failures
    result = done.added_to(encoders.embed(cohort, encoder, tmp_path / "store"))
    assert result.timing["images"] == len(result.embeddings.vectors) == 12
    here = encoders.embed(cohort, encoder, tmp_path / "here").embeddings.vectors
    np.testing.assert_array_equal(result.embeddings.vectors, here)


def test_a_node_with_another_encoder_or_without_the_store_is_named(cohort: Cohort, tmp_path: Path) -> None:
    encoder = encoders.load("raw-pixels")
    job = shards.Job("raw-pixels", tmp_path / "store")
    with pytest.raises(RunError, match="not the encoder of the machine that asks"):
        shards.embed_shard(cohort, job, "0" * 64)
    with pytest.raises(RunError, match="does not see the store"):
        shards.embed_shard(cohort, job, encoder.fingerprint)


def test_what_only_the_worker_could_not_do_is_said() -> None:
    done = shards.Done(1, {}, [("c1", "image", "no such file"), ("c2", "image", "broken")])
    result = encoders.EmbedResult(None, [("c2", "image", "broken")], {})  # type: ignore[arg-type]
    assert done.only_there(result) == [("c1", "image", "no such file")]


def test_options_that_do_not_go_together_are_refused(
    cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(embed_words(cohort, tmp_path / "store", "--shards", "3")) == 2
    assert "--engine ray" in capsys.readouterr().err
    encoder = encoders.load("raw-pixels")
    job = shards.Job("raw-pixels", tmp_path, {"device": "cuda:1"})
    with pytest.raises(RadfoundryError, match="--device cuda"):
        shards.run(cohort, job, encoder)
    with pytest.raises(RadfoundryError, match="at least 1"):
        shards.run(cohort, job, encoder, shards=0)
