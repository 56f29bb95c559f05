"""What is done to a Volume before a 3D encoder sees it, as data: axes, spacing, crop, size, intensities.

`preprocess.volume_input.apply` does it. Nothing is imported here, so that cards stay light.

    Merlin:  VolumeRecipe("RAS", spacing_mm=(1.5, 1.5, 3.0), size=(224, 224, 160), crop="centre",
                          intensity=Window(-1000, 1000))
    FMCIB:   VolumeRecipe("SPL", spacing_mm=(1.0, 1.0, 1.0), size=(50, 50, 50), crop="roi",
                          intensity=Window(-1024, 2048, clip=False), centre="floor")
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

AXES = ("RL", "AP", "SI")
"""The two letters an axis of each direction may have: towards right or left, anterior or posterior, ..."""

Crop = Literal["none", "centre", "foreground", "roi", "box"]
Border = Literal["centred", "both", "end"]


@dataclass(frozen=True)
class Window:
    """Map low..high linearly onto `out`; clip: values beyond become its ends. low and high in HU for CT."""

    low: float
    high: float
    out: tuple[float, float] = (0.0, 1.0)
    clip: bool = True
    unit: Literal["HU", "a.u."] = "HU"

    def __str__(self) -> str:
        unit = " HU" if self.unit == "HU" else ""
        ends = "clipped" if self.clip else "not clipped"
        return f"{self.low:g}..{self.high:g}{unit} to {self.out[0]:g}..{self.out[1]:g}, {ends}"


@dataclass(frozen=True)
class ZScore:
    """Subtract the mean, divide by the standard deviation.

    nonzero: statistics over voxels that are not 0, which alone are changed (skull-stripped MR).
    percentiles: clip at these percentiles of the same voxels first.
    noise: seed; voxels that are 0 are filled with standard normal noise drawn from it (MedicalNet).
    """

    nonzero: bool = True
    percentiles: tuple[float, float] | None = None
    noise: int | None = None

    def __str__(self) -> str:
        parts = ["z-score over non-zero voxels" if self.nonzero else "z-score"]
        if self.percentiles:
            parts.append(f"clipped at percentiles {self.percentiles[0]:g} and {self.percentiles[1]:g}")
        if self.noise is not None:
            parts.append(f"zeros filled with N(0, 1), seed {self.noise}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Percentiles:
    """Map two percentiles of the voxels linearly onto `out`. clip: values beyond become its ends.

    nonzero: percentiles of the voxels that are not 0. (0, 100) maps minimum and maximum.
    """

    low: float = 0.0
    high: float = 100.0
    out: tuple[float, float] = (0.0, 1.0)
    clip: bool = True
    nonzero: bool = False

    def __str__(self) -> str:
        voxels = " of non-zero voxels" if self.nonzero else ""
        return f"percentiles {self.low:g}..{self.high:g}{voxels} to {self.out[0]:g}..{self.out[1]:g}"


@dataclass(frozen=True)
class VolumeRecipe:
    """What is done to a volume, in this order.

    orientation: where the index of each axis of the array grows to, axis by axis: "RAS", "LPS", or "SPL",
        which is (slice, row, column) as radiologists look at it. It is also the order of the axes, so
        (Z, Y, X) of an LPS array is "SPL".
    spacing_mm: voxel size along those axes, None (for all or for one) keeps the file's.
    crop: "foreground" cuts the bounding box of voxels above `foreground`, before resampling; "centre" and
        "roi" cut `size` voxels around the middle of the volume or of the lesion, after it; "box" cuts the
        lesion's bounding box plus `margin_mm`.
    size: voxels along those axes, None (for all or for one) is whatever comes out.
    resize: interpolate to `size` instead of cutting and padding. resize_by: "linear" (half-voxel centres, no
        antialiasing: torch's align_corners=False) or "area" (means of boxes).
    border: where voxels are missing, they are added so that the lesion stays in the middle ("centred"),
        equally on both sides ("both": MONAI's SpatialPad) or behind ("end"). Their value is `pad_value`, in
        the numbers that the network sees.
    divisor: each axis is padded to a multiple of it.
    centre: "exact" puts the lesion in the middle to a fraction of a voxel; "floor" cuts at whole voxels of
        the resampled volume, as FMCIB does.
    grid: the orientation in which the resampled grid begins at the volume's first voxel; "" is `orientation`.
    patient_axes: turn an oblique volume upright, as MONAI's Spacing does with diagonal=True; else it keeps
        its own axes.
    outside: beyond the outermost voxels stands their own value ("edge") or `pad_value` ("pad").
    statistics: from which voxels ZScore and Percentiles take theirs: what was cut out, or the whole volume.
    channels: 1, or 3 equal ones.
    bag: the array is a bag of pictures (slices, channels, rows, columns) for a 2D encoder; else it is
        (channels, *size).
    """

    orientation: str
    intensity: Window | ZScore | Percentiles
    spacing_mm: tuple[float | None, float | None, float | None] | None = None
    size: tuple[int | None, int | None, int | None] | None = None
    crop: Crop = "none"
    foreground: float | None = None
    margin_mm: float = 0.0
    resize: bool = False
    resize_by: Literal["linear", "area"] = "linear"
    border: Border = "both"
    pad_value: float = 0.0
    divisor: int | None = None
    centre: Literal["exact", "floor"] = "exact"
    grid: str = ""
    patient_axes: bool = False
    outside: Literal["edge", "pad"] = "edge"
    statistics: Literal["crop", "volume"] = "crop"
    channels: int = 1
    bag: bool = False

    def __post_init__(self) -> None:
        for name in filter(None, (self.orientation, self.grid)):
            if sorted(axis_of(letter) for letter in name) != [0, 1, 2]:
                raise ValueError(f"an orientation names three axes, such as RAS or SPL, not {name!r}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        if self.crop in ("centre", "roi") and self.size is None:
            raise ValueError(f"crop {self.crop!r} needs a size")
        if self.size is not None and self.crop in ("none", "foreground", "box") and not self.resize:
            raise ValueError(f"crop {self.crop!r} reaches a size by resize=True; crop 'centre' cuts and pads")
        if self.resize and (self.size is None or self.crop in ("centre", "roi")):
            raise ValueError("resize=True needs a size, and a crop that leaves more than that size")
        if (self.crop == "foreground") != (self.foreground is not None):
            raise ValueError("crop 'foreground' and a threshold `foreground` belong together")
        if self.outside == "pad" and not isinstance(self.intensity, Window):
            raise ValueError("outside='pad' needs a Window, to know which raw value becomes pad_value")

    @property
    def needs_lesion(self) -> bool:
        """Whether a lesion has to be pointed out, by a point or a mask."""
        return self.crop in ("roi", "box")

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of what the model receives, without the batch; None is any length."""
        size = self.size or (None, None, None)
        return (size[0], self.channels, *size[1:]) if self.bag else (self.channels, *size)

    @property
    def voxels(self) -> int:
        """Voxels a case has about, to choose how many go through a model at once."""
        found = 1
        for length in self.size or (None, None, None):
            found *= length or 128
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; says that it is about volumes, and which rule `intensity` is."""
        rule = {"rule": type(self.intensity).__name__} | asdict(self.intensity)
        return {"kind": "volume"} | asdict(self) | {"intensity": rule}

    def __str__(self) -> str:
        turned = ", turned upright" if self.patient_axes else ""
        parts = [f"axes {self.orientation}{turned}", _cut(self), _spaced(self.spacing_mm), _sized(self)]
        parts += [str(self.intensity)]
        if self.divisor:
            parts.append(f"padded to multiples of {self.divisor}")
        if self.channels == 3:
            parts.append("3 equal channels")
        if self.bag:
            parts.append("a bag of slices")
        return "; ".join(filter(None, parts))


def axis_of(letter: str) -> int:
    """0, 1 or 2 for right-left, anterior-posterior, superior-inferior; -1 for no such letter."""
    return next((i for i, pair in enumerate(AXES) if letter in pair), -1)


def _cut(recipe: VolumeRecipe) -> str:
    return {
        "none": "",
        "centre": "",
        "foreground": f"bounding box of voxels above {recipe.foreground or 0:g}",
        "roi": "",
        "box": f"bounding box of the lesion and {recipe.margin_mm:g} mm",
    }[recipe.crop]


def _spaced(spacing: tuple[float | None, ...] | None) -> str:
    if spacing is None or not any(spacing):
        return "native spacing"
    return " x ".join("native" if s is None else f"{s:g}" for s in spacing) + " mm"


def _sized(recipe: VolumeRecipe) -> str:
    if recipe.size is None:
        return ""
    size = "x".join("any" if n is None else str(n) for n in recipe.size)
    if recipe.resize:
        return f"resized to {size} ({'trilinear' if recipe.resize_by == 'linear' else 'area'})"
    lesion = "the lesion, cut at whole voxels" if recipe.centre == "floor" else "the lesion"
    around = lesion if recipe.crop == "roi" else "the middle"
    return f"{size} around {around}, padded {_BORDER[recipe.border]} with {recipe.pad_value:g}"


_BORDER = {"centred": "where voxels are missing", "both": "on both sides", "end": "at the end"}
