"""Which header elements are read, and what they say of a series: classic, mosaic and enhanced in one dialect.

Values of enhanced objects appear under the classic keyword (Effective Echo Time as EchoTime, Frame Type as
ImageType). Beside the tags of the list, `SeriesHeader.values` has RULE_TAGS under their keywords, the facts
of `series.vendor`, and "computed:temporal_positions": how many distinct temporal positions headers number.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from radfoundry.errors import InputError, ReadError
from radfoundry.io.dicom import UNREADABLE, open_dicom
from radfoundry.io.header import NUMBERS, decode
from radfoundry.registry import nearest
from radfoundry.series import vendor
from radfoundry.series.header import SeriesHeader, Values
from radfoundry.series.images import (
    MOST_FRAMES,
    Image,
    Slices,
    all_positions,
    geometry,
    images_of,
    number,
    with_copy,
)

if TYPE_CHECKING:
    from radfoundry.series.find import Series

PACKAGED = Path(__file__).with_name("tags.yaml")
MAX_BYTES = 1 << 20
HOWS = ("text", "number", "numbers", "computed")
COMPUTED = "InstanceCount"
DESCRIPTIONS = ("SeriesDescription", "ProtocolName")

# fmt: off
RULE_TAGS = (
    "Modality", "SOPClassUID", "ConversionType", "BurnedInAnnotation", "PhotometricInterpretation",
    "SamplesPerPixel", "ComplexImageComponent", "AcquisitionContrast", "VolumetricProperties",
    "VolumeBasedCalculationTechnique", "EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery",
    "MultipleSpinEcho", "MultiPlanarExcitation", "PhaseContrast", "TimeOfFlightContrast", "Spoiling",
    "SteadyStatePulseSequence", "T2Preparation", "SaturationRecovery", "MagnetizationTransfer",
    "SpectrallySelectedSuppression", "SpectrallySelectedExcitation", "GeometryOfKSpaceTraversal",
    "RFEchoTrainLength", "GradientEchoTrainLength", "DiffusionDirectionality",
    "ArterialSpinLabelingContrast", "ASLContext", "VelocityEncodingDirection", "VelocityEncodingMaximumValue",
    "CardiacSynchronizationTechnique", "ImageType", "ScanningSequence", "SequenceVariant", "ScanOptions",
    "MRAcquisitionType", "Manufacturer", "ManufacturerModelName",
)
"""Elements that rules look at beside the tags of the list."""
VARYING = frozenset((
    "ImageType", "EchoTime", "EchoNumbers", "RepetitionTime", "InversionTime", "TriggerTime", "FlipAngle",
    "DiffusionBValue", "DiffusionGradientOrientation", "DiffusionDirectionality", "ImageOrientationPatient",
    "ComplexImageComponent", "ASLContext", "ScanningSequence", "Modality", "SOPClassUID", "PixelSpacing",
))
"""Tags that change inside a series, so every image is looked at; others are taken from three files."""
ENHANCED = {
    "EchoTime": ("EffectiveEchoTime",), "InversionTime": ("InversionTimes",), "ImageType": ("FrameType",),
    "TriggerTime": ("NominalCardiacTriggerDelayTime",), "EchoTrainLength": ("GradientEchoTrainLength",),
}
"""Enhanced attributes under their classic keyword (PS3.3 C.8.13 beside C.8.3)."""
ALSO = (
    "FrameType", "EffectiveEchoTime", "InversionTimes", "NominalCardiacTriggerDelayTime",
    "TemporalPositionIndex", "TemporalPositionIdentifier", "MRAcquisitionFrequencyEncodingSteps",
    "MRAcquisitionPhaseEncodingStepsInPlane", "ImagePositionPatient", "ImageOrientationPatient",
    "AnatomicRegionSequence", "ContrastBolusAgentSequence", "ImageComments", "NumberOfFrames", "Rows",
    "Columns", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "SpecificCharacterSet",
    "DiffusionBValue", "DiffusionGradientOrientation", "EchoTime", "RepetitionTime", "InversionTime",
)
"""Elements that are looked at without being shown under their own keyword."""
# fmt: on
ROUNDED = ("ImageOrientationPatient", "DiffusionGradientOrientation")
"""Directions, whose last digits differ from slice to slice; they are kept to four decimals."""
MOST_VALUES = 64
"""Distinct values of one tag that are kept."""
LARGEST = 1e20
"""Philips writes 7.23e75 for "not set"."""


@dataclass(frozen=True, slots=True)
class TagList:
    """Tags of a `tags.yaml`: keyword -> text, number, numbers or computed, in the file's order.

    descriptions: whether SeriesDescription and ProtocolName are among them.
    """

    tags: Mapping[str, str]
    descriptions: bool = False

    @property
    def keywords(self) -> tuple[str, ...]:
        """The keywords, in order."""
        return tuple(self.tags)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tags)

    def __len__(self) -> int:
        return len(self.tags)

    def items(self) -> Iterable[tuple[str, str]]:
        return self.tags.items()


@cache
def load_tags(path: Path = PACKAGED, descriptions: bool = False) -> TagList:
    """Tags of a YAML file, with its descriptions on request; InputError names the faulty entry."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES:,} bytes, so it is no list of tags")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as cause:
        raise InputError(f"{path} could not be read as YAML: {cause}. See the packaged {PACKAGED}") from cause
    if not isinstance(data, dict) or data.get("format") != 1:
        raise InputError(f"{path} lacks `format: 1`. Start from a copy of {PACKAGED}")
    unknown = set(map(str, data)) - {"format", "tags", "descriptions"}
    if unknown:
        raise InputError(f"{path} has {', '.join(sorted(unknown))}, which nothing reads. Remove it")
    tags = _checked(data.get("tags"), f"{path}: tags")
    if descriptions:
        extra = _checked(
            data.get("descriptions", dict.fromkeys(DESCRIPTIONS, "text")), f"{path}: descriptions"
        )
        tags |= extra
    return TagList(tags, descriptions)


def _checked(entries: Any, where: str) -> dict[str, str]:
    if not isinstance(entries, dict) or not entries:
        raise InputError(
            f"{where} is no mapping of keyword to {', '.join(HOWS)}. Start from a copy of {PACKAGED}"
        )
    for keyword, how in entries.items():
        tag = tag_for_keyword(str(keyword))
        if how not in HOWS or (how == "computed") != (keyword == COMPUTED):
            allowed = "computed" if keyword == COMPUTED else ", ".join(HOWS[:3])
            raise InputError(f"{where}.{keyword} is {how!r}, not {allowed}. Correct it")
        if how == "computed":
            continue
        if tag is None:
            hint = nearest(str(keyword), _keywords())
            raise InputError(f"{where}.{keyword} is no DICOM keyword.{hint} Correct it")
        if tag >> 16 == 0x0010 or dictionary_VR(tag) in ("PN", "UI", "SQ", "OB", "OW", "UN"):
            raise InputError(f"{where}.{keyword} identifies a patient or has no plain value. Remove it")
    return {str(keyword): str(how) for keyword, how in entries.items()}


@cache
def _keywords() -> tuple[str, ...]:
    from pydicom.datadict import keyword_dict

    return tuple(keyword_dict)


def elements(tags: TagList) -> tuple[int, ...]:
    """Every element that `read_header` looks at, private ones in each block, for reading files with."""
    return _elements(tags.keywords)


@cache
def _elements(keywords: tuple[str, ...]) -> tuple[int, ...]:
    named = [name for name in (*keywords, *RULE_TAGS, *ALSO) if name != COMPUTED]
    return tuple(dict.fromkeys([*(int(number(name)) for name in named), *map(int, vendor.private_tags())]))


@cache
def _wanted(keywords: tuple[str, ...]) -> frozenset[int]:
    """What is taken out of sequences: protocols too, which stand there in enhanced objects of Siemens."""
    return frozenset((*_elements(keywords), *vendor.protocol_tags()))


def read_header(series: Series, tags: TagList) -> SeriesHeader:
    """The tags of one series, merged over its files and frames. Never raises for what files hold.

    What is missing or empty is left out; what is unreadable is left out and noted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about values that are noted here
        return _Reading(series, tags).header()


@dataclass(slots=True)
class _Reading:
    """The work of one `read_header`."""

    series: Series
    tags: TagList
    notes: dict[str, None] = field(default_factory=dict)
    reader: vendor.Reader = field(init=False)
    images: list[Image] = field(init=False)
    sample: list[Image] = field(init=False)
    encodings: tuple[str, ...] = ()
    known: dict[Any, tuple[Any, ...]] = field(default_factory=dict)
    private: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = _wanted(self.tags.keywords)
        self.reader = vendor.Reader(self.notes)
        self.images = images_of(self.series.files, wanted, self.notes)
        middle = len(self.images) // 2
        some = [self.images[i] for i in sorted({0, middle, len(self.images) - 1})] if self.images else []
        self.reader.prepare(image.get for image in some)
        self.sample = [with_copy(image, wanted, self.reader) for image in some]
        self.encodings = self.character_sets()

    def character_sets(self) -> tuple[str, ...]:
        element = self.sample[0].get(number("SpecificCharacterSet")) if self.sample else None
        try:
            names = list(decode(element, "CS")) if element is not None else []
            return tuple(convert_encodings(names)) if names else ()
        except (ValueError, LookupError):  # an unknown name: text is read as Latin-1
            return ()

    def header(self) -> SeriesHeader:
        values: dict[str, Values] = {}
        for keyword in dict.fromkeys((*self.tags, *RULE_TAGS)):
            if keyword != COMPUTED:
                found = self.values(keyword)
                if found:
                    values[keyword] = found
        self.complete(values)
        maker = self.maker(values)
        facts = self.facts(maker)
        b_values, directions = self.diffusion(values, maker)
        files = self.series.files
        slices = Slices(self.reader, self.notes)
        positions, normals = geometry(self.planes(), lambda index: slices.of(files[index]))
        n_images = sum(map(slices.of, files))
        if slices.private:
            self.private[COMPUTED] = None
        values |= facts
        if COMPUTED in self.tags.tags:
            values[COMPUTED] = (n_images,)
        return SeriesHeader(
            uid=self.series.uid,
            values=values,
            vendor=maker,
            n_files=len(files),
            n_images=n_images,
            n_positions=positions,
            normals=normals[:MOST_VALUES],
            b_values=b_values,
            n_directions=directions,
            asl=labelling(values),
            echo_times=self.times("EchoTime"),
            repetition_times=self.times("RepetitionTime"),
            inversion_times=self.times("InversionTime"),
            private=tuple(self.private),
            notes=tuple(self.notes),
        )

    def distinct(self, keyword: str, images: Sequence[Image]) -> list[Any]:
        """Elements of a tag with distinct bytes or values, in order of first sight."""
        found: dict[Any, Any] = {}
        for name in (keyword, *ENHANCED.get(keyword, ())):
            tag = number(name)
            for image in images:
                element = image.elements.get(tag)
                if element is not None:
                    value = element.value
                    found.setdefault(value if isinstance(value, bytes) else _key(element), element)
        return list(found.values())

    def values(self, keyword: str) -> Values:
        """Distinct values of a tag; several parts are one tuple."""
        vr = dictionary_VR(number(keyword)).split(" ")[0]
        how = self.tags.tags.get(keyword) or ("number" if vr in NUMBERS or vr in ("DS", "IS") else "text")
        found: dict[Any, None] = {}
        images = self.images if keyword in VARYING else self.sample
        if any(image.private for image in images):
            names = [number(name) for name in (keyword, *ENHANCED.get(keyword, ()))]
            holders = [image for image in images if any(tag in image.elements for tag in names)]
            if holders and all(image.private.intersection(names) for image in holders):
                self.private[keyword] = None
        for element in self.distinct(keyword, images):
            parts = self.parts(element, keyword, vr if how == "text" or vr in NUMBERS else "DS")
            if not parts:
                continue
            if how == "text":
                parts = tuple(str(part) for part in parts)
            if keyword in ROUNDED:
                parts = tuple(round(part, 4) + 0.0 for part in parts)
            found[parts if len(parts) > 1 or how == "numbers" else parts[0]] = None
            if len(found) > MOST_VALUES:
                found.popitem()
                self.notes[f"the first {MOST_VALUES} values of {keyword} are kept"] = None
                break
        return tuple(found)

    def parts(self, element: Any, keyword: str, vr: str) -> tuple[Any, ...]:
        """Values of one element; () with a note where it cannot be read."""
        value = element.value
        if not isinstance(value, bytes):
            return self.decoded(element, keyword, vr)
        key = (keyword, vr, value)  # most images of a series repeat their values
        if key not in self.known:
            self.known[key] = self.decoded(element, keyword, vr)
        return self.known[key]

    def decoded(self, element: Any, keyword: str, vr: str) -> tuple[Any, ...]:
        try:
            parts = decode(element, vr, self.encodings)
        except ValueError as cause:
            self.notes[f"{keyword} passed over: {cause}"] = None
            return ()
        except UNREADABLE:  # what pydicom met in a header that it converted itself
            self.notes[f"{keyword} passed over: unreadable"] = None
            return ()
        if any(isinstance(part, float) and not abs(part) < LARGEST for part in parts):
            return ()
        return parts

    def numbers(self, image: Image, keyword: str) -> tuple[float, ...]:
        element = image.get(number(keyword))
        return () if element is None else self.parts(element, keyword, "DS")

    def times(self, keyword: str) -> tuple[float, ...]:
        """Distinct times in ms above zero, ascending, to the microsecond."""
        found = {
            round(float(part), 3)
            for element in self.distinct(keyword, self.images)
            for part in self.parts(element, keyword, "DS")
        }
        return tuple(sorted(value for value in found if value > 0))

    def complete(self, values: dict[str, Values]) -> None:
        """Classic tags that enhanced objects say in other words, and the count of temporal positions."""
        for keyword, name in vendor.CLASSIC.items():
            found = self.reader.read(self.sample[0].get, name) if self.sample else ()
            if found and keyword not in values:
                values[keyword] = (found if len(found) > 1 else found[0],)
                self.private[keyword] = None
        if "InPlanePhaseEncodingDirection" in values:
            short = {"COLUMN": "COL"}
            values["InPlanePhaseEncodingDirection"] = tuple(
                short.get(str(value), value) for value in values["InPlanePhaseEncodingDirection"]
            )
        if "AcquisitionMatrix" in self.tags.tags and "AcquisitionMatrix" not in values and self.sample:
            matrix = self.matrix(self.sample[0], values)
            if matrix:
                values["AcquisitionMatrix"] = (matrix,)
        for keyword, sequence in (
            ("ContrastBolusAgent", "ContrastBolusAgentSequence"),
            ("BodyPartExamined", "AnatomicRegionSequence"),
        ):
            if keyword in self.tags.tags and keyword not in values:
                meaning = self.meaning(sequence)
                if meaning:
                    values[keyword] = (meaning,)
        for keyword in ("TemporalPositionIdentifier", "TemporalPositionIndex"):
            count = len(self.distinct(keyword, self.images))
            if count > 1:
                values["computed:temporal_positions"] = (count,)

    def matrix(self, image: Image, values: Mapping[str, Values]) -> tuple[float, ...]:
        """Acquisition Matrix of an enhanced frame: frequency rows, columns, phase rows, columns."""
        frequency = self.numbers(image, "MRAcquisitionFrequencyEncodingSteps")
        phase = self.numbers(image, "MRAcquisitionPhaseEncodingStepsInPlane")
        if not frequency or not phase:
            return ()
        if values.get("InPlanePhaseEncodingDirection", ("COL",))[0] == "ROW":
            return (0.0, frequency[0], phase[0], 0.0)
        return (frequency[0], 0.0, 0.0, phase[0])

    def meaning(self, keyword: str) -> str:
        """Code Meaning of the first item of a code sequence."""
        tag = number(keyword)
        element = self.sample[0].get(tag) if self.sample else None
        try:
            items = Dataset({element.tag: element})[tag].value if element is not None else []
            return str(items[0].get("CodeMeaning", "")).strip() if items else ""
        except UNREADABLE:
            self.notes[f"{keyword} passed over: unreadable"] = None
            return ""

    def maker(self, values: Mapping[str, Values]) -> str:
        name, model = (str(values.get(k, ("",))[0]) for k in ("Manufacturer", "ManufacturerModelName"))
        known = vendor.vendor_of(name)
        if known or not self.sample:
            return known
        return vendor.vendor_of(name, self.reader.creators(self.sample[0].get), model)

    def facts(self, maker: str) -> dict[str, Values]:
        """What private elements say, and what a Siemens protocol says, which is read from one file."""
        found: dict[str, dict[str, None]] = {}
        told = [vendor.facts(self.reader, image.get) for image in self.sample]
        if maker == "siemens" and self.sample:
            told.append(vendor.protocol_facts(self.protocol(self.sample[0])))
        for name, words in (pair for one in told for pair in one.items()):
            found.setdefault(name, {}).update(dict.fromkeys(words))
        return {name: tuple(words) for name, words in found.items()}

    def protocol(self, image: Image) -> bytes:
        known = vendor.protocol_of(self.reader, image.get)
        path = self.series.files[image.file].path
        if known or not path.is_file():  # a dataset in memory has it or not
            return known
        try:
            header = open_dicom(path, vendor.protocol_tags()).header
        except (ReadError, OSError):
            return b""
        reader = vendor.Reader(self.notes)
        reader.prepare([header.get_item])
        return vendor.protocol_of(reader, header.get_item)

    def diffusion(self, values: dict[str, Values], maker: str) -> tuple[tuple[float, ...], int]:
        """(b-values, number of directions); where no standard element has them, they become its value.

        GE and Philips write b = 0 into every image, so 0 alone says nothing there.
        """
        b_values: dict[float, None] = {}
        directions: set[tuple[float, ...]] = set()
        for b, direction in map(self.weighting, self.images):
            if b is not None:
                b_values[round(b, 1)] = None
                if b > 0 and direction:
                    directions.add(tuple(round(part, 3) + 0.0 for part in direction))
        if not any(b_values) and maker in ("ge", "philips"):
            return (), 0
        found = tuple(sorted(b_values))
        if found and "DiffusionBValue" in self.tags.tags and "DiffusionBValue" not in values:
            values["DiffusionBValue"] = found[:MOST_VALUES]
        return found, len(directions)

    def weighting(self, image: Image) -> tuple[float | None, tuple[float, ...]]:
        """(b-value or None, direction or ()) of one image: the standard elements before private ones."""
        standard = self.numbers(image, "DiffusionBValue")
        if standard and standard[0] == 0:
            return 0.0, ()
        if standard and standard[0] > 0:
            direction = self.numbers(image, "DiffusionGradientOrientation")
            usable = len(direction) == 3 and any(direction)
            if not usable:
                direction = vendor.diffusion(self.reader, image.get)[1]
                if direction:
                    self.private["DiffusionGradientOrientation"] = None
            return standard[0], direction
        b, direction = vendor.diffusion(self.reader, image.get)
        if b is not None:
            self.private["DiffusionBValue"] = None
        if b is None:
            comment = image.get(number("ImageComments"))
            text = self.parts(comment, "ImageComments", "LT") if comment is not None else ()
            return vendor.commented_diffusion(str(text[0])) if text else (None, ())
        return b, direction

    def planes(self) -> Iterator[tuple[Image, tuple[float, ...], tuple[float, ...]]]:
        """Images with position and orientation, one of each pair of them."""
        position, orientation = number("ImagePositionPatient"), number("ImageOrientationPatient")
        seen: dict[tuple[Any, Any], Image] = {}
        for image in self.images:
            at, facing = image.elements.get(position), image.elements.get(orientation)
            if facing is not None:
                seen.setdefault((_key(at), _key(facing)), image)
        for image in seen.values():
            yield (
                image,
                self.numbers(image, "ImagePositionPatient"),
                self.numbers(image, "ImageOrientationPatient"),
            )
        if any(image.is_frame for image in self.images) and len(self.images) >= MOST_FRAMES // 2:
            first = next(image for image in self.images if image.is_frame)
            facing = self.numbers(first, "ImageOrientationPatient")
            if len({key for _, key in seen}) == 1:  # else nobody knows which way each of them faces
                for spot in all_positions(self.series.files):
                    yield first, spot, facing


def _key(element: Any) -> Any:
    """What tells one value from another: its bytes, or the value as text."""
    value = getattr(element, "value", None)
    if isinstance(value, MultiValue):
        return tuple(value)
    return value if isinstance(value, bytes | str | float | int) else str(value)


def labelling(values: Mapping[str, Values]) -> str:
    """How arterial spin labelling is known, "" if not."""
    for keyword in ("ArterialSpinLabelingContrast", "ASLContext"):
        words = [str(v) for v in values.get(keyword, ()) if str(v).upper() not in vendor.NO_LABELLING]
        if words:
            return f"{keyword} {words[0]}"
    words = [str(word) for word in values.get("vendor:asl", ())]
    return f"vendor: {words[0]}" if words else ""
