"""A folder of embeddings, addressed by content: one shelf an encoder fingerprint.

    store.json                  format version
    <encoder>-<fingerprint>/    see `shelf`

A vector's key is the SHA-256 of pixels and geometry, preprocessing recipe and encoder fingerprint, so what
is stored is never wrong for what is asked; at worst it is absent.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from radfoundry import __version__
from radfoundry.encoders.shelf import FORMAT, Shelf, write_whole
from radfoundry.errors import RunError, TableError
from radfoundry.types import Embeddings, Image, Volume

if TYPE_CHECKING:
    from radfoundry.encoders.encoder import Encoder

EXPORT_ROWS = 2**14
SUBJECT = ("key", "case_id", "column")

# part of an encoder's provenance: what to say when it differs. The first that differs explains the rest.
CHANGES = {
    "revision": "encoder revision changed",
    "weights": "encoder weights changed",
    "recipe": "preprocessing changed",
    "output": "output rule changed",
    "engine": "engine or precision changed",
    "code": "code version changed",
}


class Described(Protocol):
    """What a store has to know of whatever makes vectors: an `Encoder`, or an `Extractor`."""

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...


def key_of(image: Image | Volume, encoder: Encoder, roi: str = "") -> str:
    """The content address of one embedding: 64 hexadecimal digits.

    Covers pixel values, shape, display range, unit, spacing (of a volume the affine) and modality of the
    image, the region of interest, the recipe and the encoder's fingerprint; not the name or the date of the
    file.
    """
    return _digest(
        _geometry(image)
        | {"roi": roi, "recipe": encoder.card.recipe.as_dict(), "fingerprint": encoder.fingerprint},
        image.array,
    )


def key_of_case(volume: Volume, mask: Volume | None, maker: Described) -> str:
    """The content address of what an extractor makes of a volume and its mask (on the same voxels)."""
    geometry = _geometry(volume) | {"mask": mask is not None, "fingerprint": maker.fingerprint}
    return _digest(geometry, volume.array, *([] if mask is None else [mask.array]))


def _geometry(image: Image | Volume) -> dict[str, Any]:
    common = {
        "shape": image.array.shape,
        "dtype": image.array.dtype.str,
        "unit": image.unit,
        "modality": image.modality,
    }
    if isinstance(image, Volume):
        return common | {"affine": [[float(v) + 0.0 for v in row] for row in image.affine]}
    return common | {
        "display_range": [float(v) for v in image.display_range],
        "spacing_mm": None if image.spacing_mm is None else [float(v) for v in image.spacing_mm],
    }


def _digest(about: Mapping[str, Any], *arrays: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Store:
    """A folder of embeddings. Opening writes nothing; the folder is made when something is added."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._check()

    def shelf(self, encoder: Described) -> Shelf:
        """The shelf of a loaded encoder or an extractor, refreshed; empty when nothing is stored yet."""
        shelf = Shelf(self.path / _folder_name(encoder.name, encoder.fingerprint), encoder.dim)
        shelf.refresh()
        return shelf

    def create(self, encoder: Described) -> None:
        """Make the folders of the store and of an encoder; OSError where that is not possible."""
        self.mark()
        description = {
            "format": FORMAT,
            "fingerprint": encoder.fingerprint,
            "dim": encoder.dim,
            "provenance": dict(encoder.provenance),
        }
        folder = self.path / _folder_name(encoder.name, encoder.fingerprint)
        Shelf(folder, encoder.dim).create(description)

    def mark(self) -> None:
        """Make the folder and say in it that it is a store; OSError where that is not possible."""
        self.path.mkdir(parents=True, exist_ok=True)
        head = self.path / "store.json"
        if not head.exists():
            write_whole(head, json.dumps({"format": FORMAT, "what": "radfoundry embeddings"}).encode())

    def encoders(self) -> list[dict[str, Any]]:
        """What is known of each encoder here: folder, fingerprint, dim, provenance."""
        found = []
        for path in sorted(self.path.glob("*/encoder.json")):
            try:
                found.append(json.loads(path.read_text(encoding="utf-8")) | {"folder": path.parent.name})
            except ValueError as cause:
                raise RunError(
                    f"{path} is not JSON: delete the folder {path.parent} and embed again"
                ) from cause
        return found

    def read(
        self,
        fingerprint: str,
        case_ids: Iterable[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        cohort: str | None = None,
    ) -> Embeddings:
        """Vectors of one encoder, in the order case_ids × columns; everything, sorted, when None.

        fingerprint: whole or its first digits, or the name of an encoder stored once.
        cohort: name of the cohort, needed only where two cohorts use the same case_id for other pixels.
        Raises TableError for a case that is not stored or not unique, RunError for an encoder that is not.
        """
        about = self._about(fingerprint)
        shelf = Shelf(self.path / about["folder"], about["dim"])
        fields = ["key", "cohort", "case_id", "column", "segment", "row", "created"]
        table = _chosen(shelf.table(fields), case_ids, columns, cohort, self.path)
        return Embeddings(
            vectors=shelf.vectors(_ints(table["segment"]), _ints(table["row"])),
            case_id=np.array(table["case_id"].to_pylist(), dtype=object),
            column=np.array(table["column"].to_pylist(), dtype=object),
            key=np.array(table["key"].to_pylist(), dtype=object),
            encoder=about["provenance"].get("name", ""),
            fingerprint=about["fingerprint"],
        )

    def export(self, embeddings: Embeddings, path: str | Path) -> Path:
        """Write embeddings of this store (from `read` or `embed`) to one Parquet file, whole or not at all.

        A row an image, `vector` as FixedSizeList<float32>, provenance as schema metadata under "radfoundry".
        Paths of the images stay out of it: they often hold names.
        """
        about = self._about(embeddings.fingerprint)
        columns = {
            "case_id": pa.array(embeddings.case_id.tolist(), pa.string()),
            "column": pa.array(embeddings.column.tolist(), pa.string()),
            "key": pa.array(embeddings.key.tolist(), pa.string()),
            **self._history(about, embeddings),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.vectors.ravel()), about["dim"]),
        }
        provenance = {k: v for k, v in about.items() if k != "folder"} | {
            "written_by": f"radfoundry {__version__}"
        }
        table = pa.table(columns, metadata={"radfoundry": json.dumps(provenance, ensure_ascii=False)})
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.tmp")
        try:
            pq.write_table(table, partial, compression="zstd", row_group_size=EXPORT_ROWS)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def why(self, case_id: str, column: str | None = None) -> list[str]:
        """Why the embeddings of a case were computed, each time, oldest first.

        Raises TableError when nothing is stored about that case.
        """
        events = []
        for about in self.encoders():
            table = Shelf(self.path / about["folder"], about["dim"]).table()
            wanted = pc.equal(table["case_id"], case_id)
            if column is not None:
                wanted = pc.and_(wanted, pc.equal(table["column"], column))
            events += [row | {"about": about} for row in table.filter(wanted).to_pylist()]
        if not events:
            raise TableError(
                f"{self.path} holds nothing about case {case_id!r}. Check the spelling, or embed it"
            )
        events.sort(key=lambda event: event["created"])
        return [_explained(event, events[:i]) for i, event in enumerate(events)]

    def _history(self, about: dict[str, Any], embeddings: Embeddings) -> dict[str, pa.Array]:
        """roi, record, created and code_version of each row, from the newest entry of that image."""
        fields = ("roi", "record", "created", "code_version")
        table = Shelf(self.path / about["folder"], about["dim"]).table([*SUBJECT, *fields])
        table = table.take(pc.sort_indices(table, [("created", "ascending")]))
        found = zip(*(table[name].to_pylist() for name in SUBJECT), strict=True)
        newest = {subject: i for i, subject in enumerate(found)}
        wanted = zip(embeddings.key, embeddings.case_id, embeddings.column, strict=True)
        rows = table.take(pa.array([newest[subject] for subject in wanted], pa.int64()))
        return {name: rows[name].combine_chunks() for name in fields}

    def _about(self, fingerprint: str) -> dict[str, Any]:
        known = self.encoders()
        found = [a for a in known if fingerprint and a["fingerprint"].startswith(fingerprint)]
        found = found or [a for a in known if a["provenance"].get("name") == fingerprint]
        if len(found) == 1:
            return found[0]
        listed = "; ".join(f"{a['fingerprint'][:12]} ({a['provenance'].get('name', '?')})" for a in known)
        raise RunError(
            f"{self.path} holds {len(found) or 'no'} encoders {fingerprint!r}. "
            f"Choose by fingerprint: {listed or 'none is stored'}"
        )

    def _check(self) -> None:
        head = self.path / "store.json"
        if not head.exists():
            # Another process may be creating this very store: its temporary files are hidden ones.
            if self.path.exists() and (not self.path.is_dir() or any(self.path.glob("[!.]*"))):
                raise RunError(
                    f"{self.path} exists and is no store of embeddings (no store.json). Choose another"
                )
            return
        try:
            found = json.loads(head.read_text(encoding="utf-8"))["format"]
        except (ValueError, KeyError, TypeError) as cause:
            raise RunError(f'{head} is damaged: it should read {{"format": {FORMAT}}}') from cause
        if found != FORMAT:
            raise RunError(
                f"{self.path} has format {found}; this version reads format {FORMAT}. Update radfoundry"
            )


def _folder_name(name: str, fingerprint: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')[:60]}-{fingerprint[:12]}"


def _ints(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int64)


def _chosen(
    table: pa.Table,
    case_ids: Iterable[str] | None,
    columns: Sequence[str] | None,
    cohort: str | None,
    where: Path,
) -> pa.Table:
    """The newest row of each wanted image, in the wanted order."""
    wanted = None if case_ids is None else [str(case) for case in case_ids]
    if cohort is not None:
        table = table.filter(pc.equal(table["cohort"], cohort))
    if wanted is not None:
        table = table.filter(pc.is_in(table["case_id"], value_set=pa.array(wanted, pa.string())))
    if columns is not None:
        table = table.filter(pc.is_in(table["column"], value_set=pa.array(list(columns), pa.string())))
    table = table.take(pc.sort_indices(table, [("created", "ascending")]))
    cases, cells = table["case_id"].to_pylist(), table["column"].to_pylist()
    newest = {pair: i for i, pair in enumerate(zip(cases, cells, strict=True))}
    _require_one_cohort(table, newest, where)
    if wanted is None:
        return table.take(pa.array([newest[pair] for pair in sorted(newest)], pa.int64()))
    order = list(columns) if columns is not None else sorted(set(cells))
    if not order:
        raise TableError(f"{where} holds none of the {len(wanted)} cases asked for. Embed them first")
    missing = next(((c, k) for c in wanted for k in order if (c, k) not in newest), None)
    if missing is not None:
        raise TableError(
            f"{where} holds no vector of case {missing[0]!r}, column {missing[1]!r}. Embed or omit it"
        )
    return table.take(pa.array([newest[c, k] for c in wanted for k in order], pa.int64()))


def _require_one_cohort(table: pa.Table, newest: dict[tuple[str, str], int], where: Path) -> None:
    """Refuse when a case_id means other pixels in another cohort of the same store."""
    names = pc.unique(table["cohort"]).to_pylist()
    if len(names) < 2:
        return
    last: dict[tuple[str, str], dict[str, str]] = {pair: {} for pair in newest}
    fields = (table[f].to_pylist() for f in ("case_id", "column", "cohort", "key"))
    for case, column, name, key in zip(*fields, strict=True):
        last[case, column][name] = key
    for (case, _), keys in last.items():
        if len(set(keys.values())) > 1:
            raise TableError(
                f"{where}: case {case!r} is another image in {' and in '.join(keys)}. Say cohort=NAME"
            )


def _explained(event: dict[str, Any], before: list[dict[str, Any]]) -> str:
    name = event["about"]["provenance"].get("name", "?")
    when = f"{event['created']:%Y-%m-%d %H:%M:%S} {event['column']}, {name}: "
    same = [b for b in before if all(b[k] == event[k] for k in ("cohort", "column", "roi"))]
    same = [b for b in same if b["about"]["provenance"].get("name", "?") == name]
    return when + (_difference(same[-1], event) if same else "computed for the first time")


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    was, now = old["about"]["provenance"], new["about"]["provenance"]
    parts = [text for part, text in CHANGES.items() if was.get(part) != now.get(part)]
    if old["source"] != new["source"]:
        parts.append("another file")
    elif (old["size"], old["mtime_ns"]) != (new["size"], new["mtime_ns"]):
        parts.append("file changed")
    if old["modality"] != new["modality"]:
        parts.append(f"stated modality changed ({old['modality']} to {new['modality']})")
    if old["key"] == new["key"]:
        return f"read again, the pixels were the same, nothing computed: {', '.join(parts)}"
    return f"computed again: {', '.join(parts) or 'pixels read differently'}"
