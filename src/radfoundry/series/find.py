"""Series of a folder tree, or of datasets in memory, by their headers alone."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.errors import ReadError
from radfoundry.io.dicom import DicomFile, open_dicom
from radfoundry.io.source import kind_of
from radfoundry.series import people
from radfoundry.series.element import LARGEST, digest, text
from radfoundry.series.grouping import MEMORY, Group, groups, in_order, natural, once
from radfoundry.series.images import number
from radfoundry.series.tags import TagList, elements, load_tags

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# fmt: off
IDENTITY = (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "SeriesNumber",
    "AcquisitionNumber", "InstanceNumber", "Rows", "Columns", "ImageOrientationPatient",
    "ImagePositionPatient", *people.ELEMENTS,
)
# fmt: on
NAMED = (".dcm", ".ima")
MOST_FOLDERS = 4
SHORT = 8
"""Hexadecimal digits of a digest that only has to tell a few things apart."""
NOT_DICOM, UNREADABLE_FILE, LINK, HIDDEN = "not DICOM", "unreadable", "link out of the folder", "hidden"
UNREADABLE_FOLDER = "unreadable folder"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Series:
    """One series. files: headers only, in order of Instance Number, with the elements of `tags.elements`.

    uid: Series Instance UID, with a digest behind it where several series of a study have it, or "no-uid-"
    and a digest where it is missing. study: Study Instance UID or "". subject: a pseudonym, twelve
    hexadecimal digits (see `people.subjects`). study_date: orders sessions, and parts them without a study.
    number: Series Number. where: printable folder below the root. problem: what keeps it from being a plain
    series of images. notes: what was passed over, and what is doubtful of UIDs or Patient ID.
    """

    uid: str
    study: str
    subject: str
    study_date: str
    number: int | None
    where: str
    files: tuple[DicomFile, ...]
    problem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def visit(self) -> str:
        """What series of one study share, for one subject: its UID, or its date where that is gone."""
        return self.study or f"date {self.study_date}"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below a folder. passed_over: files and folders that are in no series, counted by reason.

    warnings: what is doubtful of Patient IDs, without any identifier.
    """

    series: tuple[Series, ...]
    passed_over: dict[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def unreadable(self) -> int:
        """Damaged DICOM files, files that could not be opened, and folders that could not be listed."""
        return sum(self.passed_over.get(reason, 0) for reason in (UNREADABLE_FILE, UNREADABLE_FOLDER))

    def __str__(self) -> str:
        """The counts of what was passed over, what could not be read first; "" where nothing was."""
        first = (UNREADABLE_FILE, UNREADABLE_FOLDER)
        counts = sorted(self.passed_over.items(), key=lambda pair: (pair[0] not in first, -pair[1], pair[0]))
        return ", ".join(f"{count} {reason}" for reason, count in counts if count)


def find(
    root: str | os.PathLike[str], *, tags: TagList | None = None, threads: int = 1,
    progress: Progress | None = None,
) -> list[Series]:  # fmt: skip
    """Series below a folder, ordered by subject, session and series number; headers only are read.

    See `survey`, which also counts what was passed over.
    """
    return list(survey(root, tags=tags, threads=threads, progress=progress).series)


def survey(
    root: str | os.PathLike[str], *, tags: TagList | None = None, threads: int = 1,
    progress: Progress | None = None,
) -> Found:  # fmt: skip
    """Series below a folder, and the count of what is no part of one.

    Series are put together by UID, over folders; objects without an image are in none. progress is called
    with (files looked at, files in all). threads: more than one pays only where files are slow to open, as on
    a network share; on a local disk one is faster, since Python walks one header at a time, and processes
    lose more time handing headers back than they save. Raises ReadError when the folder does not exist or
    holds no DICOM.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise ReadError(f"{folder} is no folder. Pass a folder of DICOM files; paths start at {Path.cwd()}")
    passed: Counter[str] = Counter()
    paths = list(_walk(folder, passed))
    look = partial(_open, tags=(*IDENTITY, *elements(tags or load_tags())))
    opened: list[tuple[DicomFile, str]] = []
    broken: Counter[str] = Counter()
    names: dict[str, str] = {}
    with _no_collector():
        for done, (path, file, problem) in enumerate(_map(look, paths, threads), start=1):
            above = os.path.dirname(path)
            where = names.get(above)
            if where is None:
                where = names[above] = printable(str(path.parent.relative_to(folder)))
            if file is not None:
                opened.append((file, where))
            else:
                passed[problem] += 1
                broken[where] += problem == UNREADABLE_FILE
            if progress is not None and (done % 100 == 0 or done == len(paths)):
                progress(done, len(paths))
        if not opened:
            raise ReadError(
                f"{folder} holds no DICOM that can be read ({len(paths)} files looked at, "
                f"{passed[UNREADABLE_FILE]} damaged, {passed[UNREADABLE_FOLDER]} folders unreadable). "
                "Pass the folder that holds the DICOM files"
            )
        return _grouped(opened, passed, broken)


def from_datasets(
    datasets: Sequence[Dataset], *, tags: TagList | None = None, progress: Progress | None = None
) -> list[Series]:
    """Series of datasets in memory, such as a DICOM server has received; `header` is the dataset itself.

    tags and progress are taken for the sake of `find`'s form: nothing has to be read. Raises ReadError
    when there is no dataset.
    """
    if not datasets:
        raise ReadError("there is no dataset to sort. Pass the datasets of a study")
    opened = []
    for done, dataset in enumerate(datasets, start=1):
        pixels = any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))
        opened.append((DicomFile(MEMORY, dataset, None, int(pixels)), "memory"))
        if progress is not None:
            progress(done, len(datasets))
    return list(_grouped(opened, Counter(), Counter()).series)


def unique_ids(series: Sequence[Series]) -> list[str]:
    """An id of each series, in their order, fit for files: its UID wherever that is one and is not repeated.

    A UID that several studies have is followed by a digest of the study; what has other signs than a UID
    becomes "odd-uid-" and a digest.

    >>> unique_ids([Series(uid, study, "", "", 1, "", ()) for uid, study in (("1", "8"), ("2", "8"))])
    ['1', '2']
    """
    count = Counter(one.uid for one in series)
    found = []
    for one in series:
        plain = re.fullmatch(r"[\w.-]{1,100}", one.uid, re.ASCII)
        uid = one.uid if plain else f"odd-uid-{digest(one.uid, SHORT)}"
        found.append(f"{uid}-{digest(one.study, SHORT)}" if count[one.uid] > 1 else uid)
    return found


def instances(one: Series) -> list[tuple[str, DicomFile]]:
    """(NUMBER.dcm, file) by Instance Number, or counted in that order where one is missing or repeated."""

    def place(file: DicomFile) -> tuple[int, str, tuple[Any, ...]]:
        try:
            uid = str(file.get("SOPInstanceUID", ""))
            return file.whole("InstanceNumber", -1), uid, natural(file.path)
        except ReadError:
            return -1, "", natural(file.path)

    files = sorted(one.files, key=place)
    numbers = [place(file)[0] for file in files]
    if min(numbers) < 0 or max(numbers) > LARGEST or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(files) + 1))
    width = max(4, len(str(max(numbers))))
    return [(f"{n:0{width}d}.dcm", file) for n, file in zip(numbers, files)]


def fingerprint(one: Series) -> tuple[str, int]:
    """(digest of the files: names, sizes and times of change; bytes in all)."""
    parts, total = [], 0
    for file in one.files:
        try:
            stat = file.path.stat()
        except OSError:  # gone since it was found: copying will say so
            parts.append(f"{file.path.name} gone")
            continue
        parts.append(f"{file.path.name} {stat.st_size} {stat.st_mtime_ns}")
        total += stat.st_size
    return hashlib.sha256("\n".join(sorted(parts)).encode("utf-8", "surrogateescape")).hexdigest(), total


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Spare the garbage collector the headers of an archive, which stay and hold no cycles.

    Walking them over and over takes a third of the time where large libraries are loaded.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _walk(root: Path, passed: Counter[str]) -> Iterator[Path]:
    """Files that may be DICOM; what is hidden, a DICOMDIR or a link that leaves the root is counted."""
    inside = root.resolve()

    def unlisted(error: OSError) -> None:
        passed[UNREADABLE_FOLDER] += 1

    for here, folders, names in os.walk(root, onerror=unlisted):
        for name in list(folders):
            if name.startswith("."):
                folders.remove(name)
                passed[HIDDEN] += 1
            elif os.path.islink(os.path.join(here, name)):
                passed[LINK] += not _below(Path(here, name), inside)
        folders.sort()
        for name in sorted(names):
            path = Path(here, name)
            if name.startswith("."):
                passed[HIDDEN] += 1
            elif name.upper() == "DICOMDIR":
                passed["DICOMDIR"] += 1
            elif os.path.islink(path) and not _below(path, inside):
                passed[LINK] += 1
            else:
                yield path


def _below(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a link in a circle
        return False


def _open(path: Path, tags: Sequence[Any]) -> tuple[Path, DicomFile | None, str]:
    """(path, header or None, why there is none)."""
    named = path.suffix.lower() in NAMED
    try:
        if kind_of(path) != "dicom":
            return path, None, UNREADABLE_FILE if named else NOT_DICOM
    except ReadError as error:
        unopened = isinstance(error.__cause__, OSError)
        return path, None, UNREADABLE_FILE if named or unopened else NOT_DICOM
    try:
        return path, open_dicom(path, tags), ""
    except ReadError:
        return path, None, UNREADABLE_FILE


def _map(look: Callable[[Path], Any], paths: list[Path], threads: int) -> Iterable[Any]:
    if threads <= 1:
        yield from map(look, paths)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(look, paths)


def printable(text: str) -> str:
    """File names are bytes: what is no UTF-8 becomes an escape, and control characters do too."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _grouped(opened: list[tuple[DicomFile, str]], passed: Counter[str], broken: Counter[str]) -> Found:
    who = people.subjects(opened)
    found = groups(opened, who.of)
    forgotten = [number(name) for name in people.FORGOTTEN]
    for file, _ in opened:
        if file.path != MEMORY:  # the pseudonym was made of them, and nothing else needs them
            for tag in forgotten:
                file.header.pop(tag, None)
    series = []
    for group in found:
        if group.images:
            series.append(_series(group, broken, found, who.notes.get(group.subject, "")))
        else:
            passed.update(group.others)
    series.sort(key=lambda s: (s.subject, s.study_date, s.study, s.number is None, s.number or 0, s.uid))
    return Found(tuple(series), dict(passed), who.warnings)


def _series(group: Group, broken: Counter[str], found: Sequence[Group], of_subject: str) -> Series:
    images, problems = _one_modality(group.images)
    kept = once(images)
    notes = [f"{kept.copies} × copy of another image"] if kept.copies else []
    notes += [f"{count} × {kind}" for kind, count in group.others.items()]
    notes += group.notes + [of_subject] * bool(of_subject)
    if kept.shared and kept.apart:
        notes.append(f"{kept.shared} images share SOP Instance UIDs")
    elif kept.shared:
        problems.append(
            f"{kept.shared} images share SOP Instance UIDs, and neither number nor position tells them "
            "apart: they are in order of file names"
        )
    images = in_order(kept.images)
    files = tuple(file for file, _ in images)
    empty = sum(not file.has_pixels for file in files)
    if empty == len(files):
        problems.append("no image with pixels")
    elif empty:
        problems.append(f"{empty} of {len(files)} files without pixels")
    folders = sorted({where for _, where in images})
    lost = sum(broken[folder] for folder in folders)
    if lost and all(other is group or not _shares(other, folders) for other in found):
        problems.append(f"{lost} of {lost + len(files)} files unreadable")
    elif lost:
        notes.append(f"{lost} unreadable files beside it, of this or another series")
    where = ", ".join(folders[:MOST_FOLDERS])
    where += f" and {len(folders) - MOST_FOLDERS} more" if len(folders) > MOST_FOLDERS else ""
    return Series(
        group.uid, group.study, group.subject, group.date, group.number, where, files,
        "; ".join(problems), tuple(notes),
    )  # fmt: skip


def _shares(group: Group, folders: list[str]) -> bool:
    return any(where in folders for _, where in group.images)


def _one_modality(images: list[tuple[DicomFile, str]]) -> tuple[list[tuple[DicomFile, str]], list[str]]:
    """Images of one modality: MR where there is any, else the most frequent; the rest is told."""
    counts = Counter(text(file, "Modality") for file, _ in images)
    if len(counts) == 1:
        return images, []
    kept = "MR" if "MR" in counts else counts.most_common(1)[0][0]
    rest = ", ".join(f"{count} {name[:16] or 'unnamed'}" for name, count in counts.items() if name != kept)
    chosen = [pair for pair in images if text(pair[0], "Modality") == kept]
    others = " and ".join(name[:16] or "unnamed" for name in counts if name != kept)
    return chosen, [f"{others} among {kept or 'unnamed'} ({rest} passed over)"]
