"""Series of a folder tree, or of datasets in memory, by their headers alone."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue

from radfoundry.errors import ReadError
from radfoundry.io.dicom import DicomFile, open_dicom
from radfoundry.io.header import NUMBERS, decode
from radfoundry.io.source import kind_of
from radfoundry.series.images import number
from radfoundry.series.tags import TagList, elements, load_tags

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# fmt: off
IDENTITY = (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "StudyDate", "SeriesNumber",
    "AcquisitionNumber", "InstanceNumber", "Rows", "Columns", "ImageOrientationPatient",
)
# fmt: on
SPECTROSCOPY = "1.2.840.10008.5.1.4.1.1.4.2"
"""MR Spectroscopy Storage: a series without a picture."""
NAMED = (".dcm", ".ima")
MEMORY = Path("memory")
MOST_FOLDERS = 4
LARGEST = 2**31 - 1
"""The largest whole number that DICOM can say (an IS)."""
NOT_DICOM, UNREADABLE_FILE, LINK, HIDDEN = "not DICOM", "unreadable", "link out of the folder", "hidden"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Series:
    """One series. files: headers only, in order of Instance Number, with the elements of `tags.elements`.

    uid: Series Instance UID, or "no-uid-" and a digest where it is missing. study: Study Instance UID or "".
    subject: a pseudonym, eight hexadecimal digits of a digest of Patient ID (of the study where there is
    none). study_date only orders sessions. number: Series Number. where: printable folder below the root.
    problem: what keeps it from being a plain series of images. notes: what was passed over.
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


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below a folder. passed_over: files that are in no series, counted by reason."""

    series: tuple[Series, ...]
    passed_over: dict[str, int]


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
    a network share; on a local disk one is faster. Raises ReadError when the folder does not exist or holds
    no DICOM.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise ReadError(f"{folder} is no folder. Pass a folder of DICOM files; paths start at {Path.cwd()}")
    passed: Counter[str] = Counter()
    paths = list(_walk(folder, passed))
    look = partial(_open, tags=(*IDENTITY, *elements(tags or load_tags())))
    opened: list[tuple[DicomFile, str]] = []
    broken: Counter[str] = Counter()
    for done, (path, file, problem) in enumerate(_map(look, paths, threads), start=1):
        where = _printable(str(path.parent.relative_to(folder)))
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
            f"{passed[UNREADABLE_FILE]} damaged). Pass the folder that holds the DICOM files"
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
        uid = one.uid if re.fullmatch(r"[\w.-]{1,100}", one.uid, re.ASCII) else f"odd-uid-{_digest(one.uid)}"
        found.append(f"{uid}-{_digest(one.study)}" if count[one.uid] > 1 else uid)
    return found


def instances(one: Series) -> list[tuple[str, DicomFile]]:
    """(NUMBER.dcm, file) by Instance Number, or counted in that order where one is missing or repeated."""

    def place(file: DicomFile) -> tuple[int, str, str]:
        try:
            return file.whole("InstanceNumber", -1), str(file.get("SOPInstanceUID", "")), str(file.path)
        except ReadError:
            return -1, "", str(file.path)

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


def hidden(where: str) -> str:
    """A digest in place of the name of a folder, the same for the same name."""
    return f"path-{_digest(where)}"


def without_paths(text: str, one: Series) -> str:
    """What was said of a series, with digests in place of its folders and files.

    A word of the text that happens to be a folder's name, such as T1, stays: messages name a whole path, or
    begin with `where`.

    >>> without_paths("Doe^J: no files; T1 → Doe", Series("1", "", "", "", 1, "Doe^J", ()))
    'path-d6c2115b: no files; T1 → Doe'
    """
    for end in (":", " holds"):
        text = text.replace(f"{one.where}{end}", f"{hidden(one.where)}{end}")
    if os.sep not in text:
        return text
    paths = {path for file in one.files for path in (str(file.path), str(file.path.parent))}
    for name in sorted({*paths, *one.where.split(", ")}, key=len, reverse=True):
        for said in (name, _printable(name)) if os.sep in name else ():
            text = text.replace(said, hidden(name))
    return text


def _walk(root: Path, passed: Counter[str]) -> Iterator[Path]:
    """Files that may be DICOM; what is hidden, a DICOMDIR or a link that leaves the root is counted."""
    inside = root.resolve()
    for here, folders, names in os.walk(root):
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
    except ReadError:
        return path, None, UNREADABLE_FILE if named else NOT_DICOM
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


def _printable(text: str) -> str:
    """File names are bytes: what is no UTF-8 becomes an escape, and control characters do too."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass(slots=True)
class _Group:
    """Files of one series as they come in."""

    uid: str
    study: str
    subject: str
    date: str
    number: int | None
    images: list[tuple[DicomFile, str]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def _grouped(opened: list[tuple[DicomFile, str]], passed: Counter[str], broken: Counter[str]) -> Found:
    groups: dict[tuple[str, ...], _Group] = {}
    for file, where in opened:
        key = _series_key(file, where)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _new_group(key, file, where)
        kind = _no_image(file)
        if kind:
            group.others[kind] += 1
        else:
            group.images.append((file, where))
        if file.path != MEMORY:  # the pseudonym was made of it, and nothing else needs it
            file.header.pop(number("PatientID"), None)
    series = []
    for group in groups.values():
        if group.images:
            series.append(_series(group, broken, groups))
        else:
            passed.update(group.others)
    series.sort(key=lambda s: (s.subject, s.study_date, s.study, s.number is None, s.number or 0, s.uid))
    return Found(tuple(series), dict(passed))


def _text(file: DicomFile, name: str) -> str:
    """An element as text, several values joined by a backslash; "" where it is absent."""
    element = file.header.get_item(number(name))
    value = element.value if element is not None else None
    if value is None:
        return ""
    if isinstance(value, bytes):
        vr = element.VR or dictionary_VR(element.tag)
        if vr in NUMBERS:
            try:
                value = decode(element, vr)
            except ValueError:  # not as long as its VR says
                return ""
        else:
            return value.decode("latin-1").strip(" \0")
    if isinstance(value, list | tuple | MultiValue):
        return "\\".join(str(part) for part in value)
    return str(value).strip(" \0")


def _whole(file: DicomFile, name: str) -> int | None:
    try:
        value = int(float(_text(file, name)))
    except (ValueError, OverflowError):  # absent, or no number
        return None
    return value if -LARGEST - 1 <= value <= LARGEST else None  # a damaged "1e25"


def _series_key(file: DicomFile, where: str) -> tuple[str, ...]:
    uid = _text(file, "SeriesInstanceUID")
    if uid:
        return (uid, _text(file, "StudyInstanceUID"))
    names = ("StudyInstanceUID", "SeriesNumber", "ImageOrientationPatient", "Rows", "Columns", "Modality")
    return ("", where, *(_text(file, name) for name in names))


def _new_group(key: tuple[str, ...], file: DicomFile, where: str) -> _Group:
    study = _text(file, "StudyInstanceUID")
    return _Group(
        key[0] or f"no-uid-{_digest('/'.join(key))}",
        study,
        _digest(_text(file, "PatientID") or study or where),
        _text(file, "StudyDate")[:8],
        _whole(file, "SeriesNumber"),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _no_image(file: DicomFile) -> str:
    """What an object is that has no image, e.g. "SR without an image"; "" for an image."""
    if _whole(file, "Rows") and _whole(file, "Columns"):
        return ""
    if _text(file, "SOPClassUID") == SPECTROSCOPY:
        return ""
    return f"{_text(file, 'Modality')[:16] or 'object'} without an image"


def _series(group: _Group, broken: Counter[str], groups: dict[tuple[str, ...], _Group]) -> Series:
    problems, notes = [], []
    images, said = _one_modality(group.images)
    problems += said
    images, copies = _without_copies(images)
    if copies:
        notes.append(f"{copies} × copy of another image")
    notes += [f"{count} × {kind}" for kind, count in group.others.items()]
    images.sort(key=lambda pair: (_order(pair[0]), str(pair[0].path)))
    files = tuple(file for file, _ in images)
    empty = sum(not file.has_pixels for file in files)
    if empty == len(files):
        problems.append("no image with pixels")
    elif empty:
        problems.append(f"{empty} of {len(files)} files without pixels")
    folders = sorted({where for _, where in images})
    lost = sum(broken[folder] for folder in folders)
    if lost and all(other is group or not _shares(other, folders) for other in groups.values()):
        problems.append(f"{lost} of {lost + len(files)} files unreadable")
    elif lost:
        notes.append(f"{lost} unreadable files beside it, of this or another series")
    where = ", ".join(folders[:MOST_FOLDERS])
    where += f" and {len(folders) - MOST_FOLDERS} more" if len(folders) > MOST_FOLDERS else ""
    return Series(
        group.uid, group.study, group.subject, group.date, group.number, where, files,
        "; ".join(problems), tuple(notes),
    )  # fmt: skip


def _shares(group: _Group, folders: list[str]) -> bool:
    return any(where in folders for _, where in group.images)


def _order(file: DicomFile) -> tuple[bool, int, int]:
    number = _whole(file, "InstanceNumber")
    return number is None, number or 0, _whole(file, "AcquisitionNumber") or 0


def _one_modality(images: list[tuple[DicomFile, str]]) -> tuple[list[tuple[DicomFile, str]], list[str]]:
    """Images of one modality: MR where there is any, else the most frequent; the rest is told."""
    counts = Counter(_text(file, "Modality") for file, _ in images)
    if len(counts) == 1:
        return images, []
    kept = "MR" if "MR" in counts else counts.most_common(1)[0][0]
    rest = ", ".join(f"{count} {name[:16] or 'unnamed'}" for name, count in counts.items() if name != kept)
    chosen = [pair for pair in images if _text(pair[0], "Modality") == kept]
    others = " and ".join(name[:16] or "unnamed" for name in counts if name != kept)
    return chosen, [f"{others} among {kept or 'unnamed'} ({rest} passed over)"]


def _without_copies(images: list[tuple[DicomFile, str]]) -> tuple[list[tuple[DicomFile, str]], int]:
    """Each image once. A copy has the same UID and the same header: some anonymisers make all UIDs alike."""
    by_uid: dict[str, list[tuple[DicomFile, str]]] = {}
    for pair in images:
        by_uid.setdefault(_text(pair[0], "SOPInstanceUID"), []).append(pair)
    if len(by_uid) == len(images):
        return images, 0
    kept: list[tuple[DicomFile, str]] = []
    for uid, pairs in by_uid.items():
        if not uid or len(pairs) == 1:
            kept += pairs
            continue
        seen: dict[Any, tuple[DicomFile, str]] = {}
        for pair in pairs:
            seen.setdefault(_contents(pair[0]), pair)
        kept += seen.values()
    return kept, len(images) - len(kept)


def _contents(file: DicomFile) -> tuple[Any, ...]:
    elements = (file.header.get_item(tag) for tag in file.header.keys())  # noqa: SIM118
    return tuple(
        (int(e.tag), e.value if isinstance(e.value, bytes) else str(e.value))
        for e in elements
        if e is not None
    )
