"""Phantom MRI studies in DICOM whose truth is known: they train the series sorter and check it.

A study is a patient on one scanner: localiser, reference scan, and a choice of series that fits the body
part, with the header dialect of the vendor, spoiled headers among them, and pixels whose contrast follows
from the signal equation of the sequence. Study i of a seed is the same whatever the number of studies, and
has the same series with and without pixels; with pixels, matrix, slices and volumes are fewer.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry.datasets import phantom_series_protocols as protocols
from radfoundry.datasets.phantom_series_corruption import CORRUPTIONS
from radfoundry.datasets.phantom_series_enhanced import capture, computed, enhanced
from radfoundry.datasets.phantom_series_ge import ge
from radfoundry.datasets.phantom_series_headers import (
    Identity,
    Series,
    classic,
    frames_of,
    mosaic,
    series_elements,
    stacks_of,
    thinned,
)  # fmt: skip
from radfoundry.datasets.phantom_series_others import canon, hitachi, hyperfine
from radfoundry.datasets.phantom_series_philips import philips
from radfoundry.datasets.phantom_series_plan import plan_of
from radfoundry.datasets.phantom_series_protocols import (
    ANATOMIES,
    OTHERS,
    SUPPRESSED,
    Draw,
    Protocol,
)
from radfoundry.datasets.phantom_series_siemens import siemens, uih
from radfoundry.datasets.phantom_series_vendors import VENDORS, Dialect, Scanner, draw_scanner

if TYPE_CHECKING:
    import pandas as pd
    from pydicom.dataset import Dataset

CODE_VERSION = "2"
"""Raise it when a study of the same seed would differ, so that nothing kept from older ones is used."""
DIALECTS: dict[str, Callable[[Protocol, Scanner, Draw], Dialect]] = {
    "siemens": siemens, "ge": ge, "philips": philips, "uih": uih, "canon": canon, "hitachi": hitachi,
    "hyperfine": hyperfine,
}  # fmt: skip
PARTS = {"Brain": 0.46, "Neck": 0.06, "C-spine": 0.07, "T-spine": 0.06, "L-spine": 0.07, "Wrist": 0.05,
    "Hip": 0.06, "Elbow": 0.05, "Knee": 0.06, "other": 0.06}  # fmt: skip
"""Anatomies and how often a study is of each."""
SOUND = 0.5
"""Share of series whose headers are left as they are, when corruption is mixed."""
SMALL, FEW_SLICES, FEW_VOLUMES = 96, 16, 3


@dataclass(frozen=True)
class PhantomSeries:
    """One series: its data sets, in the order of their numbers, and what is true about it.

    truth: modality, kind, anatomy, part, plane, dimension, fat_suppressed, contrast_agent, b_values,
    echo_times, vendor, form (classic, mosaic, enhanced), corruption, study, patient, number; and of the
    series in full, n_files and n_images, where fewer data sets were drawn.
    """

    datasets: tuple[Dataset, ...]
    truth: Mapping[str, Any]


def draw_study(
    rng: np.random.Generator, *, vendor: str | None = None, anatomy: str | None = None,
    corruption: str = "mixed",
    size: int | None = None, pixels: bool = True, max_files: int | None = None,
) -> list[PhantomSeries]:  # fmt: skip
    """One study in memory. The same rng state gives the same series with and without pixels.

    vendor, anatomy: one of VENDORS and protocols.ANATOMIES; None: drawn. corruption: mixed, none, or the one
    of CORRUPTIONS that all series suffer where they can. size: largest matrix of the pixels (default 96).
    max_files: a handful of data sets a series (and of frames), for speed; with pixels=False the matrix and
    the slices are those of the protocol.
    """
    _check(vendor, anatomy, corruption, size, max_files)
    vendor = vendor or _weighted(rng, VENDORS)
    if anatomy is None:
        anatomy = "Brain" if vendor == "hyperfine" else _weighted(rng, PARTS)
    part = str(rng.choice(OTHERS)) if anatomy == "other" else anatomy
    scanner = draw_scanner(Draw(rng, part, 1.5, vendor, ""), vendor)
    agent = str(rng.choice(protocols.AGENTS)) if rng.random() < 0.55 else ""
    d = Draw(rng, part, scanner.tesla, vendor, agent)
    who = _identity(rng, part)
    plan = plan_of(d)
    spoiled = rng.random() < 0.2  # the whole study went through an anonymiser
    seeds = rng.integers(0, 2**62, size=(len(plan), 3))
    scene = None
    out = []
    for rank, protocol in enumerate(plan):
        own = Draw(np.random.default_rng(int(seeds[rank, 0])), part, scanner.tesla, vendor, agent)
        if pixels and scene is None:
            from radfoundry.datasets.phantom_series_pixels import Scene

            scene = Scene(part, int(seeds[0, 2]))
        series, form, full = _series(
            protocol, own, scanner, who, rank, scene, size, max_files, int(seeds[rank, 2])
        )
        damage = np.random.default_rng(int(seeds[rank, 1]))
        name = _damage(series, corruption, spoiled, protocol, damage)
        out.append(
            PhantomSeries(tuple(series), _truth(protocol, anatomy, scanner, form, name, who, series, full))
        )
    return out


def _series(
    p: Protocol, d: Draw, scanner: Scanner, who: Identity, rank: int, scene: Any, size: int | None,
    max_files: int | None, seed: int,
) -> tuple[list[Dataset], str, tuple[int, int, int]]:  # fmt: skip
    """(data sets, form, number of files, images and slice positions of the series in full)."""
    special = {"other:SCREEN": capture, "other:NOT-MR": computed}.get(p.label)
    dialect = Dialect({}, lambda frame: ()) if special else DIALECTS[scanner.vendor](p, scanner, d)
    shared = series_elements(p, d, scanner, who, _number(scanner.vendor, p, rank), rank)
    geometry = int(d.rng.integers(2**62))
    full = _counts(p, dialect.form)
    if scene is not None:
        p = reduced(p, size or SMALL)
    d.rng = np.random.default_rng(geometry)
    stacks = stacks_of(p, d, who.origin)
    frames = frames_of(p, stacks, d, max_files)
    if dialect.form == "mosaic":
        frames = (
            [f for f in frames if f.slice == 0] if scene is None else frames
        )  # one object, whatever its slices
    else:
        frames = thinned(frames, max_files)
    drawn, slope, intercept = None, 1.0, 0.0
    if scene is not None:
        from radfoundry.datasets.phantom_series_pixels import images

        drawn, slope, intercept = images(
            p, frames, stacks, scene, scanner, who.origin, np.random.default_rng(seed)
        )
    series = Series(p, dialect, scanner, who, rank, shared, stacks, frames, drawn, slope, intercept)
    writer = special or {"classic": classic, "mosaic": mosaic, "enhanced": enhanced}[dialect.form]
    return writer(series), "classic" if special else dialect.form, full


def reduced(p: Protocol, size: int) -> Protocol:
    """The protocol with at most `size` rows, and few slices and volumes over the same field of view."""
    rows = min(p.rows, size)
    extent = p.slices * p.step
    single = p.image == "turning-mip" or p.label in ("other:SCREEN",)
    slices = min(p.slices, FEW_SLICES if len(p.planes) == 1 else 4)
    volumes = min(p.volumes, FEW_VOLUMES)
    directions = min(p.directions, FEW_VOLUMES)
    columns = max(2, round(rows * p.columns / p.rows / 2) * 2)
    return replace(
        p, rows=rows, columns=columns, spacing=round(p.spacing * p.rows / rows, 6), slices=min(slices,
        8) if single else slices, volumes=volumes,
        directions=directions, step=p.step if single or slices == p.slices else round(extent / slices, 4),
        tes=p.tes[:4],
    )  # fmt: skip


# --- the study and its truth ----------------------------------------------------------------------------


def _number(vendor: str, p: Protocol, rank: int) -> int:
    derived = p.image not in ("magnitude", "asl", "phase", "phasediff", "trace")
    if vendor == "philips":
        return (rank + 1) * 100 + (2 if derived else 1)
    return (rank + 1) * 100 if vendor == "ge" and derived else rank + 1


def _identity(rng: np.random.Generator, part: str) -> Identity:
    """An invented patient and study."""
    base = int.from_bytes(rng.bytes(15), "little") | 1 << 118
    patient = f"PHANTOM-{int(rng.integers(10**6)):06d}"
    when = date(2005, 1, 1) + timedelta(days=int(rng.integers(0, 7300)))
    age = int(rng.integers(18, 90))
    who = Identity("", patient, base, {}, "", rng.uniform(-12, 12, 3) * (1, 1, 2))
    elements = {
        "StudyInstanceUID": who.uid(0), "StudyDate": when.strftime("%Y%m%d"), "StudyTime": "080000",
        "StudyID": str(int(rng.integers(1, 9999))), "AccessionNumber": f"P{int(rng.integers(10**7)):07d}",
        "StudyDescription": f"MRI {part}".upper(),
        "PatientName": f"PHANTOM^{patient[-3:]}", "PatientID": patient,
        "PatientBirthDate": f"{when.year - age}0101", "PatientSex": "F" if rng.random() < 0.5 else "M",
        "PatientAge": f"{age:03d}Y", "PatientWeight": round(float(rng.normal(75, 14)), 1),
        "ReferringPhysicianName": "", "InstitutionName": "Phantom Hospital",
        "StationName": f"MR{int(rng.integers(1, 9))}",
    }  # fmt: skip
    return replace(who, study=who.uid(0), elements=elements, reference=who.uid(4))


def _counts(p: Protocol, form: str) -> tuple[int, int, int]:
    """(files, images, slice positions) of the whole series."""
    stacks = p.slices if p.image == "turning-mip" else p.slices * len(p.planes)
    repeats = p.volumes if p.image in ("magnitude", "trace", "asl", "m0", "subtraction") else 1
    if p.b_values and p.image in ("magnitude", "trace"):
        repeats = sum(1 if b == 0 or p.image == "trace" else max(p.directions, 1) for b in p.b_values)
    images = stacks * max(len(p.tes), 1) * repeats
    files = images if form == "classic" else images // p.slices if form == "mosaic" else 1
    return files, images, stacks


def _truth(
    p: Protocol, anatomy: str, scanner: Scanner, form: str, corruption: str, who: Identity,
    series: Sequence[Dataset], full: tuple[int, int, int]
) -> dict[str, Any]:  # fmt: skip
    return {
        "modality": p.modality, "kind": p.kind, "anatomy": anatomy, "part": p.anatomy, "plane": p.plane,
        "dimension": p.dimension, "fat_suppressed": p.fat in SUPPRESSED, "contrast_agent": bool(p.agent),
        "b_values": tuple(p.b_values) if p.image in ("magnitude", "trace") else (),
        "echo_times": tuple(p.tes), "vendor": scanner.vendor, "form": form, "corruption": corruption,
        "study": who.study, "patient": who.patient, "number": int(series[0].SeriesNumber), "n_files": full[0],
        "n_images": full[1], "n_positions": full[2],
    }  # fmt: skip


def _damage(
    series: Sequence[Dataset], corruption: str, spoiled: bool, p: Protocol, rng: np.random.Generator
) -> str:
    """Spoil the headers of one series; the name of what was done."""
    if corruption == "none" or p.label in ("other:SCREEN", "other:NOT-MR"):
        return "none"
    name = corruption
    if corruption == "mixed":
        if not spoiled and rng.random() < SOUND:
            return "none"
        options = [key for key in CORRUPTIONS if key != "emptied-agent" or p.agent]
        name = "anonymised" if spoiled else str(rng.choice(options))
    return name if CORRUPTIONS[name](series, rng) else "none"


def _weighted(rng: np.random.Generator, table: Mapping[str, float]) -> str:
    shares = np.array(list(table.values()))
    return str(rng.choice(list(table), p=shares / shares.sum()))


# --- files ----------------------------------------------------------------------------------------------

COLUMNS = (
    "study", "patient", "series", "series_uid", "number", "modality", "kind", "anatomy", "part", "plane",
    "dimension", "fat_suppressed", "contrast_agent", "b_values", "echo_times", "vendor", "form", "corruption",
    "n_files", "n_images",
)  # fmt: skip
"""Columns of truth.csv, a row a series; b_values and echo_times are joined by blanks."""


def make(
    out: Path | str, *, n: int = 20, seed: int = 0, vendors: Sequence[str] = (),
    anatomies: Sequence[str] = (), corruption: str = "mixed", size: int | None = None,
    progress: Callable[[int, int], None] | None = None, workers: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """Write `n` studies as out/<study>/<series>/*.dcm and their truth as out/truth.csv, which is returned.

    Columns: see COLUMNS; series is the folder below `out`. vendors, anatomies: those to draw from, all when
    empty; size: as in `draw_study`. A study is written under a temporary name and renamed when whole, and
    one that lies there already is not drawn again; truth.csv appears last. progress is called with (done, n).
    workers: processes that draw; above 1 a script needs the usual `if __name__ == "__main__"` guard.
    """
    import pandas as pd

    if n < 1:
        raise ValueError(f"n must be 1 or more, not {n}")
    for vendor, anatomy in [(v, None) for v in vendors] + [(None, a) for a in anatomies]:
        _check(vendor, anatomy, corruption, size, None)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    work = functools.partial(
        _write_study,
        out=out,
        seed=seed,
        vendors=tuple(vendors),
        anatomies=tuple(anatomies),
        corruption=corruption,
        size=size,
    )
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        each: Callable[..., Iterator[list[dict[str, Any]]]] = map
        if workers > 1 and n > 1:
            context = multiprocessing.get_context("spawn")  # fork is not safe once torch has threads
            each = stack.enter_context(ProcessPoolExecutor(min(workers, n), context)).map
        for done, found in enumerate(each(work, range(n)), 1):
            rows += found
            if progress is not None:
                progress(done, n)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    partial = out / ".truth.csv.partial"
    table.to_csv(partial, index=False)
    partial.replace(out / "truth.csv")
    return table


def study_of(
    i: int, *, seed: int = 0, vendors: Sequence[str] = (), anatomies: Sequence[str] = (), **how: Any
) -> list[PhantomSeries]:
    """Study number i of a seed, in memory; how: further arguments of `draw_study`."""
    rng = np.random.default_rng((seed, i))
    vendor = str(rng.choice(list(vendors))) if vendors else None
    anatomy = str(rng.choice(list(anatomies))) if anatomies else None
    if vendor == "hyperfine":
        anatomy = None
    return draw_study(rng, vendor=vendor, anatomy=anatomy, **how)


def _write_study(
    i: int,
    out: Path,
    seed: int,
    vendors: tuple[str, ...],
    anatomies: tuple[str, ...],
    corruption: str,
    size: int | None,
) -> list[dict[str, Any]]:
    """One study on disk and its rows; a function of its own so that a process can run it."""
    how: dict[str, Any] = {"vendors": vendors, "anatomies": anatomies, "corruption": corruption, "size": size}
    name = f"study-{i:04d}"
    final, partial = out / name, out / f".{name}.partial"
    there = final.is_dir()
    series = study_of(i, pixels=not there, max_files=1 if there else None, seed=seed, **how)
    if there:
        return [_row(one, f"{name}/{_folder(k)}") for k, one in enumerate(series)]
    shutil.rmtree(partial, ignore_errors=True)
    for k, one in enumerate(series):
        folder = partial / _folder(k)
        folder.mkdir(parents=True)
        for number, dataset in enumerate(one.datasets, 1):
            dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    partial.replace(final)
    return [_row(one, f"{name}/{_folder(k)}") for k, one in enumerate(series)]


def _folder(k: int) -> str:
    return f"series-{k + 1:02d}"


def _row(one: PhantomSeries, folder: str) -> dict[str, Any]:
    joined = {name: " ".join(f"{v:g}" for v in one.truth[name]) for name in ("b_values", "echo_times")}
    uid = str(one.datasets[0].SeriesInstanceUID)
    return {**one.truth, **joined, "series": folder, "series_uid": uid}


def _check(
    vendor: str | None, anatomy: str | None, corruption: str, size: int | None, max_files: int | None
) -> None:
    faults = {
        f"vendor is one of {', '.join(VENDORS)}, not {vendor!r}": vendor is not None
        and vendor not in VENDORS,
        f"anatomy is one of {', '.join(ANATOMIES)}, not {anatomy!r}": anatomy is not None
        and anatomy not in ANATOMIES,
        f"corruption is mixed, none or one of {', '.join(CORRUPTIONS)}, not {corruption!r}": corruption
        not in ("mixed", "none", *CORRUPTIONS),
        f"size is 32 pixels or more, not {size}": size is not None and size < 32,
        f"max_files is 1 or more, not {max_files}": max_files is not None and max_files < 1,
        "hyperfine images brains only": vendor == "hyperfine" and anatomy not in (None, "Brain"),
    }  # fmt: skip
    for message, wrong in faults.items():
        if wrong:
            raise ValueError(message)
