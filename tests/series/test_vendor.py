"""Private elements: read where their creator reserved the block, decoded whatever their VR, never trusted."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from radfoundry.series import vendor
from radfoundry.series.vendor import Reader, diffusion, facts, protocol_facts, vendor_of
from tests.series.made import csa, private


def read(data: Dataset) -> tuple[Reader, vendor.Get]:
    reader = Reader()
    reader.prepare([data.get_item])
    return reader, data.get_item


@pytest.mark.parametrize(
    ("manufacturer", "creators", "model", "expected"),
    [
        ("SIEMENS", (), "", "siemens"), ("Siemens HealthCare GmbH", (), "", "siemens"),
        ("GE MEDICAL SYSTEMS", (), "", "ge"), ("GE", (), "", "ge"),
        ("Philips Medical Systems", (), "", "philips"),
        ("UIH", (), "", "uih"), ("TOSHIBA_MEC", (), "", "canon"), ("Canon Medical Systems", (), "", "canon"),
        ("HITACHI Medical Corporation", (), "", "hitachi"), ("FUJIFILM Healthcare", (), "", "hitachi"),
        ("Hyperfine", (), "", "hyperfine"), ("", ("GEMS_PARM_01",), "", "ge"),
        ("", ("SIEMENS MR HEADER",), "", "siemens"), ("", ("Philips MR Imaging DD 001",), "", "philips"),
        ("", ("Image Private Header",), "", "uih"), ("", ("MMCPrivate",), "", "hitachi"),
        ("", ("GEIIS",), "", ""), ("Agfa", (), "", ""), ("", (), "SIGNA Premier", "ge"),
        ("", (), "uMR 790", "uih"),
    ],
)  # fmt: skip
def test_the_vendor_is_told_by_name_creator_or_model(
    manufacturer: str, creators: tuple[str, ...], model: str, expected: str
) -> None:
    assert vendor_of(manufacturer, creators, model) == expected


DIALECTS = {
    "ge": (private(Dataset(), "GEMS_PARM_01", 0x0043, 0x10, x39=("IS", [1000, 8, 0, 0])), 1000.0),
    # 1e9 is added in protocols with several b-values; values above 10,000 exist (dcm2niix, issue 602).
    "ge offset": (private(Dataset(), "GEMS_PARM_01", 0x0043, 0x10, x39=("IS", [1000030000, 8])), 30000.0),
    "ge other block": (private(Dataset(), "GEMS_PARM_01", 0x0043, 0x12, x39=("IS", [700, 0, 0, 0])), 700.0),
    "siemens": (private(Dataset(), "SIEMENS MR HEADER", 0x0019, 0x10, x0C=("IS", 800)), 800.0),
    "siemens csa": (
        private(Dataset(), "SIEMENS CSA HEADER", 0x0029, 0x10, x10=("OB", csa(Rows="64", B_value="1500"))),
        1500.0,
    ),
    "philips": (private(Dataset(), "Philips Imaging DD 001", 0x2001, 0x10, x03=("FL", 400.0)), 400.0),
    "uih": (private(Dataset(), "Image Private Header", 0x0065, 0x10, x09=("FD", 600.0)), 600.0),
    "uih zero": (private(Dataset(), "Image Private Header", 0x0065, 0x10, x09=("FD", 0.0)), 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_b_values_are_read_in_every_dialect(name: str) -> None:
    data, expected = DIALECTS[name]
    assert diffusion(*read(data))[0] == expected


def test_directions_are_read_in_every_dialect() -> None:
    ge = private(DIALECTS["ge"][0].copy(), "GEMS_ACQU_01", 0x0019, 0x10, xBB=("DS", "0.6"), xBC=("DS", "0"),
                 xBD=("DS", "-0.8"))  # fmt: skip
    siemens = private(
        Dataset(), "SIEMENS MR HEADER", 0x0019, 0x11, x0C=("IS", 1000), x0E=("FD", [0.0, 0.6, 0.8])
    )
    uih = private(
        Dataset(), "Image Private Header", 0x0065, 0x10, x09=("FD", 1000.0), x37=("FD", [1.0, 0.0, 0.0])
    )
    philips = DIALECTS["philips"][0].copy()
    private(
        philips, "Philips MR Imaging DD 001", 0x2005, 0x10, xB0=("FL", 0.5), xB1=("FL", 0.5), xB2=("FL", 0)
    )
    one = csa(B_value="1000", DiffusionGradientDirection="0.0\\0.0\\1.0")
    older = private(Dataset(), "SIEMENS CSA HEADER", 0x0029, 0x10, x10=("OB", one))
    found = [diffusion(*read(data))[1] for data in (ge, siemens, uih, philips, older)]
    expected = [(0.6, 0.0, -0.8), (0.0, 0.6, 0.8), (1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 0.0, 1.0)]
    assert found == expected


def test_an_element_in_a_block_of_somebody_else_is_not_read() -> None:
    data = private(Dataset(), "ACME PRIVATE", 0x0043, 0x10, x39=("IS", [1000, 0, 0, 0]))
    assert diffusion(*read(data)) == (None, ())
    orphan = Dataset()
    orphan.add_new(0x00431039, "IS", [1000, 0, 0, 0])
    assert diffusion(*read(orphan)) == (None, ())


def test_a_later_image_may_have_its_creator_in_another_block() -> None:
    first, second = DIALECTS["ge"][0], DIALECTS["ge other block"][0]
    reader, _ = read(first)
    assert [diffusion(reader, d.get_item)[0] for d in (first, second, first)] == [1000.0, 700.0, 1000.0]
    assert diffusion(reader, Dataset().get_item) == (None, ())


def raw(tag: int, vr: str | None, value: bytes) -> RawDataElement:
    return RawDataElement(BaseTag(tag), vr, len(value), value, 0, vr is None, True)


@pytest.mark.parametrize("vr", [None, "UN"])
@pytest.mark.parametrize(
    ("creator", "tag", "value", "expected"),
    [
        (b"Image Private Header", 0x00651009, struct.pack("<d", 900.0), 900.0),
        (b"SIEMENS MR HEADER ", 0x0019100C, b"650 ", 650.0),
        (b"Philips Imaging DD 001", 0x20011003, struct.pack("<f", 50.0), 50.0),
        (b"GEMS_PARM_01", 0x00431039, b"1000\\8\\0\\0 ", 1000.0),
    ],
)
def test_bytes_without_a_type_are_decoded(
    creator: bytes, tag: int, value: bytes, expected: float, vr: str | None
) -> None:
    place = tag & 0xFFFF0000 | 0x10
    elements = {BaseTag(place): raw(place, vr, creator), BaseTag(tag): raw(tag, vr, value)}
    reader = Reader()
    reader.prepare([elements.get])
    assert diffusion(reader, elements.get)[0] == expected
    assert not reader.notes


@pytest.mark.parametrize(
    ("vr", "value", "said"),
    [("UN", b"\1\2\3", "3 bytes"), ("LO", b"secret words", "text (VR LO)"), ("OW", b"\1\2\3\4", "VR OW")],
)
def test_a_wrong_vr_is_noted_without_repeating_the_value(vr: str, value: bytes, said: str) -> None:
    place, tag = 0x00650010, 0x00651009
    elements = {BaseTag(place): raw(place, "LO", b"Image Private Header"), BaseTag(tag): raw(tag, vr, value)}
    reader = Reader()
    reader.prepare([elements.get])
    assert diffusion(reader, elements.get) == (None, ())
    (note,) = reader.notes
    assert "(0065,xx09)" in note and said in note and "secret" not in note


def test_numbers_that_mean_unset_are_no_b_value() -> None:
    data = private(Dataset(), "Philips Imaging DD 001", 0x2001, 0x10, x03=("FL", 7.2e37))
    assert diffusion(*read(data)) == (None, ())


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=400), second=st.booleans())
def test_damaged_csa_headers_are_no_b_value_and_no_crash(content: bytes, second: bool) -> None:
    head = csa(B_value="1000")[:96] if second else b"\5\0\0\0\115\0\0\0B_value\0"
    data = private(Dataset(), "SIEMENS CSA HEADER", 0x0029, 0x10, x10=("OB", head + content))
    b, direction = diffusion(*read(data))
    assert b is None or 0 <= b < 1e5
    assert len(direction) in (0, 3)


def test_the_first_version_of_csa_headers_is_read() -> None:
    """In CSA1 the lengths of all items are offset by the first length of the first tag."""

    def item(text: bytes, offset: int) -> bytes:
        return struct.pack("<4I", offset + len(text), 0, 77, 0) + text + b"\0" * (-len(text) % 4)

    out = struct.pack("<II", 2, 77) + struct.pack("<64sI4sIII", b"Columns", 1, b"IS\0\0", 0, 1, 77)
    out += (
        item(b"", 100) + struct.pack("<64sI4sIII", b"B_value", 1, b"IS\0\0", 0, 1, 77) + item(b"900\0", 100)
    )
    assert vendor.csa_item(out, "B_value") == ["900"]
    assert vendor.csa_item(out, "Rows") == []


def test_facts_of_ge() -> None:
    data = private(Dataset(), "GEMS_PARM_01", 0x0043, 0x10, x2F=("SS", 1), xA3=("CS", "PSEUDOCONTINUOUS"))
    private(data, "GEMS_ACQU_01", 0x0019, 0x10, x9C=("LO", "epi2"), x9E=("LO", "EPI2"))
    assert facts(*read(data)) == {
        "vendor:pulse_sequence": ("epi2", "EPI2"),
        "vendor:image_kind": ("phase",),
        "vendor:asl": ("PSEUDOCONTINUOUS",),
    }


def test_facts_of_philips() -> None:
    data = private(Dataset(), "Philips Imaging DD 001", 0x2001, 0x10, x20=("LO", "FEEPI"))
    private(data, "Philips MR Imaging DD 001", 0x2005, 0x10, x11=("CS", "P"), x6E=("CS", "FFE"))
    private(data, "Philips MR Imaging DD 005", 0x2005, 0x14, x29=("CS", "LABEL"))
    assert facts(*read(data)) == {
        "vendor:image_kind": ("P", "FFE"),
        "vendor:technique": ("FEEPI",),
        "vendor:asl": ("LABEL",),
    }


@pytest.mark.parametrize("label", ["", "NONE", "-", "NO"])
def test_no_label_is_no_labelling(label: str) -> None:
    data = private(Dataset(), "Philips MR Imaging DD 005", 0x2005, 0x14, x29=("CS", label))
    private(data, "GEMS_PARM_01", 0x0043, 0x10, xA3=("CS", label))
    assert facts(*read(data)) == {}


def test_facts_of_a_siemens_protocol() -> None:
    """Modes as in Siemens protocols: 1 is off; 2 and 4 stand in 2D and 3D labelling series."""
    labelled = b'tSequenceFileName\t = \t""%SiemensSeq%\\tgse_pasl""\nsAsl.ulMode\t = \t0x4\n'
    assert protocol_facts(labelled) == {
        "vendor:pulse_sequence": ("tgse_pasl",),
        "vendor:asl": ("ulMode 4",),
    }
    assert protocol_facts(b"sAsl.ulMode\t = \t1\n") == {}
    assert protocol_facts(b"sAsl.ulMode = " + b"9" * 400) == {"vendor:asl": (f"ulMode {'9' * 9}",)}
    assert protocol_facts(labelled + b" " * vendor.LARGEST_PROTOCOL) == {}


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_comment_is_read_or_passed_over(text: str) -> None:
    b, direction = vendor.commented_diffusion(text)
    assert b is None or 0 <= b < 1e5 or 1e9 <= b < 2e9
    assert len(direction) in (0, 3)


def test_all_elements_are_among_those_that_are_read_from_files() -> None:
    tags = set(vendor.private_tags())
    for element in vendor.ELEMENTS.values():
        for block in vendor.BLOCKS:
            assert element.group << 16 | block << 8 | element.number in tags
            assert element.group << 16 | block in tags
