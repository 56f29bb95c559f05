"""Rules on what the images are: not MR, screenshots, maps, phase, projections, localisers, calibration.

They come first, since a map or a projection inherits TE and TR from what it was made of.
"""

from __future__ import annotations

from radfoundry.series.rules_facts import Facts, Rulebook, code, show, within, words

BOOK = Rulebook()

MR_CLASSES = ("1.2.840.10008.5.1.4.1.1.4",)
SPECTROSCOPY = ("1.2.840.10008.5.1.4.1.1.4.2", "1.3.46.670589.11.0.0.12.1")
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
OTHER_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR or DX",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.3": "US",
    "1.2.840.10008.5.1.4.1.1.6": "US",
    "1.2.840.10008.5.1.4.1.1.12": "XA",
    "1.2.840.10008.5.1.4.1.1.20": "NM",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
    "1.2.840.10008.5.1.4.1.1.481": "RT",
}
DOCUMENTS = frozenset({"OT", "SC", "DOC", "SR", "PR", "KO"})
PERFUSION_MAPS = words(
    "CBF CBV RCBF RCBV MTT TTP TMAX RELCBF RELCBV RELMTT RELCCBV CORRCBV GBP PBP KTRANS KEP IAUC"
)
DIFFUSION_MAPS = words("EADC EXP FA COLFA DIFFUSION_ANISO TENSOR TENSOR_B0 RA VR LA MD AD RD")
PROJECTIONS = words(
    "MIP MNIP MINIP MIN_IP MAX_IP MPR CPR PROJECTION PROJECTION_IMAGE PJN COLLAPSE CURVED REFORMATTED "
    "RESAMPLED VRT SSD VOLUME_RENDERED RADIAL THIN_MIP"
)
FIELD_MAPS = frozenset({"FIELD_MAP", "FIELDMAP", "FIELDMAPHZ", "B0_MAP", "B0"})
SCOUTS = frozenset({"LOCALIZER", "LOCALISER", "SCOUT", "SURVEY"})

DICOM_TYPE = "DICOM PS3.3 C.7.6.1.1.2 and C.8.16.1, Image Type"
SIEMENS_TYPES = "DICOM PS3.3 C.8.3.1.1.1, Image Type values of Siemens; niix2bids, decision_tree/siemens.py"


def is_capture(uid: str) -> bool:
    """Whether a SOP class is secondary capture, of one frame or of several."""
    return uid == CAPTURE or uid.startswith(f"{CAPTURE}.")


@BOOK.rule("not-mr", "other:NOT-MR", "DICOM PS3.3 C.7.3.1.1.1, Modality; PS3.4 B.5, Storage SOP Classes")
def _not_mr(f: Facts) -> str:
    """Modality other than MR (documents apart), or, without Modality, an SOP class of another modality."""
    modality = f.word("Modality")
    if modality:
        return "" if modality == "MR" or modality in DOCUMENTS else f"Modality {code(modality)}"
    uid = f.word("SOPClassUID")
    for root, name in OTHER_CLASSES.items():
        if uid == root or uid.startswith(f"{root}."):
            return f"SOP class of {name}"
    return ""


@BOOK.rule("spectroscopy", "other:MRS", "DICOM PS3.3 C.8.14; dcm2niix, Philips/README (private SOP class)")
def _spectroscopy(f: Facts) -> str:
    """SOP class of MR spectroscopy (standard or Philips private), or Image Type SPECTROSCOPY."""
    if f.word("SOPClassUID") in SPECTROSCOPY:
        return "SOP class of MR spectroscopy"
    return f"ImageType {f.image_type}" if f.every(("SPECTROSCOPY",)) else ""


@BOOK.rule("secondary-capture", "other:SCREEN", "DICOM PS3.3 C.8.6.1, Conversion Type; PS3.4 B.5")
def _capture(f: Facts) -> str:
    """SOP class of secondary capture, Conversion Type, Modality of a document, or Image Type SCREEN SAVE."""
    if is_capture(f.word("SOPClassUID")):
        return "SOP class of secondary capture"
    if conversion := f.word("ConversionType"):
        return f"ConversionType {code(conversion)}"
    if f.word("Modality") in DOCUMENTS:
        return f"Modality {f.word('Modality')}"  # one of DOCUMENTS
    return f"ImageType {f.image_type}" if f.every(("SCREEN_SAVE", "SCREENSHOT", "SCREEN")) else ""


@BOOK.rule("burned-in-colour", "other:SCREEN", "DICOM PS3.3 C.7.6.1, Burned In Annotation; C.8.3.1.1.3")
def _colour(f: Facts) -> str:
    """Colour pixels with burned-in annotation; MR pixels are MONOCHROME1 or MONOCHROME2."""
    colour = f.word("PhotometricInterpretation") in {"RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR"}
    if (colour or f.number("SamplesPerPixel") == 3) and f.word("BurnedInAnnotation") == "YES":
        return "colour + burned-in annotation"
    return ""


@BOOK.rule("image-type-diffusion-map", "other:DIFFUSION-MAP", "DICOM PS3.3 C.8.13.5.9; " + SIEMENS_TYPES)
def _diffusion_map(f: Facts) -> str:
    """Every Image Type is DERIVED and names FA, exponential ADC or a tensor map, with diffusion evidence."""
    hit = f.every(DIFFUSION_MAPS)
    evidence = "DIFFUSION" in f.tokens or f.b > 0 or f.epi or hit in {"EADC", "DIFFUSION_ANISO"}
    return f"ImageType {f.image_type}" if hit and f.every(("DERIVED",)) and evidence else ""


@BOOK.rule("image-type-adc", "ADC", SIEMENS_TYPES)
def _adc(f: Facts) -> str:
    """Every Image Type of the series has the word ADC or APPARENT."""
    hit = f.every(("ADC",)) or (f.types and all(any("APPARENT" in w for w in kind) for kind in f.types))
    return f"ImageType {f.image_type}" if hit and "EADC" not in f.tokens else ""


@BOOK.rule(
    "image-type-perfusion-map",
    "other:PERFUSION-MAP",
    "DICOM PS3.3 C.8.16.1.4, Table C.8-130 (RCBF, RCBV, MTT, TTP)",
)
def _perfusion_map(f: Facts) -> str:
    """Every Image Type names a perfusion parameter (CBF, CBV, MTT, TTP, GBP, PBP, RELCBF, KTRANS, ...)."""
    return f"ImageType {f.image_type}" if f.every(PERFUSION_MAPS) else ""


@BOOK.rule(
    "siemens-head-scout", "LOC", "practice: AAHead_Scout of Siemens; dcm2niix issue 404", vendor="siemens"
)
def _head_scout(f: Facts) -> str:
    """AutoAlign head scout: fl3d1_ns, TR below 4 ms, 1.5 to 1.7 mm slices, or its reformats of a few
    slices."""
    fast = f.named(r"\bfl3d1_ns") and within(f.tr, 2, 4) and within(f.te, 1, 1.7) and not f.agent
    thin = within(f.thickness, 1.5, 1.7) or ("MPR" in f.tokens and f.header.n_images <= 11)
    return f"fl3d1_ns + TR {show(f.tr)} + TE {show(f.te)}" if fast and thin else ""


@BOOK.rule("image-type-projection", "other:MIP", "DICOM PS3.3 C.8.16.2.1.3; practice (MNIP of Siemens SWI)")
def _projection(f: Facts) -> str:
    """Volume Based Calculation Technique is told, or every Image Type names a projection or a reformat
    (MIP, MNIP, MPR, PROJECTION IMAGE, REFORMATTED, ...)."""
    volume = f.word("VolumeBasedCalculationTechnique")
    if volume not in ("", "NONE", "MIXED"):
        return f"VolumeBasedCalculationTechnique {code(volume)}"
    return f"ImageType {f.image_type}" if f.every(PROJECTIONS) else ""


@BOOK.rule("image-type-localizer", "LOC", "DICOM PS3.3 C.8.16.1.3, Image Flavor LOCALIZER")
def _localizer_word(f: Facts) -> str:
    """Every Image Type says LOCALIZER, SCOUT or SURVEY."""
    return f"ImageType {f.image_type}" if f.every(SCOUTS) else ""


@BOOK.rule("named-localizer", "LOC", "practice: names of scouts; dcm2niix issue 404")
def _localizer_name(f: Facts) -> str:
    """The sequence is called scout, survey or localizer."""
    hit = f.named(r"scout|survey|locali[sz]er|\bloc\b|3plane|3-plane|plan_?scan")
    return f"sequence {hit}" if hit else ""


@BOOK.rule(
    "three-planes", "LOC", "dcm2niix issues 393 and 404: orthogonal slices in one series are a localiser"
)
def _three_planes(f: Facts) -> str:
    """Two or three slice directions at least 60 degrees apart, 25 images each at most, no b-value."""
    planes, images = f.oblique_planes, f.header.n_images
    few = 0 < images <= 25 * planes and len(f.header.normals) <= 9
    if planes < 2 or not few or f.b > 0 or f.derived:
        return ""
    return f"{planes} planes at right angles + {images} images"


@BOOK.rule("few-thick-fast-slices", "LOC", "dcm2niix issue 393 (scouts of few slices); DICOM PS3.3 C.8.3.1")
def _few_slices(f: Facts) -> str:
    """Unbalanced gradient echo 2D without inversion, TR up to 20 ms, at most 12 slices of 5 mm or more,
    one image each, no agent, plain."""
    few = 0 < f.header.n_images <= 12 and f.header.n_images == f.header.n_positions
    fast = f.gradient and f.dimension == "2D" and within(f.tr, 1, 20) and (f.thickness or 0) >= 5
    if (
        not (few and fast and f.plain)
        or f.agent
        or f.b > 0
        or f.inverted
        or "SS" in f.variant
        or f.word("AngioFlag") == "Y"
    ):
        return ""
    return f"GR 2D + TR {show(f.tr)} + {f.header.n_images} slices of {show(f.thickness)} mm"


@BOOK.rule(
    "named-calibration",
    "CAL",
    "practice: ASSET calibration of GE, SENSE reference and coil survey of Philips",
    vendor="any",
)
def _calibration_name(f: Facts) -> str:
    """The sequence, or Image Type, is called calibration, reference scan or coil survey."""
    hit = f.named(
        r"asset_?cal|\bcal(hd|ib\w*)?\b|calibration|ref_?scan|sense_?ref|\bcoca\b|coil_?(survey|sens)"
    )
    if not hit and f.every(("CALIBRATION", "COIL", "REFERENCE", "REFSCAN", "COIL_SENSITIVITY", "COCA")):
        hit = f"ImageType {f.image_type}"
    return hit if hit.startswith("ImageType") else f"sequence {hit}" if hit else ""


@BOOK.rule(
    "coarse-fast-gradient-echo",
    "CAL",
    "Pruessmann et al. 1999, Magn Reson Med 42:952 (SENSE reference images)",
)
def _coarse(f: Facts) -> str:
    """Gradient echo, TE up to 2.6 ms, flip up to 40 degrees, acquired pixels of 6 mm or more, plain:
    coil maps."""
    size = f.acquired_pixel
    if f.gradient and within(f.te, 0.1, 2.6) and within(f.flip, 0.5, 40) and size and size >= 6 and f.plain:
        return f"GR + TE {show(f.te)} + {show(size)} mm pixels"
    return ""


@BOOK.rule("image-type-field-map", "other:FIELDMAP", "dcm2niix issue 455 (Philips: B0 MAP, B0); issue 501")
def _field_map_word(f: Facts) -> str:
    """Image Type has FIELD MAP, B0 MAP or B0 for some images (the rest is its magnitude)."""
    hit = sorted(FIELD_MAPS & f.tokens)
    diffusion = f.tokens & {"DIFFUSION", "TENSOR", "ADC"} or f.b > 0
    return f"ImageType {hit[0]}" if hit and not diffusion else ""


@BOOK.rule(
    "named-field-map",
    "other:FIELDMAP",
    "dcm2niix issue 501 (GE B0map, B0rf, 3db0map); nii_dicom_batch.cpp (fm2d)",
)
def _field_map_name(f: Facts) -> str:
    """The sequence is called fm2d, gre_field_mapping, B0map, B0rf or 3db0map."""
    hit = f.named(r"\bfm[23]d\w*|field_?map\w*|\b(3d)?b0 ?_?map\b|\bb0rf\b|gre_fieldmap")
    return f"sequence {hit}" if hit else ""


@BOOK.rule(
    "two-echo-field-map",
    "other:FIELDMAP",
    "BIDS 1.10, fieldmaps cases 1 and 2; FSL FUGUE (echoes 2.46 ms apart at 3 T)",
)
def _two_echoes(f: Facts) -> str:
    """Gradient echo 2D, exactly two echoes from 3.9 to 12 ms, 1.5 to 5.2 ms apart, TR of 300 ms or more,
    no Dixon."""
    if not f.gradient or f.dimension == "3D" or len(f.tes) != 2 or f.dixon or f.derived:
        return ""
    gap = f.tes[1] - f.tes[0]
    if (
        within(f.tes[0], 3.9, 12)
        and within(f.tes[1], 3.9, 12)
        and within(gap, 1.5, 5.2)
        and (f.tr or 0) >= 300
    ):
        return f"GR + TE {show(f.tes[0])} and {show(f.tes[1])} + TR {show(f.tr)}"
    return ""


@BOOK.rule(
    "phase-difference", "other:FIELDMAP", "BIDS 1.10, fieldmaps case 1 (phasediff); dcm2niix issue 166"
)
def _phase_difference(f: Facts) -> str:
    """Phase images of a 2D gradient echo with TE 3.9 to 12 ms and TR of 150 ms or more, without flow
    encoding."""
    flow = (
        f.tokens & {"PCA", "VELOCITY_MAP", "FLOW"}
        or f.word("PhaseContrast") == "YES"
        or f.word("AngioFlag") == "Y"
    )
    slow = within(f.te, 3.9, 12) and (f.tr or 0) >= 150 and f.dimension == "2D"
    return (
        f"phase + GR + TE {show(f.te)} + TR {show(f.tr)}"
        if f.phase_word and f.gradient and slow and not flow
        else ""
    )


@BOOK.rule(
    "real-field-map",
    "other:FIELDMAP",
    "dcm2niix issue 455: Philips stores field maps as real images",
    vendor="philips",
)
def _real_field_map(f: Facts) -> str:
    """Real images beside magnitude of a gradient echo without inversion and TE below 12 ms."""
    real = f.component == {"REAL", "MAGNITUDE"} and not f.dixon
    short = within(f.tes[-1] if f.tes else None, 0.5, 12)
    return (
        f"real and magnitude + GR + TE {show(f.te)}"
        if real and f.gradient and short and not f.inverted
        else ""
    )


@BOOK.rule(
    "phase",
    "other:PHASE",
    "DICOM PS3.3 C.8.13.3.1.1, Complex Image Component; dcm2niix, GE/README (0043,102F)",
)
def _phase(f: Facts) -> str:
    """All images are phase: Complex Image Component, Image Type P, PHASE or VELOCITY MAP, or GE's image
    kind."""
    return f.phase_word
