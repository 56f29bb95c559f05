"""Scanners of phantom studies, and what every vendor's dialect of headers has in common.

A dialect turns a `Protocol` into the words that its scanners write. Words were taken from public headers and
converters' notes (dcm2niix), not from conformance statements alone, since practice differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from radfoundry.datasets.phantom_series_protocols import SPINES, Draw, Protocol


@dataclass(frozen=True)
class Scanner:
    """One machine. enhanced: it writes multi-frame objects. coils: site's head coil name, for one."""

    vendor: str
    manufacturer: str
    model: str
    tesla: float
    software: tuple[str, ...]
    serial: str
    enhanced: bool = False


class Private(NamedTuple):
    """A private element: group, creator of its block, number in the block, VR, value."""

    group: int
    creator: str
    number: int
    vr: str
    value: Any


class Frame(NamedTuple):
    """One image of a series. stack, slice, echo, volume count from 0; part is M, P, R, I or ""."""

    stack: int
    slice: int
    echo: int
    volume: int
    b: float | None = None
    direction: tuple[float, float, float] | None = None
    part: str = "M"


Own = Callable[[Frame], tuple[dict[str, Any], tuple[Private, ...]]]


def nothing_own(frame: Frame) -> tuple[dict[str, Any], tuple[Private, ...]]:
    """No image has elements of its own."""
    return {}, ()


@dataclass(frozen=True)
class Dialect:
    """What a vendor writes of one series.

    elements: DICOM keyword -> value, the same in all images; own: those of one image. form: classic, mosaic
    or enhanced.
    """

    elements: dict[str, Any]
    image_type: Callable[[Frame], tuple[str, ...]]
    private: tuple[Private, ...] = ()
    own: Own = field(default=nothing_own)
    form: str = "classic"


MODELS: dict[str, tuple[tuple[str, tuple[float, ...], tuple[tuple[str, ...], ...]], ...]] = {
    "siemens": (
        ("Prisma_fit", (3.0,), (("syngo MR E11",), ("syngo MR D13D",))), ("Prisma", (3.0,),
        (("syngo MR E11",), ("syngo MR D13D",))),
        ("Skyra", (3.0,), (("syngo MR E11",), ("syngo MR D13",))), ("TrioTim", (2.89362, 3.0),
        (("syngo MR B17",), ("syngo MR B19",), ("syngo MR A30 4VA30A",))),
        ("Verio", (3.0,), (("syngo MR B17",), ("syngo MR B19",))), ("Avanto", (1.5, 1.494),
        (("syngo MR B17",), ("syngo MR B19",))),
        ("Aera", (1.5,), (("syngo MR E11",), ("syngo MR D13",))), ("Espree", (1.5,), (("syngo MR B17",),)),
        ("Symphony", (1.5,), (("syngo MR A35 4VA35A",), ("syngo MR 2004A 4VA25A",))),
        ("SymphonyTim", (1.5,), (("syngo MR B17",),)), ("Biograph_mMR", (3.0,), (("syngo MR B20P",),
        ("syngo MR E11",))), ("Spectra", (3.0,), (("syngo MR D11",),)),
        ("Investigational_Device_7T", (6.98, 7.0), (("syngo MR B17",),)), ("MAGNETOM ESSENZA", (1.5,),
        (("syngo MR E11",),)), ("MAGNETOM C!", (0.35,), (("syngo MR A35",),)),
        ("Concerto", (0.2,), (("syngo MR 2002B",),)),
    ),
    "siemens-xa": (
        ("MAGNETOM Vida", (3.0,), (("syngo MR XA20",), ("syngo MR XA30",), ("syngo MR XA10",),
        ("syngo MR XA50",))), ("MAGNETOM Sola", (1.5,), (("syngo MR XA20",), ("syngo MR XA51",))),
        ("MAGNETOM Prisma Fit", (3.0,), (("syngo MR XA30",), ("syngo MR XA60",))), ("MAGNETOM Altea", (1.5,),
        (("syngo MR XA31",),)), ("MAGNETOM Lumina", (3.0,), (("syngo MR XA11",),)),
        ("MAGNETOM Terra.X", (7.0,), (("syngo MR XA60",),)), ("MAGNETOM Free.Max", (0.55,),
        (("syngo MR XA40",),)),
    ),
    "ge": (
        ("SIGNA Architect", (3.0,), (("28", "LX", "MR Software release:DV28.0_R02_1947.a"),
        ("27", "LX", "MR Software release:DV27.0_R01_1850.a"))),
        ("SIGNA Premier", (3.0,), (("28", "LX", "MR Software release:RX28.0_R04_2020.b"),
        ("30", "LX", "SIGNA_LX1.MR30.1_R01_2319.a"))),
        ("SIGNA Artist", (1.5,), (("29", "LX", "SIGNA_LX1.MR29.1_R01_2135.a"),)), ("SIGNA Pioneer", (3.0,),
        (("29", "LX", "MR29.1_EA_2039.g"),)), ("SIGNA Voyager", (1.5,),
        (("28", "LX", "MR Software release:DV28.0_R05_2034.a"),)),
        ("DISCOVERY MR750", (3.0,), (("24", "LX", "MR Software release:DV24.0_R01_1344.a"),
        ("25", "LX", "MR Software release:DV25.0_R02_1549.b"))), ("DISCOVERY MR750w", (3.0,),
        (("25", "LX", "MR Software release:DV25.1_R03_1802.a"),)),
        ("Optima MR450w", (1.5,), (("25", "LX", "MR Software release:DV25.1_R01_1617.b"),)),
        ("Signa HDxt", (1.5, 3.0), (("15", "LX", "MR Software release:15.0_M4_0910.a"),
        ("24", "LX", "MR Software release:HD16.0_V03_1638.a"))),
        ("SIGNA EXCITE", (1.5,), (("11", "LX", "MR Software release:11.1"),)), ("GENESIS_SIGNA", (1.5,),
        (("09",), ("08",))), ("SIGNA PET/MR", (3.0,), (("26", "LX", "MR Software release:MP26.0_R03_1836.b"),
        )), ("SIGNA Creator", (1.5,), (("25", "LX", "MR Software release:SV25.3_R02"),)),
    ),
    "philips": (
        ("Achieva dStream", (3.0, 1.5), (("5.3.0", "5.3.0.3"), ("5.1.1", "5.1.1.0"))),
        ("Achieva", (1.5, 3.0, 7.0), (("3.2.1", "3.2.1.1"), ("2.6.3", "2.6.3.5"), ("3.2.3", "3.2.3.2"))),
        ("Ingenia", (1.5, 3.0), (("5.1.7", "5.1.7.2"), ("5.3.1", "5.3.1.0"), ("5.6.1", "5.6.1.1"))),
        ("Ingenia Elition X", (3.0,), (("5.7.1", "5.7.1.2"), ("5.9.0", "5.9.0.2"))), ("Ingenia Ambition X",
        (1.5,), (("5.7.1", "5.7.1.1"),)),
        ("Intera", (1.5,), (("12.6.1", "12.6.1.4"), ("11.1.4", "11.1.4.6"))), ("Intera Achieva", (3.0, 1.5),
        (("1.5.4", "1.5.4.3"),)), ("Ingenia CX", (3.0,), (("5.6.1", "5.6.1.0"),)), ("Panorama HFO", (1.0,),
        (("3.5.3", "3.5.3.1"),)), ("MR 7700", (3.0,), (("11.1.0", "11.1.0.5"),)),
    ),
    "uih": (
        ("uMR 790", (3.0,), (("V10",), ("uMR_790_V10.0.0.0",))), ("uMR 780", (3.0,),
        (("R004",), ("uMR_780_VB10A",))), ("uMR 770", (3.0,), (("uMR_770_V1.0",),)), ("uMR 560", (1.5,),
        (("R002",),)), ("uMR 588", (1.5,), (("V10",),)),
        ("uMR Omega", (3.0,), (("V11",),)), ("uMR Jupiter", (5.0,), (("V12",),)), ("uPMR 790", (3.0,),
        (("V10",),)),
    ),
    "canon": (
        ("Vantage Titan", (1.5, 3.0), (("V3.10*R004",), ("V2.30*R012",))), ("MRT200SP5", (1.5,),
        (("V6.0*R005",),)), ("Galan", (3.0,), (("V5.0*R008",), ("V4.5*R003",))),
        ("Orian", (1.5,), (("V6.0SP0001",),)), ("Titan3T", (3.0,), (("V2.30",),)), ("MRT50CI", (0.35,),
        (("V2.1",),)),
    ),
    "hitachi": (("ECHELON", (1.5,), (("V4.0",),)), ("ECHELON_OVAL", (1.5,), (("V5.1",),)),
    ("Oasis", (1.2,), (("V5.0B",),)), ("AIRIS Elite", (0.3,), (("V7.0M",),)), ("AIRISMATE", (0.2,),
    (("V1.1",),)), ("APERTO Lucent", (0.4,), (("V3.0",),))),
    "hyperfine": (("Swoop", (0.064, 0.063, 0.065), (("8.6.0",), ("8.7.2",), ("8.2.0",), ("rc8.8",))),
    ("Swoop Portable MR Imaging System", (0.064,), (("8.4.0",),))),
}  # fmt: skip
MAKERS_NAMES = {
    "siemens": ("SIEMENS", "SIEMENS", "Siemens", "Siemens HealthCare GmbH"),
    "siemens-xa": ("Siemens Healthineers", "SIEMENS", "Siemens", "Siemens HealthCare GmbH",
    "Siemens Healthcare"),
    "ge": ("GE MEDICAL SYSTEMS", "GE MEDICAL SYSTEMS", "GE MEDICAL SYSTEMS", "GE HEALTHCARE"),
    "philips": ("Philips Medical Systems", "Philips", "Philips Healthcare", "Philips Medical Systems"),
    "uih": ("UIH", "UIH", "United Imaging Healthcare"), "canon": ("TOSHIBA_MEC", "CANON_MEC", "TOSHIBA"),
    "hitachi": ("Hitachi Medical Corporation", "HITACHI", "FUJIFILM Healthcare Corporation"),
    "hyperfine": ("Hyperfine", "Hyperfine, Inc."),
}  # fmt: skip
VENDORS = {
    "siemens": 0.3,
    "ge": 0.22,
    "philips": 0.22,
    "uih": 0.1,
    "canon": 0.07,
    "hitachi": 0.05,
    "hyperfine": 0.04,
}
"""Vendors and how often a study comes from each."""


def draw_scanner(d: Draw, vendor: str) -> Scanner:
    """A machine of the vendor; newer ones of Siemens and some of Philips write multi-frame objects."""
    family = "siemens-xa" if vendor == "siemens" and d.chance(0.25) else vendor
    model, fields, versions = d.pick(MODELS[family])
    enhanced = (
        (family == "siemens-xa" and d.chance(0.7))
        or (vendor == "philips" and d.chance(0.25))
        or (vendor in ("canon", "uih") and d.chance(0.04))
    )
    return Scanner(
        vendor, d.pick(MAKERS_NAMES[family]), model, d.pick(fields), d.pick(versions), str(d.n(10000, 99999)),
        enhanced
    )  # fmt: skip


COILS: dict[str, dict[str, tuple[str, ...]]] = {
    "ge": {
        "Brain": ("8HRBRAIN", "HEAD", "32Ch Head", "HNS Head", "48HA", "48HAP", "24HA", "21HA", "RM:Nova32ch",
        "NV Head", "HEAD-8", "GEM HNU Head", "Head 24", "AIR Head"),
        "Neck": ("HNS NV", "NVARRAY_A", "GEM HNU", "8NVHEAD_A", "HNS Neck", "NEUROVASCULAR"),
        "C-spine": ("HNS CTL123", "CTL1234", "8USCTL12", "GEM HNU CTL", "CTLTOP", "PA+HNU"),
        "T-spine": ("CTL345", "8USCTL234", "GEM CTL", "SPINE", "HNS CTL345", "PA"), "L-spine": ("CTL456",
        "8USCTL456", "GEM PA", "SPINE", "CTLBOTTOM", "PA 40"),
        "Wrist": ("HD Wrist Array", "WRIST", "8HDWrist", "GEM Flex S", "16Ch Hand Wrist", "QUADWRIST"),
        "Hip": ("HD Torso", "8TORSOPA", "GEM AA", "BODY", "TORSOPA", "AA+PA"), "Elbow": ("GEM Flex M",
        "QUADEXT", "FLEX-S", "8FLEX", "SMALL FLEX"),
        "Knee": ("HD TRknee PA", "KNEE", "8KNEE", "16Ch T/R Knee", "QUADKNEE", "GEM Flex L", "TR Knee 18",
        "KNEEPA"),
        "Abdomen": ("TORSOPA", "8BODYFULL", "GEM AA", "HD Torso", "BODY", "AA+PA"), "Breast": ("8 Ch Breast",
        "BREASTPA", "HD Breast", "7 Ch Breast"), "Ankle": ("FOOTANKLE", "HD Foot", "16Ch Foot Ankle",
        "GEM Flex M"), "Shoulder": ("3 Ch Shoulder", "SHOULDER", "HD Shoulder", "GEM Flex L"),
        "Chest": ("8CARDIAC", "CARDIAC", "TORSOPA", "AA+PA"), "Thigh": ("TORSOPA", "BODY", "PVASC", "AA+PA"),
    },
    "philips": {
        "Brain": ("MULTI COIL", "SENSE-Head-8", "SENSE-Head-32", "MULTI COIL", "dS-Head-32", "Head",
        "SENSE-NV-16", "MULTI ELEMENT"), "Neck": ("MULTI COIL", "SENSE-NV-16", "SENSE-Neurovasc",
        "dS HeadNeck"),
        "C-spine": ("MULTI COIL", "SENSE-Spine-15", "SENSE-NV-16", "Synergy-L"), "T-spine": ("MULTI COIL",
        "SENSE-Spine-15", "Synergy-Spine"), "L-spine": ("MULTI COIL", "SENSE-Spine-15", "Synergy-Spine",
        "Q-Body"),
        "Wrist": ("MULTI COIL", "SENSE-Wrist-8", "SENSE-Flex-S", "Wrist"), "Hip": ("MULTI COIL",
        "SENSE-XL-Torso", "Q-Body", "SENSE-Body"), "Elbow": ("MULTI COIL", "SENSE-Flex-M", "C1"),
        "Knee": ("MULTI COIL", "SENSE-Knee-8", "SENSE-Knee-16", "KNEE-T/R", "dS-Knee-16"),
        "Abdomen": ("MULTI COIL", "SENSE-XL-Torso", "Q-Body"), "Breast": ("MULTI COIL", "SENSE-Breast-7",
        "dS Breast"), "Ankle": ("MULTI COIL", "SENSE-Foot-8", "SENSE-Ankle"), "Shoulder": ("MULTI COIL",
        "SENSE-Shoulder-8", "SENSE-Flex-L"), "Chest": ("MULTI COIL", "SENSE-Cardiac", "Q-Body"),
        "Thigh": ("MULTI COIL", "Q-Body"),
    },
    "siemens": {
        "Brain": ("HeadNeck_20_TCS", "Head_32", "HeadNeck_64", "HeadMatrix", "Head_64", "HEAD_32", "HE1-4"),
        "Neck": ("HeadNeck_20_TCS", "HeadNeck_64", "NeckMatrix"), "C-spine": ("HeadNeck_20_TCS", "Spine_32",
        "Spine_24"), "T-spine": ("Spine_32", "Spine_24", "SpineMatrix", "Spine_72_RS"),
        "L-spine": ("Spine_32", "Spine_24", "SpineMatrix"),
        "Wrist": ("HandWrist_16", "Wrist_8", "UltraFlex_Small_18"), "Hip": ("Body_18", "BodyMatrix",
        "UltraFlex_Large_18"), "Elbow": ("UltraFlex_Small_18", "Flex_Small_4", "Extremity"),
        "Knee": ("TxRx_Knee_15", "TxRx_Knee_18", "TxRx_15Ch_Knee", "Knee_18"), "Abdomen": ("Body_18",
        "Body_30", "BodyMatrix"), "Breast": ("Breast_18", "BreastMatrix"), "Ankle": ("Foot_Ankle_16",
        "FootAnkle_16"),
        "Shoulder": ("Shoulder_Large_16", "Shoulder_Shape_16", "Shoulder_16"), "Chest": ("Body_18",
        "Body_30"), "Thigh": ("PeripheralAngio_36", "Body_18"),
    },
    "uih": {
        "Brain": ("Head&Neck Coil 24", "HeadCoil32", "Head Coil - 32", "HNC-24"),
        "Neck": ("Head&Neck Coil 24", "HNC-24"), "C-spine": ("Head&Neck Coil 24;Spine Coil 32", "SPC-32"),
        "T-spine": ("Spine Coil 32", "SPC-32"), "L-spine": ("Spine Coil 32", "SPC-32"),
        "Wrist": ("Wrist Coil 12", "WristCoil"), "Hip": ("Body Array Coil 12", "BAC-12"),
        "Elbow": ("Flex Small 8", "FlexCoil"), "Knee": ("Knee Coil 12", "KneeCoil 24", "KNC-12"),
    },
    "canon": {
        "Brain": ("QD Head", "Head SPEEDER", "16ch Head SPEEDER", "Atlas SPEEDER Head/Neck", "ATLAS HEAD"),
        "Neck": ("Atlas SPEEDER Head/Neck", "NV SPEEDER"), "C-spine": ("Atlas SPEEDER Spine", "QD CTL"),
        "T-spine": ("Atlas SPEEDER Spine", "SPINE SPEEDER"), "L-spine": ("Atlas SPEEDER Spine",
        "SPINE SPEEDER"), "Wrist": ("Wrist SPEEDER", "Flex SPEEDER M"), "Hip": ("Atlas SPEEDER Body",
        "QD Whole Body"), "Elbow": ("Flex SPEEDER M",), "Knee": ("Knee SPEEDER", "QD KNEE"),
    },
    "hitachi": {
        "Brain": ("HEAD", "RAPID HEAD", "WIT Head", "QD HEAD"), "Neck": ("RAPID NV", "NECK"),
        "C-spine": ("CTL", "NECK"), "T-spine": ("CTL", "BODY L"), "L-spine": ("CTL", "FLEX BODY L", "BODY L"),
        "Wrist": ("WRIST", "HAND"), "Hip": ("BODY L", "RAPID Torso"), "Elbow": ("SMALL JOINT", "EXTREMITY"),
        "Knee": ("KNEE", "RAPID KNEE"),
    },
    "hyperfine": {"Brain": ("Head", "HEAD", "Hyperfine Head Coil")},
}  # fmt: skip
BODY_PARTS = {
    "Brain": ("BRAIN", "HEAD", "BRAIN", "HEAD", "BRAIN", "SKULL", "ORBIT", "IAC", "Brain", "Head"),
    "Neck": ("NECK", "NECK", "HEADNECK", "CAROTID", "SOFT TISSUE NECK", "LARYNX"),
    "C-spine": ("CSPINE", "CSPINE", "C-SPINE", "SPINE", "C_SPINE", "CERVICAL SPINE", "C SPINE",
    "CERVICAL_SPINE"), "T-spine": ("TSPINE", "TSPINE", "T-SPINE", "SPINE", "T_SPINE", "THORACIC SPINE",
    "T SPINE", "DORSAL SPINE"), "L-spine": ("LSPINE", "LSPINE", "L-SPINE", "SPINE", "L_SPINE", "LUMBAR SPINE",
    "LUMBAR", "L SPINE", "LUMBAR_SPINE"),
    "Wrist": ("WRIST", "WRIST", "HAND", "EXTREMITY", "WRIST_RT", "UPPER EXTREMITY"), "Hip": ("HIP", "PELVIS",
    "HIP", "HIPS", "PELVIS", "PROSTATE"), "Elbow": ("ELBOW", "ELBOW", "EXTREMITY", "UPPER EXTREMITY",
    "LT ELBOW"), "Knee": ("KNEE", "KNEE", "KNEE", "EXTREMITY", "LEG", "LOWER EXTREMITY", "RT KNEE"),
    "Abdomen": ("ABDOMEN", "LIVER", "ABDOMEN", "KIDNEY", "PANCREAS"), "Breast": ("BREAST", "BREAST"),
    "Ankle": ("ANKLE", "FOOT", "ANKLE", "EXTREMITY"), "Shoulder": ("SHOULDER", "SHOULDER", "EXTREMITY"),
    "Chest": ("CHEST", "HEART", "CHEST", "THORAX"), "Thigh": ("THIGH", "LEG", "FEMUR", "EXTREMITY"),
}  # fmt: skip
EMPTY_BODY_PART = {
    "siemens": 0.04,
    "ge": 0.2,
    "philips": 0.18,
    "uih": 0.1,
    "canon": 0.12,
    "hitachi": 0.25,
    "hyperfine": 0.05,
}


def coil(d: Draw, scanner: Scanner) -> str:
    """A coil as the vendor names it; sometimes one that serves many parts."""
    table = COILS.get(scanner.vendor, COILS["siemens"])
    names = table.get(d.anatomy) or ("Body", "BODY", "MULTI", "Flex")
    if d.chance(0.08):
        return d.pick(("BODY", "Body", "BC", "FLEX", "MULTI COIL", "Q-BODY"))
    return d.pick(names)


def body_part(d: Draw, scanner: Scanner) -> str:
    """Body Part Examined as the vendor's sites fill it; "" where they do not."""
    if d.chance(EMPTY_BODY_PART[scanner.vendor]):
        return ""
    return d.pick(BODY_PARTS[d.anatomy])


SHORT = {
    "siemens": {"axial": "tra", "sagittal": "sag", "coronal": "cor", "mixed": ""}, "ge": {"axial": "Ax",
    "sagittal": "Sag", "coronal": "Cor", "mixed": "3Plane"},
    "philips": {"axial": "TRA", "sagittal": "SAG", "coronal": "COR", "mixed": ""}, "uih": {"axial": "tra",
    "sagittal": "sag", "coronal": "cor", "mixed": ""},
}  # fmt: skip
WRONG_TEXTS = (
    "Series 1", "SEQ_01", "unknown", "Untitled", "localizer", "T2 TSE", "t1_mprage", "WIP test", "ax t1 +c",
    "copy", "ABDOMEN ROUTINE", "scan", "Dr_special", "DWI", "repeat", "new protocol 3", "FLAIR", "pat moved",
    "xxx",
)  # fmt: skip


def describe(p: Protocol, d: Draw, vendor: str) -> str:
    """A Series Description as a site with this vendor might write it."""
    plane = SHORT.get(vendor, SHORT["ge"])[p.plane]
    fat = {
        "fatsat": "fs",
        "spair": "spair",
        "stir": "",
        "we": "we",
        "water": "dixon_W",
        "opp": "opp",
        "in": "in",
        "fat": "dixon_F",
    }.get(p.fat, "")
    part = {"Brain": "", "C-spine": "c spine", "T-spine": "t spine", "L-spine": "l spine"}.get(
        p.anatomy, p.anatomy.lower() if d.chance(0.4) else ""
    )
    agent = d.pick(("+c", "post", "gd", "km", "+C")) if p.label == "T1c" and d.chance(0.85) else ""
    words = [
        w
        for w in (p.name, part, plane, fat, agent, d.pick(("", "", "p2", "2", "3mm", "iso", "HR", "new")))
        if w
    ]
    if vendor in ("siemens", "uih"):
        return "_".join(words).replace(" ", "_").replace("+c", "post")
    if vendor == "ge" and d.chance(0.7):
        words = [plane, *[w for w in words if w != plane]]
        return " ".join(w.upper() if len(w) < 5 else w.title() for w in words if w)
    if d.chance(0.3):
        return "".join(w.title() for w in words).replace(" ", "_")
    text = " ".join(words)
    return d.pick((text.upper(), text.title(), text))


def common_elements(p: Protocol, d: Draw, scanner: Scanner) -> dict[str, Any]:
    """Elements that are numbers of the protocol and named alike by all vendors."""
    phase_in_row = d.chance(0.35)
    frequency, phase = p.matrix
    found: dict[str, Any] = {
        "MRAcquisitionType": p.dimension, "RepetitionTime": p.tr, "EchoTrainLength": p.train,
        "FlipAngle": p.flip, "NumberOfAverages": p.averages,
        "MagneticFieldStrength": scanner.tesla, "ImagingFrequency": round(42.577 * scanner.tesla + d.u(-0.03,
        0.03, 5), 6), "ImagedNucleus": "1H",
        "PixelBandwidth": p.bandwidth, "SliceThickness": p.thickness,
        "PercentSampling": round(100 * phase / frequency / (p.phase_fov / 100), 4),
        "PercentPhaseFieldOfView": p.phase_fov, "AcquisitionMatrix": [0, frequency, phase,
        0] if phase_in_row else [frequency, 0, 0, phase],
        "InPlanePhaseEncodingDirection": "ROW" if phase_in_row else "COL",
        "NumberOfPhaseEncodingSteps": phase,
    }  # fmt: skip
    if p.ti is not None:
        found["InversionTime"] = p.ti
    if p.dimension == "2D" or scanner.vendor in ("ge", "philips", "hitachi"):
        found["SpacingBetweenSlices"] = p.step or p.thickness
    if p.agent:
        found["ContrastBolusAgent"] = p.agent
    if p.volumes > 1 and scanner.vendor in ("ge", "philips") and not p.b_values:
        found["NumberOfTemporalPositions"] = p.volumes
    return found


def is_spine(p: Protocol) -> bool:
    """Whether the spine is the object."""
    return p.anatomy in SPINES
