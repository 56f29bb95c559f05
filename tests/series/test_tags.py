"""Tag lists, and headers of series merged over files and frames."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from radfoundry.errors import InputError
from radfoundry.series.find import find, from_datasets
from radfoundry.series.header import SeriesHeader
from radfoundry.series.images import MOST_FRAMES, normal_of
from radfoundry.series.tags import PACKAGED, RULE_TAGS, TagList, load_tags, read_header
from tests._data import data_dir
from tests.series.made import csa, enhanced, item, mr, private, put, sequence

TAGS = load_tags()


def header_of(*data: FileDataset, tags: TagList = TAGS) -> SeriesHeader:
    (series,) = from_datasets(data, tags=tags)
    return read_header(series, tags)


def from_files(folder: Path, *data: FileDataset, tags: TagList = TAGS) -> SeriesHeader:
    (series,) = find(put(folder, *data), tags=tags)
    return read_header(series, tags)


def test_the_packaged_list_has_36_tags_and_no_description() -> None:
    assert len(TAGS) == 36 and next(iter(TAGS)) == "ScanningSequence"
    assert dict(TAGS.items())["EchoTime"] == "number"
    assert not set(TAGS) & {"SeriesDescription", "ProtocolName"}
    more = load_tags(descriptions=True)
    assert set(more) - set(TAGS) == {"SeriesDescription", "ProtocolName"} and more.descriptions


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tags: {EchoTime: number}", "lacks `format: 1`"),
        ("format: 1\ntags: []", "no mapping of keyword"),
        ("format: 1\ntags: {EchoTme: number}", "Did you mean 'EchoTime'"),
        ("format: 1\ntags: {EchoTime: float}", "is 'float', not text, number, numbers"),
        ("format: 1\ntags: {EchoTime: computed}", "not text, number, numbers"),
        ("format: 1\ntags: {InstanceCount: number}", "not computed"),
        ("format: 1\ntags: {PatientID: text}", "identifies a patient"),
        ("format: 1\ntags: {SeriesInstanceUID: text}", "identifies a patient or has no plain value"),
        ("format: 1\ntags: {EchoTime: number}\nextra: 1", "has extra, which nothing reads"),
        ("format: [", "could not be read as YAML"),
    ],
)
def test_a_faulty_list_is_refused_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "tags.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_tags(path)


def test_a_list_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tags.yaml"
    path.write_text("format: 1\ntags: {EchoTime: number, PatientPosition: text}")
    tags = load_tags(path)
    found = header_of(mr(PatientPosition="HFS"), tags=tags)
    assert found.values["PatientPosition"] == ("HFS",) and found.values["EchoTime"] == (30.0,)
    assert set(found.values) <= {*tags, *RULE_TAGS}


def test_a_classic_series_is_merged_over_its_files(tmp_path: Path) -> None:
    data = [mr(k, EchoTime=te, EchoNumbers=e, SOPInstanceUID=f"1.2.{k}.{e}", Rows=4, InversionTime=0)
            for k in (1, 2, 3) for e, te in ((1, 11.0), (2, 92.0))]  # fmt: skip
    found = from_files(tmp_path, *data)
    assert found.values["EchoTime"] == (11.0, 92.0)
    assert found.values["ImageType"] == (("ORIGINAL", "PRIMARY", "M"),)
    assert found.values["ScanningSequence"] == (("SE", "IR"),)
    assert found.values["Modality"] == ("MR",)
    assert found.values["PixelSpacing"] == ((1.0, 1.0),)
    assert found.values["InstanceCount"] == (6,)
    assert (found.n_files, found.n_images, found.n_positions) == (6, 6, 3)
    assert found.normals == ((0.0, 0.0, 1.0),)
    assert (found.echo_times, found.repetition_times, found.inversion_times) == ((11.0, 92.0), (2000.0,), ())
    assert found.notes == () and "SeriesDescription" not in found.values


def test_files_and_memory_say_the_same(tmp_path: Path) -> None:
    data = [mr(k, DiffusionBValue=b) for k, b in ((1, 0.0), (2, 700.0))]
    assert from_files(tmp_path, *data) == header_of(*data)


def test_descriptions_only_when_they_are_asked_for(tmp_path: Path) -> None:
    data = mr(SeriesDescription="t1 sag", ProtocolName="knee")
    assert not {"SeriesDescription", "ProtocolName"} & set(from_files(tmp_path / "a", data).values)
    found = from_files(tmp_path / "b", data, tags=load_tags(descriptions=True))
    assert found.values["SeriesDescription"] == ("t1 sag",) and found.values["ProtocolName"] == ("knee",)


def test_empty_and_absent_values_are_left_out() -> None:
    found = header_of(mr(EchoTime="", BodyPartExamined="", SliceThickness=None, Manufacturer=""))
    assert not {"EchoTime", "BodyPartExamined", "SliceThickness", "Manufacturer"} & set(found.values)
    assert found.vendor == "" and found.notes == ()


@pytest.mark.parametrize("in_files", [True, False])
def test_elements_with_a_wrong_vr_are_noted_and_left_out(in_files: bool, tmp_path: Path) -> None:
    data = mr()
    data.add_new("EchoTime", "OB", b"\1\2\3\4")
    data.add_new("FlipAngle", "LO", "secret")
    data.add_new("RepetitionTime", "LO", "2000")  # a number all the same
    found = from_files(tmp_path, data) if in_files else header_of(data)
    assert "FlipAngle" not in found.values and found.values["RepetitionTime"] == (2000.0,)
    assert any("FlipAngle" in note for note in found.notes) and "secret" not in "".join(found.notes)
    assert found.echo_times == ()


def test_unset_numbers_of_philips_are_left_out() -> None:
    found = header_of(mr(VelocityEncodingMaximumValue=7.23e75, DiffusionBValue=7.23e75))
    assert "VelocityEncodingMaximumValue" not in found.values and found.b_values == ()


def test_a_localiser_has_three_normals() -> None:
    planes = ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])
    found = header_of(*(mr(k, ImageOrientationPatient=plane) for k, plane in enumerate(planes)))
    assert set(found.normals) == {(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)}
    assert found.n_positions == 3


def test_normals_of_opposite_sign_are_one() -> None:
    found = header_of(mr(1), mr(2, ImageOrientationPatient=[1, 0, 0, 0, -1, 0]))
    assert len(found.normals) == 1 and found.n_positions == 2
    assert normal_of((1.0, 0.0, 0.0, 0.0, 0.0, 0.0)) is None and normal_of((1.0,)) is None


def test_without_geometry_the_counts_still_stand() -> None:
    found = header_of(*(mr(k, ImagePositionPatient=None, ImageOrientationPatient=None) for k in (1, 2)))
    assert (found.n_images, found.n_positions, found.normals) == (2, 0, ())


def test_tiles_of_a_siemens_mosaic_are_counted(tmp_path: Path) -> None:
    data = []
    for k in (1, 2):
        one = mr(k, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], Manufacturer="SIEMENS",
                 ImagePositionPatient=[0, 0, 0])  # fmt: skip
        private(one, "SIEMENS CSA HEADER", 0x0029, 0x10, x10=("OB", csa(tiles=5)))
        data.append(
            private(one, "SIEMENS MR HEADER", 0x0019, 0x10, x0A=("US", 5), x0C=("IS", 1000 * (k - 1)))
        )
    found = from_files(tmp_path, *data)
    assert (found.n_files, found.n_images, found.n_positions) == (2, 10, 5)
    assert found.b_values == (0.0, 1000.0) and found.values["DiffusionBValue"] == (0.0, 1000.0)


def test_a_number_of_frames_that_is_none_is_noted_and_never_raised(tmp_path: Path) -> None:
    folder = put(tmp_path, *(mr(k, NumberOfFrames=1) for k in (1, 2)))
    for path in folder.iterdir():
        content = path.read_bytes()
        at = content.index(b"\x28\x00\x08\x00IS") + 8
        path.write_bytes(content[:at] + b"zz" + content[at + 2 :])
    (series,) = find(folder)
    header = read_header(series, load_tags())
    assert header.notes == ("a number of frames or tiles is unreadable",)
    assert header.n_images == 2 and header.private == ()


def test_a_mosaic_without_its_private_header_is_noted() -> None:
    found = header_of(mr(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]))
    assert found.n_images == 1


def test_tiles_of_a_uih_grid_are_counted_with_their_positions(tmp_path: Path) -> None:
    data = mr(Manufacturer="UIH")
    tiles = Sequence([item(ImagePositionPatient=[0, 0, 3.0 * k]) for k in range(4)])
    private(data, "Image Private Header", 0x0065, 0x10, x09=("FD", 800.0), x37=("FD", [1.0, 0.0, 0.0]),
            x50=("DS", "4"), x51=("SQ", tiles))  # fmt: skip
    found = from_files(tmp_path, data)
    assert (found.n_images, found.n_positions, found.vendor) == (4, 4, "uih")
    assert (found.b_values, found.n_directions) == ((800.0,), 1)


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("in_files", [True, False])
def test_enhanced_objects_speak_the_classic_dialect(undefined: bool, in_files: bool, tmp_path: Path) -> None:
    data = enhanced(8, undefined=undefined)
    found = from_files(tmp_path, data) if in_files else header_of(data)
    values = found.values
    assert values["EchoTime"] == (85.0,) and values["RepetitionTime"] == (5000.0,)
    assert values["InversionTime"] == (220.0,) and values["FlipAngle"] == (90.0,)
    assert values["ImageType"] == (("ORIGINAL", "PRIMARY", "DIFFUSION", "MIXED"),
                                   ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"))  # fmt: skip
    assert values["ComplexImageComponent"] == ("MAGNITUDE",)
    assert values["DiffusionBValue"] == (0.0, 1000.0)
    assert values["DiffusionDirectionality"] == ("NONE", "DIRECTIONAL")
    assert values["InPlanePhaseEncodingDirection"] == ("COL",)
    assert values["AcquisitionMatrix"] == ((128.0, 0.0, 0.0, 96.0),)
    assert values["BodyPartExamined"] == ("Brain",)
    assert values["InversionRecovery"] == ("YES",) and values["PulseSequenceName"] == ("ep_b",)
    assert values["computed:temporal_positions"] == (2,)
    assert values["PixelSpacing"] == ((1.5, 1.5),) and values["SliceThickness"] == (4.0,)
    assert (found.n_files, found.n_images, found.n_positions) == (1, 8, 4)
    assert (found.b_values, found.n_directions) == ((0.0, 1000.0), 2)
    assert (found.echo_times, found.inversion_times) == ((85.0,), (220.0,))
    assert found.normals == ((0.0, 0.0, 1.0),) and found.notes == ()


def test_thousands_of_frames_are_read_in_part_and_said(tmp_path: Path) -> None:
    folder = put(tmp_path, enhanced(3000, b_values=(0.0, 500.0, 1000.0)))
    (series,) = find(folder)
    start = time.perf_counter()
    found = read_header(series, TAGS)
    seconds = time.perf_counter() - start
    assert found.notes == (f"about {MOST_FRAMES} of 3000 frames were looked at",)
    assert found.b_values == (0.0, 500.0, 1000.0)
    assert (found.n_images, found.n_positions) == (3000, 1500)
    assert seconds < 2.0  # 0.1 s here; pydicom takes some 2 s


def test_damaged_functional_groups_are_noted(tmp_path: Path) -> None:
    path = put(tmp_path, enhanced(4, undefined=False)) / "0000.dcm"
    content = path.read_bytes()
    place = content.index(b"\x18\x00\x82\x90FD")
    path.write_bytes(content[:place] + b"\xff" * 12 + content[place + 12 :])
    (series,) = find(tmp_path)
    found = read_header(series, TAGS)
    assert found.n_files == 1 and found.values["PulseSequenceName"] == ("ep_b",)


def test_the_philips_copy_of_enhanced_attributes_is_read_of_classic_images(tmp_path: Path) -> None:
    data = mr(Manufacturer="Philips Medical Systems", MRAcquisitionType="2D")
    copy = sequence(AcquisitionContrast="DIFFUSION", EchoPulseSequence="SPIN", MRAcquisitionType="3D")
    private(data, "Philips MR Imaging DD 005", 0x2005, 0x14, x0F=("SQ", copy))
    found = from_files(tmp_path, data)
    assert found.values["AcquisitionContrast"] == ("DIFFUSION",)
    assert found.values["EchoPulseSequence"] == ("SPIN",)
    assert found.values["MRAcquisitionType"] == ("2D",)  # the image's own before the copy's


def test_siemens_enhanced_objects_have_their_classic_words(tmp_path: Path) -> None:
    data = enhanced(2)
    data.Manufacturer = "Siemens Healthineers"
    text = b'sAsl.ulMode = 4 tSequenceFileName = ""%SiemensSeq%\\ep2d_asl""'
    inner = private(Dataset(), "SIEMENS MR SDS 01", 0x0021, 0x10, x5A=("CS", "EP"),
                    x5B=("CS", ["SK", "SP"]), x19=("OB", text))  # fmt: skip
    shared = data.SharedFunctionalGroupsSequence[0]
    private(shared, "SIEMENS MR SDS 01", 0x0021, 0x10, xFE=("SQ", Sequence([inner])))
    found = from_files(tmp_path, data)
    assert found.values["ScanningSequence"] == ("EP",)
    assert found.values["SequenceVariant"] == (("SK", "SP"),)
    assert found.values["vendor:pulse_sequence"] == ("ep2d_asl",)
    assert found.asl == "vendor: ulMode 4"


def test_the_protocol_of_siemens_is_read_from_one_file(tmp_path: Path) -> None:
    text = b'tSequenceFileName = ""%CustomerSeq%\\tgse_pcasl""\nsAsl.ulMode = 0x4'
    data = [private(mr(k, Manufacturer="SIEMENS"), "SIEMENS CSA HEADER", 0x0029, 0x10, x20=("OB", text))
            for k in (1, 2)]  # fmt: skip
    found = from_files(tmp_path, *data)
    assert found.asl == "vendor: ulMode 4" and found.values["vendor:pulse_sequence"] == ("tgse_pcasl",)
    assert header_of(*data).asl == "vendor: ulMode 4"


def test_standard_labelling_is_told_before_private(tmp_path: Path) -> None:
    data = mr(Manufacturer="GE MEDICAL SYSTEMS", ArterialSpinLabelingContrast="PSEUDOCONTINUOUS")
    assert from_files(tmp_path, data).asl == "ArterialSpinLabelingContrast PSEUDOCONTINUOUS"
    assert header_of(mr(ArterialSpinLabelingContrast="NONE")).asl == ""


def test_b_zero_in_every_image_says_nothing_of_ge_and_philips() -> None:
    ge = private(
        mr(Manufacturer="GE MEDICAL SYSTEMS"), "GEMS_PARM_01", 0x0043, 0x10, x39=("IS", [0, 0, 0, 0])
    )
    assert header_of(ge).b_values == () and "DiffusionBValue" not in header_of(ge).values
    philips = mr(Manufacturer="Philips", DiffusionBValue=0.0)
    assert header_of(philips).b_values == ()


def test_canon_writes_the_b_value_into_its_comments() -> None:
    data = [mr(1, Manufacturer="TOSHIBA_MEC", ImageComments="b=0"),
            mr(2, Manufacturer="TOSHIBA_MEC", ImageComments="b=1000(0.5,0.5,0.7);secret")]  # fmt: skip
    found = header_of(*data)
    assert (found.b_values, found.n_directions, found.vendor) == ((0.0, 1000.0), 1, "canon")
    assert "secret" not in repr(found)


def test_the_vendor_is_found_without_its_name() -> None:
    data = private(mr(Manufacturer=""), "GEMS_PARM_01", 0x0043, 0x10, x39=("IS", [700, 0, 0, 0]))
    found = header_of(data)
    assert (found.vendor, found.b_values) == ("ge", (700.0,))


def test_names_in_other_character_sets_are_read() -> None:
    data = mr(ContrastBolusAgent="Gadolinium")
    data.SpecificCharacterSet = "ISO_IR 192"
    data.ContrastBolusAgent = "Gadovist é"
    assert header_of(data).values["ContrastBolusAgent"] == ("Gadovist é",)


def test_character_sets_of_files_are_respected(tmp_path: Path) -> None:
    data = mr()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.ContrastBolusAgent = "Gadovist é"
    assert from_files(tmp_path, data).values["ContrastBolusAgent"] == ("Gadovist é",)


def test_a_header_without_anything_is_read(tmp_path: Path) -> None:
    keep = {"Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
            "SamplesPerPixel", "PhotometricInterpretation", "SOPClassUID", "SOPInstanceUID"}  # fmt: skip
    data = mr()
    for element in list(data):
        if element.keyword not in keep:
            del data[element.tag]
    found = from_files(tmp_path, data)
    assert (found.n_images, found.vendor, found.b_values) == (1, "", ())


def test_a_sequence_of_many_triggers_keeps_a_bounded_list() -> None:
    found = header_of(*(mr(k, TriggerTime=float(k)) for k in range(100)))
    assert len(found.values["TriggerTime"]) == 64
    assert found.notes == ("the first 64 values of TriggerTime are kept",)


# (vendor, images, positions, b-values, directions, labelling). The counts are the shapes that dcm2niix
# v1.0.20260724 makes of these folders, and its .bval files; labelling is said by their names.
EXPECTED = {
    "dcm_qa_ge__1_Ax-DWI-TENSOR-R2": ("ge", 14, 2, (0.0, 1000.0), 6, ""),
    "dcm_qa_ge__14_Ax-fMRI-HB3-48sl-int-asc": ("ge", 48, 48, (), 0, ""),
    "dcm_qa_philips__601_dti-ax": ("philips", 40, 3, (0.0, 2000.0), 15, ""),
    "dcm_qa_asl__3_pasl-2d": ("siemens", 80, 20, (), 0, "vendor: ulMode 2"),
    "dcm_qa_asl__15_pcasl-3d": ("siemens", 120, 40, (), 0, "vendor: ulMode 4"),
    "dcm_qa_me__4_me-fMRI": ("siemens", 120, 30, (), 0, ""),
    "dcm_qa_enh__801_B0-NS": ("philips", 64, 32, (), 0, ""),
    "dcm_qa_enh__6_REST1-w-SMS-PF7-8": ("siemens", 24, 6, (), 0, ""),
    "dcm_qa_agfa__11_ep2d-fid-weisskoff-25slc": ("siemens", 100, 25, (), 0, ""),
    "dcm_qa_philips_asl__301_ASL-MultiPhase": ("philips", 48, 6, (), 0, ""),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_series_are_counted_and_known(name: str) -> None:
    (series,) = find(data_dir("dicom_series", name))
    found = read_header(series, TAGS)
    said = (found.vendor, found.n_images, found.n_positions, found.b_values, found.n_directions, found.asl)
    assert said == EXPECTED[name]
    assert found.notes == ()


def test_private_facts_of_real_series() -> None:
    root = data_dir("dicom_series")

    def values(name: str, key: str) -> tuple:
        (series,) = find(root / name)
        return read_header(series, TAGS).values.get(key, ())

    assert values("dcm_qa_ge__1_Ax-DWI-TENSOR-R2", "vendor:pulse_sequence") == ("epi2", "EPI2")
    assert values("dcm_qa_ge__1_Ax-DWI-TENSOR-R2", "vendor:image_kind") == ("magnitude",)
    assert values("dcm_qa_philips__601_dti-ax", "vendor:technique") == ("DwiSE",)
    assert values("dcm_qa_philips__601_dti-ax", "AcquisitionContrast") == ("DIFFUSION",)
    assert values("dcm_qa_asl__15_pcasl-3d", "vendor:pulse_sequence") == ("tgse_pcasl_ve11c",)
    agfa = "dcm_qa_agfa__11_ep2d-fid-weisskoff-25slc"
    assert values(agfa, "vendor:pulse_sequence") == ("*epfid2d1_64", "ep2d_fid")
    assert values(agfa, "ScanningSequence") == ("EP",)


def test_no_real_header_holds_a_name_or_a_uid_of_a_person() -> None:
    root = data_dir("dicom_series")
    for series in find(root):
        found = repr(read_header(series, TAGS))
        whole = pydicom.dcmread(series.files[0].path, stop_before_pixels=True)
        for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID"):
            secret = str(whole.get(keyword, ""))
            assert len(secret) < 3 or secret not in found, keyword


def test_pictures_in_memory_are_never_changed() -> None:
    data = mr()
    before = data.to_json()
    header_of(data)
    assert data.to_json() == before and isinstance(data.pixel_array, np.ndarray)


def test_the_packaged_file_is_where_it_says() -> None:
    assert PACKAGED.name == "tags.yaml" and PACKAGED.is_file()
