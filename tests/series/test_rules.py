"""Each rule speaks where it should, keeps silent beside it, and is on the reference page."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.series import labels, rules
from radfoundry.series.attributes import anatomy_of
from radfoundry.series.find import find
from radfoundry.series.header import SeriesHeader
from radfoundry.series.rules import RULES, UNSURE, all_fired, contrast_pairs, decide, explain, veto
from radfoundry.series.rules_facts import Facts, agent_given
from radfoundry.series.tags import load_tags, read_header
from tests._data import data_dir

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "series-rules.md"
BY_NAME = {rule.name: rule for rule in RULES}
M = ("ORIGINAL", "PRIMARY", "M", "ND")
OTHER = ("ORIGINAL", "PRIMARY", "OTHER")
AXIAL, SAGITTAL, CORONAL = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def header(
    *, seq: str = "", var: str = "", opt: str = "", dim: str = "", kind: Any = M, name: str = "",
    te: Any = (), tr: float = 0, ti: Any = (), flip: float = 0, slices: int = 20, images: int = 0,
    b: Any = (), dirs: int = 0,
    normals: Any = (AXIAL,), vendor: str = "", asl: str = "", **tags: Any,
) -> SeriesHeader:  # fmt: skip
    """A header in few words: seq "SE IR", te 90 or (11, 92), kind one Image Type or a list of several."""
    many = lambda value: tuple(float(v) for v in (value if isinstance(value, tuple) else (value,)))  # noqa: E731
    values: dict[str, Any] = {"Modality": ("MR",)}
    for keyword, text in (("ScanningSequence", seq), ("SequenceVariant", var), ("ScanOptions", opt)):
        if text:
            values[keyword] = (tuple(text.split()),)
    if kind:
        values["ImageType"] = tuple(kind) if isinstance(kind, list) else (kind,)
    if dim:
        values["MRAcquisitionType"] = (dim,)
    if name:
        values["SequenceName"] = (name,)
    if flip:
        values["FlipAngle"] = (flip,)
    for keyword, value in tags.items():
        values[keyword.replace("vendor_", "vendor:")] = tuple(value) if isinstance(value, list) else (value,)
    return SeriesHeader(
        uid="1.2.3",
        values={keyword: value for keyword, value in values.items() if value != (None,)},
        vendor=vendor,
        n_files=images or slices,
        n_images=images or slices,
        n_positions=slices,
        normals=normals,
        b_values=many(b) if b != () else (),
        n_directions=dirs,
        asl=asl,
        echo_times=many(te) if te != () else (),
        repetition_times=(float(tr),) if tr else (),
        inversion_times=many(ti) if ti != () else (),
    )


T1 = {"seq": "SE", "dim": "2D", "te": 12, "tr": 550}
T2 = {"seq": "SE", "dim": "2D", "te": 95, "tr": 4500, "EchoTrainLength": 15, "PixelBandwidth": 220}
FLAIR = {"seq": "SE IR", "dim": "2D", "te": 120, "tr": 9000, "ti": 2500}
MPRAGE = {"seq": "GR IR", "var": "SK SP MP", "dim": "3D", "te": 3, "tr": 2300, "ti": 900, "flip": 9}
VIBE = {"seq": "GR", "var": "SP", "dim": "3D", "te": 1.9, "tr": 4.2, "flip": 10, "SliceThickness": 3.0}
SPGR = {"seq": "GR", "var": "SP", "dim": "3D", "te": 3.1, "tr": 8, "flip": 12, "SliceThickness": 1.0}
DWI = {"seq": "EP SE", "dim": "2D", "te": 80, "tr": 4000, "b": (0, 1000), "dirs": 30, "images": 640}
BOLD = {"seq": "EP GR", "dim": "2D", "te": 30, "tr": 2000, "slices": 30, "images": 6000}
SEEPI = {"seq": "EP SE", "dim": "2D", "te": 60, "tr": 7000, "slices": 40, "images": 120}
TOF = {
    "seq": "GR",
    "dim": "3D",
    "te": 3.4,
    "tr": 21,
    "flip": 18,
    "SliceThickness": 0.6,
    "PixelSpacing": (0.4, 0.4),
}
HEMO = {"seq": "GR", "dim": "2D", "te": 20, "tr": 620, "flip": 20}
FMAP = {
    "seq": "GR",
    "var": "SP",
    "dim": "2D",
    "te": (4.92, 7.38),
    "tr": 488,
    "flip": 60,
    "slices": 36,
    "images": 72,
}
TRUFI = {"seq": "GR", "var": "SS SK", "dim": "2D", "te": 1.9, "tr": 3.8, "flip": 50}
ASSET = {"seq": "GR", "te": 1.5, "flip": 30, "kind": OTHER, "Rows": 256, "PixelSpacing": (1.875, 1.875)}
SCOUT = {"seq": "GR", "dim": "2D", "te": 4, "tr": 8.6, "flip": 20, "SliceThickness": 7.0}
XA = {
    "seq": "GR",
    "dim": "3D",
    "te": 20,
    "kind": ("ORIGINAL", "PRIMARY", "T2_STAR", "NONE"),
    "vendor": "siemens",
}
CT_CLASS, SC_CLASS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
MRS_CLASS = "1.2.840.10008.5.1.4.1.1.4.2"
GAD = {"ContrastBolusAgent": "GADOVIST"}

# rule, header for which it speaks, near miss for which it must not. The near misses differ in one thing.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("not-mr", {"Modality": "CT", "kind": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, {**T2, "Modality": "MR"}),
    ("not-mr", {"Modality": None, "SOPClassUID": CT_CLASS},
     {"Modality": None, "SOPClassUID": CT_CLASS + "7"}),
    ("spectroscopy", {"SOPClassUID": MRS_CLASS, "kind": ()}, {"SOPClassUID": MRS_CLASS[:-2], "kind": ()}),
    ("spectroscopy", {"kind": ("ORIGINAL", "PRIMARY", "SPECTROSCOPY", "NONE")}, {"kind": M}),
    ("secondary-capture", {"SOPClassUID": SC_CLASS}, {"SOPClassUID": SC_CLASS + "5"}),
    ("secondary-capture", {"ConversionType": "WSD"}, {**T1, "ConversionType": ""}),
    ("secondary-capture", {"kind": ("DERIVED", "SECONDARY", "SCREEN SAVE")},
     {"kind": ("DERIVED", "SECONDARY")}),
    ("burned-in-colour", {"PhotometricInterpretation": "RGB", "BurnedInAnnotation": "YES"},
     {"PhotometricInterpretation": "RGB", "BurnedInAnnotation": "NO"}),
    ("image-type-diffusion-map", {"seq": "EP", "kind": ("DERIVED", "PRIMARY", "DIFFUSION", "FA", "ND")},
     {"seq": "GR", "kind": ("DERIVED", "PRIMARY", "M", "FA")}),
    ("image-type-adc", {**DWI, "kind": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND")},
     {**DWI, "kind": [("ORIGINAL", "PRIMARY", "DIFFUSION"), ("DERIVED", "PRIMARY", "ADC")]}),
    ("image-type-adc", {"kind": ("DERIVED", "PRIMARY", "APPARENT DIFFUSION COEFFICIENT")},
     {"kind": ("DERIVED", "PRIMARY", "DIFFUSION", "EADC", "ADC")}),
    ("image-type-perfusion-map", {"kind": ("DERIVED", "PRIMARY", "ASL", "RELCBF", "ND")},
     {"kind": ("ORIGINAL", "PRIMARY", "ASL", "NONE", "ND")}),
    ("siemens-head-scout",
     {**VIBE, "name": "*fl3d1_ns", "te": 1.37, "tr": 3.15, "SliceThickness": 1.6, "vendor": "siemens"},
     {**VIBE, "name": "*fl3d1_ns", "vendor": "siemens"}),
    ("image-type-projection", {**TOF, "kind": ("DERIVED", "PRIMARY", "PROJECTION IMAGE", "VASCULAR")},
     {**TOF, "kind": ("ORIGINAL", "PRIMARY", "M", "COMPOSED")}),
    ("image-type-projection", {"kind": ("ORIGINAL", "PRIMARY", "MNIP", "ND", "NORM")}, {**T1, "kind": M}),
    ("image-type-projection", {"kind": (), "VolumeBasedCalculationTechnique": "MAX_IP"},
     {"kind": (), "VolumeBasedCalculationTechnique": "NONE"}),
    ("image-type-localizer", {**T2, "kind": ("ORIGINAL", "PRIMARY", "LOCALIZER")},
     {**T2, "kind": [M, ("ORIGINAL", "PRIMARY", "LOCALIZER")]}),
    ("named-localizer", {**SCOUT, "name": "gre_scout"}, {**SCOUT, "name": "gre_fsp"}),
    ("three-planes", {**SCOUT, "normals": (AXIAL, SAGITTAL, CORONAL), "slices": 15},
     {**T2, "normals": (AXIAL, (0.0, 0.34, 0.94), (0.0, 0.5, 0.87)), "slices": 15}),
    ("three-planes", {**T2, "normals": (SAGITTAL, CORONAL), "slices": 30},
     {**T2, "normals": (SAGITTAL, CORONAL), "slices": 90}),
    ("few-thick-fast-slices", {**SCOUT, "slices": 12}, {**SCOUT, "slices": 13}),
    ("few-thick-fast-slices", {**SCOUT, "slices": 5}, {**SCOUT, "slices": 5, "images": 100}),
    ("named-calibration", {**SCOUT, "name": "ASSETCal", "vendor": "ge"},
     {**SCOUT, "name": "fgre", "vendor": "ge"}),
    ("named-calibration", {"kind": ("ORIGINAL", "PRIMARY", "COIL SENSITIVITY")}, {"kind": M}),
    ("coarse-fast-gradient-echo",
     {**ASSET, "AcquisitionMatrix": (0, 32, 32, 0)}, {**ASSET, "AcquisitionMatrix": (0, 128, 96, 0)}),
    ("image-type-field-map", {"seq": "GR", "kind": [("ORIGINAL", "PRIMARY", "B0 MAP", "B0", "FFE"), M]},
     {"seq": "EP", "kind": ("DERIVED", "PRIMARY", "DIFFUSION", "TENSOR_B0")}),
    ("named-field-map", {"seq": "RM", "kind": OTHER, "vendor_pulse_sequence": "B0rf", "vendor": "ge"},
     {"seq": "RM", "kind": OTHER, "vendor_pulse_sequence": "bravo", "vendor": "ge"}),
    ("two-echo-field-map", FMAP, {**FMAP, "te": (2.38, 4.76)}),
    ("two-echo-field-map", {**FMAP, "te": (4.76, 9.52)}, {**FMAP, "tr": 150}),
    ("two-echo-field-map", {**FMAP, "te": (5.19, 7.65)}, {**FMAP, "te": (4.0, 11.0)}),
    ("phase-difference", {**FMAP, "te": 7.38, "kind": ("ORIGINAL", "PRIMARY", "P", "ND")},
     {**FMAP, "te": 7.38}),
    ("phase-difference", {**FMAP, "te": 7.38, "kind": ("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE")},
     {**FMAP, "te": 7.38, "kind": ("ORIGINAL", "PRIMARY", "P", "ND"), "PhaseContrast": "YES"}),
    ("real-field-map", {"seq": "GR", "te": (2.3, 4.6), "vendor": "philips", "values_component": None},
     {"seq": "GR IR", "te": (2.3, 4.6), "vendor": "philips", "values_component": None}),
    ("phase", {**TOF, "te": 20, "kind": ("ORIGINAL", "PRIMARY", "P", "ND")},
     {**TOF, "kind": ("ORIGINAL", "PRIMARY", "PHASE CONTRAST M", "P", "PCA")}),
    ("phase", {**VIBE, "kind": ("ORIGINAL", "PRIMARY", "P", "OUT_PHASE")},
     {**VIBE, "kind": ("DERIVED", "PRIMARY", "DIXON", "OPP_PHASE")}),
    ("phase", {"ComplexImageComponent": "PHASE"}, {"ComplexImageComponent": "MAGNITUDE"}),
    ("phase", {**XA, "vendor_image_kind": ["ORIGINAL", "PRIMARY", "P", "ND"]},
     {**XA, "vendor_image_kind": ["ORIGINAL", "PRIMARY", "P", "M", "ND"]}),
    ("phase", {"vendor": "ge", "kind": OTHER, "vendor_image_kind": "phase"},
     {"vendor": "ge", "kind": OTHER, "vendor_image_kind": "magnitude"}),
    ("asl-header", {**BOLD, "asl": "LABEL"}, BOLD),
    ("asl-word", {"seq": "EP", "kind": ("ORIGINAL", "PRIMARY", "ASL", "NONE")},
     {"seq": "EP", "kind": [M, ("ORIGINAL", "PRIMARY", "ASL")]}),
    ("asl-word", {"seq": "EP", "dim": "3D", "name": "tgse3d1_7544"},
     {"seq": "SE", "dim": "2D", "name": "tgse2d1_7"}),
    ("philips-perfusion-short-te",
     {"seq": "GR", "te": 12, "kind": ("ORIGINAL", "PRIMARY", "PERFUSION_FFE"), "vendor": "philips"},
     {"seq": "GR", "te": 30, "kind": ("ORIGINAL", "PRIMARY", "PERFUSION_FFE"), "vendor": "philips"}),
    ("bolus-perfusion", {**BOLD, **GAD}, {**BOLD, "ContrastBolusAgent": "NONE"}),
    ("bolus-perfusion", {**BOLD, "kind": ("ORIGINAL", "PRIMARY", "PERFUSION", "NONE")},
     {**BOLD, "kind": ("ORIGINAL", "PRIMARY", "PERFUSION", "NONE"), "te": 14}),
    ("image-type-trace", {"seq": "EP", "kind": ("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND")},
     {"seq": "EP", "kind": ("DERIVED", "PRIMARY", "DIFFUSION", "ND")}),
    ("b-value", DWI, {**DWI, "b": 0}),
    ("b-value", {**DWI, "kind": ()}, {**DWI, "kind": (), "b": 1000, "dirs": 0}),
    ("b-value", {**DWI, "kind": [OTHER, ("DERIVED", "PRIMARY", "ADC")]},
     {**DWI, "kind": ("DERIVED", "PRIMARY", "OTHER")}),
    ("diffusion-word", {"seq": "EP", "name": "*ep_b1000#3"}, {"seq": "EP", "name": "*ep_b0"}),
    ("diffusion-word", {"seq": "EP", "kind": ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE")},
     {"seq": "EP", "kind": ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"), "b": 0}),
    ("diffusion-word", {"seq": "EP", "name": "re_b800_4"}, {"seq": "EP", "name": "*epfid2d1_64"}),
    ("spin-echo-epi", {**SEEPI, "name": "*epse2d1_104"}, SEEPI),
    ("spin-echo-epi", {**SEEPI, "b": 0, "vendor_technique": "SEEPI", "vendor": "philips"},
     {**SEEPI, "b": 0, "vendor_technique": "DwiSE", "vendor": "philips"}),
    ("spin-echo-epi", {**SEEPI, "b": 0, "vendor_pulse_sequence": ["epi", "EPI"], "vendor": "ge"},
     {**SEEPI, "b": 0, "vendor_pulse_sequence": ["epi2", "EPI2"], "vendor": "ge"}),
    ("gradient-echo-epi-series", {**BOLD, "seq": "GR", "vendor": "philips"},
     {**BOLD, "seq": "GR", "vendor": "philips", "tr": 900}),
    ("gradient-echo-epi-series", BOLD, {**BOLD, "images": 30}),
    ("gradient-echo-epi-series", {**BOLD, "images": 1800, "vendor_pulse_sequence": "epiRT"},
     {**BOLD, "images": 1800}),
    ("gradient-echo-epi-series", {**BOLD, "images": 1800, "kind": (*M, "MOSAIC")}, {**BOLD, "images": 3600}),
    ("gradient-echo-epi-series",
     {**BOLD, "seq": "", "EchoPulseSequence": "GRADIENT", "EchoPlanarPulseSequence": "YES"},
     {**BOLD, "seq": "", "EchoPulseSequence": "GRADIENT", "EchoPlanarPulseSequence": "NO"}),
    ("gradient-echo-epi-series", {**BOLD, "images": 30, "computed:temporal_positions": 4},
     {**BOLD, "images": 30, "computed:temporal_positions": 1}),
    ("gradient-echo-epi-series", {**BOLD, "seq": "EP", "vendor": "siemens", "var": "SK"},
     {**BOLD, "seq": "EP", "vendor": "siemens", "var": "SK SP"}),
    ("gradient-echo-epi-series", {**BOLD, "te": 20, "MagneticFieldStrength": 7.0}, {**BOLD, "te": 14}),
    ("projection-angiography",
     {**TOF, "AngioFlag": "Y", "normals": tuple((1.0, 0.2 * i, 0.0) for i in range(8))},
     {**TOF, "AngioFlag": "Y"}),
    ("angio-flag", {**TOF, "AngioFlag": "Y"}, {**TOF, "AngioFlag": "N"}),
    ("angio-flag", {**TOF, "AngioFlag": "Y", "seq": "RM"}, {**TOF, "AngioFlag": "Y", "kind": ()}),
    ("enhanced-flow", {**TOF, "TimeOfFlightContrast": "YES"}, {**TOF, "TimeOfFlightContrast": "NO"}),
    ("enhanced-flow", {**TOF, "AcquisitionContrast": "TOF"}, {**T1, "AcquisitionContrast": "T1"}),
    ("image-type-flow", {**TOF, "kind": ("ORIGINAL", "PRIMARY", "PHASE CONTRAST M", "M", "PCA")},
     {**TOF, "kind": ("ORIGINAL", "PRIMARY", "VELOCITY MAP", "P", "PCA")}),
    ("ge-vascular-option", {**TOF, "opt": "FC_SLICE_AX_GEMS VASCTOF_GEMS", "kind": OTHER, "vendor": "ge"},
     {**TOF, "opt": "FC_SLICE_AX_GEMS", "kind": OTHER, "vendor": "ge"}),
    ("named-angiography", {**TOF, "name": "*fl3d1r_t70"}, {**TOF, "name": "*fl3d1r", "te": 20}),
    ("named-angiography", {**TOF, "name": "tof3d_tra"}, {**TOF, "name": "*tfl3d1_16"}),
    ("flow-compensated-thin-3d", {**TOF, "opt": "FC"}, {**TOF, "opt": "FC", "te": 20, "tr": 28}),
    ("named-balanced", {**TRUFI, "seq": "SE", "name": "*tfi2d1_192"}, {**TRUFI, "name": "*tfl2d1_192"}),
    ("named-balanced", {"seq": "SE", "name": "*ci3d1", "te": 2.6, "tr": 6.1},
     {"name": "*fi3d1", "te": 2.6, "tr": 6.1}),
    ("named-balanced", {"seq": "GR", "name": "Fiesta-C", "te": 2.2, "tr": 5.5},
     {"name": "fiesta", "te": 9, "tr": 600}),
    ("named-balanced", {**TRUFI, "name": "*tfi2d1_192", "SliceThickness": 5.0},
     {**TRUFI, "name": "*tfi2d1_192", "SliceThickness": 8.5, "slices": 10}),
    ("balanced-physics", TRUFI, {**TRUFI, "var": "SS SP SK"}),
    ("balanced-physics", {**TRUFI, "kind": ()}, {**TRUFI, "te": 0.9}),
    ("balanced-physics", {**TRUFI, "var": "SS"}, {**TRUFI, "var": "SK"}),
    ("image-type-swi", {"seq": "GR", "kind": ("ORIGINAL", "PRIMARY", "SW_M_FFE", "SW_M", "FFE")},
     {"seq": "GR", "kind": ("ORIGINAL", "PRIMARY", "SW_P", "P", "FFE")}),
    ("image-type-swi", {**TOF, "te": 20, "kind": ("ORIGINAL", "PRIMARY", "M", "SWI", "NORM")},
     {**TOF, "te": 20, "kind": ("ORIGINAL", "PRIMARY", "M", "NORM")}),
    ("image-type-swi", {**XA, "vendor_image_kind": ["ORIGINAL", "PRIMARY", "M", "SWI"]},
     {**XA, "vendor_image_kind": ["ORIGINAL", "PRIMARY", "M"]}),
    ("named-swi", {**TOF, "te": 20, "name": "*swi3d1r"}, {**TOF, "te": 3.4, "name": "*swi3d1r"}),
    ("named-swi", {**TOF, "te": (12, 35), "name": "QSUSC", "vendor": "ge"},
     {**TOF, "te": 20, "name": "EFGRE3D"}),
    ("bolus-3d-series", {**VIBE, **GAD, "images": 600}, {**VIBE, **GAD, "images": 40}),
    ("two-contrasts", {**T2, "te": (11, 92), "images": 40}, {**T2, "te": (80, 120), "images": 40}),
    ("fluid-attenuated", FLAIR, {**FLAIR, "ti": 150}),
    ("fluid-attenuated", {**FLAIR, "ti": 1400, "tr": 4000, "MagneticFieldStrength": 0.064},
     {**FLAIR, "ti": 1400, "tr": 4000, "MagneticFieldStrength": 3.0}),
    ("fluid-attenuated", {**FLAIR, "dim": "3D", "te": 390, "ti": 1800, "tr": 5000},
     {**FLAIR, "dim": "3D", "kind": ()}),
    ("named-flair", {**FLAIR, "ti": (), "opt": "T2FLAIR_GEMS"}, {**FLAIR, "ti": (), "opt": "T1FLAIR_GEMS"}),
    ("named-flair", {**FLAIR, "ti": (), "name": "*spcir_278ns"}, {**FLAIR, "ti": 150, "name": "*tir2d1rs15"}),
    ("enhanced-flair", {**FLAIR, "ti": (), "AcquisitionContrast": "FLUID_ATTENUATED"},
     {**FLAIR, "ti": (), "AcquisitionContrast": "T2"}),
    ("t1-after-agent", {**T1, **GAD}, {**T1, "ContrastBolusAgent": "NONE"}),
    ("t1-after-agent", {**MPRAGE, **GAD}, {**T2, **GAD}),
    ("t1-after-agent", {**T1, **GAD, "SeriesDescription": "ax t1 post"},
     {**T1, **GAD, "SeriesDescription": "AX_T1_PRE"}),
    ("t1-inversion-3d", {k: v for k, v in MPRAGE.items() if k != "flip"}, {**MPRAGE, "flip": 60}),
    ("t1-inversion-3d", MPRAGE, {**MPRAGE, "ti": (700, 2500)}),
    ("t1-inversion-3d", {**MPRAGE, "seq": "RM IR", "var": "NONE", "kind": OTHER}, {**MPRAGE, "kind": ()}),
    ("t1-spoiled-3d", SPGR, {**SPGR, "flip": 3}),
    ("t1-spoiled-3d", {**SPGR, "var": "SK MP", "flip": 7, "vendor": "philips"},
     {**SPGR, "var": "SK", "flip": 7, "vendor": "philips"}),
    ("t1-spoiled-3d", {**VIBE, "kind": ("ORIGINAL", "PRIMARY", "OPP_PHASE")},
     {**VIBE, "kind": ("DERIVED", "PRIMARY", "DIXON", "FAT")}),
    ("t1-spoiled-3d", VIBE, {**VIBE, "SliceThickness": 1.6}),
    ("t1-spoiled-3d", {**VIBE, "tr": 5.4, "flip": 12}, {**VIBE, "tr": 5.4, "flip": 18, **GAD}),
    ("t1-spoiled-3d", {**VIBE, "te": (1.2, 2.4), "kind": [(*M, "IP"), (*M, "OP"), (*M, "W")], "images": 60},
     {**VIBE, "kind": (*M, "F")}),
    ("t1-spoiled-3d", {**SPGR, "var": "NONE", "name": "gre_fsp", "vendor": "uih"},
     {**SPGR, "var": "NONE", "name": "gre"}),
    ("t1-spoiled-3d", {**SPGR, "tr": 22, "flip": 28, "te": 4.6, "PixelSpacing": (0.9, 0.9), "AngioFlag": "N"},
     {**TOF, "flip": 22, "var": "SP"}),
    ("t1-spoiled-3d", {**SPGR, "tr": 22, "flip": 28, "PixelSpacing": (0.9, 0.9), "AngioFlag": "N"},
     {**SPGR, "tr": 22, "flip": 28, "PixelSpacing": (0.9, 0.9)}),
    ("t1-spoiled-2d",
     {"seq": "GR", "dim": "2D", "te": 2.5, "tr": 180, "flip": 70, "PixelSpacing": (0.9, 0.9)},
     {"seq": "GR", "dim": "2D", "te": 4.92, "tr": 450, "flip": 60, "PixelSpacing": (3.0, 3.0)}),
    ("t1-spin-echo", T1, {**T1, "tr": 1600}),
    ("t1-spin-echo", {**T1, "MagneticFieldStrength": 0.2}, {**T1, "MagneticFieldStrength": 0.064}),
    ("t1-spin-echo", {**T1, "kind": ()}, {**T1, "kind": (), "dim": "3D"}),
    ("t1-inversion-spin-echo", {"seq": "SE IR", "dim": "2D", "te": 24, "tr": 2500, "ti": 860},
     {"seq": "SE IR", "dim": "2D", "te": 90, "tr": 2500, "ti": 860}),
    ("t1-inversion-spin-echo",
     {"seq": "SE IR", "dim": "3D", "te": 6, "tr": 1500, "ti": 300, "MagneticFieldStrength": 0.064},
     {"seq": "SE IR", "dim": "3D", "te": 6, "tr": 1500, "ti": 300, "MagneticFieldStrength": 1.5}),
    ("ge-t1-flair-option", {"seq": "SE IR", "te": 24, "tr": 2500, "opt": "T1FLAIR_GEMS", "vendor": "ge"},
     {"seq": "SE IR", "te": 24, "tr": 2500, "opt": "T1FLAIR_GEMS", "vendor": "siemens"}),
    ("stir", {"seq": "SE IR", "dim": "2D", "te": 60, "tr": 4000, "ti": 150},
     {"seq": "SE IR", "dim": "2D", "te": 60, "tr": 4000, "ti": 400}),
    ("t2-spin-echo", T2, {**T2, "te": 50}),
    ("t2-spin-echo", {**T2, "dim": "3D", "tr": 2000, "te": 250, "MagneticFieldStrength": 0.064},
     {**T2, "dim": "3D", "tr": 1000, "te": 80, "MagneticFieldStrength": 0.064}),
    ("t2-spin-echo", {**T2, "kind": ()}, {**T2, "PixelBandwidth": 1800}),
    ("t2-single-shot", {**T2, "tr": 1100, "name": "*h2d1_256"}, {**T2, "tr": 1100}),
    ("t2-single-shot", {**T2, "tr": 1100, "EchoTrainLength": 128, "SliceThickness": 6.0},
     {**T2, "tr": 1100, "EchoTrainLength": 128, "SliceThickness": 6.0, "slices": 11}),
    ("proton-density", {**T2, "te": 30}, {**T2, "te": 45}),
    ("proton-density", {**T2, "te": 35, "dim": "3D", "SliceThickness": 0.6},
     {**T2, "te": 35, "dim": "3D", "SliceThickness": 4.0}),
    ("proton-density", {**T2, "te": 10}, {**T2, "te": 10, "opt": "SPIRAL_GEMS"}),
    ("named-medic", {**HEMO, "te": 18, "name": "*me2d1r3"}, {**HEMO, "te": 18, "name": "*fl2d1"}),
    ("t2-star-2d", HEMO, {**HEMO, "flip": 70}),
    ("t2-star-2d", {**HEMO, "te": 12}, {**HEMO, "te": 8}),
    ("t2-star-multi-echo", {"seq": "GR", "dim": "3D", "te": (5, 10, 15, 20), "tr": 40, "flip": 15},
     {"seq": "GR", "dim": "3D", "te": (1.2, 2.4, 3.6, 4.8), "tr": 9, "flip": 5}),
]  # fmt: skip

# The same for descriptions: rule, text for which it speaks, near miss. Nothing else is in the header.
DESCRIBED: list[tuple[str, str, str]] = [
    ("calibration", "ASSET Cal", "calf t1"), ("calibration", "Coil Survey", "survey"),
    ("localizer", "3-Plane Loc", "allocated"), ("localizer", "AAHead_Scout", "scouting"),
    ("localizer", "survey", "coil survey"),
    ("projection", "mIP_Images(SW)", "MPRAGE"), ("projection", "T1 MPR cor", "improved"),
    ("perfusion-map", "relCBF", "cbfx"), ("diffusion-map", "ep2d_diff_ColFA", "fa 15"),
    ("adc", "ep2d_diff_3scan_trace_p2_ADC", "eADC"), ("field-map", "gre_field_mapping", "field of view"),
    ("phase", "Pha_Images", "phase contrast images"), ("phase", "phase images", "arterial phase"),
    ("asl", "3D pCASL 6mm", "nasal"), ("bolus-perfusion", "ep2d_perf", "performance"),
    ("dynamic-contrast", "DCE dyn 60x", "reduced"), ("bold", "rs-fMRI run 1", "emri"),
    ("bold", "BOLD_moto", "embolden"), ("diffusion", "AX DWI b1000", "different"),
    ("angiography", "TOF_3D_multi-slab", "tofu"), ("angiography", "MRA COW", "mrage"),
    ("susceptibility", "t2_swi_tra", "swim"), ("balanced", "FIESTA-C IAC", "cissa"),
    ("balanced", "True FISP", "true fit"),
    ("flair", "Ax T2 FLAIR", "Ax T1 FLAIR"), ("flair", "t2_tirm_tra_dark-fluid", "dark blood"),
    ("flair", "T2FLAIR_3D", "FLAIR map"),
    ("t2-star", "T2* GRE", "T2 GRE"), ("t2-star", "t2star", "T2* map"),
    ("t1-after-agent", "Ax T1 +C", "Ax T1"), ("t1-after-agent", "T1_POST_GAD", "T1 w/o contrast post op"),
    ("t1-after-agent", "MPRAGE post", "T2 post"), ("t1-after-agent", "T1 KM", "T1 KMX"),
    ("proton-density", "PD FS SAG", "PD T2 dual"), ("t1", "t1_mprage_sag", "T1rho"),
    ("t1", "Ax T1 pre", "T1 T2 map"), ("t1", "AX T1 FLAIR", "T1 map"),
    ("t2", "T2W_TSE", "T2 map"), ("t2", "STIR cor", "PD T2"), ("t2", "Sag T2 TSE", "Ax T1 T2"),
]  # fmt: skip
CASES += [
    (f"described-{name}", {"kind": (), "SeriesDescription": text}, {"kind": (), "SeriesDescription": near})
    for name, text, near in DESCRIBED
]


def built(**given: Any) -> SeriesHeader:
    """`header`, with the real and magnitude frames that only one rule is about."""
    if "values_component" in given:
        given.pop("values_component")
        made = header(**given)
        return replace(made, values={**made.values, "ComplexImageComponent": ("MIXED", "REAL", "MAGNITUDE")})
    return header(**given)


@pytest.mark.parametrize(("name", "given", "near"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_rule_speaks_and_keeps_silent_beside_it(
    name: str, given: dict[str, Any], near: dict[str, Any]
) -> None:
    rule, found = BY_NAME[name], built(**given)
    spoken = rule(Facts(found))
    assert spoken is not None, f"{name} abstains"
    assert spoken.trace.endswith(f" → {rule.verdict}") and spoken.rule == name
    first = decide(found)
    assert first is not None and label(first) == rule.verdict, f"{name} is overruled: {first}"
    assert rule(Facts(built(**near))) is None, f"{name} speaks on its near miss"


def label(said: rules.RuleVerdict) -> str:
    return f"{said.modality}:{said.kind}" if said.kind else said.modality


def test_every_rule_has_a_case_a_reference_and_a_known_verdict() -> None:
    assert {rule.name for rule in RULES} == {case[0] for case in CASES}
    assert len(BY_NAME) == len(RULES)
    known = labels.load()
    for rule in RULES:
        modality, _, kind = rule.verdict.partition(":")
        assert modality in known.modalities and (not kind or kind in known.kinds), rule.name
        assert len(rule.reference) > 10 and rule.condition.endswith("."), rule.name


def test_rules_cover_every_modality_and_kind_that_headers_can_tell() -> None:
    verdicts, known = {rule.verdict for rule in RULES}, labels.load()
    assert set(known.modalities) - {"other"} <= verdicts
    assert {f"other:{kind}" for kind in known.kinds if kind != "UNKNOWN"} <= verdicts


def test_reference_page_lists_exactly_these_rules() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    escape = lambda text: text.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")  # noqa: E731
    wanted = [
        f"| `{r.name}` | {r.vendor} | {escape(r.condition)} | `{r.verdict}` | {escape(r.reference)} |"
        for r in RULES
    ]
    assert rows == wanted


@pytest.mark.parametrize(
    "given",
    [
        {"kind": ()},
        {"kind": M},
        {**T2, "te": 50},  # between PD and T2
        {**T1, "te": 12, "tr": 1500},  # between T1 and PD
        {"seq": "EP", "dim": "2D", "te": 90, "tr": 5000},  # diffusion without its b-values, or spin-echo EPI
        {**BOLD, "kind": ()},  # BOLD, labelling and bolus share this header
        {**BOLD, "images": 30},  # a single-band reference
        {**BOLD, "images": 1800},  # 60 volumes: BOLD, or a bolus whose agent is not told
        {**SEEPI, "b": 0},  # b0 images of a diffusion scan, or spin-echo EPI for a field map
        {**TOF, "flip": 22},  # angiography without flag, name or flow compensation
        {**SPGR, "te": 20, "tr": 30, "flip": 15},  # SWI and T2* share this header
        {**SPGR, "kind": ("DERIVED", "SECONDARY")},
        {**SPGR, "kind": ("DERIVED", "PRIMARY", "SUBTRACTION")},
        {**SPGR, "kind": ()},  # a reformat or a phase image carries the same numbers
        {**MPRAGE, "images": 3520, "slices": 176},  # many volumes of one inversion time are no anatomy
        {"seq": "GR", "var": "SS", "dim": "3D", "te": 9, "tr": 16, "flip": 25, "name": "*de3d1"},  # DESS
        {**T2, "te": tuple(range(10, 170, 10))},  # T2 mapping
    ],
)
def test_rules_abstain_where_the_header_does_not_decide(given: dict[str, Any]) -> None:
    assert decide(header(**given)) is None


def test_traces_say_why() -> None:
    assert decide(header(**DWI)).trace == "EP + b-value 1000 → DWI"  # type: ignore[union-attr]
    assert decide(header(**FLAIR)).trace == "TI 2500 and TR 9000, SE, TE 120 → T2-FLAIR"  # type: ignore[union-attr]
    adc = header(kind=("DERIVED", "PRIMARY", "ADC"))
    assert decide(adc).trace == "ImageType DERIVED\\PRIMARY\\ADC → ADC"  # type: ignore[union-attr]


def test_any_rule_on_the_header_outranks_a_description() -> None:
    misled = header(**T2, SeriesDescription="ax t1 flair dwi adc", ProtocolName="localizer")
    assert decide(misled).rule == "t2-spin-echo"  # type: ignore[union-attr]
    assert [said.rule for said in all_fired(misled)] == ["t2-spin-echo", "described-adc"]


def test_a_description_alone_speaks_is_named_and_can_be_told_to_keep_silent() -> None:
    alone = SeriesHeader(values={"SeriesDescription": ("Ax T2 FLAIR DOE^JOHN",)})
    said = decide(alone)
    assert said is not None and said.trace == "SeriesDescription says T2 FLAIR → T2-FLAIR"
    assert rules.is_described(said) and not rules.is_described(decide(header(**T1)))  # type: ignore[arg-type]
    assert decide(alone, described=False) is None
    assert veto(SeriesHeader(values={"SeriesDescription": ("DWI",)}), "T1") is None


def test_the_description_goes_before_the_protocol_whose_name_its_source_had() -> None:
    named = {"ProtocolName": ("ep2d_diff_3scan_trace",)}
    adc = SeriesHeader(values={"SeriesDescription": ("ep2d_ADC",), **named})
    assert decide(adc).modality == "ADC"  # type: ignore[union-attr]
    unknown = SeriesHeader(values={"SeriesDescription": ("series 5",), **named})
    assert decide(unknown).trace == "ProtocolName says DIFF → DWI"  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "Brain routine", "T1 T2", "T1 subtraction", "series 7"])
def test_a_description_that_does_not_decide_is_passed_over(text: str) -> None:
    assert decide(SeriesHeader(values={"SeriesDescription": (text,)})) is None


def test_a_header_that_contradicts_a_description_keeps_it_silent() -> None:
    unsaid = {"seq": "SE", "te": 50, "tr": 3000, "kind": M}
    assert decide(header(**unsaid)) is None
    assert decide(header(**unsaid, SeriesDescription="AX DWI")) is None
    assert decide(header(**unsaid, SeriesDescription="PD TSE")).modality == "other"  # type: ignore[union-attr]


NAME = "DOE^JOHN 1950-01-01"


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        ({"ContrastBolusAgent": f"Gadovist 7ml {NAME}"}, "agent GADOVIST → T1c"),
        ({"ContrastBolusAgent": f"{NAME} 5 ml"}, "agent → T1c"),
        ({"kind": (*M, NAME)}, "T1"),
        ({"kind": ("DERIVED", "PRIMARY", "ADC", NAME)}, "ImageType DERIVED\\PRIMARY\\ADC\\… → ADC"),
        ({"ConversionType": NAME}, "ConversionType … → other:SCREEN"),
        ({"Modality": NAME}, "Modality … → other:NOT-MR"),
        ({"kind": (), "VolumeBasedCalculationTechnique": NAME}, "Technique … → other:MIP"),
        ({"asl": NAME}, "labelling … → ASL"),
        ({"name": f"fl3d1_ns {NAME}", **{k: v for k, v in VIBE.items() if k != "te"}, "te": 1.4, "tr": 3.15,
          "SliceThickness": 1.6, "vendor": "siemens"}, "fl3d1_ns + TR 3.15"),
        ({"kind": (), "seq": "", "SeriesDescription": f"Ax T1 {NAME}"}, "says T1 → T1"),
        ({"BodyPartExamined": [f"KNEE {NAME}", "KNEE 5"]}, "BodyPartExamined KNEE"),
        ({"BodyPartExamined": ["KNEE", "HIP", NAME]}, "several body parts: KNEE, HIP"),
        ({"ReceiveCoilName": f"Head {NAME}"}, "coil HEAD → Brain"),
        ({"ReceiveCoilName": "Head_DOE JOHN"}, "coil HEAD → Brain"),
        ({"ReceiveCoilName": "Head DOE", "BodyPartExamined": "KNEE"}, "KNEE, but coil HEAD"),
    ],
)  # fmt: skip
def test_no_trace_and_no_fact_repeats_what_somebody_typed(tags: dict[str, Any], shown: str) -> None:
    found = header(**{**T1, **tags})
    said = [verdict.trace for verdict in all_fired(found)] + [anatomy_of(found)[1]]
    assert shown in " | ".join(said)
    assert not [line for line in (*said, *explain(found)) if "DOE" in line.upper() or "1950" in line]


def test_a_vendor_rule_reads_only_its_own_dialect_and_unknown_vendors() -> None:
    tof = {**TOF, "opt": "VASCTOF_GEMS", "kind": OTHER}
    fires = {
        vendor: BY_NAME["ge-vascular-option"](Facts(header(**tof, vendor=vendor)))
        for vendor in ("ge", "", "uih")
    }
    assert fires["ge"] and fires[""] and fires["uih"] is None


def test_all_fired_shows_every_rule_in_order_of_precedence() -> None:
    fired = [said.rule for said in all_fired(header(**DWI, name="*ep_b1000#3"))]
    assert fired == ["b-value", "diffusion-word"]


WORDS = st.sampled_from(
    ["SE", "GR", "EP", "IR", "RM", "", "ORIGINAL", "DERIVED", "M", "P", "ADC", "B0", "XYZ", "1"]
)
NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.integers(-5, 10_000), st.text(max_size=4)
)


@settings(max_examples=200, deadline=None)
@given(
    values=st.dictionaries(
        st.sampled_from(
            ["ScanningSequence", "SequenceVariant", "ImageType", "FlipAngle", "PixelSpacing", "Modality",
             "Rows", "AcquisitionMatrix", "EchoTrainLength", "MagneticFieldStrength", "SequenceName",
             "BodyPartExamined", "ContrastBolusAgent", "ReceiveCoilName", "SliceThickness",
             "NumberOfTemporalPositions"]
        ),
        st.lists(st.one_of(WORDS, NUMBERS, st.tuples(WORDS, NUMBERS)), min_size=1, max_size=3).map(tuple),
    ),
    times=st.lists(st.floats(0, 1e5), max_size=3).map(lambda t: tuple(sorted(t))),
    counts=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    modality=st.sampled_from(["DWI", "ADC", "SSFP", "MRA", "T1", "other"]),
)  # fmt: skip
def test_no_header_breaks_the_rules(values: Any, times: Any, counts: tuple[int, int], modality: str) -> None:
    odd = SeriesHeader(
        values=values, n_images=counts[0], n_positions=counts[1], echo_times=times, repetition_times=times,
        inversion_times=times, b_values=times,
    )  # fmt: skip
    said = decide(odd)
    assert said is None or said.trace.endswith(f" → {label(said)}")
    assert all(isinstance(part, str) and part for part in explain(odd))
    vetoed = veto(odd, modality)
    assert vetoed is None or (vetoed.modality, vetoed.kind) != (modality, "")


# --- the veto


@pytest.mark.parametrize(
    ("given", "said", "want"),
    [
        ({**TOF, "AngioFlag": "Y"}, "T1", "MRA"),
        ({**TOF, "name": "*fl3d1r_t70"}, "other:PD", "MRA"),
        ({**DWI, "kind": ("DERIVED", "PRIMARY", "ADC")}, "DWI", "ADC"),
        (DWI, "ADC", "DWI"),
        (DWI, "T2", "DWI"),
        (TRUFI, "T2", "SSFP"),
        ({**DWI, "kind": ("DERIVED", "PRIMARY", "DIFFUSION", "FA")}, "DWI", "other:DIFFUSION-MAP"),
        ({**TOF, "kind": ("DERIVED", "PRIMARY", "MIP")}, "MRA", "other:MIP"),
        (BOLD, "DWI", "other:BOLD"),
    ],
)
def test_veto_puts_right_what_the_header_knows(given: dict[str, Any], said: str, want: str) -> None:
    modality, _, kind = said.partition(":")
    verdict = veto(header(**given), modality, kind)
    assert verdict is not None and label(verdict) == want
    assert verdict.rule.startswith("veto: ") and verdict.trace.startswith(f"model said {said}; ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**T2, "te": 50}, "DWI"),  # no EPI, no b-value
        ({"seq": "GR", "te": 20, "tr": 30}, "DWI"),
        ({"seq": "EP", "te": 80, "tr": 4000}, "ADC"),  # original images
        ({"seq": "GR", "te": 20, "tr": 30, "kind": ()}, "ADC"),
        ({"seq": "GR", "te": 4, "tr": 600}, "SSFP"),  # long TR
        ({"seq": "GR", "var": "SP", "te": 4, "tr": 9}, "SSFP"),  # no steady state
        ({"seq": "SE", "te": 4, "tr": 9}, "SSFP"),
        ({"seq": "GR", "te": 25, "tr": 40}, "MRA"),
        ({"seq": "EP", "te": 80, "tr": 4000}, "MRA"),
    ],
)
def test_veto_demotes_what_the_header_contradicts(given: dict[str, Any], said: str) -> None:
    verdict = veto(header(**given), said)
    assert verdict is not None and verdict.modality == UNSURE and verdict.trace.endswith("→ unsure")


@pytest.mark.parametrize("said", ["DWI", "ADC", "SSFP", "MRA", "T1", "other"])
def test_veto_holds_nothing_against_an_emptied_header(said: str) -> None:
    assert veto(SeriesHeader(), said) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (DWI, "DWI"),
        ({**TOF, "AngioFlag": "Y"}, "MRA"),
        (T2, "T1"),  # not one of the four: none of the veto's business
        ({**BOLD, "images": 30}, "DWI"),  # EPI: may be
        (
            {"seq": "SE", "dim": "3D", "te": 80, "tr": 2000, "kind": ()},
            "MRA",
        ),  # fresh blood imaging is spin echo
        ({"seq": "GR", "var": "SS", "te": 3, "tr": 9, "flip": 15}, "SSFP"),
        ({**MPRAGE}, "T1c"),  # no agent in the header does not prove there was none
    ],
)
def test_veto_leaves_what_the_header_allows(given: dict[str, Any], said: str) -> None:
    assert veto(header(**given), said) is None


# --- repeats before and after contrast agent


def test_the_later_of_two_equal_t1_series_may_be_after_contrast() -> None:
    study = [(header(**T1), "T1"), (header(**T2), "T2"), (header(**T1), "T1"), (header(**T1), "T1")]
    pairs = contrast_pairs(study)
    assert [(pair.earlier, pair.later) for pair in pairs] == [(0, 2), (0, 3)]
    assert "maybe after contrast" in pairs[0].trace
    assert decide(study[2][0]).modality == "T1"  # type: ignore[union-attr]  # evidence only, no flip


@pytest.mark.parametrize(
    "second",
    [
        header(**T1, ContrastBolusAgent="GADOVIST"),
        header(**T1, ContrastBolusAgent="NONE"),
        header(**{**T1, "tr": 650}),
        header(**{**T1, "normals": (SAGITTAL,)}),
        header(**{**T1, "opt": "FS"}),
        header(**{**T1, "kind": (*M, "DIS2D")}),
        header(**T1, SliceThickness=3.0),
    ],
)
def test_series_that_differ_or_name_their_agent_are_no_pair(second: SeriesHeader) -> None:
    assert contrast_pairs([(header(**T1), "T1"), (second, "T1")]) == ()
    assert contrast_pairs([(header(**T1), "T1"), (header(**T1), "T2")]) == ()


def test_explain_lists_the_main_facts() -> None:
    flair = header(**{**FLAIR, "slices": 24}, MagneticFieldStrength=3.0)
    assert ", ".join(explain(flair)) == "SE/IR, 2D, TR 9000, TE 120, TI 2500, 3 T, 24 slices, axial"
    assert "b 0, 1000" in explain(header(**DWI))
    assert explain(SeriesHeader()) == []


# --- real series of the development half

NAMES = frozenset({"SequenceName", "PulseSequenceName", "vendor:pulse_sequence", "vendor:technique"})
DESCRIPTIONS = frozenset({"SeriesDescription", "ProtocolName"})
TRUTH = {"CT": "other:NOT-MR", "CT:LOC": "other:NOT-MR", "MIXED:PD+T2": "other:MIXED"}


@pytest.mark.parametrize(
    ("hidden", "least"),
    [(DESCRIPTIONS, 23), (DESCRIPTIONS | NAMES, 21), (DESCRIPTIONS | {"ImageType", "vendor:image_kind"}, 13)],
    ids=["descriptions", "names too", "image type too"],
)
def test_no_wrong_verdict_on_real_series(hidden: frozenset[str], least: int) -> None:
    """23 series of GE, Siemens and Philips; those that no rule decides are counted, none may be wrong."""
    root = data_dir("dicom_series")
    wrong, right = [], 0
    with (root / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        (series,) = find(root / row["series_dir"])
        found = read_header(series, load_tags())
        found = replace(found, values={k: v for k, v in found.values.items() if k not in hidden})
        said = decide(found)
        truth = TRUTH.get(row["label_sequence"], row["label_sequence"].replace("OTHER:", "other:"))
        if said is not None and label(said) != truth:
            wrong.append((row["series_dir"], truth, said.trace))
        right += said is not None and label(said) == truth
    assert not wrong
    assert len(rows) == 23 and right >= least


def test_what_descriptions_alone_say_of_real_series_is_right() -> None:
    """The same 23 series with nothing but Series Description and Protocol Name."""
    root = data_dir("dicom_series")
    wanted = load_tags(descriptions=True)
    right, wrong = 0, []
    with (root / "manifest.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            (series,) = find(root / row["series_dir"], tags=wanted)
            found = read_header(series, wanted)
            said = decide(SeriesHeader(values={k: v for k, v in found.values.items() if k in DESCRIPTIONS}))
            truth = TRUTH.get(row["label_sequence"], row["label_sequence"].replace("OTHER:", "other:"))
            if said is not None and label(said) != truth:
                wrong.append((row["series_dir"], truth, said.trace))
            right += said is not None and label(said) == truth
    assert not wrong and right >= 14


@pytest.mark.parametrize(
    ("text", "given"),
    [
        *((text, False) for text in (
            "WITHOUT CONTRAST", "NON-CONTRAST", "None given", "NO GAD", "UNENHANCED", "0 ml", "NIL", "w/o",
            "OHNE KM", "no contrast given", "Contrast not given", "N", "0.0",
        )),
        *((text, None) for text in ("--", "", "?", "UNKNOWN", "X", "xxxx")),
        *((text, True) for text in (
            "Gadovist", "GADAVIST 7.5ML", "0.1 mmol/kg Dotarem", "YES", "NOVOCONTRAST 5",
        )),
    ],
)  # fmt: skip
def test_a_denied_agent_is_none_and_a_named_one_is(text: str, given: bool | None) -> None:
    assert agent_given(text) is given
    facts = Facts(header(**{**T1, "ContrastBolusAgent": text}))
    assert facts.agent is given
    verdict = decide(facts.header)
    assert verdict is not None and verdict.label == ("T1c" if given else "T1")
