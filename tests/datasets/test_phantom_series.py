"""Phantom MRI studies: truth against headers, readers and the dcm2niix converter, contrast, corruptions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from scipy import ndimage

from radfoundry.datasets import phantom_series
from radfoundry.datasets.phantom_series import PhantomSeries, draw_study, make, study_of
from radfoundry.datasets.phantom_series_anatomy import Tissue, base_head
from radfoundry.datasets.phantom_series_corruption import CORRUPTIONS, NAMES
from radfoundry.datasets.phantom_series_headers import frames_of, stacks_of
from radfoundry.datasets.phantom_series_pixels import Scene, images
from radfoundry.datasets.phantom_series_plan import MAKERS
from radfoundry.datasets.phantom_series_protocols import ANATOMIES, REGIONS, Draw
from radfoundry.datasets.phantom_series_signal import tissue_signal
from radfoundry.datasets.phantom_series_vendors import VENDORS, draw_scanner
from radfoundry.io.frames import csa_values
from radfoundry.io.reader import read
from radfoundry.series.labels import load
from radfoundry.types import Volume

DRAWN_BY_NONE = {"MRS", "UNKNOWN"}
"""Kinds of labels.yaml that no phantom has: spectra are no images, and what is unknown has no truth."""


def studies(n: int, seed: int = 0, **how) -> list[PhantomSeries]:
    return [one for i in range(n) for one in draw_study(np.random.default_rng((seed, i)), **how)]


@pytest.fixture(scope="module")
def headers() -> list[PhantomSeries]:
    """Series of 110 studies without pixels and without faults."""
    return studies(110, pixels=False, max_files=3, corruption="none")


STUDIES = (("siemens", 2), ("siemens", 12), ("philips", 0), ("ge", 4))
"""Brains in classic and mosaic form, XA, enhanced Philips, and GE."""


@pytest.fixture(scope="module")
def pictured() -> list[PhantomSeries]:
    """Brain series with pixels, of the vendors whose forms differ most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom_series, "FEW_SLICES", 9)
        patch.setattr(phantom_series, "FEW_VOLUMES", 2)
        return [
            one
            for vendor, seed in STUDIES
            for one in draw_study(
                np.random.default_rng((3, seed)), vendor=vendor, anatomy="Brain", corruption="none", size=32
            )
        ]


@pytest.fixture
def tiny(monkeypatch):
    """Series of two slices, for tests that only write."""
    monkeypatch.setattr(phantom_series, "FEW_SLICES", 2)
    monkeypatch.setattr(phantom_series, "FEW_VOLUMES", 1)


def label(one: PhantomSeries) -> str:
    return f"{one.truth['modality']}:{one.truth['kind']}".rstrip(":")


_told: dict[int, tuple[PhantomSeries, dict[str, set]]] = {}


def values(one: PhantomSeries, keyword: str) -> set:
    """All values of a keyword in the data sets of a series and their functional groups."""
    if id(one) not in _told:
        found: dict[str, set] = {}
        stack = list(one.datasets)
        while stack:
            for element in stack.pop():
                if element.VR == "SQ":
                    stack.extend(element.value)
                elif element.keyword and element.value not in (None, ""):
                    value = tuple(element.value) if element.VM > 1 else element.value
                    found.setdefault(element.keyword, set()).add(value)
        _told[id(one)] = one, found
    return _told[id(one)][1].get(keyword, set())


def test_every_label_vendor_and_anatomy_is_drawn(headers):
    known = load()
    expected = set(known.modalities) - {"other"} | {f"other:{kind}" for kind in known.kinds} - {
        f"other:{kind}" for kind in DRAWN_BY_NONE
    }
    assert {label(one) for one in headers} == expected
    assert {one.truth["vendor"] for one in headers} == set(VENDORS)
    assert {one.truth["anatomy"] for one in headers} == set(known.anatomies) == set(ANATOMIES)
    assert {one.truth["form"] for one in headers} == {"classic", "mosaic", "enhanced"}
    commonest, rarest = max(Counter(map(label, headers)).values()), min(Counter(map(label, headers)).values())
    assert rarest * 60 > commonest


def test_a_study_is_the_same_for_the_same_seed_and_another_for_another():
    first, again, other = (
        draw_study(np.random.default_rng(s), anatomy="Knee", size=32, max_files=2) for s in (5, 5, 6)
    )
    assert [d.to_json() for one in first for d in one.datasets] == [
        d.to_json() for one in again for d in one.datasets
    ]
    assert [one.truth for one in first] == [one.truth for one in again]
    assert first[0].truth["study"] != other[0].truth["study"]


def test_headers_alone_tell_the_protocol_of_the_study_with_pixels():
    # A trainer takes tags from headers alone (true matrix) and pixels from the small images.
    kept = ("ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName", "RepetitionTime",
        "FlipAngle", "SliceThickness", "ImageType")  # fmt: skip
    for i in range(2):
        alone = draw_study(np.random.default_rng((8, i)), pixels=False, max_files=2)
        small = draw_study(np.random.default_rng((8, i)), size=32, max_files=2)
        assert [one.truth for one in alone] == [one.truth for one in small]
        for a, b in zip(alone, small):
            for keyword in kept:
                assert a.datasets[0].get(keyword) == b.datasets[0].get(keyword), (label(a), keyword)
            if a.truth["kind"] != "SCREEN":
                assert b.datasets[0].Rows <= a.datasets[0].Rows or a.truth["form"] == "mosaic"


def test_the_truth_is_what_the_headers_say(headers):
    for one in headers[::6]:
        truth, first = one.truth, one.datasets[0]
        assert first.PatientID == truth["patient"] and first.StudyInstanceUID == truth["study"]
        assert first.SeriesNumber == truth["number"]
        if truth["kind"] in ("SCREEN", "NOT-MR"):
            continue
        assert first.MRAcquisitionType == truth["dimension"]
        keyword = "EffectiveEchoTime" if truth["form"] == "enhanced" else "EchoTime"
        assert {float(te) for te in values(one, keyword)} <= set(truth["echo_times"])
        assert bool(values(one, "ContrastBolusAgent")) == truth["contrast_agent"]
        if truth["plane"] != "mixed" and truth["kind"] != "MIP":
            axis = {"sagittal": 0, "coronal": 1, "axial": 2}[truth["plane"]]
            for facing in values(one, "ImageOrientationPatient"):
                normal = np.cross(facing[:3], facing[3:])
                assert np.argmax(np.abs(normal)) == axis


def test_b_values_stand_where_the_vendor_puts_them():
    places = {
        "ge": (0x0043, 0x1039), "siemens": (0x0019, 0x100C), "philips": (0x2001, 0x1003),
        "uih": (0x0065, 0x1009),
    }  # fmt: skip
    for vendor, tag in places.items():
        raw = [
            one
            for one in studies(
                6, seed=21, vendor=vendor, anatomy="Brain", pixels=False, corruption="none", max_files=12
            )
            if one.truth["modality"] == "DWI" and one.truth["form"] != "enhanced"
        ]
        assert raw, vendor
        for one in raw:
            told = {np.atleast_1d(np.array(d[tag].value, float))[0] % 1e9 for d in one.datasets}
            assert told == set(one.truth["b_values"]), vendor


def test_the_csa_header_of_a_mosaic_tells_slices_b_value_and_normal(headers):
    mosaics = [d for one in headers if one.truth["form"] == "mosaic" for d in one.datasets]
    diffusion = 0
    for dataset in mosaics:
        items = csa_values(dataset[0x0029, 0x1010].value)
        tiles = int(items["NumberOfImagesInMosaic"][0])
        side = int(np.ceil(np.sqrt(tiles)))
        assert tiles == dataset[0x0019, 0x100A].value and dataset.Rows % side == 0
        row, column = np.reshape(dataset.ImageOrientationPatient, (2, 3)).astype(float)
        normal = np.array(items["SliceNormalVector"], float)
        assert abs(abs(normal @ np.cross(row, column)) - 1) < 1e-4
        if "B_value" in items:
            diffusion += 1
            assert float(items["B_value"][0]) == dataset[0x0019, 0x100C].value
    assert diffusion


def test_type_1_elements_are_there_and_uids_are_unique_and_from_the_seed(headers):
    classic = ("ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID",
        "StudyInstanceUID", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns",
        "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")  # fmt: skip
    plain = ("ScanningSequence", "SequenceVariant", "PixelSpacing", "ImagePositionPatient",
        "ImageOrientationPatient", "FrameOfReferenceUID", "EchoTrainLength", "EchoTime",
        "SliceThickness")  # fmt: skip
    multi = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
        "DimensionIndexSequence", "DimensionOrganizationSequence", "AcquisitionDateTime", "PulseSequenceName",
        "EchoPulseSequence", "AcquisitionContrast", "ResonantNucleus", "PresentationLUTShape",
        "FrameOfReferenceUID")  # fmt: skip
    seen = Counter()
    for one in headers:
        wanted = classic
        if one.truth["kind"] not in ("SCREEN", "NOT-MR"):
            wanted += multi if one.truth["form"] == "enhanced" else plain
        for dataset in one.datasets:
            assert not [name for name in wanted if name not in dataset], one.truth
            seen[dataset.SOPInstanceUID] += 1
            assert dataset.SOPInstanceUID.startswith("2.25.") and len(dataset.SOPInstanceUID) <= 64
    assert set(seen.values()) == {1}


def test_values_are_valid_for_their_vr(headers):
    """What pydicom would refuse to write: too long a decimal string, a code string in small letters."""
    for one in headers[::20]:
        for dataset in one.datasets:
            for element in dataset:
                items = element.value if element.VM > 1 else [element.value]
                if element.VR == "DS":
                    assert all(len(str(item)) <= 16 for item in items), element
                if element.VR == "CS" and element.keyword != "BodyPartExamined":
                    assert all(len(str(item)) <= 16 or element.keyword == "ImageType" for item in items), (
                        element
                    )
                    assert all(str(item) == str(item).upper() for item in items), element


# --- pixels ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(pictured, tmp_path_factory) -> list[tuple[Path, PhantomSeries]]:
    root = tmp_path_factory.mktemp("series")
    out = []
    for k, one in enumerate(pictured):
        folder = root / f"{k:03d}"
        folder.mkdir()
        for number, dataset in enumerate(one.datasets):
            dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
        out.append((folder, one))
    return out


def test_one_stack_is_read_as_a_volume_of_the_right_size_and_place(written):
    """Every series of a single stack and echo, in the forms of all vendors."""
    forms = Counter()
    for folder, one in written:
        truth = one.truth
        if (
            truth["plane"] == "mixed"
            or truth["kind"] in ("SCREEN", "MIP", "FIELDMAP")
            or len(truth["echo_times"]) > 1
        ):
            continue
        volume = read(folder)
        if not isinstance(volume, Volume):  # a stack of a single slice
            assert len(one.datasets) == 1
            continue
        first = one.datasets[0]
        forms[truth["form"]] += 1
        if truth["form"] == "classic":
            assert (
                volume.array.shape[:2] == (first.Columns, first.Rows)
                or volume.array.shape[0] != first.Columns
            )
            sizes = np.sort(np.linalg.norm(volume.affine[:3, :3], axis=0))
            steps = {float(d.SliceLocation) for d in one.datasets}
            between = np.diff(sorted(steps))[0] if len(steps) > 1 else first.SliceThickness
            expected = np.sort([*map(float, first.PixelSpacing), between])
            np.testing.assert_allclose(sizes, expected, rtol=1e-3)
        assert np.ptp(volume.array) > 0
    assert set(forms) == {"classic", "mosaic", "enhanced"}


def test_series_of_a_study_lie_on_one_another_whatever_plane_and_form(written):
    """The head of one series, looked up in space, is where another's is.

    The mosaics are echo-planar and show no skin, so of these the smaller head has to lie in the larger.
    """
    volumes: dict[str, list[tuple[PhantomSeries, Volume]]] = {}
    for folder, one in written:
        truth = one.truth
        weighted = (
            truth["modality"] in ("T1", "T1c", "T2", "T2-FLAIR", "SWI", "T2*") and not truth["fat_suppressed"]
        )
        packed = truth["form"] == "mosaic" and truth["kind"] in ("BOLD", "EPI", "DSC", "")
        if (weighted or packed) and truth["plane"] != "mixed" and len(truth["echo_times"]) == 1:
            volumes.setdefault(truth["study"], []).append((one, read(folder)))
    planes, forms = Counter(), set()
    for group in volumes.values():
        (first, reference), rest = group[0], group[1:]
        planes[first.truth["plane"]] += 1
        for one, volume in rest:
            a, b = _overlap(reference, volume)
            packed = "mosaic" in (first.truth["form"], one.truth["form"])
            whole = min(a.sum(), b.sum()) if packed else (a.sum() + b.sum()) / 2
            assert (a & b).sum() / whole > (0.85 if packed else 0.75), (first.truth, one.truth)
            forms.add(one.truth["form"])
            planes[one.truth["plane"]] += 1
    assert set(planes) == {"axial", "sagittal", "coronal"} and planes.total() > 8
    assert forms == {"classic", "mosaic", "enhanced"}


def _overlap(reference: Volume, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Head masks of both at the voxels of `volume` that lie inside `reference`."""
    index = np.indices(volume.array.shape[:3]).reshape(3, -1)
    there = np.linalg.inv(reference.affine) @ volume.affine
    at = np.rint(there[:3, :3] @ index + there[:3, 3:]).astype(int)
    inside = ((at >= 0) & (at < np.array(reference.array.shape[:3])[:, None])).all(axis=0)
    arrays = [v.array if v.array.ndim == 3 else v.array[..., 0] for v in (reference, volume)]
    masks = [ndimage.binary_fill_holes(array > 0.4 * array.mean()) for array in arrays]
    return masks[0][tuple(at[:, inside])], masks[1][tuple(index[:, inside])]


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_pixels_show_what_lies_where_the_header_says(plane):
    """The map looked up at Image Position plus rows and columns is the picture, in tilted stacks too."""
    scene = Scene("Brain", 4)
    d = Draw(np.random.default_rng(0), "Brain", 3.0, "ge", "")
    p = next(p for p in (MAKERS["T1"](d) for _ in range(99)) if p.sequence == "mprage")
    p = replace(
        p, planes=(plane,), rows=60, columns=52, spacing=4.0, slices=7, step=9.0, thickness=1.0,
        matrix=(60, 60), tilt=9.0, fat="", agent="",
    )  # fmt: skip
    stacks = stacks_of(p, d, np.zeros(3))
    frames = frames_of(p, stacks, d)
    drawn, _, _ = images(
        p, frames, stacks, scene, draw_scanner(d, "ge"), np.zeros(3), np.random.default_rng(1)
    )
    shown = []
    for frame in frames:
        stack = stacks[frame.stack]
        corner = stack.corner(frame.slice, p.rows, p.columns, p.spacing)
        r, c = np.mgrid[: p.rows, : p.columns] * p.spacing
        shown.append(corner[:, None, None] + stack.row[:, None, None] * c + stack.column[:, None, None] * r)
    at = np.rint(scene.coordinates(np.stack(shown, axis=1).astype(np.float32))).astype(int)
    inside = ((at >= 0) & (at < np.array(scene.map.labels.shape)[:, None, None, None])).all(axis=0)
    expected = scene.signal(tissue_signal(p, 3.0))[tuple(at[:, inside])]
    assert np.corrcoef(expected, drawn[inside])[0, 1] > 0.8


def test_dcm2niix_converts_a_sample(written, tmp_path):
    program = shutil.which(
        "dcm2niix", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if program is None:
        pytest.skip("dcm2niix is not installed (extra dev)")
    sample: dict[tuple, tuple[Path, PhantomSeries]] = {}
    for folder, one in written:
        if one.truth["kind"] != "SCREEN":
            sample.setdefault((one.truth["form"], one.truth["vendor"], one.truth["modality"]), (folder, one))
    chosen = list(sample.values())[::3]
    for number, (folder, one) in enumerate(chosen):
        out = tmp_path / str(number)
        out.mkdir()
        done = subprocess.run(
            [program, "-b", "y", "-z", "n", "-f", "x", "-o", out, folder], capture_output=True, text=True
        )
        assert done.returncode == 0 and list(out.glob("*.nii")), (one.truth, done.stdout)
        told = json.loads(next(out.glob("*.json")).read_text())
        assert (
            told["EchoTime"] * 1000 == pytest.approx(one.truth["echo_times"][0], abs=0.01)
            or len(one.truth["echo_times"]) > 1
        )
    assert {one.truth["form"] for _, one in chosen} == {"classic", "mosaic", "enhanced"}


@pytest.mark.parametrize("tesla", [1.5, 3.0])
def test_contrast_of_fluid_white_and_grey_matter_is_that_of_the_sequence(tesla):
    """T1: white > grey > CSF. T2: CSF > grey > white. FLAIR: CSF darkest. Any protocol that may be drawn."""
    csf, grey, white = (int(t) for t in (Tissue.CSF, Tissue.GREY, Tissue.WHITE))
    seen = Counter()
    for seed in range(60):
        d = Draw(np.random.default_rng(seed), "Brain", tesla, "siemens", "")
        for name in ("T1", "T2", "T2-FLAIR", "DWI", "ADC"):
            p = MAKERS[name if name != "ADC" else "DWI"](d)
            s = tissue_signal(p, tesla, b=max(p.b_values, default=0.0))
            if name == "T1" and p.sequence in ("mprage", "se", "tse", "flash"):
                assert s[white] > s[grey] > s[csf], p
            elif name == "T2" and p.fat != "stir":
                assert s[csf] > s[grey] > s[white], p
            elif name == "T2-FLAIR":
                assert s[csf] < 0.5 * min(s[grey], s[white]) and s[grey] > s[white], p
            elif name == "DWI" and max(p.b_values) >= 900:
                assert s[csf] < 0.6 * s[white], p
            else:
                continue
            seen[name] += 1
    assert min(seen[name] for name in ("T1", "T2", "T2-FLAIR", "DWI")) > 20


def test_fluid_is_dark_in_t1_and_flair_and_bright_in_t2_pixels():
    """The same slices of one head, through all that is done to pixels."""
    scene = Scene("Brain", 3)
    d = Draw(np.random.default_rng(0), "Brain", 3.0, "ge", "")
    scanner = replace(draw_scanner(d, "ge"), tesla=3.0)
    geometry = {"planes": ("axial",), "rows": 64, "columns": 64, "spacing": 3.6, "slices": 9, "step": 5.0,
        "thickness": 3.0, "matrix": (64, 64), "tilt": 0.0}  # fmt: skip
    seen = {}
    for name, sequence in (("T1", "mprage"), ("T2", "tse"), ("T2-FLAIR", "ir-tse")):
        p = next(p for p in (MAKERS[name](d) for _ in range(300)) if p.sequence == sequence and p.fat == "")
        p = replace(p, **geometry)
        g = Draw(np.random.default_rng(1), "Brain", 3.0, "ge", "")
        stacks = stacks_of(p, g, np.zeros(3))
        stored, _, _ = images(
            p, frames_of(p, stacks, g), stacks, scene, scanner, np.zeros(3), np.random.default_rng(7)
        )
        seen[name] = stored[:, 16:48, 20:44].astype(float)  # deep in the brain
    fluid = seen["T2"] > np.quantile(seen["T2"], 0.95)
    tissue = (seen["T2"] < np.quantile(seen["T2"], 0.7)) & (seen["T2"] > np.quantile(seen["T2"], 0.1))
    assert seen["T1"][fluid].mean() < 0.7 * seen["T1"][tissue].mean()
    assert seen["T2-FLAIR"][fluid].mean() < 0.8 * seen["T2-FLAIR"][tissue].mean()
    assert np.corrcoef(seen["T1"].ravel(), seen["T2"].ravel())[0, 1] < -0.3


def test_a_head_can_be_drawn_without_nilearn():
    head = base_head(mni=False)
    assert head.labels.shape == base_head().labels.shape
    for tissue in (Tissue.GREY, Tissue.WHITE, Tissue.CSF, Tissue.CORTICAL, Tissue.FAT, Tissue.ARTERY):
        assert (head.labels == tissue).mean() > 1e-4, tissue


@pytest.mark.parametrize("part", sorted(REGIONS))
def test_every_body_part_has_pixels_of_many_tissues(part):
    scene = Scene(part, 1)
    present = set(np.unique(scene.map.labels).tolist())
    assert len(present) >= 7 and {
        int(Tissue.AIR),
        int(Tissue.FAT),
        int(Tissue.MUSCLE),
        int(Tissue.MARROW),
    } <= present | ({int(Tissue.MARROW)} if part == "Breast" else set())
    anatomy = part if part in ANATOMIES else "other"
    p = MAKERS["T1"](Draw(np.random.default_rng(2), part, 1.5, "ge", ""))
    one = phantom_series.reduced(p, 32)
    d = Draw(np.random.default_rng(3), part, 1.5, "ge", "")
    stacks = stacks_of(one, d, np.zeros(3))
    scanner = draw_scanner(Draw(np.random.default_rng(4), part, 1.5, "ge", ""), "ge")
    drawn, _, _ = images(
        one, frames_of(one, stacks, d), stacks, scene, scanner, np.zeros(3), np.random.default_rng(5)
    )
    inside = drawn > 0.15 * np.percentile(drawn, 99)
    assert 0.05 < inside.mean() < 0.99 and drawn[inside].std() > 0.1 * drawn[inside].mean(), anatomy


# --- corruptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_is_recorded_and_changes_nothing_but_what_it_says(name):
    sound = studies(3, seed=11, pixels=False, max_files=2, corruption="none")
    spoiled = studies(3, seed=11, pixels=False, max_files=2, corruption=name)
    hit = [(a, b) for a, b in zip(sound, spoiled) if b.truth["corruption"] == name]
    assert hit
    for before, after in zip(sound, spoiled):
        expected = {**before.truth, "corruption": after.truth["corruption"]}
        assert dict(after.truth) == expected
    for before, after in hit:
        _CHECKS[name](before, after)


def _anonymised(before: PhantomSeries, after: PhantomSeries) -> None:
    for keyword in NAMES:
        assert not values(after, keyword)
    assert not [e for d in after.datasets for e in d if e.tag.is_private]
    assert all(len(kind) <= 3 for kind in values(after, "ImageType"))
    assert values(before, "SeriesDescription")


def _wrong_part(before: PhantomSeries, after: PhantomSeries) -> None:
    assert values(after, "BodyPartExamined") and values(after, "BodyPartExamined") != values(
        before, "BodyPartExamined"
    )
    assert values(after, "SeriesDescription") == values(before, "SeriesDescription")


def _fewer_numbers(before: PhantomSeries, after: PhantomSeries) -> None:
    gone = {n for n in ("RepetitionTime", "EchoTime", "EffectiveEchoTime", "FlipAngle", "InversionTime",
        "EchoTrainLength", "PixelBandwidth", "MagneticFieldStrength", "NumberOfAverages",
        "SpacingBetweenSlices", "AcquisitionMatrix", "EchoNumbers") if values(before, n) and not values(after,
        n)}  # fmt: skip
    assert gone
    assert values(after, "ScanningSequence") == values(before, "ScanningSequence")


def _other_vr(before: PhantomSeries, after: PhantomSeries) -> None:
    pairs = [(a[e.tag], e) for a, b in zip(before.datasets, after.datasets) for e in b if e.tag.is_private]
    assert any(a.VR != b.VR for a, b in pairs)
    assert values(after, "SequenceName") == values(before, "SequenceName")


def _other_text(before: PhantomSeries, after: PhantomSeries) -> None:
    assert (
        values(after, "SeriesDescription")
        == values(after, "ProtocolName")
        != values(before, "SeriesDescription")
    )


def _no_agent(before: PhantomSeries, after: PhantomSeries) -> None:
    assert values(before, "ContrastBolusAgent") and not values(after, "ContrastBolusAgent")
    assert after.truth["contrast_agent"]


def _no_type(before: PhantomSeries, after: PhantomSeries) -> None:
    assert values(before, "ImageType") and not values(after, "ImageType") and not values(after, "FrameType")


_CHECKS = {
    "anonymised": _anonymised, "wrong-body-part": _wrong_part, "missing-numbers": _fewer_numbers,
    "wrong-vr": _other_vr,
    "garbled-description": _other_text, "emptied-agent": _no_agent, "no-image-type": _no_type,
}  # fmt: skip


def test_mixed_corruption_leaves_about_half_of_the_series_alone():
    drawn = Counter(one.truth["corruption"] for one in studies(40, seed=4, pixels=False, max_files=1))
    assert set(drawn) == {"none", *CORRUPTIONS}
    assert 0.3 < drawn["none"] / drawn.total() < 0.65


# --- writing --------------------------------------------------------------------------------------------


def test_make_writes_studies_whose_number_does_not_change_them(tmp_path, tiny):
    how = {"seed": 2, "vendors": ("philips",), "anatomies": ("Hip", "Knee"), "size": 32}
    two = make(tmp_path / "two", n=2, **how)
    one = make(tmp_path / "one", n=1, **how)
    assert list(one["series_uid"]) == list(two["series_uid"])[: len(one)]
    assert set(two["anatomy"]) <= {"Hip", "Knee"} and set(two["vendor"]) == {"philips"}
    table = pd.read_csv(tmp_path / "two" / "truth.csv", keep_default_na=False)
    assert list(table.columns) == list(phantom_series.COLUMNS) and len(table) == len(two)
    for row in table.itertuples():
        files = sorted((tmp_path / "two" / row.series).glob("*.dcm"))
        assert (
            files and pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID == row.series_uid
        )
    assert not list(tmp_path.rglob(".*"))


def test_an_interrupted_make_leaves_no_half_study_and_goes_on(tmp_path, monkeypatch, tiny):
    how = {"n": 2, "seed": 3, "vendors": ("ge",), "anatomies": ("Knee",), "size": 32}
    whole = make(tmp_path / "whole", **how)
    saves = iter(range(10**6))
    save = pydicom.Dataset.save_as

    def failing(self, *args, **kwargs):
        if next(saves) == len(list((tmp_path / "whole" / "study-0000").rglob("*.dcm"))) + 3:
            raise OSError("no space left on device")
        return save(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(pydicom.Dataset, "save_as", failing)
        with pytest.raises(OSError, match="no space"):
            make(tmp_path / "broken", **how)
    assert [p.name for p in (tmp_path / "broken").iterdir() if not p.name.startswith(".")] == ["study-0000"]
    kept = (tmp_path / "broken" / "study-0000" / "series-01" / "00001.dcm").stat().st_mtime_ns
    again = make(tmp_path / "broken", **how)
    pd.testing.assert_frame_equal(whole, again)
    assert (tmp_path / "broken" / "study-0000" / "series-01" / "00001.dcm").stat().st_mtime_ns == kept
    assert sorted(p.relative_to(tmp_path / "broken") for p in (tmp_path / "broken").rglob("*.dcm")) == sorted(
        p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.dcm")
    )


@pytest.mark.parametrize(
    "wrong",
    [{"vendor": "acme"}, {"anatomy": "Tail"}, {"corruption": "coffee"}, {"size": 8}, {"max_files": 0}],
)
def test_a_wrong_argument_is_named_with_what_is_known(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        draw_study(np.random.default_rng(0), **wrong)


def test_how_many_series_a_second_are_drawn(capsys):
    start = time.perf_counter()
    alone = studies(12, pixels=False, max_files=4)
    middle = time.perf_counter()
    drawn = study_of(0, seed=1)
    end = time.perf_counter()
    with capsys.disabled():
        rates = len(alone) / (middle - start), len(drawn) / (end - middle)
        print("\n{:.0f} headers and {:.1f} series with pixels a second".format(*rates))
    assert all("PixelData" in d for one in drawn for d in one.datasets)
    assert not any("PixelData" in d for one in alone for d in one.datasets)
