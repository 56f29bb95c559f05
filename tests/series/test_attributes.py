"""Attributes and anatomy are read from headers, and left open where those do not say."""

from __future__ import annotations

import csv
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radfoundry.series import labels
from radfoundry.series.attributes import ANATOMY_WORDS, anatomy_of, plane_of, read_attributes
from radfoundry.series.header import SeriesHeader
from tests._data import data_dir


def made(*, te: tuple[float, ...] = (), ti: tuple[float, ...] = (), **values: Any) -> SeriesHeader:
    """A header with one value a keyword; a list is several values."""
    listed = {key: tuple(value) if isinstance(value, list) else (value,) for key, value in values.items()}
    return SeriesHeader(values=listed, echo_times=te, inversion_times=ti)


def tilted(degrees: float, towards: int = 1) -> tuple[float, float, float]:
    """An axial normal turned by so many degrees towards an axis (0 is x, 1 is y)."""
    parts = [0.0, 0.0, math.cos(math.radians(degrees))]
    parts[towards] = math.sin(math.radians(degrees))
    return (parts[0], parts[1], parts[2])


@pytest.mark.parametrize(
    ("normals", "plane"),
    [
        ((tilted(0),), "axial"),
        ((tilted(29),), "axial"),
        ((tilted(31),), "oblique"),
        ((tilted(45),), "oblique"),
        ((tilted(61),), "coronal"),
        ((tilted(90, 0),), "sagittal"),
        (((-1.0, 0.0, 0.0),), "sagittal"),
        (((0.0, 0.0, -2.0),), "axial"),
        (((1.0, 1.0, 1.0),), "oblique"),
        ((tilted(0), tilted(20)), "axial"),  # spine blocks
        ((tilted(0), tilted(90), tilted(90, 0)), "mixed"),
        ((tilted(0), tilted(40)), "mixed"),
        ((), ""),
        (((0.0, 0.0, 0.0),), ""),
        (((math.nan, 0.0, 1.0),), ""),
    ],
)
def test_plane_is_the_nearest_axis_within_30_degrees(normals: Any, plane: str) -> None:
    assert plane_of(normals) == plane


@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda n: sum(p * p for p in n) > 1e-3))
def test_a_normal_and_its_opposite_are_one_plane(normal: tuple[float, float, float]) -> None:
    assert plane_of([normal]) == plane_of([(-normal[0], -normal[1], -normal[2])]) != ""


@pytest.mark.parametrize(
    ("header", "suppressed"),
    [
        (made(ScanOptions=("PFP", "FS")), True),
        (made(ScanOptions="SFS"), True),
        (made(ScanOptions=("PFP", "SAT1")), False),
        (made(), None),
        (made(SpectrallySelectedSuppression="FAT"), True),
        (made(SpectrallySelectedSuppression="NONE"), False),
        (made(SpectrallySelectedSuppression="WATER"), False),
        (made(SequenceName="*tse2d1_spair"), True),
        (made(ScanningSequence=("SE", "IR"), MagneticFieldStrength=3.0, ti=(220.0,)), True),
        (made(ScanningSequence=("SE", "IR"), MagneticFieldStrength=1.5, ti=(150.0,)), True),
        (made(ScanningSequence=("SE", "IR"), MagneticFieldStrength=0.5, ti=(85.0,)), True),
        (made(ScanningSequence=("SE", "IR"), MagneticFieldStrength=3.0, ti=(85.0,)), None),
        (made(ScanningSequence=("SE", "IR"), MagneticFieldStrength=3.0, ti=(2500.0,)), None),
        (made(ScanningSequence=("GR", "IR"), MagneticFieldStrength=3.0, ti=(220.0,)), None),
        (made(ImageType=("DERIVED", "PRIMARY", "DIXON", "WATER")), True),
        (made(ImageType=("ORIGINAL", "PRIMARY", "M", "IP")), False),
        (made(ImageType=("ORIGINAL", "PRIMARY", "M", "FAT")), False),
        (made(ImageType=[("ORIGINAL", "PRIMARY", "M", "W"), ("ORIGINAL", "PRIMARY", "M", "F")]), None),
    ],
)
def test_fat_suppression(header: SeriesHeader, suppressed: bool | None) -> None:
    assert read_attributes(header).fat_suppressed is suppressed


@pytest.mark.parametrize(
    ("agent", "given"),
    [("GADOVIST", True), ("Dotarem 10 ml", True), ("NONE", False), ("no", False), ("none ", False)],
)
def test_contrast_agent_is_what_the_tag_says(agent: str, given: bool) -> None:
    assert read_attributes(made(ContrastBolusAgent=agent)).contrast_agent is given
    assert read_attributes(made()).contrast_agent is None


def test_dimension_echoes_and_b_values() -> None:
    header = SeriesHeader(
        values={"MRAcquisitionType": ("3D",)}, echo_times=(0.0, 5.0, 10.0), b_values=(0.0, 50.0, 800.0)
    )
    found = read_attributes(header)
    assert (found.dimension, found.echo_times, found.b_values) == ("3D", (5.0, 10.0), (0.0, 50.0, 800.0))
    assert read_attributes(made(MRAcquisitionType=["2D", "3D"])).dimension == ""
    assert read_attributes(SeriesHeader(b_values=(0.0,))).b_values == ()  # written without diffusion
    assert read_attributes(SeriesHeader()) == read_attributes(made())


@pytest.mark.parametrize(
    ("part", "anatomy"),
    [
        ("BRAIN", "Brain"),
        ("HEAD", "Brain"),
        ("CSPINE", "C-spine"),
        ("C-SPINE", "C-spine"),
        ("Cervical Spine", "C-spine"),
        ("TSPINE", "T-spine"),
        ("LSPINE", "L-spine"),
        ("LUMBAR_SPINE", "L-spine"),
        ("LSSPINE", "L-spine"),
        ("SPINE", ""),
        ("TLSPINE", ""),
        ("HEAD AND NECK", ""),
        ("NECK", "Neck"),
        ("KNEE", "Knee"),
        ("LEFT KNEE", "Knee"),
        ("HAND", "Wrist"),
        ("WRIST", "Wrist"),
        ("PELVIS", "Hip"),
        ("HIP", "Hip"),
        ("ELBOW", "Elbow"),
        ("ABDOMEN", "other"),
        ("SHOULDER", "other"),
        ("XYZ", ""),
        ("KNEECAP HEAD", ""),
    ],
)
def test_body_part_words(part: str, anatomy: str) -> None:
    found, why = anatomy_of(made(BodyPartExamined=part))
    assert found == anatomy
    assert why == (f"BodyPartExamined {part} → {anatomy}" if anatomy else "")


@pytest.mark.parametrize(
    ("coil", "anatomy", "word"),
    [
        ("Head_32", "Brain", "HEAD"),
        ("Head_DOE JOHN", "Brain", "HEAD"),  # what somebody typed behind it stays out
        ("8HRBRAIN", "Brain", "HRBRAIN"),
        ("48HAP", "Brain", "48HAP"),
        ("32Ch Head", "Brain", "HEAD"),
        ("HeadNeck_20_TCS", "", ""),
        ("HNS Head Neck", "", ""),
        ("Spine_32", "", ""),
        ("TxRx_Knee_15Ch", "Knee", "TXRX KNEE"),
        ("QUADKNEE", "Knee", "KNEE"),
        ("Hand_Wrist_16", "Wrist", "HAND"),
        ("Shoulder_Large_16", "other", "SHOULDER"),
        ("BODY", "", ""),
        ("MULTI COIL", "", ""),
    ],
)
def test_coils_made_for_one_region_tell_the_anatomy(coil: str, anatomy: str, word: str) -> None:
    found, why = anatomy_of(made(ReceiveCoilName=coil))
    assert found == anatomy
    assert why == (f"coil {word} → {anatomy}" if anatomy else "")


@pytest.mark.parametrize(
    ("part", "coil", "anatomy"),
    [
        ("BRAIN", "TxRx_Knee_15Ch", ""),  # a protocol's default, but a knee coil
        ("LSPINE", "Head_32", ""),
        ("KNEE", "TxRx_Knee_15Ch", "Knee"),
        ("CSPINE", "Head_32", "C-spine"),
        ("KNEE", "BODY", "Knee"),
        ("ANKLE", "Foot_Ankle_16", "other"),
        ("ANKLE", "QUADKNEE", ""),
    ],
)
def test_body_part_and_coil_that_contradict_leave_it_open(part: str, coil: str, anatomy: str) -> None:
    found, why = anatomy_of(made(BodyPartExamined=part, ReceiveCoilName=coil))
    assert found == anatomy and part in why


def test_several_body_parts_are_no_anatomy() -> None:
    assert anatomy_of(made(BodyPartExamined=["KNEE", "HIP"])) == ("", "several body parts: KNEE, HIP")
    assert anatomy_of(made(BodyPartExamined=["HEAD", "BRAIN"]))[0] == "Brain"
    assert anatomy_of(SeriesHeader()) == ("", "")


def test_anatomies_are_the_labels_and_no_word_has_two() -> None:
    assert set(ANATOMY_WORDS) == set(labels.load().anatomies)
    listed = [word for text in ANATOMY_WORDS.values() for word in text.split()]
    assert len(listed) == len(set(listed))


def test_real_series_are_read_as_labelled() -> None:
    """23 series; `Phantom` in the manifest is what lay in the scanner, not what the header can say."""
    root = data_dir("dicom_series")
    tags = pytest.importorskip("radfoundry.series.tags")
    find = pytest.importorskip("radfoundry.series.find")
    told = 0
    with (root / "manifest.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            (series,) = find.find(root / row["series_dir"])
            header = tags.read_header(series, tags.load_tags())
            anatomy, why = anatomy_of(header)
            assert anatomy in ("Brain", ""), why
            assert read_attributes(header).plane in ("axial", "sagittal"), row["series_dir"]
            told += anatomy == "Brain"
    assert told >= 20
