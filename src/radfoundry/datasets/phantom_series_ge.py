"""Headers in the dialect of GE: words ending in _GEMS, private pulse sequence names and b-values."""

from __future__ import annotations

from typing import Any

from radfoundry.datasets.phantom_series_protocols import Draw, Protocol
from radfoundry.datasets.phantom_series_vendors import Dialect, Frame, Private, Scanner, coil, common_elements

ACQU, PARM = "GEMS_ACQU_01", "GEMS_PARM_01"

# Pulse sequence -> Scanning Sequences, Sequence Variants, Scan Options, (pulse sequence, internal name).
SEQUENCES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[tuple[str, str],
    ...]]] = {
    "se": (("SE",), ("NONE", "NONE", "SK", "OSP"), ("NPW", "SAT_GEMS", "VB_GEMS", "NPW\\SEQ_GEMS\\VB_GEMS",
    "SAT_GEMS\\FC_FREQ_AX_GEMS", "PFF", ""), (("memp", "SE"), ("se", "SE"), ("mempsat", "SE"))),
    "tse": (("SE", "SE", "SE", "RM\\SE"), ("SK", "SK", "SK\\OSP", "OSP\\SK", "SK\\MTC"),
    ("FAST_GEMS\\NPW\\TRF_GEMS", "FAST_GEMS\\EDR_GEMS\\TRF_GEMS\\FS",
    "FAST_GEMS\\FC_SLICE_AX_GEMS\\EDR_GEMS\\TRF_GEMS\\FILTERED_GEMS",
    "EDR_GEMS\\TRF_GEMS\\FILTERED_GEMS\\ACC_GEMS", "FAST_GEMS\\FC\\FC_FREQ_AX_GEMS\\FR_GEMS",
    "PROP_GEMS\\EDR_GEMS\\TRF_GEMS", "FAST_GEMS\\SAT_GEMS\\NPW\\FR_GEMS\\SP"), (("fse-xl", "FSE-XL"),
    ("fse", "FSE"), ("frfse-xl", "FRFSE-XL"), ("frfseopt", "FRFSE"), ("propeller", "PROPELLER"),
    ("fse-xlopt", "FSE-XL"))),
    "ir-tse": (("SE\\IR", "IR\\SE", "SE\\IR", "RM\\IR"), ("SK", "SK\\OSP", "SK\\MP"),
    ("FAST_GEMS\\NPW\\TRF_GEMS\\IR_GEMS", "EDR_GEMS\\TRF_GEMS\\FAST_GEMS\\IR",
    "FAST_GEMS\\FC_FREQ_AX_GEMS\\TRF_GEMS"), (("fseir", "FSE-IR"), ("fsexlir", "FSE-XL"),
    ("irfse", "IRFSE"))),
    "space": (("SE", "RM\\SE", "SE"), ("SK", "SK\\OSP", "NONE"),
    ("FAST_GEMS\\EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\PFP",
    "EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\HYPERSENSE_GEMS", "FAST_GEMS\\EDR_GEMS\\FILTERED_GEMS"),
    (("cube", "CUBE"), ("3dfse", "3DFSE"), ("CubeT2", "CUBE"), ("fseopt3d", "3DFRFSE"))),
    "ir-space": (("SE\\IR", "RM\\SE\\IR", "SE\\IR"), ("SK", "SK\\OSP", "SK\\MP"),
    ("FAST_GEMS\\EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\T2FLAIR_GEMS\\IR_GEMS",
    "EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\IR_GEMS"), (("cube", "CUBE"), ("cubeflair", "CUBE"),
    ("3dfse", "3DFSE"))),
    "haste": (("SE",), ("SK", "SS\\SK", "SK\\OSP"), ("FAST_GEMS\\NPW\\SS_GEMS\\PFF",
    "EDR_GEMS\\SS_GEMS\\PFP\\ACC_GEMS", "FAST_GEMS\\RG\\SS_GEMS"), (("ssfse", "SSFSE"),
    ("ssfseopt", "SSFSE"))),
    "haste-loc": (("SE", "SE", "RM\\SE"), ("SK", "SS\\SK", "NONE"), ("FAST_GEMS\\NPW\\SS_GEMS\\PFF",
    "EDR_GEMS\\SS_GEMS\\SEQ_GEMS", "FAST_GEMS\\SS_GEMS\\SEQ_GEMS"), (("ssfse", "SSFSE"),
    ("3plane", "SSFSE"))),
    "mprage": (("GR", "GR\\IR", "GR", "RM\\IR"), ("SS\\SP", "SS\\SP\\SK", "SK\\SP\\MP", "NONE", "SS\\MP\\SP"),
    ("FAST_GEMS\\EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\IR_GEMS",
    "EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\FSA_GEMS\\IR_GEMS", "FAST_GEMS\\EDR_GEMS\\IR",
    "FAST_GEMS\\NPW\\EDR_GEMS\\IR_GEMS\\MP_GEMS"), (("bravo", "BRAVO"), ("efgre3d", "EFGRE3D"),
    ("3dbravo", "EFGRE3D"), ("mprage", "MPRAGE"), ("ir3d", "IRFSPGR"))),
    "vibe": (("GR", "GR", "RM\\GR"), ("SS\\SP", "SS\\SK\\SP", "SP", "SS\\SP\\OSP"),
    ("FAST_GEMS\\EDR_GEMS\\ACC_GEMS\\PFP", "FAST_GEMS\\NPW\\RG", "EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\PFP",
    "FAST_GEMS\\EDR_GEMS\\FSI_GEMS"), (("efgre3d", "EFGRE3D"), ("lava", "LAVA"), ("LAVAFlex", "LAVAFLEX"),
    ("fspgr3d", "3DFSPGR"), ("dixon3d", "EFGRE3D"))),
    "flash": (("GR",), ("SS\\SP", "SP", "SS\\SP\\OSP"), ("FAST_GEMS\\NPW\\EDR_GEMS", "FAST_GEMS",
    "FAST_GEMS\\ACC_GEMS\\PFF"), (("fgre", "FGRE"), ("2dfspgr", "FSPGR"), ("spgr", "SPGR"))),
    "gre": (("GR",), ("SS", "NONE", "SS\\OSP", "SP"), ("FC\\FC_SLICE_AX_GEMS", "FC_FREQ_AX_GEMS\\NPW",
    "FC_SLICE_AX_GEMS\\FC_FREQ_AX_GEMS\\EDR_GEMS", "", "SEQ_GEMS"), (("gre", "2DGRE"), ("mpgr", "MPGR"),
    ("grass", "GRASS"))),
    "medic": (("GR",), ("SS", "SS\\OSP", "NONE"), ("FC\\FC_SLICE_AX_GEMS\\NPW",
    "FAST_GEMS\\FC_FREQ_AX_GEMS\\ARTM_GEMS", "EDR_GEMS\\FC_SLICE_AX_GEMS"), (("merge", "MERGE"),
    ("mergeopt", "MERGE"), ("2dmerge", "MFGRE"))),
    "megre": (("GR", "RM\\GR"), ("SS\\SP", "SS", "SP"), ("FAST_GEMS\\EDR_GEMS\\FILTERED_GEMS",
    "FAST_GEMS\\MP_GEMS\\FC_FREQ_AX_GEMS", "EDR_GEMS\\ACC_GEMS"), (("fgre3d", "MFGRE"),
    ("starmap", "STARMAP"), ("efgre3d", "ME3DGRE"))),
    "swi": (("GR", "GR", "RM\\GR"), ("SS\\SP", "SS", "SP", "NONE"),
    ("FAST_GEMS\\FC_FREQ_AX_GEMS\\EDR_GEMS\\ACC_GEMS",
    "FC_SLICE_AX_GEMS\\FC_FREQ_AX_GEMS\\FILTERED_GEMS\\ACC_GEMS",
    "EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\MP_GEMS"), (("swan", "SWAN"), ("QSUSC", "QSUSC"),
    ("fastswan", "SWAN"), ("3dgre", "SWAN"))),
    "tof": (("GR",), ("SP", "TOF\\SP", "SS\\SP", "TOF\\SP\\MTC", "SP\\MTC"),
    ("FAST_GEMS\\VASCTOF_GEMS\\FC\\FC_SLICE_AX_GEMS\\RAMP_IS_GEMS",
    "VASCTOF_GEMS\\SAT_GEMS\\MT_GEMS\\FC_FREQ_AX_GEMS",
    "VASCTOF_GEMS\\EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\IFLOW_GEMS",
    "FAST_GEMS\\VASCTOF_GEMS\\RAMP_IS_GEMS\\MT"), (("3dtof", "3DTOF"), ("tof3d", "TOF"),
    ("vasctof", "3DTOFSPGR"), ("efgre3d", "3DTOF"))),
    "tof2d": (("GR",), ("TOF\\SP", "SP", "TOF"), ("VASCTOF_GEMS\\SAT_GEMS\\FC\\FC_SLICE_AX_GEMS",
    "SEQ_GEMS\\VASCTOF_GEMS\\SAT_GEMS"), (("2dtof", "2DTOF"), ("tof", "TOF"))),
    "pc": (("GR",), ("SP", "PC\\SP", "SS\\SP"), ("VASCPC_GEMS\\FC_SLICE_AX_GEMS",
    "FAST_GEMS\\VASCPC_GEMS\\EDR_GEMS", "VASCPC_GEMS\\ACC_GEMS"), (("3dpc", "3DPC"), ("pc", "2DPC"),
    ("fastcard_pc", "FASTCARDPC"))),
    "ce-mra": (("GR",), ("SS\\SP", "SP", "SS\\SK\\SP"), ("FAST_GEMS\\NPW\\EDR_GEMS\\ACC_GEMS\\PFP",
    "FAST_GEMS\\SAT_GEMS\\MP_GEMS", "EDR_GEMS\\ACC_GEMS\\FAST_GEMS\\FLUTR_GEMS"), (("efgre3d", "EFGRE3D"),
    ("tricks", "TRICKS"), ("fspgr3d", "3DFSPGR"))),
    "bssfp": (("GR",), ("SS", "SS\\OSP", "SS\\SK"), ("FAST_GEMS\\NPW\\EDR_GEMS",
    "FAST_GEMS\\CG\\SEQ_GEMS\\CINE_GEMS", "FAST_GEMS\\EDR_GEMS\\ACC_GEMS\\SEQ_GEMS"), (("fiesta", "FIESTA"),
    ("2dfiesta", "2DFIESTA"), ("fastcine", "FIESTA"))),
    "bssfp3d": (("GR",), ("SS", "SS\\OSP"), ("FAST_GEMS\\EDR_GEMS\\NPW", "FAST_GEMS\\EDR_GEMS\\ACC_GEMS"),
    (("3dfiesta", "3DFIESTA"), ("fiesta3d", "FIESTA3D"))),
    "bssfp-loc": (("GR",), ("SS", "SS\\OSP"), ("FAST_GEMS\\SEQ_GEMS", "FAST_GEMS\\NPW\\SEQ_GEMS\\EDR_GEMS"),
    (("fiesta", "FIESTA"), ("3plane", "FIESTA"))),
    "ciss": (("GR",), ("SS", "SS\\OSP", "SS\\SK"), ("FAST_GEMS\\EDR_GEMS\\PHCYC_GEMS",
    "FAST_GEMS\\EDR_GEMS\\ACC_GEMS"), (("fiestac", "FIESTA-C"), ("3dfiesta", "3DFIESTA-C"))),
    "epi-dwi": (("EP\\SE", "EP\\SE", "EP\\RM", "RM\\EP\\SE"), ("NONE", "NONE", "SS", "SK", "OSP"),
    ("EPI_GEMS\\PFF\\FS", "SAT_GEMS\\EDR_GEMS\\EPI_GEMS\\ACC_GEMS\\PFF\\FS",
    "EDR_GEMS\\EPI_GEMS\\ACC_GEMS\\FS", "EPI_GEMS\\SAT_GEMS\\FS"), (("epi2", "EPI2"), ("epi2", "EPI2"),
    ("dwi", "EPI2"), ("epi2alt", "EPI2"))),
    "rs-epi": (("EP\\SE", "RM\\EP\\SE"), ("NONE", "SK"), ("EPI_GEMS\\EDR_GEMS\\FS",
    "EDR_GEMS\\EPI_GEMS\\FS\\MULTISHOT_GEMS"), (("muse", "EPI2"), ("epi2", "MUSE"))),
    "epi-gre": (("EP\\GR", "EP\\GR", "EP\\RM", "RM\\EP\\GR"), ("SS", "NONE", "SS\\SK"), ("EPI_GEMS\\PFF\\FS",
    "EPI_GEMS\\ACC_GEMS\\FS", "SAT_GEMS\\EDR_GEMS\\EPI_GEMS\\HYPERBAND_GEMS\\ACC_GEMS\\FS",
    "EPI_GEMS\\MP_GEMS\\FS"), (("epi", "EPI"), ("epiRT", "EPI"), ("gre_epi", "EPI"), ("epi_multi_phase",
    "EPI"))),
    "epi-se": (("EP\\SE", "EP\\SE", "RM\\EP\\SE"), ("NONE", "SS", "SK"),
    ("EPI_GEMS\\FS", "EPI_GEMS\\PFF\\ACC_GEMS\\FS"), (("epi_pepolar", "EPI"), ("epi", "EPI"),
    ("se_epi", "EPI"))),
    "fm": (("RM", "GR", "RM\\GR", "GR"), ("NONE", "SS\\SP", "SP"), ("VB_GEMS", "FAST_GEMS\\EDR_GEMS", ""),
    (("B0map", "B0MAP"), ("b0map", "2DGRE"), ("fgre", "FGRE"))),
    "asl2d": (("EP\\GR", "RM\\EP\\GR"), ("SS", "NONE"), ("EPI_GEMS\\FS\\MP_GEMS", "EPI_GEMS\\ACC_GEMS\\FS"),
    (("epi_asl", "ASL"), ("ASL", "ASL"))),
    "asl3d": (("RM", "SE", "RM\\SE"), ("NONE", "SK", "SP"), ("EDR_GEMS\\SPIRAL_GEMS\\FILTERED_GEMS",
    "FAST_GEMS\\EDR_GEMS\\SPIRAL_GEMS\\PFF", "EDR_GEMS\\FILTERED_GEMS\\ACC_GEMS\\SPIRAL_GEMS"),
    (("3dasl", "3DASL"), ("3dasl", "3DASL"), ("eASL", "3DASL"))),
    "loc": (("GR", "GR", "RM\\GR"), ("SS", "SS\\SP", "SP", "NONE"), ("FAST_GEMS\\SEQ_GEMS",
    "SEQ_GEMS\\FAST_GEMS\\NPW", "FAST_GEMS"), (("fgre", "FGRE"), ("3plane", "3PLANE"),
    ("localizer", "FGRE"))),
    "scout3d": (("GR",), ("SS\\SP",), ("FAST_GEMS",), (("efgre3d", "EFGRE3D"),)),
    "cal": (("GR", "GR", "RM\\GR"), ("SS\\SP", "SS", "NONE", "SP"), ("FAST_GEMS\\ACC_GEMS", "FAST_GEMS",
    "FAST_GEMS\\PFP", "CAL_GEMS"), (("efgre3d", "EFGRE3D"), ("assetcal", "ASSETCAL"),
    ("fgre3dcal", "3DGRECAL"), ("calibration", "ASSET"))),
}  # fmt: skip

DERIVED: dict[str, tuple[str, ...]] = {
    "adc": ("DERIVED\\PRIMARY\\ADC", "DERIVED\\SECONDARY\\ADC", "DERIVED\\PRIMARY\\DIFFUSION\\ADC",
    "DERIVED\\SECONDARY\\DWI\\ADC", "DERIVED\\PRIMARY\\APPARENT DIFFUSION COEFFICIENT"),
    "trace": ("ORIGINAL\\PRIMARY\\OTHER", "DERIVED\\PRIMARY\\TRACE", "DERIVED\\PRIMARY\\DIFFUSION\\TRACE",
    "ORIGINAL\\PRIMARY\\OTHER"), "fa": ("DERIVED\\SECONDARY\\FA", "DERIVED\\PRIMARY\\DIFFUSION\\FA",
    "DERIVED\\PRIMARY\\FA"), "colfa": ("DERIVED\\SECONDARY\\FA\\COLOR",
    "DERIVED\\SECONDARY\\SCREEN SAVE\\FA"),
    "expadc": ("DERIVED\\PRIMARY\\EADC", "DERIVED\\SECONDARY\\EXPONENTIAL\\ADC" .replace("\\ADC", ""),
    "DERIVED\\PRIMARY\\DIFFUSION\\EADC"), "tensor-trace": ("DERIVED\\SECONDARY\\DIFFUSION\\TENSOR",
    "DERIVED\\PRIMARY\\TENSOR"), "md": ("DERIVED\\SECONDARY\\DIFFUSION\\MD", "DERIVED\\PRIMARY\\AVDC"),
    "mip": ("DERIVED\\SECONDARY\\PROJECTION IMAGE\\COLLAPSE", "DERIVED\\SECONDARY\\REFORMATTED\\MIP",
    "DERIVED\\PRIMARY\\PROJECTION IMAGE\\IVI", "DERIVED\\SECONDARY\\PJN"),
    "turning-mip": ("DERIVED\\PRIMARY\\PROJECTION IMAGE", "DERIVED\\SECONDARY\\PROJECTION IMAGE\\VASCULAR",
    "DERIVED\\SECONDARY\\PJN"), "minip": ("DERIVED\\SECONDARY\\REFORMATTED\\MIN IP",
    "DERIVED\\SECONDARY\\REFORMATTED\\MINIMUM"),
    "mpr": ("DERIVED\\SECONDARY\\REFORMATTED\\AVERAGE", "DERIVED\\SECONDARY\\REFORMATTED"),
    "cbf": ("DERIVED\\PRIMARY\\CBF", "DERIVED\\SECONDARY\\CBF", "DERIVED\\PRIMARY\\PERFUSION\\CBF"),
    "cbv": ("DERIVED\\SECONDARY\\CBV", "DERIVED\\SECONDARY\\PERFUSION\\RCBV"),
    "mtt": ("DERIVED\\SECONDARY\\MTT",), "ttp": ("DERIVED\\SECONDARY\\TTP",),
    "tmax": ("DERIVED\\SECONDARY\\TMAX", "DERIVED\\SECONDARY\\PERFUSION\\TMAX"),
    "phase": ("ORIGINAL\\PRIMARY\\OTHER", "DERIVED\\SECONDARY\\PHASE", "ORIGINAL\\PRIMARY\\PHASE"),
    "phasediff": ("DERIVED\\PRIMARY\\PHASE", "ORIGINAL\\PRIMARY\\OTHER"),
    "b0map": ("ORIGINAL\\PRIMARY\\OTHER", "DERIVED\\SECONDARY\\B0MAP", "DERIVED\\PRIMARY\\B0 MAP"),
    "swi": ("DERIVED\\PRIMARY\\SWAN", "ORIGINAL\\PRIMARY\\OTHER", "ORIGINAL\\PRIMARY\\OTHER",
    "ORIGINAL\\PRIMARY\\SWI"),
    "subtraction": ("DERIVED\\SECONDARY\\SUBTRACT", "DERIVED\\PRIMARY\\SUBTRACTION"),
    "asl": ("ORIGINAL\\PRIMARY\\ASL", "ORIGINAL\\PRIMARY\\OTHER", "DERIVED\\PRIMARY\\ASL\\PERFUSION"),
    "m0": ("ORIGINAL\\PRIMARY\\ASL", "ORIGINAL\\PRIMARY\\OTHER"),
}  # fmt: skip
FAT_WORDS = {
    "fatsat": "FS",
    "spair": "SPECIAL_GEMS",
    "we": "SSRF_GEMS",
    "water": "FLEX_GEMS",
    "fat": "FLEX_GEMS",
    "in": "FLEX_GEMS",
    "opp": "FLEX_GEMS",
}
DIXON_TYPES = {"water": ("DERIVED\\PRIMARY\\DIXON\\WATER", "ORIGINAL\\PRIMARY\\WATER"),
    "fat": ("DERIVED\\PRIMARY\\DIXON\\FAT", "ORIGINAL\\PRIMARY\\FAT"),
    "in": ("DERIVED\\PRIMARY\\DIXON\\IN_PHASE", "ORIGINAL\\PRIMARY\\IN_PHASE"),
    "opp": ("DERIVED\\PRIMARY\\DIXON\\OPP_PHASE", "ORIGINAL\\PRIMARY\\OUT_PHASE")}  # fmt: skip
KINDS = {"M": 0, "P": 1, "R": 2, "I": 3}


def _options(p: Protocol, d: Draw) -> list[str]:
    found = [w for w in d.pick(SEQUENCES[p.sequence][2]).split("\\") if w]
    if p.label in ("T2-FLAIR",) and d.chance(0.8):
        found.append("T2FLAIR_GEMS")
    if p.name == "t1 flair" and d.chance(0.85):
        found.append("T1FLAIR_GEMS")
    if not p.fat and "epi" not in p.sequence:
        found = [w for w in found if w != "FS"]
    return list(dict.fromkeys([*found, *([FAT_WORDS[p.fat]] if p.fat in FAT_WORDS else [])]))


def _names(p: Protocol, d: Draw) -> tuple[str, str]:
    if p.label == "T2-FLAIR" and p.sequence == "ir-tse" and d.chance(0.6):
        return d.pick((("t2flair", "T2FLAIR"), ("fseflair", "T2FLAIR"), ("flair", "FLAIR")))
    if p.name == "t1 flair" and d.chance(0.6):
        return ("t1flair", "T1FLAIR")
    return d.pick(SEQUENCES[p.sequence][3])


def ge(p: Protocol, scanner: Scanner, d: Draw) -> Dialect:
    """Dialect of one series."""
    scannings, variants, _, _ = SEQUENCES[p.sequence]
    elements = common_elements(p, d, scanner) | {
        "ScanningSequence": d.pick(scannings).split("\\"), "SequenceVariant": d.pick(variants).split("\\"),
        "ScanOptions": _options(p, d),
        "ReceiveCoilName": coil(d, scanner), "AngioFlag": "Y" if (p.sequence in ("tof", "tof2d",
        "pc") and d.chance(0.9)) or (p.sequence == "ce-mra" and d.chance(0.2)) else "N",
        "VariableFlipAngleFlag": "N", "SAR": d.u(0.01, 2.5, 6), "HeartRate": 0, "CardiacNumberOfImages": 0,
        "TriggerWindow": 0, "ReconstructionDiameter": round(p.spacing * p.rows, 1),
    }  # fmt: skip
    if p.sequence.startswith("epi") and d.chance(0.6):
        elements["EchoTrainLength"] = 1
    names = _names(p, d)
    kind = (
        d.pick(DERIVED[p.image])
        if p.image in DERIVED
        else d.pick(DIXON_TYPES[p.fat])
        if p.fat in DIXON_TYPES and d.chance(0.7)
        else "ORIGINAL\\PRIMARY\\OTHER"
    )
    if p.sequence in ("epi-gre", "epi-se") and p.image == "magnitude" and d.chance(0.7):
        kind = "ORIGINAL\\PRIMARY\\EPI\\NONE"
    offset, standard = (1_000_000_000 if d.chance(0.4) else 0), d.chance(0.25)
    diffusion = p.sequence in ("epi-dwi", "rs-epi")

    def own(frame: Frame) -> tuple[dict[str, Any], tuple[Private, ...]]:
        part = frame.part or ("P" if p.image == "phasediff" else "M")
        found = [Private(0x0043, PARM, 0x2F, "SS", KINDS[part])]
        changed: dict[str, Any] = {}
        if diffusion and frame.b is not None and p.image in ("magnitude", "trace"):
            found.append(Private(0x0043, PARM, 0x39, "IS", [int(frame.b) + offset, 8, 0, 0]))
            x, y, z = frame.direction or (0.0, 0.0, 0.0)
            found += [
                Private(0x0019, ACQU, n, "DS", round(v, 6)) for n, v in ((0xBB, x), (0xBC, y), (0xBD, z))
            ]
            if standard:
                changed["DiffusionBValue"] = frame.b
        elif diffusion and p.image == "adc":
            found.append(Private(0x0043, PARM, 0x39, "IS", [0, 0, 0, 0]))
        return changed, tuple(found)

    return Dialect(
        elements, lambda frame: tuple(kind.split("\\")), _series_private(p, d, names), own, "classic"
    )


def _series_private(p: Protocol, d: Draw, names: tuple[str, str]) -> tuple[Private, ...]:
    found = [
        Private(0x0009, "GEMS_IDEN_01", 0x04, "SH", "SIGNA"), Private(0x0019, ACQU, 0x9B, "SS", 1),
        Private(0x0019, ACQU, 0x9C, "LO", names[0]), Private(0x0019, ACQU, 0x9E, "LO", names[1]),
        Private(0x0019, ACQU, 0x7E, "SS", len(p.tes)),
        Private(0x0021, "GEMS_RELA_01", 0x4F, "SS", "{slices}"),
        Private(0x0025, "GEMS_SERS_01", 0x07, "SL", "{images}"),
        Private(0x0027, "GEMS_IMAG_01", 0x31, "SS", 1), Private(0x0043, PARM, 0x2C, "SS", d.n(300, 900)),
        Private(0x0043, PARM, 0x06, "SS", 1),
    ]  # fmt: skip
    if p.sequence == "asl3d" and d.chance(0.6):
        found += [
            Private(0x0043, PARM, 0xA3, "CS", "PSEUDOCONTINUOUS"),
            Private(0x0043, PARM, 0xA4, "LO", "3D pulsed continuous ASL technique"),
            Private(0x0043, PARM, 0xA5, "IS", 1525),
        ]
    if p.label == "other:PERFUSION-MAP" and p.sequence == "asl3d" and d.chance(0.3):
        found.append(Private(0x0043, PARM, 0xA4, "LO", "CBF"))
    return tuple(found)
