"""Vectors of volumes that no network makes, such as radiomic features, kept in the same store as embeddings.

    sizes = Extractor("size", ("voxels",), count, {"version": 1})   # count(volume, mask) -> (1,) numbers
    result = extract(cohort, sizes, "embeddings/")                  # computed once, as `embed` does

`Store.read("size")` gives them back; their names are in the provenance, under "features".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry.encoders.cases import Choice, read_mask, read_volume
from radfoundry.encoders.embed import EmbedResult, Reading, Task, guarded, tasks_of, work_through
from radfoundry.encoders.store import key_of_case
from radfoundry.errors import InputMismatch, RadfoundryError
from radfoundry.types import Volume

if TYPE_CHECKING:
    from radfoundry.cohort import Cohort
    from radfoundry.encoders.shelf import Shelf

Function = Callable[[Volume, Volume | None], "np.ndarray"]


@dataclass(frozen=True)
class Extractor:
    """name: what the store calls it. features: the name of each number, in order.

    function: (volume, mask of 0 and 1 on the same voxels) -> (dim,) numbers. To run in processes it has to be
        importable: a function of a module, or a dataclass with __call__, not a lambda.
    settings: JSON-ready; everything that could change a number, versions of libraries included.
    needs_mask: refuse a case without a mask, else the function is given None.
    missing: whether a number may be NaN (not defined for that lesion); else such a case is a failure.
    """

    name: str
    features: tuple[str, ...]
    function: Function
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs_mask: bool = True
    missing: bool = False

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return len(self.features)

    @property
    def fingerprint(self) -> str:
        """Changes when a number could."""
        text = json.dumps([self.name, list(self.features), dict(self.settings)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def provenance(self) -> dict[str, Any]:
        """For the store and the manifest."""
        return {"name": self.name, "features": list(self.features), "settings": dict(self.settings)}

    @property
    def keeps_nan(self) -> bool:
        """Whether the store takes vectors with NaN."""
        return self.missing

    def encode(self, batch: np.ndarray) -> np.ndarray:
        """(B, dim) -> (B, dim): the vectors exist when they are read."""
        return batch


def extract(
    cohort: Cohort,
    extractor: Extractor,
    store_path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    mask: str | None = None,
    label: int | None = None,
    workers: int = 2,
    processes: int = 0,
    progress: Callable[[int, int], None] | None = None,
    quiet: bool = False,
) -> EmbedResult:
    """The extractor's numbers for every volume of a cohort, computed once and kept in a store.

    mask, label: which mask and label, see `cases.Choice`. workers: threads that read and hash.
    processes: how many run the function at once; 0 runs it in the threads. Failures, resuming and the errors
    raised are those of `embed`.
    """
    if workers < 1 or processes < 0:
        raise RadfoundryError(
            f"workers must be at least 1 and processes 0 or more, not {workers}, {processes}."
        )
    tasks = list(tasks_of(cohort, columns, Choice("centroid", mask, label)))
    modality = str(cohort.meta.get("modality") or "")
    with _pool(processes) as pool:

        def read(task: Task, shelf: Shelf) -> Reading:
            return guarded(task, lambda: _extracted(task, extractor, shelf, modality, pool))

        return work_through(
            cohort.name, extractor, store_path, tasks, read, 1, max(workers, processes), progress=progress,
            quiet=quiet,
        )  # fmt: skip


def _pool(processes: int) -> Any:
    """Fresh processes: a fork of one that has threads may hang."""
    return ProcessPoolExecutor(processes, get_context("spawn")) if processes else nullcontext()


def _extracted(
    task: Task, extractor: Extractor, shelf: Shelf, modality: str, pool: Executor | None
) -> Reading:
    key = shelf.key_of(task.origin)
    if key is not None:
        return Reading(task, key, was_read=False)
    volume = read_volume(task.path, modality)
    mask = None if task.pointer is None else read_mask(task.pointer, volume)
    if mask is None and extractor.needs_mask:
        raise InputMismatch(
            f"{task.path}: {extractor.name} needs a mask, and the cohort has none for this case"
        )
    key = key_of_case(volume, mask, extractor)
    record = "; ".join((*volume.record, *(mask.record if mask is not None else ())))
    if shelf.has(key):
        return Reading(task, key, None, record)
    if pool is None:
        found = extractor.function(volume, mask)
    else:
        found = pool.submit(extractor.function, volume, mask).result()
    vector = np.asarray(found, dtype=np.float32)
    if vector.shape != (extractor.dim,):
        raise InputMismatch(f"{extractor.name} gave {vector.shape} numbers where it names {extractor.dim}")
    lost = [n for n, v in zip(extractor.features, vector, strict=True) if not np.isfinite(v)]
    if lost and not extractor.missing:
        raise InputMismatch(
            f"{task.path}: {extractor.name} gave no number for {len(lost)} features ({', '.join(lost[:3])}). "
            "Look at the mask: it may be too small for them"
        )
    return Reading(task, key, vector, record)
