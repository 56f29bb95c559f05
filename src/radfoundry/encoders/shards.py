"""A cohort in parts, each embedded by a worker of an engine into one shared store.

    done = run(cohort, Job("ct-fm", "embeddings/"), encoder, engine="ray", shards=64)
    result = done.added_to(embed(cohort, encoder, "embeddings/"))   # reads what the workers stored

A part that loses its worker is begun again elsewhere, and what was stored before is not computed again.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry import engines
from radfoundry.encoders import catalogue, extractors
from radfoundry.encoders.cases import Choice
from radfoundry.encoders.embed import EmbedResult, embed, tasks_of
from radfoundry.encoders.encoder import Encoder
from radfoundry.encoders.extract import Extractor, extract
from radfoundry.encoders.store import Store
from radfoundry.errors import RadfoundryError, RunError

if TYPE_CHECKING:
    from radfoundry.cohort import Cohort

SHARDS = 16
"""Parts of a cohort, unless said otherwise."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to know. loading: arguments of `encoders.load`; options: of `embed`, `extract`."""

    name: str
    store: str | Path
    loading: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def anywhere(self) -> Job:
        """The same with absolute paths: workers have working directories of their own."""
        weights = self.loading.get("weights")
        loading = dict(self.loading)
        if weights is not None:
            loading["weights"] = os.path.abspath(os.path.expanduser(weights))
        return replace(self, store=os.path.abspath(self.store), loading=loading)


@dataclass(frozen=True)
class Done:
    """What the workers did: counts and seconds of their results, added up, and what they could not embed."""

    shards: int = 0
    timing: Mapping[str, float] = field(default_factory=dict)
    failures: Sequence[tuple[str, str, str]] = ()

    def added_to(self, result: EmbedResult) -> EmbedResult:
        """The result of the call that came after, with the workers' counts in it."""
        if not self.shards:
            return result
        timing, own = dict(result.timing), result.timing
        for name in ("computed", "read", "model_seconds", "wait_seconds", "store_seconds"):
            timing[name] = own[name] + self.timing[name]
        timing["reused"] = own["images"] - max(own["read"], self.timing["read"])
        timing["outside_share"] = 1.0 - timing["model_seconds"] / (own["seconds"] + self.timing["seconds"])
        timing["seconds"] = own["seconds"] + self.timing["elapsed"]
        return replace(result, timing=timing)

    def only_there(self, result: EmbedResult) -> list[tuple[str, str, str]]:
        """What a worker could not embed and this machine could: most often a path that no node sees."""
        here = {failure[:2] for failure in result.failures}
        return [failure for failure in self.failures if failure[:2] not in here]


def run(
    cohort: Cohort,
    job: Job,
    maker: Encoder | Extractor,
    *,
    engine: engines.Engine = "ray",
    shards: int | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> Done:
    """Embed what the store does not hold yet, in parts; nothing is started when it holds all.

    maker: the encoder of the job, loaded here. shards: parts, 16 by default and never more than cases.
    Raises RunError when a node does not see the store or its encoder differs from the one here, and what
    `engines.run` raises.
    """
    if shards is not None and shards < 1:
        raise RadfoundryError(f"--shards must be at least 1, not {shards}.")
    device = str(job.loading.get("device", "cpu"))
    if device.startswith("cuda:"):
        raise RadfoundryError(f"Ray chooses the GPU of each worker: use --device cuda instead of {device}.")
    rows = _missing(cohort, job, maker)
    if not len(rows):
        return Done()
    from time import perf_counter

    start, job = perf_counter(), job.anywhere()
    Store(job.store).create(maker)  # its mark lets a worker tell the store from an empty folder of its own
    there = replace(cohort, root=Path(os.path.abspath(cohort.root)))
    parts = np.array_split(rows, min(shards or SHARDS, len(rows)))
    tasks = [(there.subset(part), job, maker.fingerprint) for part in parts]
    jobs, gpus = min(len(parts), os.cpu_count() or 1), 1 if device == "cuda" else 0
    results = []
    with engines.progress(len(parts), 0, "shard", quiet=quiet) as bar:
        for _, result in engines.run(
            embed_shard, tasks, engine=engine, jobs=jobs, address=address, gpus=gpus
        ):
            results.append(result)
            bar.update()
    sums = {name: sum(timing[name] for timing, _ in results) for name in results[0][0]}
    failures = [failure for _, failed in results for failure in failed]
    return Done(len(parts), {**sums, "elapsed": perf_counter() - start}, failures)


def embed_shard(
    cohort: Cohort, job: Job, fingerprint: str
) -> tuple[dict[str, float], list[tuple[str, str, str]]]:
    """(timing, failures) of one part, in a worker that keeps its encoder for the next."""
    maker = _load(job.name, tuple(sorted(job.loading.items())))
    if maker.fingerprint != fingerprint:
        raise RunError(
            f"{job.name} on {platform.node()} is not the encoder of the machine that asks "
            f"({_engine(maker)}, fingerprint {maker.fingerprint[:12]} instead of {fingerprint[:12]}). "
            "Install the same versions on every node, and give --precision fp32 where their processors differ"
        )
    if not (Path(job.store) / "store.json").is_file():
        raise RunError(
            f"{platform.node()} does not see the store {job.store}. Store and images must lie on a file "
            "system that every node mounts under the same path"
        )
    work = extract if isinstance(maker, Extractor) else embed
    result = work(cohort, maker, job.store, quiet=True, **job.options)  # type: ignore[arg-type]
    return result.timing, result.failures


@lru_cache(maxsize=1)
def _load(name: str, loading: tuple[tuple[str, Any], ...]) -> Encoder | Extractor:
    if extractors.is_extractor(name):
        return extractors.load(name)
    return catalogue.load(name, **dict(loading))


def _engine(maker: Encoder | Extractor) -> str:
    return str(maker.provenance.get("engine") or maker.name)


def _missing(cohort: Cohort, job: Job, maker: Encoder | Extractor) -> np.ndarray:
    """Rows with an image whose file is not in the store as it is now."""
    options = job.options
    choice = None
    if isinstance(maker, Extractor) or maker.card.needs_lesion:
        choice = Choice(options.get("lesion", "centroid"), options.get("mask"), options.get("label"))
    shelf = Store(job.store).shelf(maker)
    tasks = tasks_of(cohort, options.get("columns"), choice)
    cases = {task.case_id for task in tasks if not task.fault and shelf.key_of(task.origin) is None}
    return np.flatnonzero(cohort.table["case_id"].astype(str).isin(cases).to_numpy())
