"""A DICOM series to a Volume: open headers, choose one stack, order it, load the pixels, straighten.

A file is read in two passes, headers first, so that an irregular series is refused before any pixel is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from radfoundry.errors import ReadError
from radfoundry.io.dicom import DicomFile, check_pixels, is_directory, open_dicom, stored
from radfoundry.io.frames import planes_of, tiles
from radfoundry.io.grid import Irregular, layout, straighten
from radfoundry.io.picture import ct_unit, modality_lut, read_picture
from radfoundry.io.planes import Plane, choose, is_distinguished, order_repeats, place_index, split
from radfoundry.io.source import MAX_VALUES, check_size, kind_of
from radfoundry.types import Frames, Image, Unit, Volume

THREADS = 2
KEPT = "MONOCHROME1: values of a volume are kept as they are"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# CR, DX and friends may carry a position by accident; they are pictures, and so is a lone slice.
Result = Image | Frames | Volume
T = TypeVar("T")


def read_dicom_file(
    path: Path, *, series: str | None = None, echo: float | None = None, stack: int | None = None,
    irregular: Irregular = "refuse", max_values: int = MAX_VALUES,
) -> Result:  # fmt: skip
    """One file: Volume when it holds several planes in space, else Image or Frames."""
    file = open_dicom(path)
    check_pixels(file, max_values=max_values)
    if series is not None:
        _choose_series([file], str(path), series)
    if not _is_colour(file):
        planes = planes_of(file, 0)
        if len(planes) > 1:
            return build(
                [file], planes, str(path), (),
                echo=echo, stack=stack, irregular=irregular, max_values=max_values,
            )  # fmt: skip
    _require_chosen(file, echo, stack)
    return read_picture(file, max_values=max_values)


def _is_colour(file: DicomFile) -> bool:
    return file.whole("SamplesPerPixel", 1) > 1 or file.get("PhotometricInterpretation") == "PALETTE COLOR"


def _require_chosen(file: DicomFile, echo: float | None, stack: int | None) -> None:
    """A single picture is the only stack and echo of its file: asking for another is an error."""
    if stack not in (None, 0):
        raise ReadError(f"{file.path} is a single picture, so it has no stack {stack}. Leave the choice out")
    own = file.get("EchoTime")
    if echo is not None and (own is None or abs(float(own) - echo) >= 0.01):
        raise ReadError(f"{file.path} has an echo time of {own} ms, not {echo:g}. Leave the choice out")


def read_series(
    paths: Sequence[Path], where: str, *, series: str | None = None, echo: float | None = None,
    stack: int | None = None, irregular: Irregular = "refuse", max_values: int = MAX_VALUES,
) -> Result:  # fmt: skip
    """The files of one series as a Volume; a single ordinary file is read as itself.

    Raises ReadError when the files hold several series, stacks or echoes (listed, with how to choose), no
    images, repeats with other pixels, missing or uneven slices, or slices of unequal size.
    """
    files, record = _open_images(paths, where)
    files = _choose_series(files, where, series)
    for file in files:
        check_pixels(file, max_values=max_values)
    options = {"echo": echo, "stack": stack, "irregular": irregular, "max_values": max_values}
    if len(files) == 1:
        return read_dicom_file(files[0].path, **options)  # type: ignore[arg-type]
    coloured = [file for file in files if _is_colour(file)]
    if coloured:
        raise ReadError(
            f"{where} holds {len(coloured)} colour pictures (e.g. {coloured[0].path.name}), and a volume has "
            "one value a voxel. Pass one of the files instead"
        )
    grouped = [planes_of(file, index) for index, file in enumerate(files)]
    lost = [file for file, planes in zip(files, grouped) if not planes]
    if lost:
        raise ReadError(
            f"{where} holds {len(files)} images, {len(lost)} of them without a position in space "
            f"(e.g. {lost[0].path.name}), so they make no volume. Pass one of the files instead"
        )
    planes = [plane for group in grouped for plane in group]
    return build(files, planes, where, record, **options)  # type: ignore[arg-type]


def _open_images(paths: Sequence[Path], where: str) -> tuple[list[DicomFile], tuple[str, ...]]:
    """Headers of the files that are DICOM images; what was passed over is recorded."""
    candidates = [path for path in paths if not is_directory(path)]
    other = [path for path in candidates if not _is_dicom(path)]
    chosen = [path for path in candidates if path not in set(other)]
    files = _map(open_dicom, chosen)
    images = [file for file in files if file.get("Rows") and file.get("Columns")]
    if not images:
        found = f"{len(files)} DICOM files, none of them an image" if files else "no DICOM file"
        raise ReadError(f"{where} holds {found}. Pass the folder of a series, or one image file")
    record: list[str] = []
    if other:
        record.append(f"{len(other)} files that are not DICOM passed over")
    if len(files) > len(images):
        record.append(f"{len(files) - len(images)} DICOM objects without pixels passed over")
    return images, tuple(record)


def _is_dicom(path: Path) -> bool:
    named = path.suffix.lower() in (".dcm", ".ima")
    try:
        kind = kind_of(path)
    except ReadError:
        if named:
            raise  # a slice that was emptied or overwritten is a missing slice, not a stray file
        return False
    if named and kind != "dicom":
        raise ReadError(f"{path} is named like DICOM but is {kind}. Replace it, or move it out of the folder")
    return kind == "dicom"


def _map(work: Callable[..., T], items: Iterable) -> list[T]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, items))


def _choose_series(files: list[DicomFile], where: str, series: str | None) -> list[DicomFile]:
    uids = Counter(str(file.get("SeriesInstanceUID", "")) for file in files)
    if series is not None:
        files = [file for file in files if file.get("SeriesInstanceUID") == series]
        if not files:
            raise ReadError(f"{where} has no series {series}. It holds: {', '.join(uids)}")
        return files
    if len(uids) == 1:
        return files
    lines = []
    for uid, count in uids.items():
        first = next(file for file in files if str(file.get("SeriesInstanceUID", "")) == uid)
        lines.append(f"  series={uid!r}: {file_line(first)}, {count} files")
    raise ReadError(
        f"{where} holds {len(uids)} series. Choose one: read(path, series=<uid>)\n" + "\n".join(lines)
    )


def file_line(file: DicomFile) -> str:
    """Modality and matrix of a file, for the listing of a refusal."""
    return f"{file.get('Modality', '?')} {file.get('Rows')} × {file.get('Columns')}"


def build(
    files: list[DicomFile], planes: list[Plane], where: str, record: tuple[str, ...], *, echo: float | None,
    stack: int | None, irregular: Irregular, max_values: int,
) -> Volume:  # fmt: skip
    """Volume of the chosen stack. The fourth axis, where there is one, is named in the record."""
    chosen = choose(split(planes), where, echo=echo, stack=stack)
    chosen, said = _without_duplicates(files, chosen, where)
    notes = [*record, *said]
    index, name = order_repeats(chosen, place_index(chosen), where)
    if name:
        notes.append(f"4th axis: {index.shape[1]} images at each position, in order of {name}")
    plan = layout([chosen[i] for i in index[:, 0]], where, irregular=irregular)
    first = chosen[index[0, 0]]
    check_size((*index.shape, *first.shape), where, max_values)
    used = [files[number] for number in dict.fromkeys(plane.file for plane in chosen)]
    unit, said_scale = _common_scale(used, where)
    array = _load(files, chosen, index)
    fill = float(array.min()) if plan.tilt_deg else 0.0
    array, affine, said = straighten(array, plan, first.spacing, fill, where, max_values=max_values)
    notes += [*said, *said_scale]
    voxels = array.transpose(3, 2, 1, 0)
    if voxels.shape[3] == 1:
        voxels = voxels[..., 0]
    modality = str(files[first.file].get("Modality", ""))
    return Volume(voxels, LPS_TO_RAS @ affine, unit, modality, where, tuple(notes))


def _common_scale(files: list[DicomFile], where: str) -> tuple[Unit, list[str]]:
    """Unit of the files of one volume, and what is to be said of it; ReadError where they do not share it."""
    scales = {ct_unit(file)[0] for file in files}
    polarities = {file.get("PhotometricInterpretation") == "MONOCHROME1" for file in files}
    if len(scales) > 1 or len(polarities) > 1:
        what = "units (HU and not HU)" if len(scales) > 1 else "polarity (MONOCHROME1 and MONOCHROME2)"
        raise ReadError(f"{where} holds slices of different {what}. Pass the list of files of one kind")
    unit, said = ct_unit(files[0])
    if any(file.get("ModalityLUTSequence") for file in files):
        said = [*said, "modality LUT applied"]
    return unit, [*said, KEPT] if polarities == {True} else said


def _without_duplicates(
    files: list[DicomFile], stack: list[Plane], where: str
) -> tuple[list[Plane], list[str]]:
    """Drop planes that repeat another's pixels at its place; refuse an identity with two contents."""
    place = place_index(stack)
    counts = Counter(place.tolist())
    uids = Counter(plane.uid for plane in stack if plane.uid)
    same_uid = max(uids.values(), default=1) > len({p.frame for p in stack if uids[p.uid] > 1} or {0})
    if max(counts.values()) == 1 or (not same_uid and is_distinguished(stack, place)):
        return stack, []
    kept: list[int] = []
    for i, plane in enumerate(stack):
        twin = next((j for j in kept if place[j] == place[i] and _same(files, stack[j], plane)), None)
        if twin is None:
            clash = next(
                (j for j in kept if stack[j].uid == plane.uid != "" and stack[j].frame == plane.frame), None
            )
            if clash is not None:
                raise ReadError(
                    f"{where} holds two files with the same SOP Instance UID but different content "
                    f"({files[stack[clash].file].path.name} and {files[plane.file].path.name}). "
                    "Remove the wrong one"
                )
            kept.append(i)
    dropped = len(stack) - len(kept)
    return [stack[i] for i in kept], [f"{dropped} duplicate images dropped"] if dropped else []


def _same(files: list[DicomFile], a: Plane, b: Plane) -> bool:
    if (a.slope, a.intercept) != (b.slope, b.intercept):
        return False
    return np.array_equal(_raw_planes(files[a.file], [a])[0], _raw_planes(files[b.file], [b])[0])


def _raw_planes(file: DicomFile, planes: list[Plane]) -> list[np.ndarray]:
    raw = stored(file)
    if planes[0].shape != raw.shape[1:3]:
        raw = tiles(raw[0], max(plane.frame for plane in planes) + 1, planes[0].shape)
    return [raw[plane.frame] for plane in planes]


def _load(files: list[DicomFile], stack: list[Plane], index: np.ndarray) -> np.ndarray:
    """(T, K, rows, columns) float32; each file is opened once, two at a time."""
    array = np.empty((index.shape[1], index.shape[0], *stack[0].shape), np.float32)
    jobs: dict[int, list[tuple[Plane, np.ndarray]]] = {}
    for (k, t), i in np.ndenumerate(index):
        jobs.setdefault(stack[i].file, []).append((stack[i], array[t, k]))

    def fill(number: int) -> None:
        todo, file = jobs[number], files[number]
        has_lut = file.get("ModalityLUTSequence")
        for (plane, target), raw in zip(todo, _raw_planes(file, [plane for plane, _ in todo])):
            if has_lut:
                target[:] = modality_lut(file, raw)
            else:
                rescale(raw, plane.slope, plane.intercept, target)

    _map(fill, jobs)
    return array


def rescale(raw: np.ndarray, slope: float, intercept: float, out: np.ndarray) -> None:
    """out = slope × raw + intercept. Whole numbers stay exact; other slopes are multiplied in float64."""
    if slope == 1.0:
        np.add(raw, np.float32(intercept), out=out, casting="unsafe")
    else:
        np.copyto(out, raw * np.float64(slope) + intercept, casting="same_kind")
