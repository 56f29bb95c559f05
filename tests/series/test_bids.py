"""BIDS names, conversion by dcm2niix, and the validator's word on the tree."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from radfoundry import optional
from radfoundry.datasets import phantom_series
from radfoundry.errors import MissingExtra, ReadError
from radfoundry.io.dicom import DicomFile
from radfoundry.series import bids
from radfoundry.series import labels as names
from radfoundry.series.bids import Target, convert, plan
from radfoundry.series.classify import classify
from radfoundry.series.dcm2niix_program import warnings_of
from radfoundry.series.find import Series, find
from radfoundry.series.organise import Index, organise
from radfoundry.series.verdict import Attributes, Verdict
from tests._data import data_dir

LABELS = names.load()
VALIDATOR = shutil.which(
    "bids-validator-deno", path=f"{Path(sys.executable).parent}:{'/usr/local/bin:/usr/bin'}"
)
needs_dcm2niix = pytest.mark.skipif(
    not (optional.available("dcm2niix") or shutil.which("dcm2niix")), reason="dcm2niix is not installed"
)


def series(
    uid: str = "1",
    *,
    study: str = "9",
    subject: str = "ab12",
    date: str = "",
    number: int | None = None,
    files: int = 1,
    image_type: str = "",
    problem: str = "",
) -> Series:
    header = Dataset()
    if image_type:
        header.ImageType = image_type.split("/")
    some = tuple(DicomFile(Path(f"{i}.dcm"), header, None, 1) for i in range(files))
    return Series(uid, study, subject, date, number, "in", some, problem)


def said(label: str, anatomy: str = "Brain", **attributes: Any) -> Verdict:
    modality, _, kind = label.partition(":")
    return Verdict("1", modality, kind, anatomy, attributes=Attributes(**attributes))


# --- names


@pytest.mark.parametrize(
    ("verdict", "path"),
    [
        (said("T1", plane="axial", dimension="2D"), "anat/sub-ab12_ses-1_acq-Ax2D_T1w.nii.gz"),
        (said("T1c"), "anat/sub-ab12_ses-1_ce-agent_T1w.nii.gz"),
        (
            said("T2-FLAIR", "L-spine", plane="sagittal", dimension="3D", fat_suppressed=True),
            "anat/sub-ab12_ses-1_acq-LspineSag3DFs_FLAIR.nii.gz",
        ),
        (said("SWI", plane="axial"), "anat/sub-ab12_ses-1_acq-swiAx_T2starw.nii.gz"),
        (said("DWI", plane="axial"), "dwi/sub-ab12_ses-1_dwi.nii.gz"),
        (said("ADC"), "dwi/sub-ab12_ses-1_ADC.nii.gz"),
        (said("other:BOLD"), "func/sub-ab12_ses-1_task-unknown_bold.nii.gz"),
        (said("other:EPI"), "fmap/sub-ab12_ses-1_epi.nii.gz"),
        (said("MRA", "other"), "anat/sub-ab12_ses-1_angio.nii.gz"),
    ],
)
def test_a_label_has_its_place(verdict: Verdict, path: str) -> None:
    assert plan([series()], [verdict], LABELS)[0].path == f"sub-ab12/ses-1/{path}"


def test_asl_is_held_in_sourcedata_since_its_context_is_not_told() -> None:
    target = plan([series()], [said("ASL")], LABELS)[0]
    assert target.path == "sourcedata/sub-ab12/ses-1/perf/sub-ab12_ses-1_asl.nii.gz"
    assert "aslcontext.tsv" in target.held


@pytest.mark.parametrize(
    ("one", "verdict", "reason"),
    [
        (series(), said("LOC"), "no place in BIDS: localiser"),
        (series(), said("other:MIP"), "derived: projection or reformat of another series"),
        (series(), said("other:UNKNOWN"), "no place in BIDS: of no known kind"),
        (series(problem="2 of 4 files unreadable"), said("T1"), "2 of 4 files unreadable"),
        (series(files=0), said("T1"), "no files"),
        (series(), replace(said("T1"), unsure=True), "unsure"),
    ],
)
def test_what_has_no_place_is_left_out(one: Series, verdict: Verdict, reason: str) -> None:
    target = plan([one], [verdict], LABELS, only_sure=True)[0]
    assert (target.left_out, target.path) == (reason, "")


def test_sessions_are_numbered_by_date_and_subjects_apart() -> None:
    found = bids.sessions(
        [
            series("1", study="c", date="20200301"),
            series("2", study="a", date="20210101"),
            series("3", study="b"),
            series("4", study="c", date="20200301"),
            series("5", study="z", subject="cd", date="20250101"),
        ]
    )
    assert found == [("ab12", 1), ("ab12", 2), ("ab12", 3), ("ab12", 1), ("cd", 1)]


def test_runs_are_numbered_only_where_names_clash() -> None:
    many = [series("1", number=7), series("2", number=3), series("3", number=5)]
    targets = plan(many, [said("T2"), said("T2"), said("T1")], LABELS)
    assert [dict(t.entities).get("run") for t in targets] == ["2", "1", None]


@settings(max_examples=60, deadline=None)
@given(
    st.permutations(range(8)),
    st.lists(st.sampled_from(["T1", "T2", "other:BOLD", "DWI", "LOC"]), min_size=8, max_size=8),
)
def test_the_plan_does_not_depend_on_the_order_of_reading(order: list[int], labels: list[str]) -> None:
    many = [
        series(str(i), study=str(i % 3), date=f"2020010{i % 3}", number=i // 2, subject="ab"[i % 2])
        for i in range(8)
    ]
    verdicts = [said(label) for label in labels]
    straight = plan(many, verdicts, LABELS)
    shuffled = plan([many[i] for i in order], [verdicts[i] for i in order], LABELS)
    assert [straight[i] for i in order] == shuffled
    paths = [target.path.lower() for target in straight if target.path]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("words", "suffix"),
    [
        ("ORIGINAL/PRIMARY/P/ND", "phasediff"),
        ("ORIGINAL/PRIMARY/M/ND", "magnitude"),
        ("ORIGINAL/OTHER", "fieldmap"),
    ],
)
def test_field_maps_are_named_by_their_image_type(words: str, suffix: str) -> None:
    target = plan([series(image_type=words)], [said("other:FIELDMAP")], LABELS)[0]
    assert (target.datatype, target.suffix) == ("fmap", suffix)


def test_a_hostile_subject_is_no_path() -> None:
    target = plan([series(subject="../../etc/x")], [said("T1", "../knee", plane="axial")], LABELS)[0]
    assert target.path == "sub-etcx/ses-1/anat/sub-etcx_ses-1_acq-kneeAx_T1w.nii.gz"


# --- what dcm2niix wrote, by a stand-in for it

Fake = Callable[..., str]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """A program that "converts" to images of given names and shapes, with given sidecars and tables."""

    def make(
        *outputs: tuple[str, tuple[int, ...], dict[str, Any]], tables: tuple[str, ...] = (), end: str = ""
    ) -> str:
        prepared = tmp_path / "prepared"
        prepared.mkdir()
        for name, shape, sidecar in outputs:
            image = nib.Nifti1Image(np.zeros(shape, np.int16), np.diag([-1.0, 1, 1, 1]))
            image.header["descrip"] = b"TE=10;Time=101112.5"
            image.header["aux_file"] = b"Doe"
            image.header["db_name"] = b"Doe"
            if len(shape) > 3:
                image.header.set_zooms((1, 1, 1, 2.0))
                image.header.set_xyzt_units("mm", "sec")
            nib.save(image, prepared / f"{name}.nii")
            (prepared / f"{name}.json").write_text(json.dumps(sidecar))
            for table in tables:
                volumes = shape[3] if len(shape) > 3 else 1
                rows = 3 if table == ".bvec" else 1
                (prepared / (name + table)).write_text("\n".join(["0 " * volumes] * rows) + "\n")
        program = tmp_path / "dcm2niix"
        program.write_text(
            '#!/bin/sh\nwhile [ "$1" != "-o" ]; do shift; done\n'
            f'cp "{prepared}"/* "$2"/ 2>/dev/null\n{end}\nexit 0\n'
        )
        program.chmod(0o755)
        return str(program)

    return make


def converted(program: str, target: Target, tmp_path: Path, **kwargs: Any) -> bids.Converted:
    return convert(series(files=0), target, tmp_path / "stage", program=program, **kwargs)


def names_of(made: bids.Converted) -> list[str]:
    return [name for _, name in made.files]


def sidecar_of(made: bids.Converted, end: str = ".json") -> dict[str, Any]:
    return json.loads(next(path for path, name in made.files if name.endswith(end)).read_text())


def target(datatype: str, suffix: str, **entities: str) -> Target:
    return Target("1", "ab", 1, datatype, suffix).with_entities(**entities)


def test_sidecars_and_headers_lose_what_identifies(fake: Fake, tmp_path: Path) -> None:
    sidecar = {
        "EchoTime": 0.01,
        "InstitutionName": "Clinic",
        "AcquisitionTime": "10:11",
        "SeriesDescription": "Doe",
        "PatientName": "Doe",
        "DeviceSerialNumber": "7",
        "SeriesInstanceUID": "1.2",
    }
    made = converted(fake(("x", (4, 4, 2), sidecar)), target("anat", "T1w"), tmp_path, anatomy="Knee")
    assert names_of(made) == [f"sub-ab/ses-1/anat/sub-ab_ses-1_T1w{end}" for end in (".json", ".nii.gz")]
    assert sidecar_of(made) == {"BodyPart": "KNEE", "EchoTime": 0.01}
    packed = made.files[-1][0].read_bytes()
    head = gzip.decompress(packed)[:348]
    assert b"Doe" not in head
    assert b"Time" not in head
    assert packed[4:8] == b"\0\0\0\0"  # no time of writing: the same input gives the same bytes
    assert nib.load(made.files[-1][0]).shape == (4, 4, 2)


def test_echoes_parts_and_stacks_become_entities(fake: Fake, tmp_path: Path) -> None:
    outputs = [
        (name, (4, 4, 2), {"EchoTime": 1}) for name in ("x_e1", "x_e2", "x_e1_ph", "x_e2_ph", "x_e2_pha")
    ]
    made = converted(fake(*outputs), target("anat", "T2starw", run="1"), tmp_path)
    found = sorted(name.split("_ses-1_")[1] for name in names_of(made) if name.endswith(".nii.gz"))
    assert found == [
        "run-1_echo-1_part-mag_T2starw.nii.gz",
        "run-1_echo-1_part-phase_T2starw.nii.gz",
        "run-1_echo-2_part-mag_T2starw.nii.gz",
        "run-1_echo-2_part-phase_chunk-1_T2starw.nii.gz",
        "run-1_echo-2_part-phase_chunk-2_T2starw.nii.gz",
    ]


def test_additional_images_are_held_apart(fake: Fake, tmp_path: Path) -> None:
    made = converted(
        fake(("x", (4, 4, 2), {"a": 1}), ("x_ROI1", (4, 4, 2), {"a": 1})), target("anat", "T1w"), tmp_path
    )
    images = [name for name in names_of(made) if name.endswith(".nii.gz")]
    assert images == [
        "sub-ab/ses-1/anat/sub-ab_ses-1_T1w.nii.gz",
        "sourcedata/sub-ab/ses-1/anat/sub-ab_ses-1_T1w_ROI1.nii.gz",
    ]
    assert (made.held, made.notes) == ("", ("in sourcedata: dcm2niix wrote an additional image (ROI1)",))


@pytest.mark.parametrize(
    ("where", "outputs", "tables", "reason"),
    [
        (target("anat", "T1w"), [("x", (4, 4, 2, 3), {"a": 1})], (), "3 volumes"),
        (
            target("anat", "T1w"),
            [("x", (4, 4, 2), {"a": 1}), ("x_Eq_1", (4, 4, 2), {"a": 1})],
            (),
            "unevenly spaced",
        ),
        (target("anat", "T1w"), [("x", (4, 4, 2), {})], (), "no sidecar"),
        (target("dwi", "dwi"), [("x", (4, 4, 2, 3), {"a": 1})], (), "no b-values"),
        (target("dwi", "dwi"), [("x", (4, 4, 2, 3), {"a": 1})], (".bval",), "no b-values"),
        (target("func", "bold"), [("x", (4, 4, 2, 3), {"a": 1})], (), "no repetition time"),
        (target("func", "bold"), [("x", (4, 4, 2, 3), {"RepetitionTime": 3})], (), "volumes 2 s apart"),
        (target("fmap", "phasediff"), [("x_e2_ph", (4, 4, 2), {"EchoTime": 1})], (), "echo times"),
        (
            target("fmap", "epi"),
            [("x", (4, 4, 2), {"PhaseEncodingAxis": "j"})],
            (),
            "phase encoding direction",
        ),
        (target("fmap", "epi"), [("x", (4, 4, 2), {"PhaseEncodingDirection": "j"})], (), "readout time"),
    ],
)
def test_what_bids_would_not_have_goes_to_sourcedata(
    where: Target, outputs: list, tables: tuple[str, ...], reason: str, fake: Fake, tmp_path: Path
) -> None:
    made = converted(fake(*outputs, tables=tables), where, tmp_path)
    assert reason in made.held
    assert all(name.startswith("sourcedata/") for name in names_of(made))


def test_diffusion_keeps_its_tables_and_a_trace_needs_none(fake: Fake, tmp_path: Path) -> None:
    made = converted(
        fake(("x", (4, 4, 2, 3), {"a": 1}), tables=(".bval", ".bvec")), target("dwi", "dwi"), tmp_path
    )
    assert [name.split(".", 1)[1] for name in names_of(made)] == ["bval", "bvec", "json", "nii.gz"]
    shutil.rmtree(tmp_path / "prepared")
    shutil.rmtree(tmp_path / "stage")
    program = fake(("x", (4, 4, 2), {"ImageType": ["DERIVED", "TRACEW"]}))
    assert names_of(converted(program, target("dwi", "dwi"), tmp_path))[-1].endswith("ses-1_trace.nii.gz")


def test_a_functional_series_gets_its_task_and_loses_impossible_slice_times(
    fake: Fake, tmp_path: Path
) -> None:
    sidecar = {"RepetitionTime": 2.0, "SliceTiming": [0, 5]}
    made = converted(fake(("x", (4, 4, 2, 3), sidecar)), target("func", "bold", task="unknown"), tmp_path)
    assert sidecar_of(made) == {"RepetitionTime": 2.0, "TaskName": "unknown"}
    assert made.held == ""


def test_one_functional_volume_is_a_reference(fake: Fake, tmp_path: Path) -> None:
    made = converted(fake(("x", (4, 4, 2), {"a": 1})), target("func", "bold", task="unknown"), tmp_path)
    assert names_of(made)[-1] == "sub-ab/ses-1/func/sub-ab_ses-1_task-unknown_sbref.nii.gz"


@pytest.mark.parametrize(("direction", "name"), [("j", "PA"), ("j-", "AP"), ("i", "RL"), ("i-", "LR")])
def test_a_phase_encoding_is_named_by_where_it_starts_and_ends(
    direction: str, name: str, fake: Fake, tmp_path: Path
) -> None:
    """The image's axes run to the left and to the front."""
    sidecar = {"PhaseEncodingDirection": direction, "TotalReadoutTime": 0.05}
    made = converted(fake(("x", (4, 4, 2), sidecar)), target("fmap", "epi"), tmp_path)
    assert names_of(made)[-1] == f"sub-ab/ses-1/fmap/sub-ab_ses-1_dir-{name}_epi.nii.gz"
    assert sidecar_of(made)["PhaseEncodingDirection"] == direction


def test_a_field_map_comes_with_its_magnitude_and_unit(fake: Fake, tmp_path: Path) -> None:
    program = fake(("x", (4, 4, 2), {"a": 1}), ("x_fieldmaphz", (4, 4, 2), {"a": 1}))
    made = converted(program, target("fmap", "fieldmap"), tmp_path)
    assert [name.rsplit("_", 1)[1] for name in names_of(made) if name.endswith("gz")] == [
        "fieldmap.nii.gz",
        "magnitude.nii.gz",
    ]
    assert sidecar_of(made, "_fieldmap.json") == {"Units": "Hz"}


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("echo 'Error: bad /home/doe/x.dcm'; exit 3", r"failed \(exit 3\): Error: bad …"),
        ("exec sleep 5", "longer than 0.5 s"),
    ],
)
def test_a_failing_or_endless_dcm2niix_is_told_without_paths(
    end: str, message: str, fake: Fake, tmp_path: Path
) -> None:
    with pytest.raises(ReadError, match=message):
        converted(fake(end=end), target("anat", "T1w"), tmp_path, timeout_s=0.5)


@pytest.mark.parametrize(
    ("syntax", "advice"),
    [
        ("1.2.840.10008.1.2.1", "Check for missing slices"),
        (
            "1.2.840.10008.1.2.4.201",
            "High-Throughput JPEG 2000 Image Compression (Lossless Only) (1.2.840.10008.1.2.4.201): "
            "pip install 'radfoundry[compressed]'",
        ),
        ("1.2.840.10008.1.2.4.102", "(1.2.840.10008.1.2.4.102): no decoder of dcm2niix or pydicom reads it"),
        ("1.2.3.4", "Its transfer syntax is 1.2.3.4: no decoder"),
    ],
)
def test_pixels_that_dcm2niix_cannot_decode_are_named_with_what_can(
    syntax: str, advice: str, fake: Fake, tmp_path: Path
) -> None:
    program = fake(end="echo 'Warning: Empty protocol name(s)'; echo 'Error: no decoder'; exit 1")
    one = series()
    one = replace(one, files=tuple(replace(file, syntax=syntax) for file in one.files))
    with pytest.raises(ReadError) as told:
        convert(one, target("anat", "T1w"), tmp_path / "stage", program=program)
    plain = advice == "Check for missing slices"
    assert advice in str(told.value) and ("missing slices" in str(told.value)) == plain
    assert "failed (exit 1): Error: no decoder; Warning: Empty protocol name(s). " in str(told.value)


def test_what_dcm2niix_says_loses_paths_and_uids_but_those_of_dicom() -> None:
    said = "Warning: 1.3.12.2.1107.5.2.43.66012 in /home/doe/x.dcm\nNote: y"
    assert warnings_of(f"{said}\nWarning: syntax '1.2.840.10008.1.2.5'") == [
        "Warning: … in …",
        "Warning: syntax '1.2.840.10008.1.2.5'",
    ]


def test_no_image_and_no_program_are_told(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ReadError, match="wrote no image"):
        converted(fake(), target("anat", "T1w"), tmp_path)
    monkeypatch.setattr(optional, "available", lambda _: False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingExtra, match=r"radfoundry\[series"):
        bids.executable()
    monkeypatch.setattr(shutil, "which", lambda _: "/opt/dcm2niix")
    assert bids.executable() == "/opt/dcm2niix"


# --- whole trees

SOME = (
    "ge__1_Ax-DWI-TENSOR-R2",
    "me__4_me-fMRI",
    "fmap__2_gre-field-magph",
    "fmap__4_gre-field-ph",
    "fmap__6_B0map",
    "asl__13_pasl-3d-m0",
    "philips__601_dti-ax",
    "asl__5_T1-mprage-ns-sag-p2-iso-1-0mm-",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Index]:
    """A BIDS tree of some real series, labelled by their manifest."""
    root = data_dir("dicom_series")
    folder = tmp_path_factory.mktemp("bids")
    for name in SOME:
        (folder / "in").mkdir(exist_ok=True)
        shutil.copytree(root / f"dcm_qa_{name}", folder / "in" / name)
    with open(root / "manifest.csv", encoding="utf-8") as file:
        truth = {
            row["series_dir"].removeprefix("dcm_qa_"): row["label_sequence"] for row in csv.DictReader(file)
        }
    found = find(folder / "in")
    verdicts = [
        said(truth[one.where].replace("OTHER:", "other:"), plane="axial", dimension="2D") for one in found
    ]
    return folder, organise(found, verdicts, folder / "out", layout="bids")


@needs_dcm2niix
def test_real_series_go_where_they_should(tree: tuple[Path, Index]) -> None:
    folder, index = tree
    suffix = {
        row["path_in"]: row["path_out"].rsplit("_", 1)[-1].removesuffix(".nii.gz") for row in index.rows
    }
    assert suffix == dict(zip(SOME, ("dwi", "bold", "magnitude1", "phasediff", "fieldmap", "asl", "", "T1w")))
    failed = next(row for row in index.rows if row["path_in"] == "philips__601_dti-ax")
    assert "dcm2niix failed" in failed["problem"]  # its volumes are incomplete
    images = sorted(p.name.split("_", 2)[2] for p in (folder / "out").glob("sub-*/*/*/*.nii.gz"))
    assert images == sorted(
        [
            "dwi.nii.gz",
            "task-unknown_echo-1_bold.nii.gz",
            "task-unknown_echo-2_bold.nii.gz",
            "magnitude1.nii.gz",
            "magnitude2.nii.gz",
            "phasediff.nii.gz",
            "magnitude.nii.gz",
            "fieldmap.nii.gz",
            "acq-Ax2D_T1w.nii.gz",
        ]
    )
    assert len(list((folder / "out").glob("sourcedata/sub-*/*/perf/*_asl.nii.gz"))) == 1
    people = (folder / "out" / "participants.tsv").read_text().split()
    assert people == ["participant_id", *sorted(p.name for p in (folder / "out").glob("sub-*"))]


@needs_dcm2niix
def test_no_file_of_the_tree_names_a_place_or_a_time(tree: tuple[Path, Index]) -> None:
    folder, _ = tree
    for path in (folder / "out").rglob("*.json"):
        found = set(json.loads(path.read_text()))
        assert not found & {
            "InstitutionName",
            "AcquisitionTime",
            "DeviceSerialNumber",
            "StationName",
            "SeriesDescription",
        }


def validated(tree: Path) -> dict[str, Any]:
    """The report of the BIDS validator, which needs no network."""
    command = [str(VALIDATOR), str(tree), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return json.loads(done.stdout)


@needs_dcm2niix
@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_the_bids_validator_finds_no_error(tree: tuple[Path, Index]) -> None:
    folder, _ = tree
    report = validated(folder / "out")
    assert report["summary"]["totalFiles"] > 20
    assert [issue for issue in report["issues"]["issues"] if issue["severity"] == "error"] == []


@needs_dcm2niix
@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_the_validator_does_find_an_error_where_there_is_one(
    tree: tuple[Path, Index], tmp_path: Path
) -> None:
    shutil.copytree(tree[0] / "out", tmp_path / "out")
    next((tmp_path / "out").rglob("*_dwi.bval")).unlink()
    report = validated(tmp_path / "out")
    codes = {issue["code"] for issue in report["issues"]["issues"] if issue["severity"] == "error"}
    assert codes == {"DWI_MISSING_BVAL"}


@needs_dcm2niix
@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_trees_of_phantom_studies_of_every_vendor_are_valid(tmp_path: Path) -> None:
    for k, vendor in enumerate(("siemens", "ge", "philips", "uih")):
        phantom_series.make(tmp_path / "in" / vendor, n=1, seed=40 + k, vendors=[vendor], size=32)
    found = classify(tmp_path / "in", pixels="never")
    index = organise(
        [one.series for one in found], [one.verdict for one in found], tmp_path / "out", layout="bids"
    )
    report = validated(tmp_path / "out")
    assert [issue for issue in report["issues"]["issues"] if issue["severity"] == "error"] == []
    placed = [row for row in index.rows if row["path_out"].startswith("sub-")]
    assert len(placed) > len(index.rows) / 4 and len({row["path_out"].split("/")[0] for row in placed}) == 4


@needs_dcm2niix
def test_converting_twice_gives_the_same_bytes(tree: tuple[Path, Index], tmp_path: Path) -> None:
    folder, _ = tree
    one = next(one for one in find(folder / "in") if one.where == "fmap__6_B0map")
    verdict = said("other:FIELDMAP", plane="axial", dimension="2D")
    organise([one], [verdict], tmp_path / "out", layout="bids")
    images = list((tmp_path / "out").glob("sub-*/ses-1/fmap/*"))
    assert len(images) == 4
    for path in images:
        assert path.read_bytes() == (folder / "out" / path.relative_to(tmp_path / "out")).read_bytes()


def test_the_names_of_entities_are_in_bids_order() -> None:
    """Order of the specification's entity table, appendices/entity-table."""
    full = target("func", "bold", **dict.fromkeys(reversed(bids.ENTITIES), "1"))
    assert full.stem == "sub-ab_ses-1_task-1_acq-1_ce-1_dir-1_run-1_echo-1_part-1_chunk-1_bold"
    for first, second in itertools.pairwise(bids.ENTITIES):
        assert full.stem.index(f"_{first}-") < full.stem.index(f"_{second}-")
