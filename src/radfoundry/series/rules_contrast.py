"""Rules on contrast by physics: T2-FLAIR, T1, T1 after contrast agent, T2, PD, T2*, two contrasts in one
series.

Spin and gradient echo are judged by TE, TR, TI and flip angle. 2D spin echoes also speak without an Image
Type; everything else then abstains, since a reformat, a map and a phase image carry the same numbers.
"""

from __future__ import annotations

from radfoundry.series.rules_facts import Facts, Rulebook, show, within, words

BOOK = Rulebook()

WEIGHTING = "MRI Questions, Image contrast: TR/TE; IMAIOS e-MRI, Signal weighting"
FLUID = "Hajnal et al. 1992, J Comput Assist Tomogr 16:841; MRI Questions, T2-FLAIR"
PORTABLE = 0.1
"""Tesla below which everything is a fast spin echo, diffusion (TR 1000, TE 80 ms) and localisers too, and T1
is inversion-prepared (protocol in Mazurek et al. 2021, Nat Commun 12:5119)."""
LOW_FIELD = 0.6
"""Tesla below which tissue T1, and so TI, is markedly shorter."""


def _spin_echo(f: Facts) -> bool:
    """Spin echo whose images may be judged by TE and TR."""
    if "SPIRAL_GEMS" in f.options:  # GE's 3D labelling writes SE with a short TE and a long TR
        return False
    return f.spin and f.b < 10 and (f.plain or (f.unprocessed and f.dimension == "2D"))


@BOOK.rule("two-contrasts", "other:MIXED", "dcm_qa_pdt2: PD and T2 of one dual-echo TSE; " + WEIGHTING)
def _two_contrasts(f: Facts) -> str:
    """Spin echo without inversion, TR of 1500 ms or more, 2 to 4 echoes, the first below 40 and the last
    over 60 ms."""
    if not _spin_echo(f) or f.inverted or not 2 <= len(f.tes) <= 4 or (f.tr or 0) < 1500:
        return ""
    if f.tes[0] < 40 and f.tes[-1] > 60:
        return f"SE + TE {show(f.tes[0])} and {show(f.tes[-1])} + TR {show(f.tr)}"
    return ""


@BOOK.rule("fluid-attenuated", "T2-FLAIR", FLUID)
def _flair(f: Facts) -> str:
    """Spin echo with TI over 1550 (below 0.6 T over 1100) up to 3500 ms, TR over 3500 ms (3000) and TE
    of 60 or more."""
    low = (f.tesla or 3) < LOW_FIELD
    epi_flair = f.epi and "SE" in f.sequence and f.plain and f.b < 10
    if not (_spin_echo(f) or epi_flair) or len(f.tis) != 1 or len(f.tes) > 1:
        return ""
    nulled = within(f.ti, 1100 if low else 1550, 3500) and (f.tr or 0) > (3000 if low else 3500)
    if not nulled or not within(f.te, 60, 1000):
        return ""
    return f"TI {show(f.ti)} and TR {show(f.tr)}, SE, TE {show(f.te)}"


@BOOK.rule(
    "named-flair",
    "T2-FLAIR",
    "dcm2niix, nii_dicom_batch.cpp (spcir, tir2d: flair); practice: T2FLAIR_GEMS of GE",
)
def _flair_name(f: Facts) -> str:
    """GE Scan Options T2FLAIR_GEMS, or a name with spcir, tir2d or flair, TE of 60 or more, TR over 3500
    ms, TI not short."""
    hit = "T2FLAIR_GEMS" if "T2FLAIR_GEMS" in f.options else f.named(r"\bspcir\w*|\btir[23]d\w*|\w*flair\w*")
    long = within(f.te, 60, 1000) and (f.tr or 0) > 3500 and (f.ti is None or f.ti > 1100)
    return f"{hit} + TE {show(f.te)} + TR {show(f.tr)}" if hit and long and f.plain and not f.epi else ""


@BOOK.rule("enhanced-flair", "T2-FLAIR", "DICOM PS3.3 C.8.13.3.1.2, Acquisition Contrast FLUID_ATTENUATED")
def _flair_contrast(f: Facts) -> str:
    """Acquisition Contrast FLUID_ATTENUATED with TE of 60 or more and TR over 3500 ms."""
    told = f.word("AcquisitionContrast") == "FLUID_ATTENUATED" or f.every(("FLUID_ATTENUATED",))
    long = within(f.te, 60, 1000) and (f.tr or 0) > 3500
    return "AcquisitionContrast FLUID_ATTENUATED" if told and long and f.plain else ""


def _t1_inversion_3d(f: Facts) -> str:
    """Magnetisation-prepared 3D gradient echo: TI 300 to 1400, TE up to 8, TR up to 3500 ms, flip up to
    20 degrees where it is told."""
    gradient = f.gradient or (not f.sequence & {"SE", "EP"} and "RM" in f.sequence)
    one = len(f.tis) == 1 and f.volumes < 2 and f.plain
    inverted = within(f.ti, 300, 1400) and within(f.te, 0.5, 8) and (f.flip is None or within(f.flip, 4, 20))
    if gradient and one and inverted and f.dimension == "3D" and (f.tr or 0) <= 3500:
        return f"GR/IR 3D + TI {show(f.ti)} + TE {show(f.te)}"
    return ""


def _t1_spoiled_3d(f: Facts) -> str:
    """Spoiled 3D gradient echo, TE up to 5.6 ms, one volume or Dixon, no flow compensation or
    magnetisation transfer: TR 5 to 15 with flip 8 to 20 (to 15 below TR 6.5; from 5 with variant MP), TR
    15 to 35 with flip 20 to 35 (Angio Flag N, voxels coarser than time of flight), or TR 2.5 to 5 with
    flip 8 to 15 and slices of 1.8 mm or more."""
    flow = f.options & {"FC", "FC_SLICE_AX_GEMS", "FC_FREQ_AX_GEMS", "MT", "MT_GEMS"} or "MTC" in f.variant
    prepared = "MP" in f.variant and within(f.flip, 5, 15)  # a turbo field echo, as Philips writes it
    if not (f.gradient and (f.spoiled or prepared) and f.dimension == "3D" and f.plain) or f.inverted:
        return ""
    if flow or f.word("AngioFlag") == "Y" or not within(f.te, 0.5, 5.6) or (f.acquired_pixel or 0) > 3:
        return ""
    coarse = (f.thickness or 0) >= 1 and (f.pixel or 0) >= 0.75
    lowest, highest = 5 if prepared else 8, 20 if (f.tr or 0) >= 6.5 else 15
    fast = within(f.tr, 5, 15) and within(f.flip, lowest, highest)
    slow = within(f.tr, 15, 35) and within(f.flip, 20, 35) and coarse and f.word("AngioFlag") == "N"
    breath_hold = within(f.tr, 2.5, 5) and within(f.flip, 8, 15) and within(f.thickness, 1.8, 6)
    if not (fast or slow or breath_hold):
        return ""
    fat_only = f.dixon and not f.tokens & words("W IP OP WATER IN OPP OUT IN_PHASE OUT_PHASE OPP_PHASE")
    if fat_only or (not f.dixon and (len(f.tes) > 1 or f.volumes >= 2)):
        return ""
    return f"GR/SP 3D{' Dixon' if f.dixon else ''} + TR {show(f.tr)} + TE {show(f.te)} + flip {show(f.flip)}"


def _t1_spoiled_2d(f: Facts) -> str:
    """2D gradient echo: TR 80 to 300, TE up to 6 ms, flip 60 or more, pixels up to 1.8 mm."""
    flash = f.gradient and f.dimension == "2D" and f.plain and not f.inverted
    if (
        flash
        and within(f.tr, 80, 300)
        and within(f.te, 0.8, 6)
        and within(f.flip, 60, 95)
        and (f.pixel or 9) <= 1.8
    ):
        return f"GR 2D + TR {show(f.tr)} + TE {show(f.te)} + flip {show(f.flip)}"
    return ""


def _t1_spin(f: Facts) -> str:
    """Spin echo without inversion: TR 250 to 900 (1000 in 2D), TE up to 30 ms; not below 0.1 T."""
    longest = 1000 if f.dimension == "2D" else 900
    if (
        _spin_echo(f)
        and (f.tesla or 3) >= PORTABLE
        and not f.inverted
        and len(f.tes) == 1
        and within(f.tr, 250, longest)
        and within(f.te, 3, 30)
    ):
        return f"SE + TR {show(f.tr)} + TE {show(f.te)}"
    return ""


def _t1_inversion_spin(f: Facts) -> str:
    """Inversion-prepared spin echo (T1 FLAIR): TI 450 to 1400 (200 to 700 below 0.6 T), TR 1000 to 3500,
    TE up to 40 ms."""
    low = (f.tesla or 3) < LOW_FIELD
    inverted = within(f.ti, 200, 700) if low else within(f.ti, 450, 1400)
    if _spin_echo(f) and len(f.tis) == 1 and inverted and within(f.tr, 1000, 3500) and within(f.te, 3, 40):
        return f"SE/IR + TI {show(f.ti)} + TR {show(f.tr)} + TE {show(f.te)}"
    return ""


def _t1_ge(f: Facts) -> str:
    """GE Scan Options T1FLAIR_GEMS with TE up to 40 ms."""
    told = "T1FLAIR_GEMS" in f.options and f.vendor in ("ge", "")
    return f"T1FLAIR_GEMS + TE {show(f.te)}" if told and within(f.te, 3, 40) and f.plain and not f.epi else ""


T1_TESTS = {
    "t1-inversion-3d": (_t1_inversion_3d, "Mugler and Brookeman 1990, doi:10.1002/mrm.1910150117", "any"),
    "t1-spoiled-3d": (
        _t1_spoiled_3d,
        "e-MRI, Spoiled gradient echo (T1-FFE, FLASH, SPGR, RSSG); " + WEIGHTING,
        "any",
    ),
    "t1-spoiled-2d": (_t1_spoiled_2d, "e-MRI, Spoiled gradient echo; " + WEIGHTING, "any"),
    "t1-spin-echo": (_t1_spin, WEIGHTING, "any"),
    "t1-inversion-spin-echo": (
        _t1_inversion_spin,
        "Bydder and Young 1985, J Comput Assist Tomogr 9:659",
        "any",
    ),
    "ge-t1-flair-option": (_t1_ge, "practice: Scan Options T1FLAIR_GEMS in headers of GE", "ge"),
}


@BOOK.rule("t1-after-agent", "T1c", "DICOM PS3.3 C.7.6.4, Contrast/Bolus Agent (0018,0010)")
def _t1_agent(f: Facts) -> str:
    """A contrast agent is named and one of the T1 rules speaks; not where a description that was
    switched on says pre."""
    if not f.agent:
        return ""
    described = f.header.words("SeriesDescription") | f.header.words("ProtocolName")
    if {"PRE", "NATIVE", "NATIV"} & set(" ".join(described).replace("_", " ").replace("-", " ").split()):
        return ""
    seen = next(filter(None, (test(f) for test, _, _ in T1_TESTS.values())), "")
    return f"{seen} + {f.agent_said}" if seen else ""


for _name, (_test, _reference, _vendor) in T1_TESTS.items():
    BOOK.rule(_name, "T1", _reference, _vendor)(_test)


@BOOK.rule("stir", "T2", "Bydder and Young 1985, J Comput Assist Tomogr 9:659: TI nulls fat")
def _stir(f: Facts) -> str:
    """Spin echo with TI 80 to 280 ms (STIR), TR over 1500 and TE of 25 ms or more."""
    short = within(f.ti, 80, 280) and len(f.tis) == 1 and len(f.tes) == 1
    if _spin_echo(f) and short and (f.tr or 0) > 1500 and within(f.te, 25, 300):
        return f"SE/IR + TI {show(f.ti)} (STIR) + TR {show(f.tr)} + TE {show(f.te)}"
    return ""


@BOOK.rule("t2-spin-echo", "T2", WEIGHTING)
def _t2(f: Facts) -> str:
    """Spin echo without inversion, TE of 60 ms or more in all of at most 4 echoes, TR of 1500 ms or more
    (3D from 0.1 T on: 900)."""
    shortest = 900 if f.dimension == "3D" and (f.tesla or 3) >= PORTABLE else 1500
    if (
        _spin_echo(f)
        and not f.inverted
        and 1 <= len(f.tes) <= 4
        and f.tes[0] >= 60
        and (f.tr or 0) >= shortest
    ):
        return f"SE + TR {show(f.tr)} + TE {show(f.te)}"
    return ""


@BOOK.rule("t2-single-shot", "T2", "ECR 2025, C-17211 (HASTE of Siemens, SSFSE of GE)")
def _t2_single_shot(f: Facts) -> str:
    """Single-shot spin echo (haste, h2d, ssfse, or a train of 60 and more) with TE of 60 ms or more and
    not up to 15 thick slices, as of a localiser; TR means nothing."""
    hit = f.named(r"\bh2d\w*|haste\w*|ssfse\w*|\bsstse|fase\w*|ss_?fse") or (
        f"train {f.train}" if f.train >= 60 else ""
    )
    two = f.dimension == "2D" and within(f.te, 60, 1500) and len(f.tes) == 1 and not f.inverted
    if f.header.n_images <= 15 and (f.thickness or 0) >= 5:
        return ""
    return f"SE + {hit} + TE {show(f.te)}" if hit and two and _spin_echo(f) else ""


@BOOK.rule("proton-density", "other:PD", WEIGHTING)
def _pd(f: Facts) -> str:
    """Spin echo without inversion, one TE below 40 ms, TR of 2000 ms or more, in 3D slices up to 2 mm."""
    thick = f.dimension == "3D" and (f.thickness or 9) > 2
    if not _spin_echo(f) or f.inverted or len(f.tes) != 1 or thick:
        return ""
    if within(f.te, 3, 39.9) and (f.tr or 0) >= 2000:
        return f"SE + TR {show(f.tr)} + TE {show(f.te)}"
    return ""


@BOOK.rule(
    "named-medic", "T2*", "Chavhan et al. 2009, doi:10.1148/rg.295095034; vendors' names MEDIC, MERGE, m-FFE"
)
def _medic(f: Facts) -> str:
    """The sequence is called me2d, me3d, medic, merge, mffe or hemo; TE of 8 ms or more; plain images."""
    hit = f.named(r"\bme[23]d\w*|medic|\bmerge\w*|\bm-?ffe|hemo\w*|t2_?star\w*")
    long = f.gradient and bool(f.tes) and f.tes[-1] >= 8
    return f"sequence {hit} + TE {show(f.tes[-1])}" if hit and long and f.plain and not f.derived else ""


@BOOK.rule(
    "t2-star-2d", "T2*", "Chavhan et al. 2009, doi:10.1148/rg.295095034: low flip angle, long TE, long TR"
)
def _t2_star(f: Facts) -> str:
    """2D gradient echo, TR of 150 ms or more, flip up to 45 degrees, TE 14 ms or more (10 with TR of 300
    or more); plain."""
    if not (f.gradient and f.dimension == "2D" and f.plain and not f.derived and not f.inverted and f.tes):
        return ""
    last = f.tes[-1]
    long = (last >= 14 and (f.tr or 0) >= 150) or (last >= 10 and (f.tr or 0) >= 300)
    if long and within(last, 10, 80) and within(f.flip, 4, 45):
        return f"GR 2D + TE {show(last)} + TR {show(f.tr)} + flip {show(f.flip)}"
    return ""


@BOOK.rule("t2-star-multi-echo", "T2*", "BIDS 1.10, MEGRE; Chavhan et al. 2009, doi:10.1148/rg.295095034")
def _t2_star_echoes(f: Facts) -> str:
    """Gradient echo, three or more echoes up to 15 ms or longer, flip up to 45 degrees, no Dixon; plain."""
    many = f.gradient and len(f.tes) >= 3 and f.tes[-1] >= 15 and within(f.flip, 4, 45)
    if many and f.plain and not f.derived and not f.dixon and not f.inverted:
        return f"GR + {len(f.tes)} echoes up to TE {show(f.tes[-1])}"
    return ""
