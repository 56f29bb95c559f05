"""Where independent tasks run: processes of this machine, or a Ray cluster. Scheduling is theirs, not ours.

    for index, result in run(function, tasks, engine="local", jobs=2): ...

Results come as they are done. A task is a tuple of arguments; an array that several tasks share is sent once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

from radfoundry.errors import InputError, RunError
from radfoundry.optional import require

Engine = Literal["local", "ray"]

RETRIES = 5
"""How often Ray gives a task to another worker after its own died."""

LARGE = 100_000
"""Bytes above which an argument is put into Ray's object store, once for all tasks that share it."""

WAIT_S = 10.0
"""How long a cluster's port may take to answer."""

SETTINGS = {
    "RAY_NUM_REDIS_GET_RETRIES": "2",  # else 20 tries of 40 s each, where what answers is not Ray
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing about a hospital's computations is sent anywhere
}
"""Ray's settings, unless the environment has its own."""


def run(
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    *,
    engine: Engine = "local",
    jobs: int = 1,
    address: str | None = None,
    gpus: float = 0,
) -> Generator[tuple[int, Any], None, None]:
    """(index of the task, its result) of every task, in the order in which they finish.

    function: a function of a module, written in Python. jobs: processes here; with Ray and no address, its
    CPUs. address: a Ray cluster (`auto`, `HOST:PORT`); every node needs radfoundry
    installed. gpus: GPUs that a task needs, for Ray to find a free one. A Ray that runs in this process
    already is used as it is.
    Raises what a task raises; MissingExtra without Ray; RunError when the cluster cannot be reached, has no
    such GPU, or lost one task too often.
    """
    if engine == "ray":
        yield from _on_ray(function, tasks, jobs, address, gpus)
    elif jobs == 1 or len(tasks) < 2:
        for index, task in enumerate(tasks):
            yield index, function(*task)
    else:
        from joblib import Parallel, delayed

        pool = Parallel(n_jobs=min(jobs, len(tasks)), return_as="generator_unordered")
        work = (delayed(_numbered)(index, function, task) for index, task in enumerate(tasks))
        with contextlib.closing(pool(work)) as done:
            yield from done


def check(engine: Engine, address: str | None, jobs: int) -> None:
    """InputError for options that would be ignored or mean nothing; 0 jobs are as many as there are CPUs."""
    if address is not None and engine != "ray":
        raise InputError(
            f"--ray-address {address} is for --engine ray, and the engine is {engine}. Add --engine ray, or "
            "leave the address out"
        )
    if jobs < 0:
        raise InputError(f"--jobs {jobs}: give the number of processes, or 0 for one a CPU")


def _numbered(index: int, function: Callable[..., Any], task: tuple[Any, ...]) -> tuple[int, Any]:
    return index, function(*task)


def _on_ray(
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    jobs: int,
    address: str | None,
    gpus: float,
) -> Generator[tuple[int, Any], None, None]:
    for name, value in SETTINGS.items():  # read while Ray is imported
        os.environ.setdefault(name, value)
    ray = require("ray", extra="ray")
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, jobs, address)
    waiting: dict[Any, int] = {}
    try:
        _require(ray.cluster_resources(), CPU=1, GPU=gpus)
        # A dead worker is Ray's to replace; an error that the task raised itself is not tried again.
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False)(function)
        shared: dict[int, Any] = {}
        for index, task in enumerate(tasks):
            waiting[remote.remote(*(_put(ray, item, shared) for item in task))] = index
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            for reference in done:
                yield waiting.pop(reference), _result(ray, reference)
    finally:
        if ours:
            ray.shutdown()
        else:  # after an error or Ctrl-C nobody waits for the others
            for reference in waiting:
                ray.cancel(reference, force=True)


def _connect(ray: Any, jobs: int, address: str | None) -> None:
    """A cluster of that address; without one, a cluster of this machine for as long as the work lasts."""
    size = {} if address else {"num_cpus": max(1, jobs), "include_dashboard": False}
    try:
        if address:
            _knock(address)
        ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **size)
    except Exception as cause:  # ConnectionError, ValueError or RuntimeError, by the kind of address
        where = f"the Ray cluster at {address!r}" if address else "a Ray cluster on this machine"
        token = ", set RAY_AUTH_MODE=token if it asks for a token" if address else ""
        raise RunError(
            f"{where} cannot be reached ({_first_line(cause)}). Start one with `ray start --head` and give "
            f"its address{token}, leave --ray-address out to use this machine, or use --engine local"
        ) from cause


def _knock(address: str) -> None:
    """OSError when nobody answers at HOST:PORT; Ray itself would go on asking for a quarter of an hour."""
    stated = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if found := re.fullmatch(r"(?:ray://)?\[?(?P<host>[^\[\]/]+?)\]?:(?P<port>\d+)", stated):
        socket.create_connection((found["host"], int(found["port"])), timeout=WAIT_S).close()


def _require(found: dict[str, float], **needed: float) -> None:
    """A task that no node can ever take would wait for ever."""
    for name, least in needed.items():
        if found.get(name, 0) < least:
            raise RunError(
                f"the Ray cluster has {found.get(name, 0):g} {name}s, and each task needs {least:g}. Add "
                "a node that has them (see `ray status`), or use --engine local"
            )


def _put(ray: Any, item: Any, shared: dict[int, Any]) -> Any:
    if getattr(item, "nbytes", 0) < LARGE:
        return item
    if id(item) not in shared:
        shared[id(item)] = ray.put(item)
    return shared[id(item)]


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise cause if isinstance(cause, Exception) else RunError(_first_line(error)) from error
    except ray.exceptions.RayError as error:
        raise RunError(
            f"Ray lost a task {RETRIES + 1} times ({_first_line(error)}). Look at the memory of its nodes; "
            "what was finished is kept, and the same command goes on from there"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def progress(total: int, done: int, unit: str, *, quiet: bool = False) -> Any:
    """A bar on stderr where that is a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total, initial=done, unit=unit, file=sys.stderr, disable=quiet or not sys.stderr.isatty()
    )


class Bars:
    """Progress bars, one a stage, started when the total is known; quiet where stderr is no terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._open: list[Any] = []

    def __enter__(self) -> Bars:
        return self

    def __call__(self, unit: str) -> Callable[[int, int], None]:
        mine: list[Any] = []

        def tell(done: int, of: int) -> None:
            if not mine:
                mine.append(progress(of, 0, unit, quiet=self.quiet))
                self._open.append(mine[0])
            mine[0].update(done - mine[0].n)

        return tell

    def __exit__(self, *_: object) -> None:
        for one in self._open:
            one.close()
