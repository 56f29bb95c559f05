"""Headers in the dialects of Siemens (classic, mosaic, XA) and United Imaging, which are near each other."""

from __future__ import annotations

import struct
from typing import Any

from radfoundry.datasets.phantom_series_protocols import Draw, Protocol
from radfoundry.datasets.phantom_series_vendors import Dialect, Frame, Private, Scanner, coil, common_elements

MR, CSA = "SIEMENS MR HEADER", "SIEMENS CSA HEADER"
SDS, SDI = "SIEMENS MR SDS 01", "SIEMENS MR SDI 02"

# Pulse sequence -> Scanning Sequence, Sequence Variants, names ({n}: the train), Scan Options.
SEQUENCES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "se": ("SE", ("SP", "OSP", "SK\\SP\\OSP", "SP\\OSP", "SK"), ("*se2d1", "*se2d1r", "se2d1", "*se2d1rr"),
    ("", "PFP", "SAT1", "SAT2\\PFP", "FC")),
    "tse": ("SE", ("SK\\SP", "SK\\SP\\OSP", "SK\\SP\\OSP", "SK\\OSP", "SK\\SP\\MTC"),
    ("*tse2d{e}_{n}", "*tse2d{e}_{n}", "*tse2d{e}rr{n}", "*tseR2d{e}rs{n}", "tse2d{e}_{n}", "*tse2d{e}rs{n}",
    "*tseB2d1_{n}", "*tseR2d1_{n}"), ("", "", "PFP", "SAT1", "SAT2", "SAT1\\PFP", "FC", "FC\\SAT1")),
    "ir-tse": ("SE\\IR", ("SK\\SP\\MP", "SK\\SP\\MP\\OSP", "SK\\SP\\MP", "SK\\MP"),
    ("*tir2d1_{n}", "*tir2d1rr{n}", "*tir2d1rs{n}", "tir2d1_{n}", "*qtir2d1_{n}", "*tirB2d1_{n}"),
    ("IR", "IR\\PFP", "IR\\SAT1", "IR\\SAT1\\PFP")),
    "space": ("SE", ("SK\\SP\\OSP", "SK\\SP", "SK\\OSP"), ("*spc_{n}ns", "*spcR_{n}ns", "*spc3d1_{n}ns",
    "*spc_{n}", "*spcR_{n}", "spc_{n}ns"), ("", "PFP", "PFP\\SAT1")),
    "ir-space": ("SE\\IR", ("SK\\SP\\MP", "SK\\SP\\MP\\OSP"), ("*spcir_{n}ns", "*spcir_{n}ns",
    "*spcir3d1_{n}ns", "spcir_{n}ns", "*spcir_{n}"), ("IR", "IR\\PFP")),
    "haste": ("SE", ("SK\\SP\\OSP", "SK\\SP", "SK\\OSP"), ("*h2d1_{n}", "*h2d1_{n}", "*hR2d1_{n}",
    "h2d1_{n}"), ("PFP", "PFP\\SAT1", "")),
    "haste-loc": ("SE", ("SK\\SP\\OSP", "SK\\SP"), ("*h2d1_{n}", "h2d1_{n}"), ("PFP", "")),
    "mprage": ("GR\\IR", ("SK\\SP\\MP", "SK\\SP\\MP\\OSP", "SP\\MP", "SP\\MP\\OSP"),
    ("*tfl3d1_16ns", "*tfl3d1_16ns", "*tfl3d1_ns", "*tfl3d1", "tfl3d1_ns", "*tfl3d1_16", "*tfl3d1_{n}ns"),
    ("IR", "IR\\PFP", "IR\\SAT1", "IR")),
    "vibe": ("GR", ("SP\\OSP", "SP", "SK\\SP", "SK\\SP\\OSP"), ("*fl3d1_ns", "*fl3d1", "fl3d1_ns", "*fl3d2",
    "*fl3d1_ns", "*fl3d1r"), ("PFP", "", "PFP\\PER", "SAT1", "PFF\\PFP")),
    "flash": ("GR", ("SP", "SP\\OSP", "SP\\OSP"), ("*fl2d1", "fl2d1", "*fl2d1r", "*fl2d2"),
    ("", "PFP", "SAT1", "SAT2")),
    "gre": ("GR", ("SP", "SP\\OSP"), ("*fl2d1", "*fl2d1r", "fl2d1r", "*fl2d1_7"), ("", "FC", "PFP", "FC\\PFP",
    "SAT1")),
    "medic": ("GR", ("SP\\OSP", "SP", "OSP"), ("*me2d1r3", "*me2d1r4", "*me2d1r2", "me2d1r4", "*me3d1r4"),
    ("", "FC", "FC\\SAT1", "PFP")),
    "megre": ("GR", ("SP", "SP\\OSP"), ("*fl3d{e}r", "*fl3d{e}", "fl3d{e}r", "*fl2d{e}"), ("", "FC", "PFP")),
    "swi": ("GR", ("SP", "SP\\OSP"), ("*swi3d1r", "*swi3d1r", "swi3d1r", "*swiW3d1r", "*qswi3d1r"),
    ("FC", "PFP\\FC", "PFP", "")),
    "tof": ("GR", ("SP", "SP\\OSP", "SP\\MTC", "SP\\OSP\\MTC"), ("*fl3d1r_t70", "*fl3d1r_tm", "*fl3d1r_t50",
    "fl3d1r_t70", "*fl3d1r_ts", "*fl3d1r_t60"), ("FC", "SAT1\\FC", "FC\\SAT1\\PFP", "PFP\\FC")),
    "tof2d": ("GR", ("SP", "SP\\OSP"), ("*fl2d1r_t", "*fl2d1", "*fl2d1r"), ("SAT1\\FC", "FC")),
    "pc": ("GR", ("SP", "SP\\OSP"), ("*fl3d4_pc", "*fl2d1_v10in", "*fl3d1_pc3d", "*fl_pc3d"),
    ("FC", "PFP\\FC", "")),
    "ce-mra": ("GR", ("SP\\OSP", "SP", "SK\\SP"), ("*fl3d1_ce", "*fl3d1_ns", "*fl3d1", "fl3d1_ce",
    "*fldyn3d1"), ("PFP", "", "PFF\\PFP")),
    "bssfp": ("GR", ("SK\\SS", "SS", "SK\\SS\\OSP", "SS\\OSP"), ("*tfi2d1", "*tfi2d1_62", "tfi2d1",
    "*tfi2d1_23", "*tfi2d1rr"), ("", "PFP", "CG")),
    "bssfp3d": ("GR", ("SS", "SK\\SS", "SS\\OSP"), ("*tfi3d1", "*tfi3d1_59", "*tfi3d1_rr"), ("", "PFP")),
    "bssfp-loc": ("GR", ("SK\\SS", "SS", "SK\\SS\\OSP"), ("*tfi2d1_62", "*tfi2d1", "tfi2d1_173"),
    ("", "PFP")),
    "ciss": ("GR", ("SS", "SK\\SS", "SS\\OSP"), ("*ci3d1", "*ci3d1rs2", "ci3d1", "*ci3d1_b"), ("", "PFP")),
    "epi-dwi": ("EP", ("SK\\SP", "SK\\SP\\OSP", "SK", "SK\\SS"), (), ("PFP\\FS", "FS", "PFP", "FS\\SAT1")),
    "rs-epi": ("EP", ("SK\\SP", "SK\\SP\\OSP"), (), ("FS", "PFP\\FS")),
    "epi-gre": ("EP", ("SK", "SK\\SS", "SK\\OSP"), ("*epfid2d{e}_{r}", "*epfid2d{e}_{r}", "epfid2d{e}_{r}"),
    ("FS", "PFP\\FS", "FS\\SAT1")),
    "epi-se": ("EP", ("SK", "SK\\OSP", "SK\\SP"), ("epse2d1_{r}", "*epse2d1_{r}"), ("FS", "PFP\\FS")),
    "fm": ("GR", ("SP", "SP\\OSP"), ("*fm2d2r", "fm2d2r"), ("", "PFP")),
    "asl2d": ("EP", ("SK", "SK\\SS", "SK\\OSP"), ("*epfid2d1_{r}", "epfid2d1_{r}", "mbPCASL2d1_{r}",
    "to_ep2d_pcasl"), ("PFP\\SAT1\\FS", "FS", "PFP\\FS")),
    "asl3d": ("EP", ("SK", "SK\\OSP", "SK\\SP"), ("*tgse3d1_{k}", "tgse3d1_{k}", "tgse_mv3d1_{k}"),
    ("FS", "PFP\\FS")),
    "loc": ("GR", ("SP", "SP\\OSP", "OSP", "SK\\SP"), ("*fl2d1", "*fl2d1", "fl2d1", "*fl2d1r"), ("", "PFP")),
    "scout3d": ("GR", ("SP", "SP\\OSP"), ("*fl3d1_ns", "*fl3d1", "fl3d1_ns"), ("PFP", "")),
    "cal": ("GR", ("SP", "SP\\OSP"), ("*fl3d1", "*fl3d1_ns", "fl3d1", "fi3d1tun"), ("", "PFP")),
}  # fmt: skip

DERIVED: dict[str, tuple[str, ...]] = {
    "adc": ("DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND", "DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND\\NORM",
    "DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND\\DIS2D", "DERIVED\\PRIMARY\\DIFFUSION\\ADC\\DIS2D\\MFSPLIT"),
    "trace": ("DERIVED\\PRIMARY\\DIFFUSION\\TRACEW\\ND", "DERIVED\\PRIMARY\\DIFFUSION\\TRACEW\\ND\\NORM",
    "DERIVED\\PRIMARY\\DIFFUSION\\TRACEW\\DIS2D", "ORIGINAL\\PRIMARY\\DIFFUSION\\TRACEW\\ND"),
    "fa": ("DERIVED\\PRIMARY\\DIFFUSION\\FA\\ND", "DERIVED\\PRIMARY\\DIFFUSION\\FA\\ND\\NORM"),
    "colfa": ("DERIVED\\PRIMARY\\DIFFUSION\\FA\\ND\\NORM", "DERIVED\\SECONDARY\\DIFFUSION\\FA\\COLOR"),
    "expadc": ("DERIVED\\PRIMARY\\DIFFUSION\\EXP\\ND", "DERIVED\\PRIMARY\\EADC\\ND"),
    "tensor-trace": ("DERIVED\\PRIMARY\\DIFFUSION\\TENSOR\\ND", "DERIVED\\PRIMARY\\TENSOR_B0\\ND"),
    "md": ("DERIVED\\PRIMARY\\DIFFUSION\\MD\\ND",),
    "mip": ("DERIVED\\SECONDARY\\MIP\\CSA MIP\\\\CSAPARALLEL",
    "DERIVED\\SECONDARY\\PROJECTION IMAGE\\CSA MIP", "DERIVED\\SECONDARY\\PROJECTION IMAGE\\CSA MIP\\ND"),
    "turning-mip": ("DERIVED\\PRIMARY\\PROJECTION IMAGE\\MIP_COR\\ND",
    "DERIVED\\SECONDARY\\PROJECTION IMAGE\\CSA MIP\\RADIAL",
    "DERIVED\\PRIMARY\\PROJECTION IMAGE\\MIP\\ND\\NORM"),
    "minip": ("ORIGINAL\\PRIMARY\\MNIP\\ND\\NORM", "ORIGINAL\\PRIMARY\\MNIP\\ND",
    "DERIVED\\PRIMARY\\MNIP\\ND\\NORM"), "mpr": ("DERIVED\\SECONDARY\\MPR\\CSA MPR\\\\CSAPARALLEL",
    "DERIVED\\SECONDARY\\MPR\\CSA MPR\\CSA RESAMPLED", "DERIVED\\SECONDARY\\REFORMATTED\\AVERAGE"),
    "cbf": ("DERIVED\\PRIMARY\\RELCBF\\NONE", "DERIVED\\PRIMARY\\PERFUSION\\RCBF",
    "DERIVED\\PRIMARY\\ASL\\RELCBF\\ND"), "cbv": ("DERIVED\\PRIMARY\\RELCBV\\NONE",
    "DERIVED\\PRIMARY\\PERFUSION\\RCBV"), "mtt": ("DERIVED\\PRIMARY\\MTT\\NONE",
    "DERIVED\\PRIMARY\\PERFUSION\\MTT"),
    "ttp": ("DERIVED\\PRIMARY\\TTP\\NONE", "DERIVED\\PRIMARY\\PERFUSION\\TTP\\ND"),
    "tmax": ("DERIVED\\PRIMARY\\TMAX", "DERIVED\\PRIMARY\\PERFUSION\\TMAX"),
    "phase": ("ORIGINAL\\PRIMARY\\P\\ND", "ORIGINAL\\PRIMARY\\P\\ND\\NORM", "ORIGINAL\\PRIMARY\\P\\DIS2D"),
    "phasediff": ("ORIGINAL\\PRIMARY\\P\\ND", "ORIGINAL\\PRIMARY\\P\\ND\\PHASE"),
    "swi": ("ORIGINAL\\PRIMARY\\M\\SWI\\ND\\NORM", "ORIGINAL\\PRIMARY\\M\\SWI\\ND",
    "ORIGINAL\\PRIMARY\\SWI\\ND\\NORM", "DERIVED\\PRIMARY\\M\\SWI\\DIS2D"),
    "subtraction": ("DERIVED\\PRIMARY\\M\\SUB\\ND", "DERIVED\\PRIMARY\\M\\ND\\SUB"),
    "b0map": ("DERIVED\\PRIMARY\\P\\ND\\B0MAP",), "asl": ("ORIGINAL\\PRIMARY\\ASL\\NONE\\ND",
    "ORIGINAL\\PRIMARY\\ASL\\NONE\\ND\\NORM"), "m0": ("ORIGINAL\\PRIMARY\\ASL\\NONE\\ND\\NORM",
    "ORIGINAL\\PRIMARY\\ASL\\NONE\\ND"),
}  # fmt: skip
CORRECTIONS = (
    "ND",
    "ND\\NORM",
    "NORM\\DIS2D",
    "NORM\\DIS3D",
    "ND\\NORM",
    "DIS2D",
    "ND\\NORM\\FM3_2\\FIL",
    "ND\\NORM\\SH1_1\\FIL",
    "NORM\\DIS3D\\DIS2D",
    "ND\\NORM\\COMP_SP\\COMPOSED",
    "ND\\NORM\\MFSPLIT",
)
FAT_WORDS = {"fatsat": "FS", "spair": "SFS", "we": "WE"}
DIXON_WORDS = {
    "water": "DIXON\\WATER",
    "fat": "DIXON\\FAT",
    "in": "DIXON\\IN_PHASE",
    "opp": "DIXON\\OPP_PHASE",
}
OLD_DIXON = {"water": "W", "fat": "F", "in": "IN_PHASE", "opp": "OPP_PHASE"}


def sequence_name(p: Protocol, d: Draw) -> str:
    """Sequence Name without the part that differs from image to image."""
    if p.sequence in ("epi-dwi", "rs-epi"):
        return d.pick(("*ep_b", "*ep_b", "ep_b", "*ez_b") if p.sequence == "epi-dwi" else ("*re_b",))
    name = d.pick(SEQUENCES[p.sequence][2])
    if p.train <= 1 and "{n}" in name and p.sequence == "mprage":
        name = "*tfl3d1_16ns"
    return name.format(n=max(p.train, 1), e=len(p.tes), r=p.matrix[0], k=p.matrix[0] * max(p.train, 10) * 2)


def _diffusion_name(base: str, p: Protocol, frame: Frame) -> str:
    """Names such as *ep_b1000#3: b-value and number of the direction; t marks a trace."""
    if p.image in ("adc", "fa", "expadc", "md", "colfa", "tensor-trace"):
        return f"{base}0_{max(p.b_values, default=1000):.0f}" if len(p.b_values) else f"{base}0"
    b = frame.b or 0
    if b == 0:
        return f"{base}0"
    return f"{base}{b:.0f}t" if p.image == "trace" else f"{base}{b:.0f}#{frame.volume}"


def siemens(p: Protocol, scanner: Scanner, d: Draw) -> Dialect:
    """Dialect of one series, in the form that the machine and the sequence call for."""
    scanning, variants, _, options = SEQUENCES[p.sequence]
    name, base_type = sequence_name(p, d), _image_type(p, d)
    wanted = d.pick(options)
    fat = FAT_WORDS.get(p.fat, "")
    words = [w for w in (*wanted.split("\\"), fat) if w]
    if p.dimension == "3D" and p.sequence == "tse":
        scanning = "SE"
    mosaic = (
        p.sequence in ("epi-gre", "epi-se", "asl2d", "asl3d", "epi-dwi") and p.volumes > 1 and d.chance(0.75)
    )
    mosaic = (
        (mosaic or (p.sequence in ("epi-gre", "epi-se", "asl3d") and p.volumes == 1 and d.chance(0.5)))
        and p.slices > 3
        and p.matrix[0] <= 130
    )
    mosaic = mosaic and p.image in ("magnitude", "asl", "m0")
    form = "enhanced" if scanner.enhanced else "mosaic" if mosaic else "classic"
    shown = [*base_type, *(["MOSAIC"] if form == "mosaic" else [])]
    elements = common_elements(p, d, scanner) | {
        "ScanningSequence": scanning.split("\\"), "SequenceVariant": d.pick(variants).split("\\"),
        "ScanOptions": list(dict.fromkeys(words)),
        "SequenceName": name, "AngioFlag": "Y" if (p.sequence in ("tof",
        "tof2d") and d.chance(0.85)) or (p.sequence == "pc" and d.chance(0.5)) else "N",
        "TransmitCoilName": d.pick(("Body", "Body", "BC", "TxRx_Head")),
        "VariableFlipAngleFlag": "Y" if "space" in p.sequence else "N", "SAR": d.u(0.01, 2.5, 6),
        "TriggerTime": d.u(100, 900) if p.sequence == "bssfp" and p.volumes > 1 else None,
        "NumberOfPhaseEncodingSteps": p.matrix[1],
    }  # fmt: skip
    if form == "mosaic" and d.chance(0.4):
        elements["EchoTrainLength"] = 1 if d.chance(0.4) else p.train
    if p.dimension == "2D" and p.sequence in ("se", "flash", "gre", "loc") and d.chance(0.3):
        elements.pop("SpacingBetweenSlices", None)
    where = coil(d, scanner)

    def own(frame: Frame) -> tuple[dict[str, Any], tuple[Private, ...]]:
        changed: dict[str, Any] = {}
        if p.sequence in ("epi-dwi", "rs-epi"):
            changed["SequenceName"] = _diffusion_name(name, p, frame)
        return changed, _private_own(p, frame, shown, form)

    private = _series_private(p, d, where, form, shown)
    if form == "enhanced":
        elements["ReceiveCoilName"] = where
        elements["PulseSequenceName"] = name
    return Dialect(elements, lambda frame: _of_frame(shown, p, frame), private, own, form)


def _image_type(p: Protocol, d: Draw) -> list[str]:
    if p.image in DERIVED:
        return d.pick(DERIVED[p.image]).split("\\")
    correction = d.pick(CORRECTIONS)
    if p.image == "magnitude" and p.b_values:
        return f"ORIGINAL\\PRIMARY\\DIFFUSION\\NONE\\{correction}".split("\\")
    if p.label == "other:DSC" and d.chance(0.5):
        return f"ORIGINAL\\PRIMARY\\PERFUSION\\NONE\\{correction}".split("\\")
    if p.fat in DIXON_WORDS:
        middle = DIXON_WORDS[p.fat] if d.chance(0.6) else OLD_DIXON[p.fat]
        origin, own = d.pick(("DERIVED", "ORIGINAL")), "" if d.chance(0.5) else "M\\"
        return f"{origin}\\PRIMARY\\{own}{middle}\\{correction}".split("\\")
    if p.sequence == "epi-gre" and p.label == "other:BOLD":
        tail = d.pick(
            ("ND", "ND\\NORM", "MB\\ND", "MB\\ND\\NORM", "TE1\\ND" if len(p.tes) > 1 else "ND\\FILTERED")
        )
        return f"ORIGINAL\\PRIMARY\\M\\{tail}".split("\\")
    return f"ORIGINAL\\PRIMARY\\M\\{correction}".split("\\")


def _of_frame(shown: list[str], p: Protocol, frame: Frame) -> tuple[str, ...]:
    found = list(shown)
    if frame.part in "PRI" and frame.part and len(found) > 2 and found[2] == "M":
        found[2] = frame.part
    if "TE1" in found:
        found[found.index("TE1")] = f"TE{frame.echo + 1}"
    return tuple(found)


def _series_private(p: Protocol, d: Draw, where: str, form: str, shown: list[str]) -> tuple[Private, ...]:
    if form == "enhanced":
        return ()
    partial = "p" if p.sequence.startswith("epi") else ""
    names = [
        Private(0x0019, MR, 0x08, "CS", "IMAGE NUM 4"), Private(0x0019, MR, 0x09, "LO", "1.0"),
        Private(0x0019, MR, 0x0F, "SH", d.pick(("Fast", "Normal", "Whisper"))),
        Private(0x0019, MR, 0x18, "IS", int(1e9 / max(p.bandwidth, 1) / p.matrix[0] / 2)), Private(0x0051, MR,
        0x0B, "LO",
        f"{p.matrix[1]}{partial}*{p.matrix[0]}"),
        Private(0x0051, MR, 0x0F, "LO", where), Private(0x0051, MR, 0x16, "LO", "/".join(shown[2:]) or "M"),
        Private(0x0029, CSA, 0x08, "CS", "IMAGE NUM 4"),
    ]  # fmt: skip
    mode = {"asl2d": 1, "asl3d": 2}.get(p.sequence)
    file = {"asl2d": "ep2d_pasl", "asl3d": d.pick(("tgse_pasl", "tgse_pcasl"))}.get(p.sequence)
    if mode is not None and d.chance(0.7):
        lines = (f'tSequenceFileName = ""%SiemensSeq%\\{file}""', f"sAsl.ulMode = 0x{2 + d.n(0, 1) * 2:x}")
        text = "\n".join(("### ASCCONV BEGIN ###", *lines, "### ASCCONV END ###", ""))
        names.append(Private(0x0029, CSA, 0x20, "OB", csa({"MrPhoenixProtocol": ("UN", [text])})))
    return tuple(names)


def _private_own(p: Protocol, frame: Frame, shown: list[str], form: str) -> tuple[Private, ...]:
    if form == "enhanced":
        return (Private(0x0021, SDI, 0x75, "CS", [w for w in shown if w != "MOSAIC"][:4]),)
    found: list[Private] = []
    items: dict[str, tuple[str, list[str]]] = {
        "NumberOfImagesInMosaic": ("US", ["{slices}"] if form == "mosaic" else []), "ImageType4MF": ("CS",
        ["ORIGINAL", "PRIMARY", "M", "NONE"]),
    }  # fmt: skip
    if form == "mosaic":
        found.append(Private(0x0019, MR, 0x0A, "US", "{slices}"))
        items["SliceNormalVector"] = ("FD", ["{normal}"])
    if frame.b is not None and p.b_values and p.image in ("magnitude", "trace"):
        found.append(Private(0x0019, MR, 0x0C, "IS", int(frame.b)))
        items["B_value"] = ("IS", [f"{frame.b:.0f}"])
        if frame.direction is not None:
            found.append(Private(0x0019, MR, 0x0E, "FD", list(frame.direction)))
            items["DiffusionGradientDirection"] = ("FD", [f"{x:.8f}" for x in frame.direction])
    if form == "mosaic" or "B_value" in items:
        found.append(Private(0x0029, CSA, 0x10, "OB", items))
    return tuple(found)


def csa(items: dict[str, tuple[str, list[str]]]) -> bytes:
    """CSA header of the second version ("SV10"), as io.frames reads it: name -> (VR, values as text)."""
    out = [b"SV10\x04\x03\x02\x01", struct.pack("<II", len(items), 77)]
    for name, (vr, values) in items.items():
        count = max(len(values), 6)
        out.append(
            struct.pack("<64sI4sIII", name.encode("ascii"), len(values), vr.encode("ascii"), 0, count, 77)
        )
        for i in range(count):
            text = values[i].encode("latin-1") + b"\0" if i < len(values) else b""
            size = len(text)
            out.append(struct.pack("<4I", size, size, 77, size) + text + b"\0" * (-size % 4))
    return b"".join(out)


# --- United Imaging -------------------------------------------------------------------------------------

UIH = "Image Private Header"
UIH_NAMES: dict[str, tuple[str, ...]] = {
    "se": ("se",), "tse": ("fse", "fse_mx", "fse_arms"), "ir-tse": ("fse_ir", "flair", "fse_ir_arms"),
    "space": ("fse_mx3d", "fse_mx"), "ir-space": ("fse_mx_ir", "fse_mx3d_flair"), "haste": ("fse_ssh",),
    "haste-loc": ("fse_ssh",),
    "mprage": ("gre_fsp", "gre_fsp_3d"), "vibe": ("gre_quick", "gre_quick3d", "gre_quick_wfi"),
    "flash": ("gre", "gre_fsp"), "gre": ("gre",), "medic": ("gre_armix", "gre_mecho"), "megre": ("gre_mecho",
    "gre_esp"), "swi": ("gre_swi", "gre_swip"), "tof": ("gre_tof", "gre_tof3d"), "tof2d": ("gre_tof",),
    "pc": ("gre_pc", "gre_fq"), "ce-mra": ("gre_quick", "gre_trweq"), "bssfp": ("gre_bssfp",),
    "bssfp3d": ("gre_bssfp_3d",), "bssfp-loc": ("gre_bssfp",), "ciss": ("gre_bssfp_pc", "gre_ciss"),
    "epi-dwi": ("epi_dwi", "epi_dti"), "rs-epi": ("epi_dwi_msh",), "epi-gre": ("epi_fid", "epi_bold"),
    "epi-se": ("epi_se",), "fm": ("gre_fieldmap", "gre_b0map"),
    "asl2d": ("epi_asl",), "asl3d": ("asl_3d", "gse_asl"), "loc": ("gre_scout", "gre"),
    "scout3d": ("gre_scout",), "cal": ("gre_cal", "gre"),
}  # fmt: skip


def uih(p: Protocol, scanner: Scanner, d: Draw) -> Dialect:
    """United Imaging: words near to those of Siemens, own names, b-value in (0065,1009)."""
    like = Scanner("siemens", "", "", scanner.tesla, (), "")
    base = siemens(p, like, d)
    shown = [
        w
        for w in base.image_type(Frame(0, 0, 0, 0))
        if w not in ("MOSAIC", "NORM", "DIS3D", "DIS2D") and not w.startswith(("FM", "SH", "COMP"))
    ]
    elements = dict(base.elements) | {
        "SequenceName": d.pick(UIH_NAMES[p.sequence]), "ReceiveCoilName": coil(d, scanner),
        "SpacingBetweenSlices": p.step or p.thickness,
        "AngioFlag": "Y" if p.modality == "MRA" and d.chance(0.4) else None,
    }  # fmt: skip
    if p.sequence in ("epi-dwi", "rs-epi") and d.chance(0.5):
        elements["ScanningSequence"] = ["EP", "SE"]
    if p.sequence == "epi-gre" and d.chance(0.5):
        elements["ScanningSequence"] = ["EP", "GR"]
    if p.volumes > 1:
        elements["NumberOfTemporalPositions"] = p.volumes

    def own(frame: Frame) -> tuple[dict[str, Any], tuple[Private, ...]]:
        if frame.b is None or not p.b_values or p.image not in ("magnitude", "trace"):
            return {}, ()
        direction = (Private(0x0065, UIH, 0x37, "FD", list(frame.direction)),) if frame.direction else ()
        return {}, (Private(0x0065, UIH, 0x09, "FD", float(frame.b)), *direction)

    private = (Private(0x0065, UIH, 0x28, "DS", "{slices}"), Private(0x0065, UIH, 0x14, "FD", 1.0))
    return Dialect(
        elements,
        lambda frame: _of_frame(shown, p, frame),
        private,
        own,
        "enhanced" if scanner.enhanced else "classic",
    )
