"""Put classified series into a BIDS tree or a renamed DICOM tree, with an index of what went where and why.

The input is only read. A journal in `.radfoundry/` says what is in place, so a call that was interrupted goes
on where it stopped, and a call with corrected labels moves what changed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from radfoundry import table_files
from radfoundry.errors import MissingExtra, ReadError, RunError
from radfoundry.series import bids
from radfoundry.series import labels as names
from radfoundry.series.bids import TIMEOUT_S, Converted
from radfoundry.series.find import fingerprint, hidden, instances, unique_ids, without_paths
from radfoundry.series.labels import Labels
from radfoundry.series.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.series.find import Series

Layout = Literal["bids", "dicom"]
Copy = Literal["copy", "link"]
Progress = Callable[[int, int], None]
FORMAT = 2
OWN = ".radfoundry"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
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

    uid: as `find.unique_ids`. path_in: folder below the input as it is called there, which may hold a name,
    or a digest of it where paths were hidden. path_out: relative to the output. left_out: why a series is not
    in the tree, or only in its sourcedata/. b_values in s/mm², echo_times in ms.
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


def index_rows(series: Sequence[Series], verdicts: Sequence[Verdict], *, hide_paths: bool = False) -> Index:
    """An index of series that are in no tree, their studies numbered as in one."""
    of = zip(series, verdicts, bids.sessions(series), unique_ids(series), strict=True)
    rows = [index_row(one, verdict, session, uid=uid) for one, verdict, (_, session), uid in of]
    return Index(tuple(_hide(rows, series) if hide_paths else rows))


def _hide(rows: Sequence[dict[str, Any]], series: Sequence[Series]) -> list[dict[str, Any]]:
    """Rows without names of folders and files of the input: digests in place of them."""
    return [
        row | {"path_in": hidden(one.where), "problem": without_paths(row["problem"], one)}
        | {name: tuple(without_paths(text, one) for text in row[name]) for name in ("trace", "notes")}
        for row, one in zip(rows, series, strict=True)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Job:
    """What to do with one series. target: its place and all else that a change of would make it anew."""

    series: Series
    uid: str
    verdict: Verdict
    session: int
    path: str
    left_out: str
    make: Callable[[Path], Converted]

    @property
    def ident(self) -> str:
        return f"{self.series.uid} {self.series.study}".strip()

    @property
    def target(self) -> str:
        return f"{self.path} {self.verdict.anatomy}"


def organise(
    series: Sequence[Series], verdicts: Sequence[Verdict], out: Path | str, *, layout: Layout = "dicom",
    copy: Copy = "copy", only_sure: bool = False, resume: bool = True, progress: Progress | None = None,
    labels: Labels | None = None, root: Path | str | None = None, hide_paths: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Index:  # fmt: skip
    """Write a tree below `out`, and index.csv and index.parquet into it; verdicts in the order of the series.

    layout: bids (NIfTI by dcm2niix, see `bids.plan`) or dicom (sub-ID/ses-N/NUMBER-LABEL-PLANE/INSTANCE.dcm,
    byte for byte, so patient attributes stay in the files). copy: link makes hard links where the file system
    allows; who edits such a file edits the input. root: folder that was searched, for refusing an `out`
    inside it; guessed from the series when absent. resume: go on with a tree of an earlier call. hide_paths:
    digests in the index instead of names of input folders, which may be those of patients.

    A series that fails is reported in its row; the rest goes on. Raises RunError where `out` is inside the
    input or around it, is read-only, too small, in use, or holds what this function did not write.
    """
    out = Path(out)
    _refuse_overlap(series, out.resolve(), None if root is None else Path(root))
    jobs = _plan(series, verdicts, layout, copy, only_sure, labels or names.load(), timeout_s)
    with _claimed(out, layout, resume) as journal:
        digests = [fingerprint(job.series) for job in jobs]
        journal.clear(jobs, [digest for digest, _ in digests])
        if copy == "copy" or layout == "bids":
            missing = sum(size for job, (_, size) in zip(jobs, digests)
                          if job.ident not in journal.done and not job.left_out)  # fmt: skip
            if missing > (free := shutil.disk_usage(out).free):
                sizes = f"{free / 1e9:.2f} GB free, but the series need {missing / 1e9:.2f} GB"
                raise RunError(f"{out} has {sizes}. Make room, or pass another folder")
        rows = []
        for done, (job, (digest, _)) in enumerate(zip(jobs, digests), start=1):
            rows.append(_carry_out(job, digest, journal))
            if progress is not None:
                progress(done, len(jobs))
        index = Index(tuple(_hide(rows, series) if hide_paths else rows))
        with explained(out):
            if layout == "bids":
                paths = (row["path_out"].split("/")[0] for row in index.rows)
                bids.write_tree_files(out, [name[4:] for name in paths if name.startswith("sub-")])
            index.write(out)
    return index


def _carry_out(job: _Job, digest: str, journal: _Journal) -> dict[str, Any]:
    """Place one series unless it is in place; its row of the index."""
    row = index_row(job.series, job.verdict, job.session, uid=job.uid)
    kept = journal.kept.get(job.ident, "")
    if kept and (job.left_out or kept != job.path):
        row["notes"] = *row["notes"], journal.told(kept)
    if job.left_out:
        return row | {"left_out": job.left_out}
    entry = journal.done.get(job.ident)
    if entry is None:
        try:
            with journal.stage() as stage:
                entry = journal.place(job, digest, job.make(stage))
        except (ReadError, MissingExtra) as error:
            problem = "; ".join(filter(None, (job.series.problem, str(error))))
            return row | {"problem": problem, "left_out": "failed"}
        except OSError as error:
            if error.errno in FULL:
                raise _cannot_write(journal.out, error) from error
            why = error.strerror or type(error).__name__
            problem = f"{job.series.where}: {why}. Check that it is still there"
            return row | {"problem": problem, "left_out": "failed"}
    image = next((name for name in entry.files if name.endswith(".nii.gz")), job.path)
    return row | {"path_out": image, "left_out": entry.held, "notes": (*row["notes"], *entry.notes)}


# --- what goes where -------------------------------------------------------------------------------------


def _plan(
    series: Sequence[Series], verdicts: Sequence[Verdict], layout: Layout, copy: Copy, only_sure: bool,
    labels: Labels, timeout_s: float,
) -> list[_Job]:  # fmt: skip
    ids = unique_ids(series)
    if layout == "bids":
        program = _program()
        targets = bids.plan(series, verdicts, labels, only_sure=only_sure)
        return [
            _Job(one, uid, verdict, target.session, target.path, target.left_out,
                 functools.partial(_to_nifti, one, target, verdict.anatomy, program, timeout_s))
            for one, uid, verdict, target in zip(series, ids, verdicts, targets)
        ]  # fmt: skip
    return [
        _Job(one, uid, verdict, session, folder, "unsure" if only_sure and verdict.unsure else "",
             functools.partial(_to_folder, one, folder, copy))
        for one, uid, verdict, (session, folder)
        in zip(series, ids, verdicts, dicom_folders(series, verdicts))
    ]  # fmt: skip


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


def dicom_folders(series: Sequence[Series], verdicts: Sequence[Verdict]) -> list[tuple[int, str]]:
    """(session, sub-ID/ses-N/NUMBER-LABEL-PLANE) of each series; -2, -3 where names would be the same."""
    found = []
    for one, verdict, (subject, session) in zip(series, verdicts, bids.sessions(series), strict=True):
        label = (verdict.kind or verdict.modality).replace("*", "star")
        parts = (f"{max(one.number or 0, 0):03d}", label, verdict.attributes.plane)
        name = "-".join(filter(None, (re.sub(r"[^A-Za-z0-9+-]", "", part)[:40] for part in parts)))
        found.append((session, f"sub-{subject}/ses-{session}/{name}"))
    seen: Counter[str] = Counter()
    for i in sorted(range(len(found)), key=lambda i: bids.order(series[i])):
        session, folder = found[i]
        seen[folder.lower()] += 1
        if seen[folder.lower()] > 1:
            found[i] = session, f"{folder}-{seen[folder.lower()]}"
    return found


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


def refuse_overlap(out: Path | str, root: Path | str) -> None:
    """RunError where `out` and the searched folder lie within each other: before anything is read."""
    _refuse_overlap((), Path(out).resolve(), Path(root))


def _refuse_overlap(series: Sequence[Series], out: Path, root: Path | None) -> None:
    """RunError where the target is inside the input or the input inside the target; links are followed."""
    folders = {file.path.parent: one.where for one in series for file in one.files}
    inputs = {folder.resolve() for folder in folders}
    if root is not None:
        inputs.add(root.resolve())
    else:
        inputs |= {_root_of(folder, where).resolve() for folder, where in folders.items()}
    for folder in sorted(inputs):
        if out.is_relative_to(folder) or folder.is_relative_to(out):
            raise RunError(
                f"{out} and the input {folder} lie within each other. Pass a folder apart from the input"
            )


def _root_of(folder: Path, where: str) -> Path:
    """The folder that was searched, where `where` is `folder` relative to it; else `folder` itself."""
    below = Path(where).parts
    if below and len(below) < len(folder.parts) and folder.parts[-len(below) :] == below:
        return Path(*folder.parts[: -len(below)])
    return folder


def _cannot_write(out: Path, error: OSError) -> RunError:
    return RunError(
        f"{out} cannot be written: {error.strerror or error}. Pass another folder; a later call goes on"
    )


@contextlib.contextmanager
def explained(out: Path) -> Iterator[None]:
    """RunError for a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(out, error) from error


@contextlib.contextmanager
def _claimed(out: Path, layout: Layout, resume: bool) -> Iterator[_Journal]:
    """The journal of a tree that is ours or new, locked against a second call."""
    from filelock import FileLock, Timeout

    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file. Pass a folder")
    with explained(out):
        if out.is_dir() and any(out.iterdir()) and not (out / OWN).is_dir():
            raise RunError(f"{out} holds files that are not of an organised tree. Pass a new or empty folder")
        (out / OWN).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / OWN / "lock", timeout=0):
            with explained(out):
                made = _Journal.open(out, layout)
            if made.done and not resume:
                raise RunError(
                    f"{out} holds a tree already. Pass resume=True to go on with it, or a new folder"
                )
            try:
                yield made
            finally:
                shutil.rmtree(out / OWN / "stage", ignore_errors=True)
    except Timeout as cause:
        raise RunError(
            f"{out} is being written by another call. Wait for it, or pass another folder"
        ) from cause
    except PermissionError as error:
        raise _cannot_write(out, error) from error


@dataclass(frozen=True, slots=True)
class _Entry:
    """One placed series: what the journal keeps. files: relative to the tree."""

    digest: str
    target: str
    files: tuple[str, ...]
    held: str = ""
    notes: tuple[str, ...] = ()


@dataclass
class _Journal:
    """Lines of JSON: {"begin": series, ...its entry}; {"end": series}, all is in place; {"gone": series}."""

    out: Path
    layout: Layout
    done: dict[str, _Entry] = field(default_factory=dict)
    begun: dict[str, _Entry] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)  # folders that a series left, with files of others

    @property
    def path(self) -> Path:
        return self.out / OWN / "journal.jsonl"

    @classmethod
    def open(cls, out: Path, layout: Layout) -> _Journal:
        """The journal of a tree; RunError where it is of another layout or damaged."""
        journal = cls(out, layout)
        text = journal.path.read_bytes() if journal.path.is_file() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:  # the last line was cut short, so it is void
            os.truncate(journal.path, len(whole))
        if not whole:
            journal._append({"format": FORMAT, "layout": layout})
            return journal
        try:
            head, *lines = [json.loads(line) for line in whole.splitlines()]
            found = head["format"], head["layout"]
            for line in lines if found[0] == FORMAT else ():
                journal._take(line)
        except (ValueError, KeyError, TypeError) as cause:
            raise RunError(f"{journal.path} is damaged ({cause!r}). Start again in a new folder") from cause
        if found[0] != FORMAT:
            raise RunError(f"{out} holds a tree made by another version of radfoundry. Pass a new folder")
        if found[1] != layout:
            raise RunError(f"{out} holds a tree of another layout, {found[1]!s:.9}. Pass another folder")
        return journal

    def _take(self, line: dict[str, Any]) -> None:
        if "begin" in line:
            files = tuple(map(str, line["files"]))
            if not files or any(
                Path(name).is_absolute() or {"", ".."} & {name, *Path(name).parts} for name in files
            ):
                raise ValueError("a path that leaves the tree")
            notes = tuple(map(str, line["notes"]))
            self.begun[line["begin"]] = _Entry(
                line["digest"], line["target"], files, str(line["held"]), notes
            )
        elif "end" in line:
            self.done[line["end"]] = self.begun.pop(line["end"])
        else:
            self.done.pop(line["gone"], None)
            self.begun.pop(line["gone"], None)

    def _append(self, line: dict[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def clear(self, jobs: Sequence[_Job], digests: Sequence[str]) -> None:
        """Take out what was half placed, and what is to be elsewhere or nowhere, or changed in the input.

        RunError where the tree holds series that are not in this call: nothing of theirs is taken out.
        """
        wanted = {job.ident: (digest, job) for job, digest in zip(jobs, digests)}
        if strange := len(self.done.keys() - wanted.keys()):
            raise RunError(f"{self.out} holds {strange} series of another input. Pass a new folder")
        with explained(self.out):
            for ident, entry in list(self.begun.items()):
                self._remove(ident, entry)
            for ident, entry in list(self.done.items()):
                digest, job = wanted[ident]
                there = all((self.out / name).exists() for name in entry.files)
                if job.left_out or not there or (entry.digest, entry.target) != (digest, job.target):
                    self._remove(ident, entry)
                    left = Path(entry.files[0]).parent
                    if self.layout == "dicom" and (self.out / left).is_dir():
                        self.kept[ident] = left.as_posix()

    def told(self, folder: str) -> str:
        """What a row says of a folder of its series that was kept."""
        n = sum(path.is_file() for path in (self.out / folder).rglob("*"))
        return f"{folder} was kept: it holds {n} file{'' if n == 1 else 's'} that this command did not write"

    def _inside(self, name: str) -> Path:
        """A path of the tree; RunError where a link in it leads out of the tree."""
        path = self.out / name
        if not path.parent.resolve().is_relative_to(self.out.resolve()):
            raise RunError(f"{path.parent} leads out of {self.out}. Remove that link, or pass a new folder")
        return path

    def _remove(self, ident: str, entry: _Entry) -> None:
        """Take files of ours out of the tree, and folders that are empty then. The rest stays."""
        for name in entry.files:
            path = self._inside(name)
            if not path.is_dir() or path.is_symlink():
                path.unlink(missing_ok=True)
        for first in {(self.out / name).parent for name in entry.files}:
            for folder in (first, *first.parents):
                if folder == self.out or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()
        self._append({"gone": ident})
        self._take({"gone": ident})

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """An empty folder of this tree's file system, removed afterwards."""
        folder = self.out / OWN / "stage"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def place(self, job: _Job, digest: str, made: Converted) -> _Entry:
        """Rename staged files to their final names; all of them, or none when that fails."""
        files = tuple(name for _, name in made.files)
        if taken := [name for name in files if os.path.lexists(self._inside(name))]:
            raise ReadError(f"{taken[0]} is in the tree already, and not of this series. Move it away")
        line = {"begin": job.ident, "digest": digest, "target": job.target, "files": files}
        line |= {"held": made.held, "notes": made.notes}
        self._append(line)
        self._take(line)
        try:
            for staged, name in made.files:
                (self.out / name).parent.mkdir(parents=True, exist_ok=True)
                os.rename(staged, self.out / name)
            self._append({"end": job.ident})
        except BaseException:  # an interrupt, too
            self._remove(job.ident, self.begun[job.ident])
            raise
        self._take({"end": job.ident})
        return self.done[job.ident]
