"""Enhanced MR objects (PS3.3 A.36.2), secondary captures and CT slices of phantom studies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from radfoundry.datasets.phantom_series_headers import (
    CAPTURE,
    CT_IMAGE,
    ENHANCED_MR,
    MR_IMAGE,
    Series,
    dataset,
    filled,
    finished,
    merged,
    pixel_elements,
)  # fmt: skip
from radfoundry.datasets.phantom_series_protocols import Protocol
from radfoundry.datasets.phantom_series_vendors import Frame, Private

MOVED = (
    "RepetitionTime", "EchoTrainLength", "FlipAngle", "NumberOfAverages", "PixelBandwidth", "SliceThickness",
    "PercentSampling", "PercentPhaseFieldOfView", "AcquisitionMatrix",
    "InPlanePhaseEncodingDirection", "InversionTime", "ReceiveCoilName", "TransmitCoilName",
    "ScanningSequence", "SequenceVariant", "SequenceName", "AngioFlag", "EchoTime", "EchoNumbers",
    "VariableFlipAngleFlag", "SpacingBetweenSlices", "ImagingFrequency", "TriggerTime", "ImagedNucleus",
    "NumberOfPhaseEncodingSteps", "SAR", "ScanOptions", "HeartRate", "LowRRValue", "HighRRValue",
    "IntervalsAcquired",
)  # fmt: skip
"""Elements that stand in functional groups, under other names, or not at all in an enhanced object."""
CONTRASTS = {
    "T1": "T1", "T1c": "T1", "T2": "T2", "T2-FLAIR": "FLUID_ATTENUATED", "DWI": "DIFFUSION",
    "ADC": "DIFFUSION", "MRA": "TOF", "T2*": "T2_STAR", "SWI": "T2_STAR", "ASL": "PERFUSION",
    "other:BOLD": "T2_STAR", "other:DSC": "PERFUSION", "other:PD": "PROTON_DENSITY",
    "other:DIFFUSION-MAP": "DIFFUSION", "other:PERFUSION-MAP": "PERFUSION",
}  # fmt: skip
COMPONENTS = {"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY", "": "REAL"}


def enhanced(s: Series) -> list[Dataset]:
    """One object a series; Siemens writes one for each volume and stack."""
    apart = s.scanner.vendor == "siemens"
    groups: dict[tuple, list[int]] = {}
    for i, frame in enumerate(s.frames):
        groups.setdefault((frame.volume, frame.stack) if apart else (), []).append(i)
    return [_object(s, indices, number) for number, indices in enumerate(groups.values(), 1)]


def _object(s: Series, indices: list[int], number: int) -> Dataset:
    p, first = s.p, s.frames[indices[0]]
    told = s.dialect.elements
    kept = {k: v for k, v in told.items() if k not in MOVED}
    contrast = CONTRASTS.get(p.label, "UNKNOWN")
    if (s.scanner.vendor == "siemens" and s.rank % 3) or p.sequence in ("pc", "ce-mra"):
        contrast = "UNKNOWN"  # Siemens seldom knows
    epi = p.sequence.startswith(("epi", "rs-epi", "asl2d"))
    gradient = p.sequence in ("epi-gre", "asl2d") or (
        not epi
        and p.sequence not in ("se", "tse", "ir-tse", "space", "ir-space", "haste", "haste-loc", "asl3d")
    )
    kind = s.dialect.image_type(first)
    top: dict[str, Any] = s.shared | kept | pixel_elements(s.scanner, p.rows, p.columns) | _flags(p, epi,
        gradient) | {
        "ImageType": kind[:4] if len(kind) >= 4 else [*kind, *("M", "NONE")[: 4 - len(kind)]],
        "InstanceNumber": number, "NumberOfFrames": len(indices),
        "AcquisitionDateTime": f"{s.shared['StudyDate']}{s.shared['SeriesTime']}",
        "AcquisitionDuration": 60.0, "AcquisitionContrast": contrast,
        "ComplexImageComponent": COMPONENTS[first.part] if len({s.frames[i].part for i in indices}) == 1
        else "MIXED", "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME", "VolumeBasedCalculationTechnique": "NONE",
        "ContentQualification": "PRODUCT", "ResonantNucleus": "1H", "KSpaceFiltering": "NONE",
        "ApplicableSafetyStandardAgency": "IEC",
        "LossyImageCompression": "00", "PresentationLUTShape": "IDENTITY", "BurnedInAnnotation": "NO",
        "NumberOfKSpaceTrajectories": 1,
        "PulseSequenceName": told.get("PulseSequenceName") or told.get("SequenceName") or p.sequence.upper(),
        "AcquisitionContextSequence": [],
        "DimensionOrganizationSequence": [dataset({"DimensionOrganizationUID": s.who.uid(3, s.rank)})],
        "DimensionIndexSequence": _dimensions(s),
    }  # fmt: skip
    top["SharedFunctionalGroupsSequence"] = [_shared(s)]
    top["PerFrameFunctionalGroupsSequence"] = [
        _frame(s, s.frames[i], contrast, at) for at, i in enumerate(indices)
    ]
    pixels = None if s.pixels is None else s.pixels[indices].tobytes()
    told_privately = s.dialect.private if s.scanner.vendor == "philips" else ()
    private = filled(s, told_privately, s.stacks[0].normal)
    return finished(merged(top, private), ENHANCED_MR, s.who.uid(2, s.rank, number), pixels)


def _dimensions(s: Series) -> list[Dataset]:
    uid = s.who.uid(3, s.rank)
    pointers = ((0x00209056, 0x00209111), (0x00209057, 0x00209111), (0x00209128, 0x00209111))
    return [
        dataset(
            {"DimensionIndexPointer": tag, "FunctionalGroupPointer": group, "DimensionOrganizationUID": uid}
        )
        for tag, group in pointers
    ]


def _flags(p: Protocol, epi: bool, gradient: bool) -> dict[str, Any]:
    """The enhanced counterparts of Scanning Sequence, Sequence Variant and Scan Options."""
    balanced, spoiled = (
        p.sequence.startswith(("bssfp", "ciss")),
        p.sequence in ("mprage", "vibe", "flash", "tof", "ce-mra", "swi", "loc"),
    )
    return {
        "EchoPulseSequence": "GRADIENT" if gradient else "SPIN",
        "EchoPlanarPulseSequence": "YES" if epi else "NO",
        "SteadyStatePulseSequence": "FREE_PRECESSION" if balanced else "LONGITUDINAL" if spoiled
        and p.rows % 3 == 0 else "NONE",
        "MultiPlanarExcitation": "NO", "PhaseContrast": "YES" if p.sequence == "pc" else "NO",
        "TimeOfFlightContrast": "YES" if p.sequence in ("tof", "tof2d") else "NO",
        "MultipleSpinEcho": "YES" if p.train > 1 and not gradient and not epi else "NO",
        "SaturationRecovery": "NO", "SpectrallySelectedSuppression": "FAT" if p.fat in ("fatsat",
        "spair") else "NONE", "OversamplingPhase": "NONE", "GeometryOfKSpaceTraversal": "RECTILINEAR",
        "SegmentedKSpaceTraversal": "SINGLE" if epi else "PARTIAL",
        "RectilinearPhaseEncodeReordering": "LINEAR", "CardiacSynchronizationTechnique": "NONE",
        "RespiratoryMotionCompensationTechnique": "NONE",
    }  # fmt: skip


def _shared(s: Series) -> Dataset:
    p, told = s.p, s.dialect.elements
    epi = p.sequence.startswith("epi")
    timing = dataset(
        {
            "RepetitionTime": p.tr,
            "EchoTrainLength": told.get("EchoTrainLength"),
            "FlipAngle": p.flip,
            "RFEchoTrainLength": 0 if epi else p.train,
            "GradientEchoTrainLength": p.train if epi else 0,
        }
    )
    modifier = {
        "InversionRecovery": "YES" if p.ti else "NO",
        "FlowCompensation": "ACCELERATION" if p.sequence in ("tof", "swi") else "NONE",
        "Spoiling": "RF" if p.sequence in ("mprage", "vibe", "tof", "swi", "flash") else "NONE",
        "T2Preparation": "NO",
        "SpectrallySelectedExcitation": "WATER" if p.fat == "we" else "NONE", "SpatialPresaturation": "NONE",
        "PartialFourier": "NO", "ParallelAcquisition": "YES", "ParallelReductionFactorInPlane": 2.0,
        "ParallelAcquisitionTechnique": "SENSE", "InversionTimes": float(p.ti) if p.ti else None,
    }  # fmt: skip
    groups: dict[str, Any] = {
        "MRTimingAndRelatedParametersSequence": [timing], "MRModifierSequence": [dataset(modifier)],
        "MRAveragesSequence": [dataset({"NumberOfAverages": p.averages})],
        "MRImagingModifierSequence": [dataset({"PixelBandwidth": p.bandwidth, "MagnetizationTransfer": "NONE",
        "BloodSignalNulling": "NO", "Tagging": "NONE",
        "TransmitterFrequency": float(told["ImagingFrequency"])})],
        "MRReceiveCoilSequence": [dataset({"ReceiveCoilName": str(told.get("ReceiveCoilName", ""))[:16],
        "ReceiveCoilManufacturerName": "", "ReceiveCoilType": "MULTICOIL", "QuadratureReceiveCoil": "NO"})],
        "MRTransmitCoilSequence": [dataset({"TransmitCoilName": "Body", "TransmitCoilManufacturerName": "",
        "TransmitCoilType": "BODY"})],
        "MRFOVGeometrySequence": [dataset({"PercentSampling": told.get("PercentSampling"),
        "PercentPhaseFieldOfView": told.get("PercentPhaseFieldOfView"),
        "InPlanePhaseEncodingDirection": "COLUMN" if told.get("InPlanePhaseEncodingDirection") == "COL"
        else "ROW", "MRAcquisitionFrequencyEncodingSteps": p.matrix[0],
            "MRAcquisitionPhaseEncodingStepsInPlane": p.matrix[1]})],
        "PixelMeasuresSequence": [dataset({"PixelSpacing": [p.spacing, p.spacing],
        "SliceThickness": p.thickness, "SpacingBetweenSlices": abs(p.step) or p.thickness})],
        "PixelValueTransformationSequence": [dataset({"RescaleIntercept": s.intercept,
        "RescaleSlope": s.slope, "RescaleType": "US"})],
        "FrameAnatomySequence": [dataset({"FrameLaterality": "U"})],
    }  # fmt: skip
    private: tuple[Private, ...] = ()
    if s.scanner.vendor == "siemens":
        words = [
            Private(0x0021, "SIEMENS MR SDS 01", n, "CS", told[k])
            for n, k in ((0x5A, "ScanningSequence"), (0x5B, "SequenceVariant"), (0x5C, "ScanOptions"))
            if told.get(k)
        ]
        private = (Private(0x0021, "SIEMENS MR SDS 01", 0xFE, "SQ", [dataset({}, words)]),)
    return dataset(groups, private)


def _frame(s: Series, frame: Frame, contrast: str, at: int) -> Dataset:
    p, stack = s.p, s.stacks[frame.stack]
    corner = stack.corner(frame.slice, p.rows, p.columns, p.spacing)
    kind = s.dialect.image_type(frame)
    _, private = s.dialect.own(frame)
    groups: dict[str, Any] = {
        "FrameContentSequence": [dataset({"StackID": str(frame.stack + 1),
        "InStackPositionNumber": frame.slice + 1, "TemporalPositionIndex": frame.volume + 1,
        "FrameAcquisitionNumber": 1, "DimensionIndexValues": [frame.stack + 1, frame.slice + 1,
        frame.volume + 1], "FrameAcquisitionDateTime": f"{s.shared['StudyDate']}{s.shared['SeriesTime']}",
        "FrameReferenceDateTime": f"{s.shared['StudyDate']}{s.shared['SeriesTime']}",
        "FrameAcquisitionDuration": 100.0})],
        "PlanePositionSequence": [dataset({"ImagePositionPatient": corner.round(6).tolist()})],
        "PlaneOrientationSequence": [dataset({"ImageOrientationPatient": [*stack.row.round(9).tolist(),
        *stack.column.round(9).tolist()]})],
        "MRImageFrameTypeSequence": [dataset({"FrameType": kind[:4] if len(kind) >= 4 else [*kind, "NONE"],
        "PixelPresentation": "MONOCHROME", "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE", "ComplexImageComponent": COMPONENTS[frame.part],
        "AcquisitionContrast": contrast})],
        "FrameVOILUTSequence": [dataset({"WindowCenter": 500, "WindowWidth": 1000})],
    }  # fmt: skip
    if p.tes:
        groups["MREchoSequence"] = [
            dataset({"EffectiveEchoTime": float(p.tes[min(frame.echo, len(p.tes) - 1)])})
        ]
    if p.b_values and frame.b is not None:
        diffusion: dict[str, Any] = {
            "DiffusionBValue": float(frame.b),
            "DiffusionDirectionality": "NONE"
            if not frame.b
            else "ISOTROPIC"
            if frame.direction is None
            else "DIRECTIONAL",
        }
        if frame.direction is not None:
            diffusion["DiffusionGradientDirectionSequence"] = [
                dataset({"DiffusionGradientOrientation": list(frame.direction)})
            ]
        groups["MRDiffusionSequence"] = [dataset(diffusion)]
    if p.sequence.startswith("asl") and s.rank % 2:
        groups["MRArterialSpinLabelingSequence"] = [
            dataset({"ASLContext": "CONTROL" if frame.volume % 2 else "LABEL"})
        ]
    if s.scanner.vendor == "siemens":
        inner = [
            *private,
            Private(0x0021, "SIEMENS MR SDI 02", 0x77, "LO", str(s.dialect.elements.get("SequenceName", ""))),
        ]
        private = (Private(0x0021, "SIEMENS MR SDI 02", 0xFE, "SQ", [dataset({}, inner)]),)
    elif s.scanner.vendor == "philips" and at == 0:
        copy = {
            k: s.dialect.elements[k]
            for k in ("ScanningSequence", "SequenceVariant", "ScanOptions")
            if s.dialect.elements.get(k)
        }
        private = (Private(0x2005, "Philips MR Imaging DD 005", 0x0F, "SQ", [dataset(copy, private)]),)
    else:
        private = ()
    return dataset(groups, private)


# --- what is no magnetic resonance image ----------------------------------------------------------------


def capture(s: Series) -> list[Dataset]:
    """Pages of text: secondary captures, or objects of the scanner that say SCREEN SAVE."""
    p = s.p
    plain = s.rank % 2 == 0
    out = []
    for i in range(p.slices):
        values = dict(s.shared) | {
            "ImageType": ["DERIVED", "SECONDARY"] if plain else ["DERIVED", "SECONDARY", "SCREEN SAVE"],
            "Modality": "OT" if s.rank % 4 == 0 else "MR", "InstanceNumber": i + 1, "SamplesPerPixel": 3,
            "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Rows": p.rows,
            "Columns": p.columns, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
            "ConversionType": "WSD" if plain else None, "BurnedInAnnotation": "YES" if i % 2 == 0 else None,
            "FrameOfReferenceUID": None, "PositionReferenceIndicator": None,
            "SecondaryCaptureDeviceManufacturer": s.scanner.manufacturer if plain else None,
            "BodyPartExamined": "",
        }  # fmt: skip
        if not plain:
            values |= {
                "ScanningSequence": "RM",
                "SequenceVariant": "NONE",
                "ScanOptions": "",
                "MRAcquisitionType": "",
                "EchoTime": None,
                "EchoTrainLength": None,
                "MagneticFieldStrength": s.scanner.tesla,
            }
        stored = None if s.pixels is None else s.pixels[i].astype(np.uint8).tobytes()
        out.append(
            finished(
                merged(values),
                CAPTURE if plain else MR_IMAGE,
                s.who.uid(2, s.rank, i + 1),
                stored,
                colour=True,
            )
        )
    return out


def computed(s: Series) -> list[Dataset]:
    """CT slices, in Hounsfield units."""
    p, stack = s.p, s.stacks[0]
    scout = p.name == "topogram"
    values = dict(s.shared) | pixel_elements(s.scanner, p.rows, p.columns) | {
        "Modality": "CT", "KVP": 120, "XRayTubeCurrent": 180, "ExposureTime": 500,
        "ConvolutionKernel": "STANDARD", "RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU",
        "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
        "SliceThickness": p.thickness, "PixelSpacing": [p.spacing, p.spacing], "ImageType": ["ORIGINAL",
        "PRIMARY", "LOCALIZER" if scout else "AXIAL"], "GantryDetectorTilt": 0,
        "ScanOptions": "SURVIEW" if scout else "HELICAL MODE",
        "ManufacturerModelName": {"siemens": "SOMATOM Force", "ge": "Revolution CT",
        "philips": "Ingenuity CT"}.get(s.scanner.vendor, "Aquilion ONE"), "WindowCenter": 40,
        "WindowWidth": 400, "ContrastBolusAgent": "APPLIED" if "pv" in p.name else None,
    }  # fmt: skip
    common = merged(values)
    out = []
    for i, frame in enumerate(s.frames):
        corner = stack.corner(frame.slice, p.rows, p.columns, p.spacing)
        own = {
            "InstanceNumber": i + 1,
            "ImagePositionPatient": corner.round(6).tolist(),
            "ImageOrientationPatient": [*stack.row.round(9).tolist(), *stack.column.round(9).tolist()],
            "SliceLocation": round(float(corner @ stack.normal), 4),
        }
        stored = None if s.pixels is None else s.pixels[i].tobytes()
        out.append(finished(common | merged(own), CT_IMAGE, s.who.uid(2, s.rank, i + 1), stored))
    return out


def side_of(slices: int) -> int:
    """Tiles along each side of a mosaic."""
    return math.ceil(math.sqrt(slices))
