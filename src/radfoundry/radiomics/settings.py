"""What decides a radiomics vector, as plain data: resampling, resegmentation, bins, families, filters.

Nothing heavy is imported here, so that cards stay light.

>>> settings_of("ct").bin_width, settings_of("mr").bin_number
(25.0, 32)
>>> settings_of("ct,bin_width=10,log_mm=none").bin_width
10.0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from radfoundry.errors import RadfoundryError
from radfoundry.registry import nearest

Family = Literal[
    "shape", "firstorder", "histogram", "glcm", "glrlm", "glszm", "gldm", "ngtdm", "gldzm", "ivh",
    "localintensity",
]  # fmt: skip
BinOrigin = Literal["fixed", "minimum"]
Aggregation = Literal["average", "merge"]
Normalise = Literal["none", "image", "nonzero"]

FAMILIES: tuple[Family, ...] = get_args(Family)
TEXTURES: tuple[Family, ...] = ("glcm", "glrlm", "glszm", "gldm", "ngtdm", "gldzm")
BINNED: tuple[Family, ...] = ("histogram", *TEXTURES)
LOWEST_HU = -1000.0
"""Lower edge of the first bin of fixed width for CT, where `resegment` does not give another."""


@dataclass(frozen=True)
class RadiomicsSettings:
    """Every choice between a volume with its mask and the features; the defaults are for CT.

    bin_width: width of a bin in the image's unit (25 HU), or None. bin_number: number of bins between the
        smallest and the largest value of the mask, or None. Exactly one of the two is set.
    bin_origin: where bins of fixed width begin. "fixed": at the lower end of `resegment`, for CT else at
        -1000 HU (IBSI). "minimum": at the multiple of bin_width below the mask's minimum (pyradiomics).
    resample_mm: edge of the cubic voxels that the volume is resampled to (cubic spline), or None for native.
    resegment: (low, high) in the image's unit, either may be None; voxels outside leave the intensity mask.
    resegment_sigma: voxels beyond so many standard deviations from the mask's mean leave it too.
    families: feature families of the unfiltered image.
    log_mm: standard deviations of Laplacian-of-Gaussian filters, in mm.
    wavelet: name of a wavelet for the eight sub-bands of one undecimated level ("coif1"), or None.
    filtered: families of each filtered image (those that need bins get 16 bins between minimum and maximum).
    aggregation: GLCM and GLRLM are computed in 13 directions; features are averaged over them, or their
        matrices are merged first.
    normalise: subtract the mean and divide by the standard deviation of the whole image, or of its voxels
        that are not 0 (skull-stripped MR), before anything else; then multiply by `scale`.
    """

    bin_width: float | None = 25.0
    bin_number: int | None = None
    bin_origin: BinOrigin = "fixed"
    resample_mm: float | None = 1.0
    resegment: tuple[float | None, float | None] | None = None
    resegment_sigma: float | None = None
    families: tuple[Family, ...] = (
        "shape", "firstorder", "histogram", "glcm", "glrlm", "glszm", "gldm", "ngtdm",
    )  # fmt: skip
    log_mm: tuple[float, ...] = (1.0, 3.0, 5.0)
    wavelet: str | None = "coif1"
    filtered: tuple[Family, ...] = ("firstorder",)
    aggregation: Aggregation = "average"
    normalise: Normalise = "none"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if (self.bin_width is None) == (self.bin_number is None):
            raise RadfoundryError("radiomics: set either bin_width or bin_number, and the other to none.")
        _positive("bin_width", self.bin_width)
        _positive("resample_mm", self.resample_mm)
        _positive("resegment_sigma", self.resegment_sigma)
        _positive("scale", self.scale)
        for sigma in self.log_mm:
            _positive("log_mm", sigma)
        if self.bin_number is not None and not 2 <= self.bin_number <= 1024:
            raise RadfoundryError(f"radiomics: bin_number is 2 to 1024, not {self.bin_number}.")
        if not self.families:
            raise RadfoundryError(f"radiomics: name at least one family of {', '.join(FAMILIES)}.")
        _known("families", self.families, FAMILIES)
        _known("filtered", self.filtered, tuple(f for f in FAMILIES if f not in ("shape", "ivh")))
        for name, kind in (("bin_origin", BinOrigin), ("aggregation", Aggregation), ("normalise", Normalise)):
            _known(name, (getattr(self, name),), get_args(kind))
        if self.resegment is not None:
            low, high = self.resegment
            if low is not None and high is not None and not low < high:
                raise RadfoundryError(f"radiomics: resegment is (low, high), not ({low:g}, {high:g}).")
        if (self.log_mm or self.wavelet) and not self.filtered:
            raise RadfoundryError("radiomics: filters without `filtered` families compute nothing. Drop one.")

    @property
    def with_filters(self) -> bool:
        """Whether features of filtered images are among the result."""
        return bool(self.log_mm or self.wavelet)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def __str__(self) -> str:
        """The recipe in one line.

        >>> print(settings_of("mr"))
        z-score over the image; 1 mm; 32 bins; shape, firstorder, histogram, glcm, glrlm, glszm, gldm, ngtdm
        """
        parts = {"image": ["z-score over the image"], "nonzero": ["z-score over voxels not 0"], "none": []}[
            self.normalise
        ]
        if self.scale != 1.0:
            parts = [*parts, f"times {self.scale:g}"]
        parts = [*parts, f"{self.resample_mm:g} mm" if self.resample_mm else "native voxels"]
        if self.resegment is not None:
            low, high = ("open" if end is None else f"{end:g}" for end in self.resegment)
            parts.append(f"values {low} to {high}")
        if self.resegment_sigma is not None:
            parts.append(f"within {self.resegment_sigma:g} SD")
        if self.bin_width is not None:
            origin = "" if self.bin_origin == "fixed" else " from the minimum"
            parts.append(f"bins of {self.bin_width:g}{origin}")
        else:
            parts.append(f"{self.bin_number} bins")
        parts.append(", ".join(self.families))
        if self.aggregation == "merge":
            parts.append("directions merged")
        if self.log_mm:
            parts.append("LoG " + ", ".join(f"{sigma:g}" for sigma in self.log_mm) + " mm")
        if self.wavelet:
            parts.append(f"wavelet {self.wavelet}")
        if self.with_filters:
            parts.append("filtered: " + ", ".join(self.filtered))
        return "; ".join(parts)


def settings_of(text: str) -> RadiomicsSettings:
    """Settings from `PRESET`, `PRESET,name=value,...` or `name=value,...` (on top of `ct`).

    Values: numbers, words, `none`, and lists with `+` ("families=shape+glcm", "resegment=-200+300").
    Raises RadfoundryError for an unknown preset or setting, and for a value of another kind.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    preset = "ct"
    if words and "=" not in words[0]:
        preset = words.pop(0)
    if preset not in PRESETS:
        raise RadfoundryError(
            f"radiomics: no preset {preset!r}.{nearest(preset, PRESETS)} Known: {', '.join(PRESETS)}"
        )
    return replace(PRESETS[preset], **dict(_setting(word) for word in words))


def _setting(word: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    known = [field.name for field in fields(RadiomicsSettings)]
    if name not in known or not value:
        raise RadfoundryError(
            f"radiomics: cannot read {word!r}.{nearest(name, known)} Write name=value with one of "
            f"{', '.join(known)}"
        )
    return name, _value(name, value)


def _value(name: str, text: str) -> Any:
    try:
        if name == "resegment":
            if text == "none":
                return None
            low, high = text.split("+")
            return (None if low == "none" else float(low), None if high == "none" else float(high))
        if name == "log_mm":
            return () if text == "none" else tuple(float(part) for part in text.split("+"))
        if name in ("families", "filtered"):
            return () if text == "none" else tuple(text.split("+"))
        if name == "bin_number":
            return None if text == "none" else int(text)
        if name in ("bin_width", "resample_mm", "resegment_sigma"):
            return None if text == "none" else float(text)
        if name == "wavelet":
            return None if text == "none" else text
        return float(text) if name == "scale" else text
    except ValueError as cause:
        raise RadfoundryError(f"radiomics: {name}={text} has a value of the wrong kind ({cause}).") from cause


def _positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < float("inf"):
        raise RadfoundryError(f"radiomics: {name} is a positive number, not {value!r}.")


def _known(name: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    for value in values:
        if value not in known:
            raise RadfoundryError(
                f"radiomics: {name} has no {value!r}.{nearest(value, known)} Known: {', '.join(known)}"
            )


PRESETS: Mapping[str, RadiomicsSettings] = {
    "ct": RadiomicsSettings(),
    "ct-plain": RadiomicsSettings(log_mm=(), wavelet=None),
    "mr": RadiomicsSettings(
        bin_width=None, bin_number=32, normalise="image", log_mm=(), wavelet=None
    ),
    "pyradiomics": RadiomicsSettings(
        bin_origin="minimum", resample_mm=None, log_mm=(), wavelet=None,
        families=("shape", "firstorder", "histogram", "glcm", "glrlm", "glszm", "gldm", "ngtdm"),
    ),
}  # fmt: skip
"""Settings by name: `ct` (with LoG and wavelet), `ct-plain`, `mr`, and the defaults of pyradiomics."""
