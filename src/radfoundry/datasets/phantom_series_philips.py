"""Headers in the dialect of Philips: Image Types repeat the sequence, group 2001 tells the technique."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from radfoundry.datasets.phantom_series_protocols import Draw, Protocol
from radfoundry.datasets.phantom_series_vendors import Dialect, Frame, Private, Scanner, coil, common_elements

DD, MR1, MR5 = "Philips Imaging DD 001", "Philips MR Imaging DD 001", "Philips MR Imaging DD 005"

# Pulse sequence -> Scanning Sequence, Sequence Variants, techniques of (2001,1020), family in Image Type.
SEQUENCES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], str]] = {
    "se": ("SE", ("OSP", "NONE", "SK", "OTHER"), ("SE", "T1SE"), "SE"), "tse": ("SE", ("SK", "SK", "SK\\OSP",
    "SK\\OTHER"), ("{w}TSE", "TSE", "{w}TSE"), "SE"),
    "ir-tse": ("IR", ("SK", "SK", "SK\\OSP"), ("TIR", "IRTSE", "TIR"), "IR"),
    "space": ("SE", ("SK", "SK\\OSP"), ("{w}TSE", "TSE", "3DTSE"), "SE"), "ir-space": ("IR",
    ("SK", "SK\\OSP"), ("TIR", "TIR", "3D_FLAIR"), "IR"),
    "haste": ("SE", ("SK", "SK\\OSP"), ("TSE", "T2TSE", "SSHTSE"), "SE"), "haste-loc": ("SE", ("SK",),
    ("TSE", "T2TSE"), "SE"), "mprage": ("GR", ("MP", "SP", "SK\\MP", "MP\\SP", "SS"), ("T1TFE", "T1TFE",
    "TFE"), "FFE"),
    "vibe": ("GR", ("SP", "SP\\MP", "SS\\SP", "SK"), ("T1FFE", "T1TFE", "FFE"), "FFE"),
    "flash": ("GR", ("SP", "SS", "SP\\OSP"), ("T1FFE", "T1TFE"), "FFE"),
    "gre": ("GR", ("SS", "NONE", "SP", "SS\\OSP"), ("FFE", "T2FFE", "T1FFE"), "FFE"),
    "medic": ("GR", ("SS", "SP", "NONE"), ("FFE", "M-FFE", "mFFE"), "FFE"), "megre": ("GR", ("SS", "SP"),
    ("FFE", "mFFE", "T1FFE"), "FFE"), "swi": ("GR", ("SP", "SS", "SK"), ("T1FFE", "T2FFE", "FFE", "SWIp"),
    "FFE"),
    "tof": ("GR", ("SP", "SP\\MTC", "SS", "SK\\SP"), ("T1FFE", "FFE", "TOF"), "FFE"),
    "tof2d": ("GR", ("SP", "SS"), ("T1FFE", "T1TFE"), "FFE"), "pc": ("GR", ("SP", "SS", "NONE"),
    ("T1FFE", "PCA", "FFE"), "PCA"),
    "ce-mra": ("GR", ("SP", "SS", "SK"), ("T1FFE", "T1FFE", "T1TFE"), "FFE"),
    "bssfp": ("GR", ("SS", "SS", "SK\\SS"), ("BFFE", "BTFE", "B-FFE", "B-TFE"), "FFE"),
    "bssfp3d": ("GR", ("SS",), ("BFFE", "BTFE", "3D-bTFE"), "FFE"), "bssfp-loc": ("GR", ("SS",),
    ("BTFE", "BFFE"), "FFE"),
    "ciss": ("GR", ("SS", "SS\\SK"), ("BFFE", "BTFE", "DRIVE_BFFE"), "FFE"),
    "epi-dwi": ("SE", ("SK", "SK", "SK\\OSP"), ("DwiSE", "DwiSE", "DwiSSh", "DWI"), "SE"),
    "rs-epi": ("SE", ("SK",), ("DwiSE", "DWI_IRIS"), "SE"),
    "epi-gre": ("GR", ("SK", "SK", "SK\\OSP"), ("FEEPI", "FEEPI", "FEEPI"), "FFE"),
    "epi-se": ("SE", ("SK", "SK\\OSP"), ("SEEPI", "SEEPI"), "SE"), "fm": ("GR", ("SS", "SP", "NONE"),
    ("FFE", "T1FFE"), "FFE"),
    "asl2d": ("GR", ("SK", "SK"), ("FEEPI", "ASL", "FEEPI"), "FFE"), "asl3d": ("GR", ("SK", "SK"),
    ("GraSE", "GRASE", "FEEPI"), "FFE"), "loc": ("GR", ("SP", "SS", "NONE", "SK"), ("T1FFE", "T1TFE", "FFE"),
    "FFE"), "scout3d": ("GR", ("SP",), ("T1FFE",), "FFE"),
    "cal": ("GR", ("SP", "SS", "NONE"), ("T1FFE", "FFE", "REF"), "FFE"),
}  # fmt: skip
DERIVED: dict[str, tuple[str, ...]] = {
    "adc": ("DERIVED\\PRIMARY\\ADC\\ADC\\UNSPECIFIED", "ORIGINAL\\PRIMARY\\ADC\\ADC\\SE",
    "DERIVED\\PRIMARY\\ADC_UNSPECIFIED\\ADC\\UNSPECIFIED", "DERIVED\\SECONDARY\\ADC\\ADC\\UNSPECIFIED",
    "DERIVED\\PRIMARY\\DIFFUSION\\ADC"),
    "fa": ("DERIVED\\PRIMARY\\FA\\FA\\UNSPECIFIED", "DERIVED\\SECONDARY\\DIFFUSION\\FA"),
    "colfa": ("DERIVED\\SECONDARY\\FA\\FA\\UNSPECIFIED", "DERIVED\\SECONDARY\\OTHER\\DTI\\FA"),
    "expadc": ("DERIVED\\PRIMARY\\EADC\\EADC\\UNSPECIFIED", "DERIVED\\PRIMARY\\EXPONENTIAL MAP\\E\\SE"),
    "tensor-trace": ("DERIVED\\SECONDARY\\DIFFUSION\\TENSOR",), "md": ("DERIVED\\SECONDARY\\DIFFUSION\\MD",),
    "trace": ("ORIGINAL\\PRIMARY\\M_SE\\M\\SE", "ORIGINAL\\PRIMARY\\DIFFUSION\\TRACE",
    "DERIVED\\PRIMARY\\DIFFUSION\\ISOTROPIC", "ORIGINAL\\PRIMARY\\M_SE\\M\\SE"),
    "mip": ("DERIVED\\SECONDARY\\PROJECTION IMAGE\\MIP", "ORIGINAL\\PRIMARY\\PROJECTION IMAGE\\M\\FFE",
    "DERIVED\\PRIMARY\\PROJECTION IMAGE\\M\\FFE"),
    "turning-mip": ("ORIGINAL\\PRIMARY\\PROJECTION IMAGE\\M\\FFE",
    "DERIVED\\PRIMARY\\PROJECTION IMAGE\\M\\PCA"),
    "minip": ("DERIVED\\SECONDARY\\MNIP\\M\\FFE", "DERIVED\\SECONDARY\\PROJECTION IMAGE\\MINIP"),
    "mpr": ("DERIVED\\SECONDARY\\MPR\\M\\FFE", "DERIVED\\SECONDARY\\REFORMATTED\\M"),
    "cbf": ("DERIVED\\SECONDARY\\PERFUSION\\CBF", "DERIVED\\PRIMARY\\CBF\\M\\UNSPECIFIED"),
    "cbv": ("DERIVED\\SECONDARY\\PERFUSION\\CBV", "DERIVED\\PRIMARY\\CBV\\M\\UNSPECIFIED"),
    "mtt": ("DERIVED\\SECONDARY\\PERFUSION\\MTT", "DERIVED\\PRIMARY\\MTT\\T\\UNSPECIFIED"),
    "ttp": ("DERIVED\\SECONDARY\\PERFUSION\\TTP", "DERIVED\\PRIMARY\\TTP\\TTP\\UNSPECIFIED"),
    "tmax": ("DERIVED\\SECONDARY\\PERFUSION\\TMAX",), "phase": ("ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE",
    "ORIGINAL\\PRIMARY\\P_FFE\\P\\FFE"), "phasediff": ("ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE",),
    "b0map": ("ORIGINAL\\PRIMARY\\B0 MAP\\B0\\UNSPECIFIED", "ORIGINAL\\PRIMARY\\FIELD MAP\\B0\\FFE"),
    "swi": ("ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE", "ORIGINAL\\PRIMARY\\SWI\\M\\FFE",
    "ORIGINAL\\PRIMARY\\SWIP\\M\\FFE", "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE"),
    "subtraction": ("DERIVED\\PRIMARY\\SUBTRACTION\\M\\FFE", "DERIVED\\SECONDARY\\SUBTRACT\\M\\FFE"),
    "asl": ("ORIGINAL\\PRIMARY\\PERFUSION_FFE\\PERFUSION\\FFE", "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE",
    "ORIGINAL\\PRIMARY\\PERFUSION\\PERFUSION\\FFE"), "m0": ("ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE",
    "ORIGINAL\\PRIMARY\\PERFUSION_FFE\\PERFUSION\\FFE"),
}  # fmt: skip
DIXON = {
    "water": "DERIVED\\PRIMARY\\W\\W\\DERIVED",
    "fat": "DERIVED\\PRIMARY\\F\\F\\DERIVED",
    "in": "DERIVED\\PRIMARY\\IP\\IP\\DERIVED",
    "opp": "DERIVED\\PRIMARY\\OP\\OP\\DERIVED",
}
KINDS = {"M": "M", "P": "P", "R": "R", "I": "I"}


def _image_type(p: Protocol, d: Draw, family: str) -> str:
    if p.fat in DIXON and p.image == "magnitude":
        return (
            DIXON[p.fat]
            if d.chance(0.7)
            else DIXON[p.fat].replace("DERIVED\\PRIMARY", "ORIGINAL\\PRIMARY").replace("\\DERIVED", "\\FFE")
        )
    if p.image in DERIVED:
        return d.pick(DERIVED[p.image])
    if p.sequence == "pc":
        return d.pick(
            (
                "ORIGINAL\\PRIMARY\\PHASE CONTRAST M\\M\\PCA",
                "ORIGINAL\\PRIMARY\\M_PCA\\M\\PCA",
                "ORIGINAL\\PRIMARY\\FFE\\M\\PCA",
            )
        )
    if p.label == "other:DSC" and d.chance(0.35):
        return f"ORIGINAL\\PRIMARY\\PERFUSION_{family}\\PERFUSION\\{family}"
    return f"ORIGINAL\\PRIMARY\\M_{family}\\M\\{family}"


def _options(p: Protocol, d: Draw) -> list[str]:
    found = []
    if p.sequence in ("tof", "pc", "swi", "gre") and d.chance(0.7):
        found.append("FC")
    if p.fat in ("fatsat", "spair"):
        found.append("FS")
    if p.fat in ("we",) or d.chance(0.15):
        found.append("OTHER")
    if d.chance(0.3):
        found.append("PFP")
    if p.anatomy == "Abdomen" and d.chance(0.3):
        found.append("RG")
    return found or ([] if d.chance(0.6) else ["OTHER"])


def _of_frame(
    p: Protocol, shown: tuple[str, ...], diffusion: bool, standard: bool
) -> Callable[[Frame], tuple[dict[str, Any], tuple[Private, ...]]]:
    """What differs by frame: b-value and direction, in the standard elements or only in private ones."""

    def own(frame: Frame) -> tuple[dict[str, Any], tuple[Private, ...]]:
        b = float(frame.b or 0.0)
        changed: dict[str, Any] = {"TemporalPositionIdentifier": frame.volume + 1}
        found = [Private(0x2001, DD, 0x08, "IS", 1), Private(0x2001, DD, 0x0A, "IS", frame.slice + 1)]
        if diffusion or standard:
            found.append(Private(0x2001, DD, 0x03, "FL", b))
            if standard:
                changed["DiffusionBValue"] = b
        if diffusion:
            x, y, z = frame.direction or (0.0, 0.0, 0.0)
            found += [Private(0x2005, MR1, n, "FL", float(v)) for n, v in ((0xB0, x), (0xB1, y), (0xB2, z))]
            if standard:
                changed["DiffusionGradientOrientation"] = [x, y, z]
            found.append(
                Private(0x2001, DD, 0x04, "CS", "N" if not b else "I" if p.image == "trace" else "O")
            )
        if p.sequence.startswith("asl") and p.image == "asl":
            found.append(Private(0x2005, MR5, 0x29, "CS", "CONTROL" if frame.volume % 2 else "LABEL"))
        found.append(
            Private(0x2005, MR1, 0x11, "CS", shown[3] if len(shown) > 3 else KINDS.get(frame.part, "M"))
        )
        return changed, tuple(found)

    return own


def _type_of_frame(p: Protocol, shown: tuple[str, ...], family: str) -> Callable[[Frame], tuple[str, ...]]:
    """Image Type by frame: parts of a complex image have their own."""

    def image_type(frame: Frame) -> tuple[str, ...]:
        if frame.part in ("P", "R", "I") and "M" in shown:
            return (
                "ORIGINAL",
                "PRIMARY",
                {"P": "PHASE MAP", "R": f"R_{family}", "I": f"I_{family}"}[frame.part],
                frame.part,
                family,
            )
        if p.image == "b0map" and frame.part == "M":
            return ("ORIGINAL", "PRIMARY", f"M_{family}", "M", family)
        return shown

    return image_type


def philips(p: Protocol, scanner: Scanner, d: Draw) -> Dialect:
    """Dialect of one series; in the enhanced form its images differ by frame."""
    scanning, variants, techniques, family = SEQUENCES[p.sequence]
    weight = "T1" if p.modality in ("T1", "T1c") else "PD" if p.label == "other:PD" else "T2"
    technique = d.pick(techniques).format(w=weight)
    kind = _image_type(p, d, family)
    elements = common_elements(p, d, scanner) | {
        "ScanningSequence": scanning.split("\\"), "SequenceVariant": d.pick(variants).split("\\"),
        "ScanOptions": _options(p, d), "ReceiveCoilName": coil(d, scanner),
        "AngioFlag": "Y" if p.modality == "MRA" and d.chance(0.25) else "N" if d.chance(0.3) else None,
        "HeartRate": 0, "TriggerTime": 0 if d.chance(0.4) else None,
        "SequenceName": "" if d.chance(0.4) else None, "SAR": d.u(0.01, 2.5, 6), "HighRRValue": 0,
        "LowRRValue": 0, "IntervalsAcquired": 0,
    }  # fmt: skip
    if p.sequence in ("mprage", "cal", "loc") and d.chance(0.5):
        elements["EchoTrainLength"] = d.pick((1, 0, 179, 240))
    if d.chance(0.55):
        elements["PulseSequenceName"] = technique.upper() if d.chance(0.3) else technique
    diffusion, standard = p.sequence in ("epi-dwi", "rs-epi"), d.chance(0.8)
    if p.ti is None and d.chance(0.25):
        elements["InversionTime"] = 0
    shown = tuple(kind.split("\\"))

    private = (
        Private(0x2001, DD, 0x20, "LO", technique), Private(0x2001, DD, 0x13, "SL", p.train),
        Private(0x2001, DD, 0x18, "SL", "{slices}"), Private(0x2001, DD, 0x14, "SL", len(p.tes)),
        Private(0x2001, DD, 0x0B, "CS", {"axial": "TRANSVERSAL", "sagittal": "SAGITTAL",
        "coronal": "CORONAL"}.get(p.plane, "TRANSVERSAL")), Private(0x2001, DD, 0x12, "CS", "N"),
        Private(0x2005, MR1, 0x6E, "CS", family), Private(0x2005, MR1, 0x6F, "CS",
        (p.dimension == "3D" and "3D") or "MS"), Private(0x2005, MR1, 0x20, "SL", 1),
    )  # fmt: skip
    return Dialect(
        elements, _type_of_frame(p, shown, family), private, _of_frame(p, shown, diffusion, standard),
        "enhanced" if scanner.enhanced else "classic",
    )  # fmt: skip
