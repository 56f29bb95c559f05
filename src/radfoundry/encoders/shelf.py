"""The vectors of one encoder on disk: append-only float32 segments and a Parquet table in parts.

    encoder.json                fingerprint, length of a vector, provenance
    vectors-00000.f32           rows of `dim` little-endian float32, memory-mapped when read
    rows-00000001.parquet       which image gave which vector (SCHEMA); small parts are merged
    .lock                       held while something is added

A vector counts once a part of the table names it. Vectors reach the disk first, then the part is renamed
into place, so a process that dies in between leaves bytes that nobody refers to and the next one overwrites.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from radfoundry.errors import RunError

FORMAT = 1
SEGMENT_BYTES = 2**30
"""A segment that has grown to this size is closed and the next one begun."""
MAX_SMALL_PARTS, SMALL_PART = 16, 2**16
"""More parts than this, of fewer rows than that, are merged into one."""
REPEATED = ["cohort", "column", "roi", "modality", "record", "code_version"]
"""Columns that say the same in many rows; a dictionary for the others would only slow reading."""
LOCK_TIMEOUT_S = 600
WORKER_SLOTS = 64

SCHEMA = pa.schema(
    {
        "key": pa.string(),  # SHA-256 of pixels and geometry, recipe and encoder fingerprint
        "cohort": pa.string(),
        "case_id": pa.string(),
        "column": pa.string(),
        "roi": pa.string(),  # "" is the whole image
        "segment": pa.int32(),
        "row": pa.int64(),
        "source": pa.string(),  # absolute path; with size, mtime_ns and modality it spares reading again
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "modality": pa.string(),
        "record": pa.string(),  # what was done to the image, steps parted by "; "
        "created": pa.timestamp("us", tz="UTC"),
        "code_version": pa.string(),
    }
)


class Origin(NamedTuple):
    """Where pixels came from; an equal origin need not be read twice. modality: as the cohort states it."""

    source: str
    size: int
    mtime_ns: int
    modality: str
    roi: str = ""


class Place(NamedTuple):
    """Where a vector lies."""

    segment: int
    row: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of one case, the key of its vector and what was done to it."""

    key: str
    cohort: str
    case_id: str
    column: str
    origin: Origin
    record: str
    code_version: str

    @property
    def subject(self) -> tuple[str, str, str, str]:
        """Which image of which case this is about, wherever its file lies."""
        return self.cohort, self.case_id, self.column, self.origin.roi


class Shelf:
    """What one encoder made of the images, in `folder`. Safe for several processes at once.

    Reading never locks; `commit` does. The index in memory holds what `refresh` last saw.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
        self._places: dict[str, Place] = {}
        self._origins: dict[Origin, str] = {}
        self._latest: dict[tuple[str, str, str, str], tuple[datetime, Origin]] = {}
        self._parts: dict[str, int] = {}  # name of a part that was read: its number of rows

    def create(self, description: Mapping[str, Any]) -> None:
        """Make the folder and its encoder.json; harmless when they exist. OSError when not writable."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / "encoder.json"
        if not target.exists():
            write_whole(target, json.dumps(dict(description), indent=2, ensure_ascii=False).encode())

    def refresh(self) -> None:
        """Take in what any process has committed since."""
        for name, part in self._new_parts():
            self._parts[name] = part.num_rows
            columns = [part[field].to_pylist() for field in SCHEMA.names]
            for row in zip(*columns, strict=True):
                self._index(dict(zip(SCHEMA.names, row, strict=True)))

    def has(self, key: str) -> bool:
        """Whether the vector of that key is stored."""
        return key in self._places

    def key_of(self, origin: Origin | None) -> str | None:
        """The key of a file that was read before and has not changed since; None when it has to be read."""
        return None if origin is None else self._origins.get(origin)

    def is_current(self, entry: Entry) -> bool:
        """Whether the table's newest row about this image says the same as `entry`."""
        found = self._latest.get(entry.subject)
        return found is not None and found[1] == entry.origin and self.key_of(entry.origin) == entry.key

    def commit(self, entries: Sequence[Entry], vectors: Mapping[str, np.ndarray]) -> None:
        """Add vectors, and rows about them, so that either all of it is there or nothing.

        entries: rows of the table; each key is in `vectors` or stored already.
        vectors: key to (dim,) float32; a key that another process stored in the meantime is not stored twice.
        Raises OSError (disk full, no permission) and leaves what was stored before as it was.
        """
        with self._locked():
            self.refresh()
            places = self._places | self._append({k: v for k, v in vectors.items() if not self.has(k)})
            rows = [_row(e, places[e.key]) for e in entries if not self.is_current(e)]
            if rows:
                self._add_part(pa.Table.from_pylist(rows, schema=SCHEMA))
            if sum(n < SMALL_PART for n in self._parts.values()) > MAX_SMALL_PARTS:
                self._merge_small_parts()
            self.refresh()

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The table as it is on disk now, in no particular order; columns as in SCHEMA."""
        schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(c) for c in columns])
        while True:
            try:
                parts = [_read_part(path, schema.names) for path in self._part_paths()]
            except FileNotFoundError:  # merged away between listing and reading: list again
                continue
            return pa.concat_tables(parts) if parts else schema.empty_table()

    def places(self, keys: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Segments and rows, each (n,) int64, of stored keys; KeyError for another."""
        found = np.array([self._places[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def vectors(self, segments: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The vectors at those places, (n, dim) float32 in that order; only their pages are read."""
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        for segment in np.unique(segments):
            pick = np.flatnonzero(segments == segment)
            wanted = rows[pick]
            out[pick] = self._segment(int(segment), int(wanted.max()) + 1)[wanted]
        return out

    @contextmanager
    def worker_slot(self) -> Iterator[int]:
        """A small number that no other live process holds here; the system frees it when we die."""
        for slot in range(WORKER_SLOTS):
            lock = filelock.FileLock(self.folder / f".worker-{slot}.lock", timeout=0)
            try:
                lock.acquire()
            except filelock.Timeout:  # another process works in that slot
                continue
            try:
                yield slot
            finally:
                lock.release()
            return
        yield WORKER_SLOTS

    def _new_parts(self) -> list[tuple[str, pa.Table]]:
        while True:
            paths = self._part_paths()
            if not self._parts.keys() <= {path.name for path in paths}:
                self._parts = {}  # parts were merged: the rows are the same, their files are not
            try:
                return [(p.name, _read_part(p, SCHEMA.names)) for p in paths if p.name not in self._parts]
            except FileNotFoundError:  # merged away between listing and reading: list again
                continue

    def _index(self, row: dict[str, Any]) -> None:
        origin = Origin(row["source"], row["size"], row["mtime_ns"], row["modality"], row["roi"])
        self._places[row["key"]] = Place(row["segment"], row["row"])
        self._origins[origin] = row["key"]
        subject = row["cohort"], row["case_id"], row["column"], row["roi"]
        seen = self._latest.get(subject)
        if seen is None or seen[0] <= row["created"]:
            self._latest[subject] = row["created"], origin

    def _append(self, vectors: Mapping[str, np.ndarray]) -> dict[str, Place]:
        """Write vectors behind the last one that counts, and wait until the disk has them."""
        if not vectors:
            return {}
        block = np.stack(list(vectors.values())).astype("<f4")
        if block.shape[1:] != (self.dim,):
            raise ValueError(f"vectors of {self.dim} numbers are stored here, not of {block.shape[1:]}")
        last = max(self._places.values(), default=Place(0, -1))
        begin = Place(last.segment, last.row + 1)
        if begin.row * self.dim * 4 >= SEGMENT_BYTES:
            begin = Place(last.segment + 1, 0)
        path = self._segment_path(begin.segment)
        if begin.row:
            self._segment(begin.segment, begin.row)  # a segment that was cut must not be continued
        with open(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b") as file:
            file.seek(begin.row * self.dim * 4)
            file.write(block.tobytes())
            file.flush()
            os.fsync(file.fileno())
        return {key: Place(begin.segment, begin.row + i) for i, key in enumerate(vectors)}

    def _add_part(self, part: pa.Table) -> Path:
        numbers = [int(path.stem.split("-")[1]) for path in self._part_paths()]
        path = self.folder / f"rows-{max(numbers, default=0) + 1:08d}.parquet"
        sink = pa.BufferOutputStream()
        metadata = {b"radfoundry.format": str(FORMAT).encode()}
        pq.write_table(
            part.replace_schema_metadata(metadata), sink, compression="lz4", use_dictionary=REPEATED
        )
        write_whole(path, sink.getvalue())
        return path

    def _merge_small_parts(self) -> None:
        small = [p for p in self._part_paths() if self._parts.get(p.name, 0) < SMALL_PART]
        self._add_part(pa.concat_tables([_read_part(path, SCHEMA.names) for path in small]))
        for path in small:  # a process that dies here leaves rows twice, which index as once
            path.unlink()

    def _segment(self, number: int, least: int) -> np.ndarray:
        path = self._segment_path(number)
        held = path.stat().st_size // (4 * self.dim) if path.exists() else 0
        if held < least:
            raise RunError(
                f"{path} holds {held} vectors where its table names {least}: it was cut or not copied whole. "
                f"Copy it again, or delete the folder {self.folder} and embed again"
            )
        return np.memmap(path, "<f4", "r", shape=(held, self.dim))

    def _segment_path(self, number: int) -> Path:
        return self.folder / f"vectors-{number:05d}.f32"

    def _part_paths(self) -> list[Path]:
        return sorted(self.folder.glob("rows-*.parquet"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = filelock.FileLock(self.folder / ".lock", timeout=LOCK_TIMEOUT_S)
        try:
            lock.acquire()
        except filelock.Timeout as cause:
            raise RunError(
                f"{self.folder} has been locked by another process for {LOCK_TIMEOUT_S} s. "
                "See whether one hangs, end it and run the same command again"
            ) from cause
        try:
            yield
        finally:
            lock.release()


def write_whole(path: Path, content: bytes | pa.Buffer) -> None:
    """Write a file under another name, wait for the disk, rename it: it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders; NTFS journals the rename by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_part(path: Path, columns: Sequence[str]) -> pa.Table:
    try:
        return pq.ParquetFile(path, memory_map=True).read(columns=list(columns)).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as cause:
        raise RunError(
            f"{path} is damaged ({cause}). Delete it and embed again: what it listed is recomputed"
        ) from cause


def _row(entry: Entry, place: Place) -> dict[str, Any]:
    return {
        "key": entry.key,
        "cohort": entry.cohort,
        "case_id": entry.case_id,
        "column": entry.column,
        "segment": place.segment,
        "row": place.row,
        **entry.origin._asdict(),
        "record": entry.record,
        "created": datetime.now(UTC),
        "code_version": entry.code_version,
    }
