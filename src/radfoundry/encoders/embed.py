"""From a cohort to vectors: read and prepare in threads, encode in batches, keep what is done.

The order of work does not matter to the result, so several processes share one cohort by starting from
different ends; what another has stored meanwhile is not computed again.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from radfoundry import __version__, io
from radfoundry.encoders.cases import (
    Choice,
    Pointer,
    lesion_of,
    mask_column,
    origin_of,
    pointer_of,
    read_volume,
)
from radfoundry.encoders.shelf import Entry, Origin, Shelf
from radfoundry.encoders.store import Described, Store, key_of
from radfoundry.errors import RadfoundryError, TableError
from radfoundry.preprocess.volume_recipe import VolumeRecipe
from radfoundry.types import Embeddings

if TYPE_CHECKING:
    from radfoundry.cohort import Cohort
    from radfoundry.encoders.encoder import Encoder
    from radfoundry.preprocess.lesion import Rule

COMMIT_EVERY_S = 1.0
"""At most so much computing is lost when the process is killed outright, plus the batch at work."""
PICTURES = 32
"""Pictures that go through a model at once, unless said otherwise."""
VOXELS = 2**21
"""Volumes go through a model in batches of about so many voxels; at least one."""


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What `embed` did.

    embeddings: in the order of cohort rows × columns; images that failed, and empty cells, are left out.
    failures: (case_id, column, message) of each image that gave no vector.
    timing: seconds (whole call), model_seconds (inside the encoder), wait_seconds (for images),
        store_seconds (writing), outside_share (1 - model_seconds / seconds), and counts: images, computed
        (through the model), read (from disk), reused (neither).
    """

    embeddings: Embeddings
    failures: list[tuple[str, str, str]]
    timing: dict[str, float]


@dataclass(frozen=True, slots=True)
class Task:
    """One image to embed. index: its place in cohort rows × columns. pointer: to its lesion, where needed.

    fault: why nothing can be done, known from the table alone.
    """

    index: int
    case_id: str
    column: str
    path: Path
    origin: Origin | None
    pointer: Pointer | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader thread made of a task: a key, and the model's input unless the vector is stored.

    array: for an extractor the vector itself.
    """

    task: Task
    key: str = ""
    array: np.ndarray | None = None
    record: str = ""
    failure: str = ""
    was_read: bool = True


class Maker(Described, Protocol):
    """What turns what was read into vectors."""

    @property
    def keeps_nan(self) -> bool: ...
    def encode(self, batch: np.ndarray) -> np.ndarray: ...


def embed(
    cohort: Cohort,
    encoder: Encoder,
    store_path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    lesion: Rule = "auto",
    mask: str | None = None,
    label: int | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    quiet: bool = False,
) -> EmbedResult:
    """Vectors of every image of a cohort, computed once and kept in a store.

    columns: image columns, all by default. workers: threads that read and prepare while the model runs.
    lesion, mask, label: which lesion an encoder of lesions looks at, see `cases.Choice`.
    batch_size: 32 pictures by default; of volumes as many as have two million voxels.
    progress: called with (done, total) after each image; without it a bar on stderr when that is a terminal.

    An image that cannot be read or does not fit the encoder is reported in `failures` and stops nothing.
    Interrupt it (Ctrl-C) or kill it: what was computed is kept, and the same call goes on from there.
    Raises TableError for an unknown column, RunError for a folder that is no store, OSError when the store
    cannot be written (what was stored before stays whole).
    """
    size = _batch_size(encoder) if batch_size is None else batch_size
    if size < 1 or workers < 1:
        raise RadfoundryError(f"batch_size and workers must be at least 1, not {size} and {workers}.")
    choice = Choice(lesion, mask, label) if encoder.card.needs_lesion else None
    tasks = list(tasks_of(cohort, columns, choice))
    modality = str(cohort.meta.get("modality") or "")

    def read(task: Task, shelf: Shelf) -> Reading:
        return guarded(task, lambda: _read(task, encoder, shelf, modality))

    return work_through(
        cohort.name, encoder, store_path, tasks, read, size, workers, progress=progress, quiet=quiet
    )


def work_through(
    cohort: str,
    maker: Maker,
    store_path: str | Path,
    tasks: list[Task],
    read: Callable[[Task, Shelf], Reading],
    batch_size: int,
    workers: int,
    *,
    progress: Callable[[int, int], None] | None = None,
    quiet: bool = False,
) -> EmbedResult:
    """Do the tasks that the store does not know yet: read in threads, encode in batches, commit."""
    start = perf_counter()
    store = Store(store_path)
    shelf = store.shelf(maker)
    work = _Work(cohort, maker, shelf, batch_size)
    waiting = [task for task in tasks if not work.settled(task)]
    with closing(_Bar(len(tasks), len(tasks) - len(waiting), progress, quiet)) as bar:
        if waiting:
            store.create(maker)
            with shelf.worker_slot() as slot:
                reading = _prefetch(
                    _order(waiting, slot),
                    lambda task: read(task, shelf),
                    workers,
                    batch_size + 2 * workers,
                )
                with closing(reading):
                    work.run(reading, bar.step)
    return _result(work, tasks, start)


def _batch_size(encoder: Encoder) -> int:
    recipe = encoder.card.recipe
    if not isinstance(recipe, VolumeRecipe):
        return PICTURES
    return max(1, VOXELS // (recipe.voxels * recipe.channels))


@dataclass
class _Work:
    """What has been read but not encoded, and encoded but not stored; `run` leaves nothing behind."""

    cohort: str
    encoder: Maker
    shelf: Shelf
    batch_size: int
    keys: dict[int, str] = field(default_factory=dict)  # index of a task: key of its vector
    failures: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    batch: dict[str, np.ndarray] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    unusable: set[str] = field(default_factory=set)
    entries: list[tuple[int, Entry]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"computed": 0, "read": 0})
    seconds: dict[str, float] = field(default_factory=lambda: {"model": 0.0, "wait": 0.0, "store": 0.0})
    stored_at: float = field(default_factory=perf_counter)

    def settled(self, task: Task) -> bool:
        """Whether the store holds all there is to know about a task; then it is done here and now."""
        key = self.shelf.key_of(task.origin)
        if key is None or task.origin is None:
            return False
        if not self.shelf.is_current(self._entry(task, key, "")):
            return False
        self.keys[task.index] = key
        return True

    def run(self, readings: Iterator[Reading], step: Callable[[], None]) -> None:
        """Encode and store what the readers bring; also when interrupted, what is encoded is stored."""
        try:
            before = perf_counter()
            for reading in readings:
                self.seconds["wait"] += perf_counter() - before
                self._take(reading)
                step()
                before = perf_counter()
            self._encode()
        finally:
            self._store()

    def _take(self, reading: Reading) -> None:
        task = reading.task
        self.counts["read"] += reading.was_read
        if reading.failure:
            self.failures[task.index] = (task.case_id, task.column, reading.failure)
            return
        if reading.array is not None and not self._knows(reading.key):
            if any(other.shape != reading.array.shape for other in self.batch.values()):
                self._encode()  # volumes without a fixed size: only equal ones go together
            self.batch[reading.key] = reading.array
        self.entries.append((task.index, self._entry(task, reading.key, reading.record)))
        if len(self.batch) >= self.batch_size:
            self._encode()
        if perf_counter() - self.stored_at > COMMIT_EVERY_S:
            self._store()

    def _knows(self, key: str) -> bool:
        return key in self.batch or key in self.vectors or key in self.unusable or self.shelf.has(key)

    def _encode(self) -> None:
        if not self.batch:
            return
        before = perf_counter()
        found = _encoded(self.encoder, np.stack(list(self.batch.values())))
        self.seconds["model"] += perf_counter() - before
        self.counts["computed"] += len(found)
        for key, vector in zip(self.batch, found, strict=True):
            if np.isfinite(vector).all() or self.encoder.keeps_nan:
                self.vectors[key] = vector
            else:
                self.unusable.add(key)
        self.batch.clear()

    def _store(self) -> None:
        """Commit the rows whose vectors exist; those of an unfinished batch wait."""
        before = perf_counter()
        done = [pair for pair in self.entries if pair[1].key not in self.batch]
        usable = [pair for pair in done if pair[1].key not in self.unusable]
        if usable:
            self.shelf.commit([entry for _, entry in usable], self.vectors)
        self.keys.update((index, entry.key) for index, entry in usable)
        for index, entry in done:
            if entry.key in self.unusable:
                message = f"{self.encoder.name} gave numbers that are not finite. Try --precision fp32"
                self.failures[index] = (entry.case_id, entry.column, message)
        self.entries = [pair for pair in self.entries if pair[1].key in self.batch]
        self.vectors.clear()
        self.stored_at = perf_counter()
        self.seconds["store"] += self.stored_at - before

    def _entry(self, task: Task, key: str, record: str) -> Entry:
        origin = task.origin or Origin(str(task.path), -1, -1, "")
        return Entry(key, self.cohort, task.case_id, task.column, origin, record, __version__)


class _Bar:
    """Progress to a callback, else to a terminal's stderr, else nowhere."""

    def __init__(
        self, total: int, done: int, progress: Callable[[int, int], None] | None, quiet: bool
    ) -> None:
        self._total, self._done, self._progress = total, done, progress
        self._bar = None
        if progress is None and not quiet and done < total and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit="image", file=sys.stderr)

    def step(self) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        if self._progress is not None:
            self._progress(self._done, self._total)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _known_columns(cohort: Cohort, columns: Sequence[str] | None) -> list[str]:
    known = list(cohort.image_columns)
    chosen = known if columns is None else list(columns)
    for column in chosen:
        if column not in known:
            raise TableError(
                f"{cohort.name} has no image column {column!r}. It has: {', '.join(known) or 'none'}"
            )
    if not chosen:
        raise TableError(f"{cohort.name} has no image column. Add `image` or `image:<view>` with paths")
    return chosen


def tasks_of(cohort: Cohort, columns: Sequence[str] | None, choice: Choice | None) -> Iterator[Task]:
    """Cohort rows × columns; a cell without a path is no task. choice: of lesions, None for whole images.

    Raises TableError for a column of images or masks that is not there; a fault of one row stays in its task.
    """
    known = _known_columns(cohort, columns)
    modality = str(cohort.meta.get("modality") or "")
    present = {column: cohort.table[column].notna().to_numpy() for column in known}
    if choice is not None:
        for column in known:
            mask_column(cohort, column, choice)
    index = 0
    for i, case_id in enumerate(cohort.table["case_id"].tolist()):
        for column in known:
            if present[column][i]:
                path = cohort.image_path(i, column)
                pointer, fault = _pointed(cohort, i, column, choice)
                origin = None if fault else origin_of(path, modality, pointer.identity if pointer else "")
                yield Task(index, str(case_id), column, path, origin, pointer, fault)
                index += 1


def _pointed(cohort: Cohort, row: int, column: str, choice: Choice | None) -> tuple[Pointer | None, str]:
    if choice is None:
        return None, ""
    try:
        return pointer_of(cohort, row, column, choice), ""
    except TableError as error:
        return None, str(error)


def _order(tasks: list[Task], slot: int) -> list[Task]:
    """Where a process begins: the first at the front, the second at the end, others in between."""
    if slot < 2:
        return tasks if slot == 0 else tasks[::-1]
    begin = int(len(tasks) * (slot * 0.618034 % 1))  # golden ratio: any number of starts lies well apart
    return tasks[begin:] + tasks[:begin]


def _prefetch(
    tasks: Iterable[Task], read: Callable[[Task], Reading], workers: int, depth: int
) -> Generator[Reading, None, None]:
    """Readings in the order of tasks, with at most `depth` of them under way or waiting."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
    pending: deque[Future[Reading]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(read, task))
            if len(pending) >= depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def guarded(task: Task, read: Callable[[], Reading]) -> Reading:
    """Whatever goes wrong with one image is the reading's failure."""
    if task.fault:
        return Reading(task, failure=task.fault, was_read=False)
    try:
        return read()
    except RadfoundryError as error:
        return Reading(task, failure=str(error))
    except Exception as error:  # a decoder may raise anything on broken bytes; the other images go on
        return Reading(task, failure=f"{task.path}: {type(error).__name__}: {error}")


def _read(task: Task, encoder: Encoder, shelf: Shelf, modality: str) -> Reading:
    """One image, read, checked and prepared."""
    key = shelf.key_of(task.origin)
    if key is not None:  # the same file under another case, or stored by another process meanwhile
        return Reading(task, key, was_read=False)
    if encoder.card.is_3d:
        return _read_volume(task, encoder, shelf, modality)
    image = io.read_image(task.path)
    image = image if image.modality else replace(image, modality=modality)
    notes = encoder.check(image)
    key = key_of(image, encoder)
    array = None if shelf.has(key) else encoder.prepare(image)
    return Reading(task, key, array, _record(image.record, notes, encoder))


def _read_volume(task: Task, encoder: Encoder, shelf: Shelf, modality: str) -> Reading:
    """One volume and the lesion in it; the key covers where the lesion is, not who drew it."""
    recipe = encoder.card.recipe
    assert isinstance(recipe, VolumeRecipe)
    volume = read_volume(task.path, modality)
    encoder.check(volume)
    by_box = recipe.crop == "box"
    lesion = lesion_of(task.pointer, volume, None, box=by_box) if task.pointer is not None else None
    roi = "" if lesion is None else repr(lesion.box if by_box else lesion.centre)
    key = key_of(volume, encoder, roi)
    array, notes = encoder.prepared(volume, lesion)
    pointed = () if lesion is None else (str(lesion), *lesion.notes)
    return Reading(task, key, array, _record((*volume.record, *pointed), notes, encoder))


def _record(done: Sequence[str], notes: Sequence[str], encoder: Encoder) -> str:
    return "; ".join(dict.fromkeys((*done, *notes, str(encoder.card.recipe))))  # a note may repeat a record


def _encoded(encoder: Maker, batch: np.ndarray) -> np.ndarray:
    try:
        return encoder.encode(batch)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
            raise
        raise RadfoundryError(
            f"{encoder.name} ran out of memory on a batch of {len(batch)} images. "
            "Use a smaller --batch-size; what was computed is kept"
        ) from error


def _result(work: _Work, tasks: Sequence[Task], start: float) -> EmbedResult:
    done = [task for task in tasks if task.index in work.keys]
    keys = [work.keys[task.index] for task in done]
    embeddings = Embeddings(
        vectors=work.shelf.vectors(*work.shelf.places(keys)),
        case_id=np.array([task.case_id for task in done], dtype=object),
        column=np.array([task.column for task in done], dtype=object),
        key=np.array(keys, dtype=object),
        encoder=work.encoder.name,
        fingerprint=work.encoder.fingerprint,
    )
    seconds = perf_counter() - start
    timing = {
        "seconds": seconds,
        **{f"{part}_seconds": spent for part, spent in work.seconds.items()},
        "outside_share": 1.0 - work.seconds["model"] / seconds,
        "images": len(tasks),
        "reused": len(tasks) - work.counts["read"],
        **work.counts,
    }
    failures = [work.failures[index] for index in sorted(work.failures)]
    return EmbedResult(embeddings, failures, timing)
