"""Small MR files of the dialects that the tests of finding and reading need."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from tests.io.synthetic import dicom, save, uid

SECRET = "secret-id"


def mr(number: int = 1, *, pixels: np.ndarray | None = None, **elements: object) -> FileDataset:
    """One slice of 4 × 4 pixels at z = 2 × number mm; None deletes an element."""
    values: dict[str, object] = {
        "SOPClassUID": MRImageStorage, "Modality": "MR", "InstanceNumber": number, "PatientID": SECRET,
        "SeriesNumber": 3, "StudyDate": "20260102", "Manufacturer": "ACME", "EchoTime": 30.0,
        "RepetitionTime": 2000.0, "ScanningSequence": ["SE", "IR"], "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "ImagePositionPatient": [0.0, 0.0, 2.0 * number], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1.0, 1.0], "SliceThickness": 2.0, "SOPInstanceUID": uid("made", number),
        "RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None,
    }  # fmt: skip
    return dicom(np.zeros((4, 4), np.uint16) if pixels is None else pixels, **{**values, **elements})


def put(folder: Path, *data: Dataset, start: int = 0, suffix: str = ".dcm") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k, one in enumerate(data, start=start):
        save(one, folder / f"{k:04d}{suffix}")  # type: ignore[arg-type]
    return folder


def private(data: Dataset, creator: str, group: int, block: int, **values: tuple[str, object]) -> Dataset:
    """Reserve a block and fill it; values: x39=("IS", 1000) is element (group, block 39)."""
    data.add_new(group << 16 | block, "LO", creator)
    for name, (vr, value) in values.items():
        data.add_new(group << 16 | block << 8 | int(name[1:], 16), vr, value)
    return data


def bare(*, modality: str = "SR", **elements: object) -> FileDataset:
    """An object without an image, such as a report or presentation state."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    meta.MediaStorageSOPInstanceUID = uid("bare", modality)
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID = modality, SECRET
    data.SeriesInstanceUID, data.StudyInstanceUID = uid("report"), uid("study")
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def item(**elements: object) -> Dataset:
    data = Dataset()
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def sequence(**elements: object) -> Sequence:
    return Sequence([item(**elements)])


def enhanced(
    frames: int = 4, *, undefined: bool = True, b_values: tuple[float, ...] = (0.0, 1000.0)
) -> FileDataset:
    """Enhanced diffusion MR, b-values alternating, two frames at each position."""
    data = mr(
        SOPClassUID=EnhancedMRImageStorage, EchoTime=None, RepetitionTime=None, ScanningSequence=None,
        ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", "MIXED"], ImagePositionPatient=None,
        SliceThickness=None, ImageOrientationPatient=None, PixelSpacing=None,
        pixels=np.zeros((4 * frames, 4), np.uint16), Rows=4, NumberOfFrames=frames,
        EchoPulseSequence="SPIN", PulseSequenceName="ep_b", AcquisitionContrast="DIFFUSION",
        ComplexImageComponent="MIXED",
    )  # fmt: skip
    shared = item(
        MRTimingAndRelatedParametersSequence=sequence(
            RepetitionTime=5000.0, FlipAngle=90.0, EchoTrainLength=1, GradientEchoTrainLength=63
        ),
        MRFOVGeometrySequence=sequence(
            InPlanePhaseEncodingDirection="COLUMN", MRAcquisitionFrequencyEncodingSteps=128,
            MRAcquisitionPhaseEncodingStepsInPlane=96,
        ),
        MRModifierSequence=sequence(InversionRecovery="YES", InversionTimes=[220.0]),
        PlaneOrientationSequence=sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=sequence(PixelSpacing=[1.5, 1.5], SliceThickness=4.0),
        FrameAnatomySequence=sequence(
            FrameLaterality="U", AnatomicRegionSequence=sequence(CodeValue="T-A0100", CodeMeaning="Brain")
        ),
    )  # fmt: skip
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k in range(frames):
        b = b_values[k % len(b_values)]
        diffusion = item(DiffusionBValue=b, DiffusionDirectionality="DIRECTIONAL" if b else "NONE")
        if b:
            diffusion.DiffusionGradientDirectionSequence = sequence(
                DiffusionGradientOrientation=[1.0, 0.0, 0.0] if k % 4 == 1 else [0.0, 1.0, 0.0]
            )
        groups.append(item(
            MREchoSequence=sequence(EffectiveEchoTime=85.0),
            MRDiffusionSequence=Sequence([diffusion]),
            MRImageFrameTypeSequence=sequence(
                FrameType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], ComplexImageComponent="MAGNITUDE"
            ),
            FrameContentSequence=sequence(TemporalPositionIndex=k % 2 + 1),
            PlanePositionSequence=sequence(ImagePositionPatient=[0.0, 0.0, 4.0 * (k // 2)]),
        ))  # fmt: skip
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    if undefined:
        for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            data[name].is_undefined_length = True
            for group in data[name].value:
                group.is_undefined_length_sequence_item = True
    return data


def csa(*, tiles: int | None = None, **tags: str) -> bytes:
    """A Siemens CSA header (second version) with these tags."""
    values = dict(tags) | ({"NumberOfImagesInMosaic": str(tiles)} if tiles else {})
    out = b"SV10\4\3\2\1" + struct.pack("<II", len(values), 77)
    for name, text in values.items():
        parts = text.split("\\")
        out += struct.pack("<64sI4sIII", name.encode(), 1, b"IS\0\0", 0, len(parts), 77)
        for part in parts:
            raw = part.encode() + b"\0"
            out += struct.pack("<4I", len(raw), len(raw), 77, len(raw)) + raw + b"\0" * (-len(raw) % 4)
    return out


def unknown(data: Dataset, tag: int) -> Dataset:
    """The same element written as UN, as archives do that do not know it."""
    data[tag] = DataElement(tag, "UN", data[tag].value if isinstance(data[tag].value, bytes) else b"")
    return data
