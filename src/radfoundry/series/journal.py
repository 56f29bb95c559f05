"""What a tree holds, and whose it is: a journal, so that a call goes on where another one stopped.

Lines of JSON: {"begin": series, ...}, its files are about to be put in place; {"end": series}, they are;
{"void": series}, they are not, and what it had before is back; {"gone": series}, taken out; {"study": study,
...}, the number of its session; {"renamed": series, "to": series}, one that `Journal.follow` knew again.
Series and studies are digests of their UIDs. Files that are to be replaced wait in `.radfoundry/aside`: an
image leaves the tree when the one that takes its place is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from radfoundry.errors import ReadError, RunError
from radfoundry.series import naming
from radfoundry.series.find import fingerprint

if TYPE_CHECKING:
    from radfoundry.series.bids import Converted
    from radfoundry.series.find import Series
    from radfoundry.series.verdict import Verdict

Layout = Literal["bids", "dicom"]
FORMAT = 3
OWN = ".radfoundry"


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with one series. path: its place, "" for none; name, number: the place in two parts."""

    series: Series
    uid: str
    verdict: Verdict
    session: int
    name: str
    number: int
    path: str
    left_out: str
    make: Callable[[Path], Converted]
    notes: tuple[str, ...] = ()

    @property
    def ident(self) -> str:
        return naming.series_key(self.series)

    @property
    def target(self) -> str:
        """Its place and all else that a change of would make it anew."""
        return f"{self.path} {self.verdict.anatomy}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One placed series. files: relative to the tree. whole: nothing was wrong with the series then."""

    digest: str
    target: str
    files: tuple[str, ...]
    held: str = ""
    notes: tuple[str, ...] = ()
    whole: bool = True


def cannot_write(out: Path, error: OSError) -> RunError:
    """The error for a tree in which the system refuses to write, with its reason."""
    return RunError(
        f"{out} cannot be written: {error.strerror or error}. Pass another folder; a later call goes on"
    )


@contextlib.contextmanager
def explained(out: Path) -> Iterator[None]:
    """RunError for a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        raise cannot_write(out, error) from error


@contextlib.contextmanager
def claimed(out: Path, layout: Layout, resume: bool) -> Iterator[Journal]:
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
                made = Journal.open(out, layout)
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
        raise cannot_write(out, error) from error


@dataclass
class Journal:
    """done: series that are in place. begun: those that a call was placing when it was killed.

    kept: folders that a series left, with files of others. names, studies: see `naming`. renamed: lines that
    `follow` found and `settle` writes.
    """

    out: Path
    layout: Layout
    done: dict[str, Entry] = field(default_factory=dict)
    begun: dict[str, Entry] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    names: dict[str, dict[str, int]] = field(default_factory=dict)
    studies: dict[tuple[str, str], int] = field(default_factory=dict)
    renamed: list[dict[str, str]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.out / OWN / "journal.jsonl"

    @property
    def aside(self) -> Path:
        return self.out / OWN / "aside"

    @classmethod
    def open(cls, out: Path, layout: Layout) -> Journal:
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
            self.begun[line["begin"]] = Entry(
                line["digest"], line["target"], files, str(line["held"]), notes, bool(line["whole"])
            )
            self.names.setdefault(str(line["name"]), {})[line["begin"]] = int(line["number"])
        elif "end" in line:
            self.done[line["end"]] = self.begun.pop(line["end"])
        elif "study" in line:
            self.studies[str(line["subject"]), line["study"]] = int(line["session"])
        elif "renamed" in line:
            books: list[dict[str, Any]] = [self.done, self.begun, *self.names.values()]
            for book in books:
                if line["renamed"] in book:
                    book[str(line["to"])] = book.pop(line["renamed"])
        elif "void" in line:
            self.begun.pop(line["void"], None)
        else:
            self.done.pop(line["gone"], None)

    def _append(self, *lines: dict[str, Any]) -> None:
        size = None
        try:
            with open(self.path, "ab") as file:
                size = file.tell()
                file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except BaseException:  # a full disk, an interrupt: half a line would run into the next one
            if size is not None:
                os.truncate(self.path, size)
            raise

    def _say(self, line: dict[str, Any]) -> None:
        self._append(line)
        self._take(line)

    def remember(self, series: Sequence[Series], numbered: naming.Numbered) -> None:
        """Keep the numbers of sessions for later calls."""
        found = {(subject, naming.study_key(one)): n for one, (subject, n) in zip(series, numbered)}
        new = [
            {"study": study, "subject": subject, "session": number}
            for (subject, study), number in found.items()
            if self.studies.get((subject, study)) != number
        ]
        if new:
            with explained(self.out):
                self._append(*new)
            for line in new:
                self._take(line)

    def follow(self, series: Sequence[Series], subjects: Sequence[str]) -> None:
        """Know a series again whose UID got or lost a digest, since others share it now or no more.

        It is the one of the same subject and files, where no second one is. subjects: as paths name them.
        """
        idents = [naming.series_key(one) for one in series]
        there = set(idents)
        lost = {ident: entry for ident, entry in self.done.items() if ident not in there}
        if not lost:
            return
        fresh: dict[tuple[str, str], list[str]] = {}
        for one, subject, ident in zip(series, subjects, idents, strict=True):
            if ident not in self.done:
                fresh.setdefault((f"sub-{subject}", fingerprint(one)[0]), []).append(ident)
        found: dict[str, list[str]] = {}
        for old, entry in lost.items():
            subject = next((part for part in Path(entry.files[0]).parts if part.startswith("sub-")), "")
            for new in fresh.get((subject, entry.digest), []):
                found.setdefault(new, []).append(old)
        once = [(old, new) for new, olds in found.items() if len(olds) == 1 for old in olds]
        counts = Counter(old for old, _ in once)
        self.renamed = [{"renamed": old, "to": new} for old, new in once if counts[old] == 1]
        for line in self.renamed:
            self._take(line)

    def settle(self, jobs: Sequence[Job]) -> None:
        """Undo what was half placed, and take out what is to be nowhere.

        RunError where the tree holds series that are not in this call: nothing of theirs is taken out.
        """
        wanted = {job.ident: job for job in jobs}
        if strange := len(self.done.keys() - wanted.keys()):
            raise RunError(
                f"{self.out} holds {strange} series of another input, or of a Series Instance UID that "
                "others share now, with files that changed. Pass a new folder"
            )
        with explained(self.out):
            if self.renamed:
                self._append(*self.renamed)
            for ident in list(self.begun):
                self._undo(ident)
            self._clear_aside()  # what is left there is of a series that is in place
            for ident, entry in list(self.done.items()):
                if wanted[ident].left_out and not self._outlives(entry, wanted[ident]):
                    self._remove(entry.files)
                    self._say({"gone": ident})
                    self._told(ident, entry)

    def in_place(self, ident: str) -> bool:
        """Whether all files of a series are there."""
        entry = self.done.get(ident)
        return entry is not None and all((self.out / name).exists() for name in entry.files)

    def wants(self, job: Job, digest: str) -> bool:
        """Whether a series is to be made, for the first time or anew."""
        entry = self.done.get(job.ident)
        if entry is not None and self.in_place(job.ident):
            stale = (entry.digest, entry.target) != (digest, job.target)
            return stale and not job.left_out and not self._outlives(entry, job)
        return not job.left_out

    def _outlives(self, entry: Entry, job: Job) -> bool:
        """Whether an image stays because it was made when the series was whole, which it is no more."""
        return bool(job.series.problem) and entry.whole

    def told(self, folder: str) -> str:
        """What a row says of a folder of its series that was kept."""
        n = sum(path.is_file() for path in (self.out / folder).rglob("*"))
        return f"{folder} was kept: it holds {n} file{'' if n == 1 else 's'} that this command did not write"

    def _told(self, ident: str, old: Entry) -> None:
        """Remember a folder of a DICOM tree that a series left, and that others have files in."""
        left = Path(old.files[0]).parent
        if self.layout == "dicom" and (self.out / left).is_dir():
            self.kept[ident] = left.as_posix()

    def _inside(self, name: str) -> Path:
        """A path of the tree; RunError where a link in it leads out of the tree."""
        path = self.out / name
        if not path.parent.resolve().is_relative_to(self.out.resolve()):
            raise RunError(f"{path.parent} leads out of {self.out}. Remove that link, or pass a new folder")
        return path

    def _no_folder(self, name: str) -> str:
        """What is in the way of a file's folder, because it is none itself; "" where nothing is."""
        above = [part for part in Path(name).parents if part != Path(".")]
        there = (part for part in above if os.path.lexists(self.out / part))
        return next((part.as_posix() for part in there if not (self.out / part).is_dir()), "")

    def _remove(self, files: Sequence[str]) -> None:
        """Take files of ours out of the tree, and folders that are empty then. The rest stays."""
        for name in files:
            path = self._inside(name)
            if not path.is_dir() or path.is_symlink():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it is not there
                    path.unlink()
        for first in {(self.out / name).parent for name in files}:
            for folder in (first, *first.parents):
                if folder == self.out or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()

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

    def place(self, job: Job, digest: str, made: Converted) -> Entry:
        """Rename staged files to their final names in place of those that the series had; all or none."""
        files, old = tuple(name for _, name in made.files), self.done.get(job.ident)
        own = set(old.files) if old else set()
        if taken := [name for name in files if name not in own and os.path.lexists(self._inside(name))]:
            raise ReadError(f"{taken[0]} is in the tree already, and not of this series. Move it away")
        if blocked := next(filter(None, map(self._no_folder, files)), ""):
            raise ReadError(f"{blocked} is in the tree already, and is no folder. Move it away")
        with explained(self.out):
            self._clear_aside()  # before it is begun: `_undo` takes what lies there for files of this series
        self._say(
            {"begin": job.ident, "digest": digest, "target": job.target, "files": files, "held": made.held,
             "notes": made.notes, "whole": not job.series.problem,
             "name": job.name.lower(), "number": job.number}
        )  # fmt: skip
        try:
            self._set_aside(old)
            for staged, name in made.files:
                (self.out / name).parent.mkdir(parents=True, exist_ok=True)
                os.rename(staged, self.out / name)
            self._append({"end": job.ident})
        except BaseException:  # an interrupt, too
            self._undo(job.ident)
            raise
        self._take({"end": job.ident})
        if old is not None:
            shutil.rmtree(self.aside, ignore_errors=True)
            self._remove([name for name in old.files if name not in files])
            self._told(job.ident, old)
        return self.done[job.ident]

    def _clear_aside(self) -> None:
        """Remove files that were replaced; OSError where they cannot be."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.aside)

    def _set_aside(self, old: Entry | None) -> None:
        if old is None:
            return
        self.aside.mkdir()
        for number, name in enumerate(old.files):
            if os.path.lexists(path := self._inside(name)):
                os.rename(path, self.aside / str(number))

    def _undo(self, ident: str) -> None:
        """Take back a placing that did not come to its end: new files out, those set aside back."""
        new, old = self.begun[ident], self.done.get(ident)
        back = {name: self.aside / str(k) for k, name in enumerate(old.files)} if old else {}
        try:
            self._remove([name for name in new.files if name not in back or back[name].exists()])
        finally:  # whatever happened to the new ones
            for name, path in back.items():
                if path.exists():
                    (self.out / name).parent.mkdir(parents=True, exist_ok=True)
                    os.rename(path, self.out / name)
        self._say({"void": ident})
