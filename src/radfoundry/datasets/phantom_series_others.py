"""Headers of Canon (Toshiba), Hitachi (Fujifilm) and Hyperfine: fewer words, plain Image Types."""

from __future__ import annotations

from typing import Any

from radfoundry.datasets.phantom_series_protocols import Draw, Protocol
from radfoundry.datasets.phantom_series_vendors import Dialect, Frame, Private, Scanner, coil, common_elements

# Pulse sequence -> Scanning Sequence, Sequence Variant, names at Canon, names at Hitachi.
SEQUENCES: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "se": ("SE", "NONE", ("SE15", "SE_slt", "SE12_slt"), ("SE", "SE_2D")), "tse": ("SE", "SK",
    ("FSE+{n}_nBW_slt", "FSE{n}_slt", "FSE2D{n}", "FASE2D{n}"), ("FSE", "FSE-ADA", "primeFSE")),
    "ir-tse": ("IR", "SK", ("FIR{n}_slt", "FSE+{n}_FLAIR", "FIR_flair"), ("FIR", "FLAIR", "FIR-ADA")),
    "space": ("SE", "SK", ("FASE3D{n}", "mVoxFSE3D"), ("FSE3D", "isoFSE")), "ir-space": ("IR", "SK",
    ("FASE3D{n}_IR", "mVox_FLAIR"), ("isoFSE_FLAIR", "FIR3D")), "haste": ("SE", "SK",
    ("FASE{n}", "FASE2D_ss"), ("SS-FSE", "ssFSE")), "haste-loc": ("SE", "SK", ("FASE{n}", "SuperFASE"),
    ("SS-FSE",)),
    "mprage": ("GR", "MP", ("FFE3D_MP", "MPRAGE", "FE3D5_IR"), ("MPRAGE", "GEIR", "3D-GEIR")),
    "vibe": ("GR", "SP", ("FFE3D4", "QUICK3D", "FE3D5_fs"), ("TIGRE", "RSSG3D", "TIGRE3D")),
    "flash": ("GR", "SP", ("FE_slt", "FE2D", "FE-80/11"), ("RSSG", "GE")), "gre": ("GR", "NONE",
    ("FE_slt", "FE20_slt", "FE2D_fc"), ("GE", "RSSG", "GE2D")),
    "medic": ("GR", "NONE", ("FE2D_sum", "FE_mecho"), ("ADAGE", "GE-ADAGE")), "megre": ("GR", "NONE",
    ("FE3D_me", "FE_mecho"), ("RSSG_ME",)), "swi": ("GR", "SP", ("FE3D40_FSBB", "FSBB", "FE3D_fc"),
    ("BSI", "BSI3D")), "tof": ("GR", "SP", ("FE3D5_ssm", "FE3D7_TOF", "3D_TOF_FE"),
    ("TOF", "TOF3D", "3D-TOF")),
    "tof2d": ("GR", "SP", ("FE2D_TOF",), ("TOF2D",)), "pc": ("GR", "SP", ("FE3D_PS", "PS3D"), ("PC", "PC3D")),
    "ce-mra": ("GR", "SP", ("FFE3D_CE", "FE3D_dyn"), ("RSSG3D", "TIGRE_CE")), "bssfp": ("GR", "SS",
    ("FFE_trueSSFP", "TSSFP2D", "True_SSFP"), ("BASG", "BASG2D")), "bssfp3d": ("GR", "SS",
    ("TSSFP3D", "trueSSFP3D"), ("BASG3D",)),
    "bssfp-loc": ("GR", "SS", ("TSSFP2D", "locator_ssfp"), ("BASG",)), "ciss": ("GR", "SS",
    ("TSSFP3D", "FASE3D_SSFP"), ("PBSG", "3D-PBSG")), "epi-dwi": ("EP\\SE", "NONE",
    ("SE_EPI_DWI", "SEEPI2D_dwi", "EPI2D_b{b}"), ("DWEPI", "DW-EPI", "DWI")), "rs-epi": ("EP\\SE", "SK",
    ("SE_EPI_DWI",), ("DWEPI_MS",)),
    "epi-gre": ("EP\\GR", "NONE", ("FEEPI2D", "FE_EPI_dyn"), ("GE-EPI", "EPI")), "epi-se": ("EP\\SE", "NONE",
    ("SEEPI2D",), ("SE-EPI",)), "fm": ("GR", "NONE", ("FE2D_shim", "FE_b0map"), ("GE_PHASE",)),
    "asl2d": ("EP\\GR", "NONE", ("ASTAR", "FEEPI2D_asl"), ("ASL-EPI",)), "asl3d": ("SE", "SK",
    ("mASTAR3D", "pCASL3D"), ("ASL3D",)),
    "loc": ("GR", "NONE", ("FE_slt", "Locator", "FE12"), ("GE", "SCANOGRAM", "Scano")),
    "scout3d": ("GR", "SP", ("Locator3D",), ("Scano3D",)), "cal": ("GR", "NONE", ("MAP_FE", "FE3D_map",
    "SPEEDER_map"), ("COILMAP", "RAPID_CAL")),
}  # fmt: skip
DERIVED = {
    "adc": ("DERIVED\\PRIMARY\\ADC", "DERIVED\\SECONDARY\\ADC", "DERIVED\\PRIMARY\\DIFFUSION\\ADC"),
    "fa": ("DERIVED\\SECONDARY\\FA",), "colfa": ("DERIVED\\SECONDARY\\FA\\COLOR",),
    "expadc": ("DERIVED\\SECONDARY\\EADC",), "tensor-trace": ("DERIVED\\SECONDARY\\DIFFUSION\\TENSOR",),
    "md": ("DERIVED\\SECONDARY\\DIFFUSION\\MD",),
    "trace": ("DERIVED\\PRIMARY\\TRACE", "ORIGINAL\\PRIMARY\\DIFFUSION\\TRACE",
    "DERIVED\\SECONDARY\\ISOTROPIC", "ORIGINAL\\PRIMARY\\OTHER"), "mip": ("DERIVED\\SECONDARY\\MIP",
    "DERIVED\\SECONDARY\\PROJECTION IMAGE"), "turning-mip": ("DERIVED\\SECONDARY\\MIP",
    "DERIVED\\SECONDARY\\PROJECTION IMAGE"), "minip": ("DERIVED\\SECONDARY\\MINIP",),
    "mpr": ("DERIVED\\SECONDARY\\MPR",),
    "cbf": ("DERIVED\\SECONDARY\\CBF",), "cbv": ("DERIVED\\SECONDARY\\CBV",),
    "mtt": ("DERIVED\\SECONDARY\\MTT",), "ttp": ("DERIVED\\SECONDARY\\TTP",),
    "tmax": ("DERIVED\\SECONDARY\\TMAX",), "phase": ("ORIGINAL\\PRIMARY\\PHASE", "DERIVED\\PRIMARY\\P"),
    "phasediff": ("ORIGINAL\\PRIMARY\\PHASE",), "b0map": ("DERIVED\\PRIMARY\\B0 MAP",),
    "subtraction": ("DERIVED\\SECONDARY\\SUBTRACTION",),
    "swi": ("ORIGINAL\\PRIMARY\\SWI", "DERIVED\\PRIMARY\\OTHER", "ORIGINAL\\PRIMARY\\OTHER"),
    "asl": ("ORIGINAL\\PRIMARY\\ASL", "ORIGINAL\\PRIMARY\\OTHER"), "m0": ("ORIGINAL\\PRIMARY\\ASL",
    "ORIGINAL\\PRIMARY\\OTHER"),
}  # fmt: skip
PLAIN = {"canon": ("ORIGINAL\\PRIMARY\\OTHER", "ORIGINAL\\PRIMARY", "ORIGINAL\\PRIMARY\\M"),
    "hitachi": ("ORIGINAL\\PRIMARY", "ORIGINAL\\PRIMARY\\OTHER", "ORIGINAL\\PRIMARY\\AXIAL"),
    "hyperfine": ("ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY", "DERIVED\\PRIMARY\\M\\NONE")}  # fmt: skip
HYPERFINE_NAMES = {"tse": ("FSE", "fse_t{w}", "FSE3D"), "ir-tse": ("FSE_IR", "flair", "FSE3D"),
    "epi-dwi": ("DWI_FSE", "dwi", "FSE_DWI"), "loc": ("localizer", "FSE", "loc")}  # fmt: skip


def _plain_dialect(p: Protocol, scanner: Scanner, d: Draw, names: tuple[str, ...]) -> Dialect:
    scanning, variant, _, _ = SEQUENCES[p.sequence]
    b = f"{max(p.b_values, default=0):.0f}"
    elements = common_elements(p, d, scanner) | {
        "ScanningSequence": scanning.split("\\"), "SequenceVariant": variant.split("\\"),
        "ReceiveCoilName": coil(d, scanner),
        "ScanOptions": list((("FS",) if p.fat in ("fatsat", "spair") else ()) + (("FC",
        ) if p.sequence in ("tof", "swi") and d.chance(0.6) else ())),
        "SequenceName": d.pick(names).format(n=p.train, b=b, w=1 if p.modality.startswith("T1") else 2),
        "AngioFlag": "Y" if p.modality == "MRA" and d.chance(0.6) else "N" if d.chance(0.4) else None,
        "SAR": d.u(0.01, 2.0, 5),
    }  # fmt: skip
    kind = d.pick(DERIVED[p.image]) if p.image in DERIVED else d.pick(PLAIN[scanner.vendor])
    if p.fat in ("water", "fat", "in", "opp"):
        kind = {
            "water": "DERIVED\\PRIMARY\\WATER",
            "fat": "DERIVED\\PRIMARY\\FAT",
            "in": "ORIGINAL\\PRIMARY\\IN_PHASE",
            "opp": "ORIGINAL\\PRIMARY\\OUT_PHASE",
        }[p.fat]
    standard = d.chance(0.6)

    def own(frame: Frame) -> tuple[dict[str, Any], tuple[Private, ...]]:
        if frame.b is None or not p.b_values or p.image not in ("magnitude", "trace"):
            return {}, ()
        changed: dict[str, Any] = {"DiffusionBValue": frame.b} if standard else {}
        if scanner.vendor == "canon":
            x, y, z = frame.direction or (0.0, 0.0, 0.0)
            changed["ImageComments"] = f"b={frame.b:.0f}({x:.3f},{y:.3f},{z:.3f})"
        elif not standard:
            changed["ImageComments"] = f"b-value {frame.b:.0f}"
        return changed, ()

    creator = {
        "canon": ("TOSHIBA_MEC_MR3", 0x700D),
        "hitachi": ("HITACHI MMCPrivate", 0x0029),
        "hyperfine": ("Hyperfine", 0x1001),
    }[scanner.vendor]
    private = (
        (Private(creator[1], creator[0], 0x10 if scanner.vendor != "hitachi" else 0x50, "LO", "PHANTOM"),)
        if d.chance(0.7)
        else ()
    )
    return Dialect(
        elements,
        lambda frame: tuple(kind.split("\\")),
        private,
        own,
        "enhanced" if scanner.enhanced else "classic",
    )


def canon(p: Protocol, scanner: Scanner, d: Draw) -> Dialect:
    """Canon and the Toshiba machines before it; b-values stand in Image Comments."""
    return _plain_dialect(p, scanner, d, SEQUENCES[p.sequence][2])


def hitachi(p: Protocol, scanner: Scanner, d: Draw) -> Dialect:
    """Hitachi and Fujifilm."""
    return _plain_dialect(p, scanner, d, SEQUENCES[p.sequence][3])


def hyperfine(p: Protocol, scanner: Scanner, d: Draw) -> Dialect:
    """The portable 0.064 T machine: 3D fast spin echoes of the brain under few names."""
    found = _plain_dialect(p, scanner, d, HYPERFINE_NAMES.get(p.sequence, ("FSE",)))
    elements = dict(found.elements)
    if d.chance(0.6):
        elements["ScanningSequence"] = ["SE", "IR"] if p.ti else ["SE"]
    if d.chance(0.5):
        elements.pop("SequenceName")
    return Dialect(elements, found.image_type, found.private, found.own)
