"""The walk over headers agrees with pydicom, and hostile bytes neither loop nor crash it."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from radfoundry.io.dicom import open_dicom
from radfoundry.io.header import DEEPEST, decode, walk_header, walk_items
from tests._data import data_dir

PLAIN = {
    "EchoTime": st.floats(0, 100).map(lambda v: round(v, 3)),
    "Manufacturer": st.sampled_from(["", "ACME", "A B"]),
    "Rows": st.integers(0, 65535),
    "EffectiveEchoTime": st.floats(-1e9, 1e9),
    "InstanceNumber": st.integers(0, 999),
    "ImageType": st.lists(st.sampled_from(["ORIGINAL", "PRIMARY", "M"]), min_size=2, max_size=3),
}
SEQUENCES = ("MREchoSequence", "PlanePositionSequence", "ReferencedImageSequence", "FrameContentSequence")
PRIVATE = 0x2005140F
MOSTLY = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def datasets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    """A header with sequences in sequences, of defined and undefined length, standard and private."""
    data = Dataset()
    for keyword in draw(st.lists(st.sampled_from(sorted(PLAIN)), unique=True, max_size=4)):
        setattr(data, keyword, draw(PLAIN[keyword]))
    if depth:
        for name in draw(st.lists(st.sampled_from([*SEQUENCES, PRIVATE]), unique=True, max_size=2)):
            # An empty private sequence cannot be told from bytes in implicit VR: pydicom reads that header.
            items = draw(st.lists(datasets(depth - 1), min_size=int(name == PRIVATE), max_size=3))
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
            tag = name if isinstance(name, int) else pydicom.datadict.tag_for_keyword(name)
            data[tag] = DataElement(tag, "SQ", Sequence(items), is_undefined_length=draw(st.booleans()))
    if PRIVATE in data:
        data.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
    return data


def written(data: Dataset, path: Path, *, implicit: bool = False) -> Path:
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.PixelRepresentation = 0
    data.BitsAllocated = 16
    data.PixelData = b"\1\2\3\4"
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)
    return path


@MOSTLY
@given(data=datasets(), implicit=st.booleans())
def test_walk_keeps_what_pydicom_reads(data: Dataset, implicit: bool, tmp_path: Path) -> None:
    path = written(data, tmp_path / "a.dcm", implicit=implicit)
    wanted = [pydicom.datadict.tag_for_keyword(name) for name in (*PLAIN, *SEQUENCES[:2], "BitsAllocated")]
    wanted += [PRIVATE, 0x20050014]
    expected = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
    found = walk_header(path, frozenset(wanted))
    assert found is not None
    header, syntax, offset, length = found
    assert header == expected
    assert syntax == (ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)
    assert path.read_bytes()[offset : offset + length] == b"\1\2\3\4"


@MOSTLY
@given(data=datasets(), implicit=st.booleans(), seed=st.integers(0, 2**32 - 1), cut=st.booleans())
def test_damaged_bytes_neither_loop_nor_crash_the_walk(
    data: Dataset, implicit: bool, seed: int, cut: bool, tmp_path: Path
) -> None:
    path = written(data, tmp_path / "a.dcm", implicit=implicit)
    rng = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for place in rng.integers(132, len(content), 6):
        content[place] = rng.choice([0, 0xFF, 0xFE, 0xE0, 0xDD, int(rng.integers(256))])
    path.write_bytes(content[: int(rng.integers(132, len(content)))] if cut else content)
    found = walk_header(path, frozenset((0x00080070, 0x00189114, PRIVATE)))
    assert found is None or found[2] <= len(content)


def nested(depth: int) -> Dataset:
    data = Dataset()
    data.EchoTime = 1.0
    for _ in range(depth):
        outer = Dataset()
        tag = pydicom.datadict.tag_for_keyword("ReferencedImageSequence")
        data.is_undefined_length_sequence_item = True
        outer[tag] = DataElement(tag, "SQ", Sequence([data]), is_undefined_length=True)
        data = outer
    return data


def test_sequences_too_deep_are_left_to_pydicom(tmp_path: Path) -> None:
    wanted = frozenset((0x00280010,))
    assert walk_header(written(nested(DEEPEST), tmp_path / "a.dcm"), wanted) is not None
    assert walk_header(written(nested(DEEPEST + 2), tmp_path / "b.dcm"), wanted) is None


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    size = len(value) if length is None else length
    if vr in (b"SQ", b"UN", b"OB"):
        return head + vr + b"\0\0" + struct.pack("<L", size) + value
    return head + vr + struct.pack("<H", size) + value


def preamble() -> bytes:
    meta = element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
    return b"\0" * 128 + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(meta))) + meta


END = b"\xfe\xff\xdd\xe0\0\0\0\0"
ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"


def test_unknown_vr_of_undefined_length_is_a_sequence_in_implicit_vr(tmp_path: Path) -> None:
    """PS3.5 6.2.2; the reading is compared with pydicom's."""
    inner = struct.pack("<HHL", 0x0018, 0x0081, 4) + b"12.5"
    content = preamble() + element(0x00091001, b"UN", ITEM + inner + ITEM_END + END, 0xFFFFFFFF)
    content += element(0x00180080, b"DS", b"2000")
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    found = walk_header(path, frozenset((0x00091001, 0x00180080)))
    assert found is not None
    assert found[0][0x00091001].value[0].EchoTime == 12.5
    assert found[0].RepetitionTime == 2000
    assert found[0] == pydicom.dcmread(path, specific_tags=[0x00091001, 0x00180080])


@pytest.mark.parametrize(
    "sequence",
    [
        element(0x00081140, b"SQ", ITEM * 40, 0xFFFFFFFF),
        element(0x00081140, b"SQ", ITEM + ITEM_END, 0xFFFFFFFF),
        element(0x00081140, b"SQ", b"\xfe\xff\x00\xe0" + struct.pack("<L", 1 << 31), 0xFFFFFFFF),
        element(0x00081140, b"OB", ITEM + ITEM_END + END, 0xFFFFFFFF),
        element(0x00081140, b"SQ", ITEM + END, 0xFFFFFFFF),
        element(0x00081140, b"SQ", b"\0" * 64, 0xFFFFFFFF),
    ],
    ids=["items without end", "no end", "item beyond the file", "no sequence", "end inside item", "zeros"],
)
def test_broken_sequences_are_left_to_pydicom(sequence: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(preamble() + sequence + element(0x00180080, b"DS", b"2000"))
    assert walk_header(path, frozenset((0x00180080,))) is None


def flattened(item: Dataset, inside: set[int], wanted: set[int]) -> dict[int, object]:
    out: dict[int, object] = {}
    for entry in item:
        if int(entry.tag) in inside:
            for inner in entry.value:
                out = {**flattened(inner, inside, wanted), **out}
        elif int(entry.tag) in wanted:
            out.setdefault(int(entry.tag), entry.value)
    return out


@MOSTLY
@given(items=st.lists(datasets(2), min_size=1, max_size=4), implicit=st.booleans(), undefined=st.booleans())
def test_walked_items_are_the_flat_items_of_pydicom(
    items: list[Dataset], implicit: bool, undefined: bool
) -> None:
    for item in items:
        item.is_undefined_length_sequence_item = undefined
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
    pydicom.filewriter.write_sequence(buffer, DataElement(0x52009230, "SQ", Sequence(items)), ["iso8859"])
    wanted = {pydicom.datadict.tag_for_keyword(name) for name in PLAIN}
    inside = {pydicom.datadict.tag_for_keyword(name) for name in SEQUENCES[:2]}
    found = walk_items(buffer.getvalue(), implicit=implicit, wanted=wanted, inside=inside)
    assert found is not None and len(found) == len(items)
    for flat, item in zip(found, items):
        expected = flattened(item, inside, wanted)
        assert set(map(int, flat)) == set(expected)
        for tag, value in expected.items():
            assert Dataset({BaseTag(tag): flat[BaseTag(tag)]})[tag].value == value


def test_only_chosen_items_are_taken() -> None:
    items = []
    for echo in range(5):
        item = Dataset()
        item.EchoTime = echo
        item.is_undefined_length_sequence_item = echo % 2 == 0
        items.append(item)
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    pydicom.filewriter.write_sequence(buffer, DataElement(0x52009230, "SQ", Sequence(items)), ["iso8859"])
    found = walk_items(
        buffer.getvalue(), implicit=False, wanted={0x00180081}, inside=(), chosen=lambda n: n in (1, 4)
    )
    assert found is not None
    assert [decode(flat[BaseTag(0x00180081)], "DS") for flat in found] == [(1.0,), (4.0,)]


@pytest.mark.parametrize("implicit", [True, False])
def test_a_tag_to_look_into_may_be_no_sequence(implicit: bool) -> None:
    """(2005,xx0F) is a sequence in one block of Philips and a number in another."""
    data = Dataset()
    data.add_new(0x2005100F, "FL", 1.5)
    data.add_new(0x2005140F, "SQ", Sequence([Dataset()]))
    data[0x2005140F].value[0].EchoTime = 7
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
    pydicom.filewriter.write_sequence(buffer, DataElement(0x52009230, "SQ", Sequence([data])), ["iso8859"])
    both = {0x2005100F, 0x2005140F}
    found = walk_items(buffer.getvalue(), implicit=implicit, wanted={0x00180081, *both}, inside=both)
    assert found is not None
    assert {int(tag) for tag in found[0]} == {0x2005100F, 0x00180081}
    assert decode(found[0][BaseTag(0x2005100F)], "FL") == (1.5,)


@MOSTLY
@given(st.binary(max_size=200), st.booleans())
def test_items_of_random_bytes_are_refused_or_read(content: bytes, implicit: bool) -> None:
    found = walk_items(content, implicit=implicit, wanted={0x00180081}, inside={0x00189114})
    assert found is None or len(found) <= len(content) // 8


def raw(vr: str | None, value: bytes | None) -> RawDataElement:
    return RawDataElement(BaseTag(0x00191000), vr, len(value or b""), value, 0, vr is None, True)


@pytest.mark.parametrize(
    ("stated", "value", "vr", "expected"),
    [
        ("DS", b"1.5\\2 ", "DS", (1.5, 2.0)),
        (None, struct.pack("<d", 1000.0), "FD", (1000.0,)),
        ("UN", struct.pack("<2f", 0.5, 2.0), "FL", (0.5, 2.0)),
        ("UN", b"1000", "IS", (1000.0,)),
        ("LO", b"1000 ", "FD", (1000.0,)),  # another VR than the vendor's, but a number all the same
        ("CS", b"M\\\\ND ", "CS", ("M", "ND")),
        ("LT", b"a\\b ", "LT", ("a\\b",)),
        ("OB", b"\1\2", "OB", (b"\1\2",)),
        ("DS", b"", "DS", ()),
        ("DS", None, "DS", ()),
    ],
)
def test_values_are_decoded_by_their_vr(stated: str, value: bytes, vr: str, expected: tuple) -> None:
    assert decode(raw(stated, value), vr) == expected


@pytest.mark.parametrize(
    ("stated", "value", "vr"),
    [("FD", b"\0\0\0", "FD"), ("LO", b"secret", "IS"), ("UN", b"\1\2\3", "FL"), ("OW", b"\1\2", "DS")],
)
def test_what_is_no_value_of_its_vr_is_refused_without_being_repeated(
    stated: str, value: bytes, vr: str
) -> None:
    with pytest.raises(ValueError) as caught:
        decode(raw(stated, value), vr)
    assert "secret" not in str(caught.value)


def test_real_headers_are_walked_and_agree_with_pydicom() -> None:
    """One file of each real series, GE and Philips with sequences of undefined length among them."""
    root = data_dir("dicom_series")
    tags = ["EchoTime", "ImageType", "Rows", "PerFrameFunctionalGroupsSequence", "ReferencedImageSequence"]
    wanted = [int(pydicom.tag.Tag(tag)) for tag in tags]
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in folders:
        path = sorted(folder.iterdir())[0]
        found = walk_header(path, frozenset((*wanted, 0x00080005)))
        assert found is not None, folder.name
        assert found[0] == pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags), folder.name
        assert open_dicom(path, tags).has_pixels
    assert len(folders) == 23


def test_a_file_that_pydicom_wrote_itself_is_read_the_same_from_memory(tmp_path: Path) -> None:
    path = written(nested(3), tmp_path / "a.dcm")
    tag = pydicom.datadict.tag_for_keyword("ReferencedImageSequence")
    found = walk_header(path, frozenset((tag,)))
    assert found is not None
    whole = pydicom.dcmread(BytesIO(path.read_bytes()))
    assert found[0].ReferencedImageSequence == whole.ReferencedImageSequence
