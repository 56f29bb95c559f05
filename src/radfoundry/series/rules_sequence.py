"""Rules on special acquisitions: diffusion, perfusion, EPI, angiography, steady state, susceptibility."""

from __future__ import annotations

from radfoundry.series.rules_facts import Facts, Rulebook, code, show, within

BOOK = Rulebook()

NAMES_OF_SIEMENS = "dcm2niix, console/nii_dicom_batch.cpp, table of Siemens sequence names"
STEADY = "Chavhan et al. 2008, doi:10.1148/rg.284075031"
AXIS_APART = (0.35, 0.65)
"""TE over TR of a balanced sequence: the echo stands in the middle of the repetition."""


@BOOK.rule("asl-header", "ASL", "DICOM PS3.3 C.8.13.5.14; dcm2niix, GE/README (0043,10A3 and 10A4)")
def _asl_header(f: Facts) -> str:
    """Labelling is told: ASL attributes of the standard, or private ones of GE, Siemens or Philips."""
    contrast = f.word("ArterialSpinLabelingContrast") or f.word("vendor:asl")
    told = f.header.asl or contrast
    return f"labelling {code(told.removeprefix('vendor: '))}" if told else ""


@BOOK.rule("asl-word", "ASL", "dcm_qa_asl (Image Type ASL, name tgse3d1); practice")
def _asl_word(f: Facts) -> str:
    """Image Type says ASL, or the sequence is called pasl, pcasl, 3dasl, or tgse in 3D."""
    if f.every(("ASL",)):
        return f"ImageType {f.image_type}"
    hit = f.named(r"3d_?asl\w*|\w*p?casl\w*|\bpasl\w*|\basl\w*")
    if not hit and f.dimension == "3D":
        hit = f.named(r"\btgse\w*")
    return f"sequence {hit}" if hit else ""


@BOOK.rule(
    "philips-perfusion-short-te",
    "ASL",
    "dcm_qa_philips_asl (Image Type PERFUSION, TE 11 to 15)",
    vendor="philips",
)
def _philips_asl(f: Facts) -> str:
    """Philips Image Type PERFUSION with TE below 20 ms and no contrast agent; bolus perfusion needs a
    longer TE."""
    if f.every(("PERFUSION",)) and within(f.te, 1, 20) and not f.agent:
        return f"ImageType {f.image_type} + TE {show(f.te)}"
    return ""


@BOOK.rule(
    "bolus-perfusion",
    "other:DSC",
    "Welker et al. 2015, doi:10.3174/ajnr.A4341 (GRE-EPI, TE 25 to 35 ms, bolus)",
)
def _dsc(f: Facts) -> str:
    """Gradient-echo EPI over time, TE 20 to 60 ms, with a contrast agent or perfusion words, no b-value."""
    words = f.tokens & {"PERFUSION", "DSC"} or f.word("AcquisitionContrast") == "PERFUSION"
    if not f.types or f.b > 0 or not _gradient_epi(f) or not within(f.te, 20, 60) or f.volumes < 2:
        return ""
    if f.derived or not (words or f.agent):
        return ""
    return f"EP/GR + TE {show(f.te)} + {'perfusion' if words else f.agent_said}"


@BOOK.rule("image-type-trace", "DWI", "dcm2niix, Philips/README (ISOTROPIC); Siemens Image Type TRACEW")
def _trace(f: Facts) -> str:
    """Every Image Type says TRACE, TRACEW, ISOTROPIC or a calculated b-value."""
    words = [word for word in f.tokens if word.startswith("TRACE")]
    hit = f.every((*words, "CALC_BVALUE", "ISOTROPIC"))
    return f"ImageType {f.image_type}" if hit else ""


@BOOK.rule("b-value", "DWI", "DICOM PS3.3 C.8.13.5.9, Diffusion b-value; dcm2niix, GE/README (0043,1039)")
def _b_value(f: Facts) -> str:
    """A b-value of 10 or more in echo-planar or spin-echo images, some of them original by Image Type.

    Without an Image Type only several directions or b-values count: an ADC map repeats one.
    """
    if f.b < 10 or (f.sequence and not (f.epi or "SE" in f.sequence)):
        return ""
    several = f.header.n_directions >= 3 or sum(b >= 10 for b in f.header.b_values) >= 2
    original = f.plain and any("ORIGINAL" in kind for kind in f.types)
    if not original and (f.types or not several):
        return ""
    return f"{'EP' if f.epi else 'SE'} + b-value {show(f.b)}"


@BOOK.rule(
    "diffusion-word", "DWI", "DICOM PS3.3 C.8.13.3.1.2, Acquisition Contrast DIFFUSION; " + NAMES_OF_SIEMENS
)
def _diffusion_word(f: Facts) -> str:
    """Original diffusion images by Image Type, Acquisition Contrast or name, unless all b-values are
    known to be 0."""
    if f.header.b_values and f.b < 10:
        return ""
    word = f.every(("DIFFUSION",)) or f.word("AcquisitionContrast") == "DIFFUSION"
    hit = f.named(
        r"\b(e[pz]|re)_b\d*[1-9]\d*\w*|epi_?dwi|epi_?dti|dwisse?h?|dwise|\bep2d_diff\w*|diffusion|resolve"
    )
    if not f.plain or f.derived or not (word or hit):
        return ""
    return f"sequence {hit}" if hit else f"ImageType {f.image_type}"


@BOOK.rule("spin-echo-epi", "other:EPI", "niix2bids, decision_tree/siemens.py (ep2d_se); " + NAMES_OF_SIEMENS)
def _spin_epi(f: Facts) -> str:
    """Spin-echo EPI of at most 4 volumes by the name of a sequence without diffusion (epse2d, ep2d_se,
    SEEPI, or epi, epiRT and epi_pepolar of GE), no b-value. A name is needed: b0 images of a diffusion
    scan look the same."""
    hit = f.named(r"\bepse2d\w*|ep2d_se\w*|\bseepi\b")
    if not hit and f.vendor == "ge":
        hit = f.named(r"\bepi(rt)?\b|epi_pepolar")
    if not hit or f.named(r"\b(e[pz]|re)_b|dwi|diff|epi2|dti") or "DIFFUSION" in f.tokens:
        return ""
    if not f.plain or f.derived or f.b >= 10 or f.inverted or f.volumes > 4 or f.agent:
        return ""
    spin = f.epi and "SE" in f.sequence and "GR" not in f.sequence
    return f"EP/SE + {hit} + {show(f.volumes)} volumes" if spin else ""


@BOOK.rule(
    "gradient-echo-epi-series",
    "other:BOLD",
    "niix2bids, decision_tree/siemens.py (bold); Ogawa et al. 1990, doi:10.1073/pnas.87.24.9868",
)
def _bold(f: Facts) -> str:
    """Gradient-echo EPI in 2D, two volumes or more, TE 20 to 60 ms (from 5 T 10 to 40), no b-value, no agent,
    no word of perfusion; plain. 35 to 120 volumes of one echo with TR of 1000 or more may be bolus perfusion
    without its agent: they need a name (bold, fmri, epiRT), FMRI or MOSAIC."""
    low, high = (20.0, 60.0) if (f.tesla or 3) < 5 else (10.0, 40.0)
    other = (
        f.tokens & {"PERFUSION", "ASL", "DIFFUSION", "DSC"} or f.word("AcquisitionContrast") == "PERFUSION"
    )
    if not f.plain or f.derived or f.b >= 10 or f.agent or other or f.dimension == "3D" or f.inverted:
        return ""
    known = f.named(r"bold|fmri|epirt") or f.tokens & {"MOSAIC", "FMRI"}
    like_bolus = 35 <= f.volumes <= 120 and len(f.tes) == 1 and (f.tr or 0) >= 1000
    if f.volumes < 2 or (like_bolus and not known) or not any(within(te, low, high) for te in f.tes):
        return ""
    return f"EP/GR + TE {show(f.te)} + {show(f.volumes)} volumes + no b-value" if _gradient_epi(f) else ""


def _gradient_epi(f: Facts) -> bool:
    """Gradient-echo EPI; Siemens writes EP alone, where a spoiled variant (diffusion) and TE over 50 ms
    abstain. Philips may write GR alone: no other gradient echo repeats volumes at a TR of 1500 ms."""
    if f.gradient_epi:
        return True
    if f.vendor == "philips" and f.gradient and f.dimension == "2D" and len(f.tes) == 1:
        return (f.tr or 0) >= 1500
    bare = f.sequence == {"EP"} and f.vendor == "siemens" and "SP" not in f.variant
    return bare and within(f.te, 1, 50) and not f.named(r"\bepse|\b(e[pz]|re)_b")


@BOOK.rule("projection-angiography", "other:MIP", "DICOM PS3.3 C.8.16.2.1.3; PS3.3 C.8.3.1, Angio Flag")
def _angio_projection(f: Facts) -> str:
    """Angio Flag Y with six or more slice directions, as of a projection that turns."""
    if f.word("AngioFlag") != "Y":
        return ""
    return f"AngioFlag Y + {len(f.header.normals)} directions" if len(f.header.normals) >= 6 else ""


@BOOK.rule("angio-flag", "MRA", "DICOM PS3.3 C.8.3.1, Angio Flag (0018,0025)")
def _angio_flag(f: Facts) -> str:
    """Angio Flag Y on plain images of a gradient echo, or of an unnamed sequence, TE up to 12 ms."""
    gradient = f.gradient or not f.sequence & {"SE", "EP"}
    if f.word("AngioFlag") != "Y" or not f.plain or not gradient or (f.te or 0) > 12:
        return ""
    return f"AngioFlag Y + TE {show(f.te)}" if f.te else "AngioFlag Y"


@BOOK.rule(
    "enhanced-flow", "MRA", "DICOM PS3.3 C.8.13.4, Time of Flight Contrast and Phase Contrast; C.8.13.3.1.2"
)
def _enhanced_flow(f: Facts) -> str:
    """Time of Flight Contrast YES, Phase Contrast YES, or Acquisition Contrast TOF or FLOW_ENCODED;
    plain, no EPI."""
    if not f.plain or f.epi or f.spin:
        return ""
    for keyword in ("TimeOfFlightContrast", "PhaseContrast"):
        if f.word(keyword) == "YES":
            return f"{keyword} YES"
    contrast = f.word("AcquisitionContrast")
    return f"AcquisitionContrast {contrast}" if contrast in {"TOF", "FLOW_ENCODED"} else ""


@BOOK.rule("image-type-flow", "MRA", "practice: Philips PHASE CONTRAST M and PCA; DICOM PS3.3 C.8.16.1.3")
def _flow_word(f: Facts) -> str:
    """Every Image Type says PCA, PHASE CONTRAST M, TOF, ANGIO or VASCULAR, and none says phase or
    velocity."""
    words = ("PCA", "TOF", "ANGIO", "VASCULAR", "PHASE_CONTRAST_M", "M_PCA")
    return f"ImageType {f.image_type}" if f.plain and not f.epi and f.every(words) else ""


@BOOK.rule(
    "ge-vascular-option",
    "MRA",
    "practice: Scan Options VASCTOF_GEMS and VASCPC_GEMS in headers of GE",
    vendor="ge",
)
def _ge_vascular(f: Facts) -> str:
    """Scan Options name time of flight or phase contrast (VASCTOF_GEMS, VASCPC_GEMS) on plain images."""
    hit = sorted(f.options & {"VASCTOF_GEMS", "VASCPC_GEMS"})
    return f"ScanOptions {hit[0]}" if hit and f.plain else ""


@BOOK.rule("named-angiography", "MRA", NAMES_OF_SIEMENS + " (fl3d1r_t, fl3d1r_tm); practice")
def _angio_name(f: Facts) -> str:
    """The sequence is called tof, pca, fl3d1r_t, fl_tof, fl_pc, fl3d_ce, tricks or twist; TE up to 12 ms."""
    hit = f.named(
        r"\bfl3d\w*_t[a-z]?\d*\b|\w*tof\w*|\bfl_pc\w*|\bpca?\b|\w*angio\w*|fl3d_?ce\w*|tricks|\btwist\b|qiss"
    )
    return (
        f"sequence {hit} + TE {show(f.te)}" if hit and f.plain and within(f.te, 0.5, 12) and not f.epi else ""
    )


@BOOK.rule(
    "flow-compensated-thin-3d",
    "MRA",
    "e-MRI, Time of flight MRA (flow-compensated gradient echo); Scan Options FC, DICOM PS3.3 C.8.3.1",
)
def _tof_physics(f: Facts) -> str:
    """Gradient echo 3D with flow compensation, TR 15 to 50, TE 2 to 8 ms, slices up to 1.2 mm, pixels up
    to 0.7 mm."""
    compensated = f.options & {"FC", "FC_SLICE_AX_GEMS", "FC_FREQ_AX_GEMS"}
    thin = (f.thickness or 9) <= 1.2 and (f.pixel or 9) <= 0.7
    if f.gradient and f.dimension == "3D" and within(f.tr, 15, 50) and within(f.te, 2, 8) and f.plain:
        return f"GR 3D + flow compensation + TR {show(f.tr)}, TE {show(f.te)}" if compensated and thin else ""
    return ""


@BOOK.rule("named-balanced", "SSFP", STEADY + " (TrueFISP, FIESTA, balanced FFE, CISS)")
def _balanced_name(f: Facts) -> str:
    """The sequence is called tfi, ci3d (CISS), fiesta, bffe, btfe, bssfp, trufi or trueSSFP, with TR up to
    20 ms; not up to 15 thick slices, as of a localiser.

    Names go before Scanning Sequence: Siemens writes some tfi and ci3d as SE.
    """
    hit = f.named(
        r"\btfi[23]d\w*|\bci3d\w*|\w*fiesta\w*|\bb-?[ft]fe\b|\w*bssfp\w*|tru(e)?fi\w*|true_?ssfp\w*|basg|\bciss"
    )
    if not hit or not within(f.tr, 1, 20) or not f.unprocessed or _few_slices(f):
        return ""
    return f"sequence {hit} + TR {show(f.tr)}"


def _few_slices(f: Facts) -> bool:
    """Up to 15 slices of 5 mm or more, once each: balanced or single-shot localisers of one plane."""
    once = f.header.n_images == f.header.n_positions
    return f.dimension == "2D" and 0 < f.header.n_images <= 15 and once and (f.thickness or 0) >= 5


@BOOK.rule("balanced-physics", "SSFP", STEADY + "; DICOM PS3.3 C.8.3.1, Sequence Variant SS")
def _balanced(f: Facts) -> str:
    """Gradient echo with variant SS and not SP, TR 2 to 12, TE below 6 ms at 0.35 to 0.65 of TR, flip 25
    or more."""
    if not f.gradient or "SS" not in f.variant or "SP" in f.variant or f.spoiled or "TRSS" in f.variant:
        return ""
    fast = within(f.tr, 2, 12) and within(f.te, 0.8, 6) and within(f.flip, 25, 90) and f.unprocessed
    if _few_slices(f):
        return ""
    middle = bool(f.tr and f.te) and within((f.te or 0) / (f.tr or 1), *AXIS_APART)
    return f"GR/SS + TR {show(f.tr)} + TE {show(f.te)} + flip {show(f.flip)}" if fast and middle else ""


@BOOK.rule("image-type-swi", "SWI", "Haacke et al. 2004, doi:10.1002/mrm.20198; Siemens Image Type SWI")
def _swi_word(f: Facts) -> str:
    """Every Image Type says SWI, SWAN, SWIP or SW_M (as in SW_M_FFE of Philips), and none says phase."""
    hit = f.every(("SWI", "SWAN", "SWIP", "SWI_MAG", "SW_M"))
    return f"ImageType {f.image_type}" if hit and not f.phase_word else ""


@BOOK.rule(
    "named-swi",
    "SWI",
    NAMES_OF_SIEMENS + "; practice: swi3d1r, GE SWAN (QSUSC), Canon FSBB, Hitachi BSI",
)
def _swi_name(f: Facts) -> str:
    """The sequence is called swi3d, gre_swi, swan, qsusc, swip, fsbb or venobold; TE of 8 ms or more;
    plain images."""
    hit = f.named(r"\bswi\w*|\w+_swi\w*|\bswan\w*|qsusc|fsbb\w*|venobold|\bbsi\b")
    long = f.tes and f.tes[-1] >= 8
    return f"sequence {hit} + TE {show(f.tes[-1])}" if hit and long and f.plain and not f.derived else ""


@BOOK.rule("bolus-3d-series", "other:DCE", "3D FLASH over time with an agent, e.g. doi:10.4137/MRI.S9832")
def _dce(f: Facts) -> str:
    """Gradient echo 3D, TR up to 12 ms, TE up to 5 ms, 5 volumes or more, contrast agent, no angiography."""
    fast = f.gradient and f.dimension == "3D" and within(f.tr, 1, 12) and within(f.te, 0.3, 5)
    if fast and f.agent and f.volumes >= 5 and f.plain and not f.dixon and f.word("AngioFlag") != "Y":
        return f"GR 3D + TR {show(f.tr)} + {show(f.volumes)} volumes + {f.agent_said}"
    return ""
