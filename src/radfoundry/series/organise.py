"""Put classified series into a BIDS tree or a renamed DICOM tree, with an index of what went where and why.

The input is only read. A journal in `.radfoundry/` says what is in place, so a call that was interrupted goes
on where it stopped, and a call with corrected labels moves what changed.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from radfoundry import table_files
from radfoundry.errors import MissingExtra, ReadError, RunError
from radfoundry.series import bids, naming
from radfoundry.series import labels as names
from radfoundry.series.bids import TIMEOUT_S, Converted
from radfoundry.series.find import fingerprint, instances, unique_ids
from radfoundry.series.journal import OWN, Job, Journal, Layout, cannot_write, claimed, explained
from radfoundry.series.labels import Labels
from radfoundry.series.origin import hidden, hidden_uid, without_origin
from radfoundry.series.tree_files import write_tree_files
from radfoundry.series.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.series.find import Series

Copy = Literal["copy", "link"]
Progress = Callable[[int, int], None]
FULL = (ENOSPC, EDQUOT, EROFS)
KEPT = "the image of an earlier call was kept: the series has a problem now"
# fmt: off
COLUMNS = (
    "uid", "subject", "session", "number", "path_in", "path_out", "label", "modality", "kind", "anatomy",
    "plane", "dimension", "fat_suppressed", "contrast_agent", "b_values", "echo_times", "files", "confidence",
    "anatomy_confidence", "unsure", "source", "candidates", "trace", "problem", "left_out", "notes",
)
# fmt: on


@dataclass(frozen=True)
class Index:
    """One row a series, columns as COLUMNS; of header elements that name a patient, a pseudonym alone.

    uid: as `find.unique_ids`. path_in: folder below the input as it is called there, which may hold a name.
    Digests of both where their origin was hidden. path_out: relative to the output. left_out: why a series is
    not in the tree, or only in its sourcedata/. b_values in s/mm², echo_times in ms.
    """

    rows: tuple[dict[str, Any], ...]

    def frame(self) -> pd.DataFrame:
        """The rows as a table; lists are joined by "; "."""
        import pandas as pd

        plain = [{name: _plain(value) for name, value in row.items()} for row in self.rows]
        table = pd.DataFrame(plain, columns=COLUMNS)
        return table.astype({"number": "Int64", "session": "Int64"})

    def write(self, folder: Path) -> None:
        """Write index.csv, where cells that a spreadsheet would run get an apostrophe, and index.parquet."""
        for name in ("index.csv", "index.parquet"):
            table_files.write(self.frame(), folder / name)


def _plain(value: Any) -> Any:
    if not isinstance(value, tuple | list):
        return value
    return "; ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)


def index_row(one: Series, verdict: Verdict, session: int = 1, *, uid: str = "") -> dict[str, Any]:
    """Row of a series that is in no tree; values as COLUMNS. uid: its id where that is not its UID."""
    said = verdict.as_dict() | {
        "uid": uid or one.uid, "subject": one.subject, "session": session, "number": one.number,
        "path_in": one.where, "path_out": "", "files": len(one.files), "problem": one.problem,
        "left_out": "", "notes": one.notes,
    }  # fmt: skip
    return {name: said[name] for name in COLUMNS}


def index_rows(series: Sequence[Series], verdicts: Sequence[Verdict], *, hide_origin: bool = False) -> Index:
    """An index of series that are in no tree, their studies numbered as in one."""
    of = zip(series, verdicts, bids.sessions(series), unique_ids(series), strict=True)
    rows = [index_row(one, verdict, session, uid=uid) for one, verdict, (_, session), uid in of]
    return Index(tuple(_hide(rows, series) if hide_origin else rows))


def _hide(rows: Sequence[dict[str, Any]], series: Sequence[Series]) -> list[dict[str, Any]]:
    """Rows without UIDs and names of folders and files of the input: digests in place of them."""
    return [
        row | {"uid": hidden_uid(row["uid"]), "path_in": hidden(one.where),
               "problem": without_origin(row["problem"], one)}
        | {name: tuple(without_origin(text, one) for text in row[name]) for name in ("trace", "notes")}
        for row, one in zip(rows, series, strict=True)
    ]  # fmt: skip


def organise(
    series: Sequence[Series], verdicts: Sequence[Verdict], out: Path | str, *, layout: Layout = "dicom",
    copy: Copy = "copy", only_sure: bool = False, resume: bool = True, progress: Progress | None = None,
    labels: Labels | None = None, root: Path | str | None = None, hide_origin: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Index:  # fmt: skip
    """Write a tree below `out`, and index.csv and index.parquet into it; verdicts in the order of the series.

    layout: bids (NIfTI by dcm2niix, see `bids.plan`) or dicom (sub-ID/ses-N/NUMBER-LABEL-PLANE/INSTANCE.dcm,
    byte for byte, so patient attributes stay in the files). copy: link makes hard links where the file system
    allows; who edits such a file edits the input. root: folder that was searched, for refusing an `out`
    inside it; guessed from the series when absent. resume: go on with a tree of an earlier call, in which
    sessions and names stay as they are. hide_origin: digests in the index instead of UIDs and of names of
    input folders, which may be those of patients.

    A series that fails is reported in its row; the rest goes on, and an image that an earlier call placed
    stays until another one can take its place. Raises RunError where `out` is inside the input or around it,
    is read-only, too small, in use, or holds what this function did not write.
    """
    out, known = Path(out), labels or names.load()
    refuse_overlap(out, *_inputs(series, None if root is None else Path(root)))
    for verdict in verdicts:
        known.of(verdict.modality, verdict.kind)  # InputError before anything is written
    with claimed(out, layout, resume) as journal:
        jobs, numbered = _plan(series, verdicts, layout, copy, only_sure, known, timeout_s, journal)
        digests = [fingerprint(job.series) for job in jobs]
        journal.settle(jobs)
        wanted = [journal.wants(job, digest) for job, (digest, _) in zip(jobs, digests)]
        if copy == "copy" or layout == "bids":
            missing = sum(size for (_, size), made in zip(digests, wanted) if made)
            if missing > (free := shutil.disk_usage(out).free):
                sizes = f"{free / 1e9:.2f} GB free, but the series need {missing / 1e9:.2f} GB"
                raise RunError(f"{out} has {sizes}. Make room, or pass another folder")
        journal.remember(series, numbered)  # not before: a call that is refused gives no number away
        rows = []
        for done, (job, (digest, _), make) in enumerate(zip(jobs, digests, wanted), start=1):
            rows.append(_carry_out(job, digest, journal, make=make))
            if progress is not None:
                progress(done, len(jobs))
        index = Index(tuple(_hide(rows, series) if hide_origin else rows))
        with explained(out):
            if layout == "bids":
                paths = (row["path_out"].split("/")[0] for row in index.rows)
                write_tree_files(out, [name[4:] for name in paths if name.startswith("sub-")])
            index.write(out)
    return index


def _carry_out(job: Job, digest: str, journal: Journal, *, make: bool) -> dict[str, Any]:
    """Place one series where that is wanted; its row of the index."""
    row = index_row(job.series, job.verdict, job.session, uid=job.uid)
    problem = _placed(job, digest, journal) if make else ""
    entry = journal.done.get(job.ident) if journal.in_place(job.ident) else None
    notes = [*row["notes"], *job.notes]
    kept = journal.kept.get(job.ident, "")
    if kept and (job.left_out or kept != job.path):
        notes.append(journal.told(kept))
    if problem:
        row["problem"] = "; ".join(filter(None, (row["problem"], problem)))
    if entry is None:
        return row | {"left_out": "failed" if problem else job.left_out, "notes": tuple(notes)}
    notes += entry.notes
    if (entry.digest, entry.target) != (digest, job.target):
        notes.append(KEPT)
    place = next((name for name in entry.files if name.endswith(".nii.gz")), "")
    place = place or Path(entry.files[0]).parent.as_posix()
    return row | {"path_out": place, "left_out": entry.held, "notes": tuple(notes)}


def _placed(job: Job, digest: str, journal: Journal) -> str:
    """Make one series and put it in place; why that failed, or ""."""
    try:
        with journal.stage() as stage:
            journal.place(job, digest, job.make(stage))
    except (ReadError, MissingExtra) as error:
        return str(error)
    except OSError as error:
        if error.errno in FULL or job.ident in journal.begun:  # begun still: it could not be taken back
            raise cannot_write(journal.out, error) from error
        what = error.filename or job.series.where
        return f"{what}: {error.strerror or type(error).__name__}. Check that it is there and may be used"
    return ""


def earlier_uids(series: Sequence[Series], out: Path, layout: Layout) -> dict[str, str]:
    """Id of `find.unique_ids` -> UID that a tree knows the series by, where others share that UID since."""
    if not (out / OWN / "journal.jsonl").is_file():
        return {}
    with claimed(out, layout, resume=True) as journal:
        journal.follow(series, [subject for subject, _ in bids.sessions(series)])
        known = {line["to"]: line["renamed"] for line in journal.renamed}
    found = {}
    for one, uid in zip(series, unique_ids(series), strict=True):
        plain = one.uid.rpartition("-")[0]
        if plain and known.get(naming.series_key(one)) == naming.series_key(replace(one, uid=plain)):
            found[uid] = plain
    return found


# --- what goes where -------------------------------------------------------------------------------------


def _plan(
    series: Sequence[Series], verdicts: Sequence[Verdict], layout: Layout, copy: Copy, only_sure: bool,
    labels: Labels, timeout_s: float, journal: Journal,
) -> tuple[list[Job], naming.Numbered]:  # fmt: skip
    """(what to do with each series; its subject and session), with sessions and names of the journal."""
    by_date = bids.sessions(series)
    journal.follow(series, [subject for subject, _ in by_date])
    numbered = naming.sessions(series, by_date, journal.studies)
    notes = [(note,) if note else () for note in naming.order_notes(by_date, numbered)]
    of = zip(series, unique_ids(series), verdicts, numbered, notes, strict=True)
    if layout == "bids":
        program = _program()
        targets = bids.plan(series, verdicts, labels, only_sure=only_sure, numbered=numbered,
                            given=journal.names)  # fmt: skip
        jobs = [
            Job(one, uid, verdict, session, target.name, target.run, target.path, target.left_out,
                functools.partial(_to_nifti, one, target, verdict.anatomy, program, timeout_s), note)
            for (one, uid, verdict, (_, session), note), target in zip(of, targets, strict=True)
        ]  # fmt: skip
        return jobs, numbered
    folders = dicom_folders(series, verdicts, numbered, journal.names)
    jobs = [
        Job(one, uid, verdict, session, *named, "unsure" if only_sure and verdict.unsure else "",
            functools.partial(_to_folder, one, named[2], copy), note)
        for (one, uid, verdict, (_, session), note), named in zip(of, folders, strict=True)
    ]  # fmt: skip
    return jobs, numbered


def _program() -> str:
    """dcm2niix, or "" where it is absent: each series then says so in its row."""
    try:
        return bids.executable()
    except MissingExtra:
        return ""


def _to_nifti(
    one: Series, target: bids.Target, anatomy: str, program: str, timeout_s: float, stage: Path
) -> Converted:
    told = "" if anatomy == names.OTHER else anatomy
    return bids.convert(one, target, stage, anatomy=told, program=program, timeout_s=timeout_s)


def dicom_folders(
    series: Sequence[Series], verdicts: Sequence[Verdict], numbered: naming.Numbered, given: naming.Given
) -> list[tuple[str, int, str]]:
    """(sub-ID/ses-N/NUMBER-LABEL-PLANE, its number, both) of each series; -2, -3 where names would be equal.

    numbered, given: see `naming`.
    """
    found = []
    for one, verdict, (subject, session) in zip(series, verdicts, numbered, strict=True):
        label = (verdict.kind or verdict.modality).replace("*", "star")
        parts = (f"{max(one.number or 0, 0):03d}", label, verdict.attributes.plane)
        name = "-".join(filter(None, (re.sub(r"[^A-Za-z0-9+-]", "", part)[:40] for part in parts)))
        found.append(f"sub-{subject}/ses-{session}/{name}")
    idents, keys = [naming.series_key(one) for one in series], [bids.order(one) for one in series]
    return [
        (name, number, f"{name}-{number}" if number > 1 else name)
        for name, number in zip(found, naming.numbers(found, idents, keys, given))
    ]


def _to_folder(one: Series, folder: str, copy: Copy, stage: Path) -> Converted:
    if not one.files:
        raise ReadError(f"{one.where}: no files of this series are left. Search the input again")
    ready = stage / "ready"
    ready.mkdir(parents=True)
    named = instances(one)
    for name, file in named:
        _bring(file.path, ready / name, copy)
    return Converted(tuple((ready / name, f"{folder}/{name}") for name, _ in named))


def _bring(path: Path, to: Path, copy: Copy) -> None:
    if copy == "link":
        try:
            os.link(path.resolve(), to)
            return
        except OSError:  # another file system, or one without hard links
            pass
    shutil.copyfile(path, to)


# --- where it may go -------------------------------------------------------------------------------------


def refuse_overlap(out: Path | str, *inputs: Path | str) -> None:
    """RunError where `out` and a searched folder lie within each other; links are followed.

    `out` may also be a file to write: inside the input it is refused as well.
    """
    try:
        place = Path(out).resolve()
    except (OSError, RuntimeError) as cause:  # links in a circle
        raise RunError(f"{out} cannot be followed: {cause}. Pass another place") from cause
    for folder in sorted({Path(folder).resolve() for folder in inputs}):
        if place.is_relative_to(folder) or folder.is_relative_to(place):
            raise RunError(
                f"{place} and the input {folder} lie within each other. Pass a place apart from the input, "
                "which is never changed"
            )


def _inputs(series: Sequence[Series], root: Path | None) -> set[Path]:
    """Folders that files of the series lie in, and the one that was searched; guessed where not told."""
    folders = {file.path.parent: one.where for one in series for file in one.files}
    if root is not None:
        return {*folders, root}
    return {*folders, *(_root_of(folder, where) for folder, where in folders.items())}


def _root_of(folder: Path, where: str) -> Path:
    """The folder that was searched, where `where` is `folder` relative to it; else `folder` itself."""
    below = Path(where).parts
    if below and len(below) < len(folder.parts) and folder.parts[-len(below) :] == below:
        return Path(*folder.parts[: -len(below)])
    return folder
