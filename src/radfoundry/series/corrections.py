"""What a person said about series: read from the contact sheet, laid over verdicts, kept to learn from."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.errors import InputError, RunError, TableError
from radfoundry.series import labels as names
from radfoundry.series.labels import OTHER, Labels, joined
from radfoundry.series.origin import hidden_uid
from radfoundry.series.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
MAX_BYTES = 64 << 20
LONGEST = {"uid": 128, "note": 2000, "when": 40}


@dataclass(frozen=True, slots=True)
class Correction:
    """What one series is, as a person says. uid: its id of `find.unique_ids`, mostly its series UID.

    anatomy: "" leaves it as it was. when: ISO 8601 or "".
    """

    uid: str
    modality: str
    kind: str = ""
    anatomy: str = ""
    note: str = ""
    when: str = ""

    @property
    def label(self) -> str:
        """Modality, with the kind of an `other`."""
        return joined(self.modality, self.kind)


def read_corrections(
    path: Path | str, labels: Labels | None = None, *, own_log: bool = False
) -> dict[str, Correction]:
    """Corrections by series UID, from corrections.json of a contact sheet or from corrections.jsonl.

    own_log: of a tree, whose last line may have been cut by a full disk; the call that wrote it failed, so it
    is passed over. Of several for one series the later wins. Raises InputError, naming the row, for a damaged
    or oversized file, an unknown label, or a kind without `other`.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{path} has {size:,} bytes, above the limit of {MAX_BYTES:,}. Pass corrections.json"
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(
            f"{path} could not be read: {cause}. Export it again from the contact sheet"
        ) from cause
    if own_log:
        text = _whole(text)
    entries = _lines(path, text) if path.suffix == ".jsonl" else _exported(path, text)
    known = labels or names.load()
    return _latest(_correction(entry, f"{path}, row {row}", known) for row, entry in entries)


def _latest(corrections: Iterable[Correction]) -> dict[str, Correction]:
    """The last correction of each series, named by UID or digest, in the order they were made in."""
    found: dict[str, Correction] = {}
    for one in corrections:
        found.pop(hidden_uid(one.uid), None)
        found[hidden_uid(one.uid)] = one
    return {one.uid: one for one in found.values()}


def _lines(path: Path, text: str) -> list[tuple[int, Any]]:
    found = []
    for row, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            found.append((row, _json(line, f"{path}, row {row}")))
    return found


def _whole(text: str) -> str:
    """The lines without a last one that has no end and is no JSON."""
    whole, end, last = text.rpartition("\n")
    try:
        json.loads(last or "0")
    except (ValueError, RecursionError):
        return whole + end
    return text


def _exported(path: Path, text: str) -> list[tuple[int, Any]]:
    data = _json(text, str(path))
    if (
        not isinstance(data, dict)
        or data.get("format") != FORMAT
        or not isinstance(data.get("corrections"), list)
    ):
        raise InputError(f"{path} is not what a contact sheet exports (format {FORMAT}). Export it again")
    return list(enumerate(data["corrections"], start=1))


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise InputError(f"{where} is no JSON ({cause}). Export it again from the contact sheet") from cause


def _correction(entry: Any, where: str, labels: Labels) -> Correction:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is no correction with uid and modality. Export it again")
    fields = {name: entry.get(name, "") for name in Correction.__match_args__}
    for name, value in fields.items():
        if not isinstance(value, str) or len(value) > LONGEST.get(name, 64):
            raise InputError(
                f"{where}: {name} is no text of at most {LONGEST.get(name, 64)} characters. Correct it"
            )
    found = Correction(**fields)
    if not re.fullmatch(r"[\w.-]+", found.uid, re.ASCII):
        raise InputError(f"{where}: uid {found.uid[:40]!r} is no series UID. Export it again")
    for name, value, choices in (
        ("modality", found.modality, labels.modalities),
        ("kind", found.kind, labels.kinds),
        ("anatomy", found.anatomy, labels.anatomies),
    ):
        if value not in choices and (value or name == "modality"):
            raise InputError(f"{where}: {name} {value!r} is unknown. Known: {', '.join(choices)}")
    if (found.modality == OTHER) != bool(found.kind):
        raise InputError(f"{where}: `{OTHER}` needs a kind, and only `{OTHER}` has one. Correct it")
    return found


def in_force(
    log: Path | str, given: Mapping[str, Correction], labels: Labels | None = None
) -> dict[str, Correction]:
    """What the corrections.jsonl of a tree says, where there is one, with those given now on top.

    Raises InputError as `read_corrections`.
    """
    log = Path(log)
    earlier = read_corrections(log, labels, own_log=True) if log.is_file() else {}
    return _latest([*earlier.values(), *given.values()])


def of_series(corrections: Mapping[str, Correction], ids: Sequence[str]) -> list[Correction | None]:
    """The correction of each series, None where there is none; ids: of `find.unique_ids`.

    A correction may name its series by a digest, as a sheet does whose origin was hidden, and so may an id.
    """
    by_digest = {hidden_uid(uid): one for uid, one in corrections.items()}
    return [by_digest.get(hidden_uid(key)) for key in ids]


def apply(
    verdicts: Sequence[Verdict], corrections: Mapping[str, Correction], ids: Sequence[str] | None = None
) -> list[Verdict]:
    """Verdicts with a person's word in place of the sorter's; those without a correction are unchanged.

    ids: of `find.unique_ids`, in the order of the verdicts; their series UIDs when absent. source is
    `person`, and confidence None: nobody measured how often that person is right.
    """
    keys = [verdict.uid for verdict in verdicts] if ids is None else ids
    said = of_series(corrections, keys)
    return [_corrected(verdict, correction) for verdict, correction in zip(verdicts, said, strict=True)]


def _corrected(verdict: Verdict, correction: Correction | None) -> Verdict:
    if correction is None:
        return verdict
    same = correction.label == verdict.label
    said = (
        f"a person confirms {correction.label}" if same else f"a person: {verdict.label} → {correction.label}"
    )
    return replace(
        verdict, modality=correction.modality, kind=correction.kind,
        anatomy=correction.anatomy or verdict.anatomy, confidence=None,
        anatomy_confidence=None if correction.anatomy else verdict.anatomy_confidence,
        unsure=False, source="person", trace=(*verdict.trace, said), candidates=(correction.label,),
    )  # fmt: skip


def append(path: Path | str, corrections: Iterable[Correction], labels: Labels | None = None) -> int:
    """Add corrections to a corrections.jsonl that is only ever added to; how many were new.

    What it says already is not written again. Raises InputError where the file is damaged, RunError where it
    cannot be written.
    """
    path, given = Path(path), list(corrections)
    with _locked(path):
        said = read_corrections(path, labels, own_log=True) if path.exists() else {}
        known = of_series(said, [one.uid for one in given])
        new = [one for one, old in zip(given, known) if old is None or replace(old, uid=one.uid) != one]
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        kept = _whole(text)
        size = (path.stat().st_size if path.exists() else 0) - len(text[len(kept) :].encode())
        end = "" if not kept or kept.endswith("\n") else "\n"
        try:
            with open(path, "ab") as file:
                file.truncate(size)
                file.write((end + "".join(json.dumps(asdict(one)) + "\n" for one in new)).encode())
        except OSError:
            with contextlib.suppress(OSError):  # half a line would run into the next one
                os.truncate(path, size)
            raise
    return len(new)


def hide_uids(path: Path | str) -> None:
    """Put digests in place of the UIDs in a corrections.jsonl that was read; corrections match as before.

    Raises RunError where it cannot be written.
    """
    path = Path(path)
    with _locked(path):
        lines = [entry for _, entry in _lines(path, _whole(path.read_text(encoding="utf-8-sig")))]
        hidden = [line | {"uid": hidden_uid(line["uid"])} for line in lines]
        if hidden != lines:
            partial = path.with_name(f".{path.name}.partial")
            partial.write_text("".join(json.dumps(line) + "\n" for line in hidden), encoding="utf-8")
            partial.replace(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other calls off a file; RunError where it is kept from this one, or cannot be written."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=10):
            yield
    except (OSError, Timeout) as cause:
        raise RunError(
            f"{path} cannot be written: {cause}. Check permissions, or wait for the other call"
        ) from cause


def merge_into_training(table: pd.DataFrame, corrections: Mapping[str, Correction]) -> pd.DataFrame:
    """A table of labelled series (series_uid, modality, kind, anatomy) in which corrections win.

    Corrected series that the table lacks are added at its end; other columns of theirs stay empty. Raises
    TableError without the columns series_uid and modality.
    """
    import pandas as pd

    missing = [name for name in ("series_uid", "modality") if name not in table]
    if missing:
        raise TableError(
            f"the table of labelled series lacks {', '.join(missing)}. Its columns: {', '.join(table)}"
        )
    merged = table.astype({"modality": object}).copy()
    for name in ("kind", "anatomy"):
        merged[name] = merged[name].astype(object) if name in merged else ""
    for at, one in zip(merged.index, of_series(corrections, merged["series_uid"].astype(str))):
        if one is not None:
            merged.loc[at, ["modality", "kind"]] = one.modality, one.kind
            merged.loc[at, "anatomy"] = one.anatomy or merged.loc[at, "anatomy"]
    known = {hidden_uid(uid) for uid in table["series_uid"].astype(str)}
    added = [
        {"series_uid": one.uid, "modality": one.modality, "kind": one.kind, "anatomy": one.anatomy}
        for uid, one in corrections.items()
        if hidden_uid(uid) not in known
    ]
    return (
        pd.concat([merged, pd.DataFrame(added)], ignore_index=True)
        if added
        else merged.reset_index(drop=True)
    )
