"""What happens to headers between scanner and reader: anonymised, emptied, wrong and garbled elements.

Elements are taken out of the data sets or replaced, never changed in place, since the images of a series
share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from radfoundry.datasets.phantom_series_headers import element
from radfoundry.datasets.phantom_series_vendors import WRONG_TEXTS

NAMES = (
    "SequenceName", "PulseSequenceName", "ProtocolName", "SeriesDescription", "ReceiveCoilName",
    "TransmitCoilName",
    "StationName", "DeviceSerialNumber", "InstitutionName", "StudyDescription", "ImageComments",
    "MRReceiveCoilSequence",
    "MRTransmitCoilSequence", "AccessionNumber",
)  # fmt: skip
NUMBERS = (
    "RepetitionTime", "EchoTime", "EffectiveEchoTime", "FlipAngle", "InversionTime", "EchoTrainLength",
    "PixelBandwidth",
    "MagneticFieldStrength", "NumberOfAverages", "SpacingBetweenSlices", "AcquisitionMatrix", "EchoNumbers",
)  # fmt: skip
WRONG_PARTS = ("ABDOMEN", "KNEE", "BRAIN", "HEAD", "CHEST", "LSPINE", "SPINE", "HIP", "SHOULDER", "NECK",
    "EXTREMITY", "PELVIS", "WRIST", "CSPINE", "TSPINE", "ELBOW")  # fmt: skip


def _levels(dataset: Dataset) -> Iterator[Dataset]:
    """The data set and all items of its sequences."""
    yield dataset
    for one in list(dataset.values()):
        if one.VR == "SQ" and isinstance(one.value, Items):
            for item in one.value:
                yield from _levels(item)


def _drop(dataset: Dataset, keywords: Sequence[str]) -> None:
    for level in _levels(dataset):
        for keyword in keywords:
            if keyword in level:
                del level[keyword]


def anonymise(datasets: Sequence[Dataset], rng: np.random.Generator) -> bool:
    """Names of sequence, protocol, series and coil and all private elements go; Image Type is cut short."""
    words = 2 if rng.random() < 0.5 else 3
    for dataset in datasets:
        _drop(dataset, NAMES)
        for level in _levels(dataset):
            for tag in [t for t, _ in level.items() if t.is_private]:
                del level[tag]
        if "ImageType" in dataset:
            _replace(dataset, "ImageType", list(dataset.ImageType)[:words])
        for level in _levels(dataset):
            if "FrameType" in level:
                _replace(level, "FrameType", list(level.FrameType)[:words])
        _replace(dataset, "PatientIdentityRemoved", "YES")
    return True


def _replace(dataset: Dataset, keyword: str, value: object) -> None:
    dataset[keyword] = element(keyword, value)


def wrong_body_part(datasets: Sequence[Dataset], rng: np.random.Generator) -> bool:
    """Body Part Examined names another part."""
    now = str(datasets[0].get("BodyPartExamined", ""))
    options = [part for part in WRONG_PARTS if part != now and part[:4] not in now.upper()]
    chosen = options[int(rng.integers(len(options)))]
    for dataset in datasets:
        _replace(dataset, "BodyPartExamined", chosen)
    return True


def missing_numbers(datasets: Sequence[Dataset], rng: np.random.Generator) -> bool:
    """About half of the numbers of the protocol are gone from all images."""
    present = [name for name in NUMBERS if any(name in level for level in _levels(datasets[0]))]
    gone = [name for name in present if rng.random() < 0.55] or present[:1]
    for dataset in datasets:
        _drop(dataset, gone)
    return bool(gone)


def wrong_vr(datasets: Sequence[Dataset], rng: np.random.Generator) -> bool:
    """Private elements carry another VR than their creator gives them: unknown bytes, or text for numbers."""
    text = rng.random() < 0.4
    hit = False
    for dataset in datasets:
        for tag in [t for t, _ in dataset.items() if t.is_private and not t.is_private_creator]:
            one = dataset[tag]
            if one.VR in ("SQ", "OB"):
                continue
            hit = True
            raw = str(one.value).encode("latin-1", "replace")[:64]
            value, vr = ("###", "LO") if text and one.VR != "LO" else (raw + b" " * (len(raw) % 2), "UN")
            dataset[tag] = DataElement(tag, vr, value, validation_mode=IGNORE)
    return hit


def garbled_description(datasets: Sequence[Dataset], rng: np.random.Generator) -> bool:
    """Series Description and Protocol Name are those of something else, or nonsense."""
    chosen = WRONG_TEXTS[int(rng.integers(len(WRONG_TEXTS)))]
    for dataset in datasets:
        _replace(dataset, "SeriesDescription", chosen)
        _replace(dataset, "ProtocolName", chosen)
    return True


def emptied_agent(datasets: Sequence[Dataset], rng: np.random.Generator) -> bool:
    """Contrast/Bolus Agent is there and empty, or gone, although an agent was given."""
    if not any(str(dataset.get("ContrastBolusAgent", "")) for dataset in datasets):
        return False
    empty = rng.random() < 0.5
    for dataset in datasets:
        if empty:
            _replace(dataset, "ContrastBolusAgent", "")
        else:
            del dataset["ContrastBolusAgent"]
    return True


def no_image_type(datasets: Sequence[Dataset], rng: np.random.Generator) -> bool:
    """Image Type and Frame Type are gone."""
    for dataset in datasets:
        _drop(dataset, ("ImageType", "FrameType"))
    return True


CORRUPTIONS: dict[str, Callable[[Sequence[Dataset], np.random.Generator], bool]] = {
    "anonymised": anonymise, "wrong-body-part": wrong_body_part, "missing-numbers": missing_numbers,
    "wrong-vr": wrong_vr,
    "garbled-description": garbled_description, "emptied-agent": emptied_agent,
    "no-image-type": no_image_type,
}  # fmt: skip
"""Name -> what it does to the data sets of one series; False where there was nothing to do."""
