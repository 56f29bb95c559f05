"""From an Image to the array an encoder was trained on: one resize, one crop, one normalisation.

Radiographs are grey, so the single grey plane is resized once and repeated afterwards. The numbers equal
those of the usual image processors (Pillow resampling of 8-bit pixels), which resize three copies of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from radfoundry.types import Image

if TYPE_CHECKING:
    import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Resize = Literal["shortest-edge", "exact", "crop-then-resize"]
Interpolation = Literal["bicubic", "bilinear", "box", "lanczos"]


@dataclass(frozen=True)
class Recipe:
    """What is done to the pixels, in this order.

    resize: "shortest-edge" keeps the aspect ratio, "exact" squeezes to size x size, "crop-then-resize"
        first cuts the largest centred square.
    size: pixels, of the shortest edge or of both. crop: centred crop after resizing, or None.
    antialias: whether the filter widens when shrinking (Pillow always does; big_vision does not).
    eight_bit: round the display range to 0..255 before resizing, as published processors do.
    mean, std: applied to values in [0, 1], one number a channel.
    value_range: instead of mean and std, [0, 1] is mapped onto this range.
    """

    resize: Resize
    size: int
    crop: int | None = None
    interpolation: Interpolation = "bicubic"
    antialias: bool = True
    eight_bit: bool = True
    channels: int = 3
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        if (self.mean is None) == (self.value_range is None):
            raise ValueError("a recipe has either mean and std, or a value_range")
        if self.mean is not None and not (len(self.mean) == len(self.std or ()) == self.channels):
            raise ValueError("mean and std need one number a channel")

    @property
    def input_size(self) -> int:
        """Height and width, in pixels, of what the model receives."""
        return self.crop or self.size

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def __str__(self) -> str:
        how = {
            "shortest-edge": f"shortest edge to {self.size}",
            "exact": f"resize to {self.size}x{self.size}",
            "crop-then-resize": f"centred square, then {self.size}x{self.size}",
        }[self.resize]
        parts = [f"{how} ({self.interpolation}, {'antialiased' if self.antialias else 'not antialiased'})"]
        if self.crop:
            parts.append(f"centre crop {self.crop}")
        if self.value_range:
            parts.append(f"values in [{self.value_range[0]:g}, {self.value_range[1]:g}]")
        else:
            parts.append(f"/255, mean {_numbers(self.mean)}, std {_numbers(self.std)}")
        return "; ".join(parts)


def apply(image: Image, recipe: Recipe) -> np.ndarray:
    """The model's input, (channels, height, width) float32.

    >>> import numpy as np
    >>> image = Image(np.eye(4, dtype=np.float32), (0.0, 1.0))
    >>> recipe = Recipe("exact", 2, interpolation="box", channels=1, value_range=(-1.0, 1.0))
    >>> apply(image, recipe).shape
    (1, 2, 2)
    """
    pixels = eight_bit(image) if recipe.eight_bit else image.display()
    if recipe.channels == 1 and pixels.ndim == 3:
        pixels = pixels[..., 0]
    pixels = _resized(pixels, recipe)
    if recipe.crop:
        pixels = _centre_crop(pixels, recipe.crop)
    unit = 1.0 / 255.0 if recipe.eight_bit else 1.0
    return _normalised(pixels, unit, recipe)


def eight_bit(image: Image) -> np.ndarray:
    """The display range as uint8, rounded to nearest; three equal channels become one.

    >>> import numpy as np
    >>> eight_bit(Image(np.array([[0.0, 50.0, 300.0]], np.float32), (0.0, 100.0)))
    array([[  0, 128, 255]], dtype=uint8)
    """
    import numpy as np

    array = image.array[..., 0] if same_channels(image) else image.array
    low, high = image.display_range
    scale = 255.0 / max(high - low, 1e-12)
    scaled = array * np.float32(scale)
    scaled += np.float32(0.5 - low * scale)
    # 255.5 truncates to 255; above that uint8 would wrap around.
    np.clip(scaled, 0.0, 255.5, out=scaled)
    return scaled.astype(np.uint8)


def same_channels(image: Image) -> bool:
    """Whether a colour image is a grey one stored three times."""
    import numpy as np

    if not image.is_colour:
        return False
    red, green, blue = (image.array[..., c] for c in range(3))
    return bool(np.array_equal(red, green) and np.array_equal(red, blue))


def target_shape(rows: int, columns: int, recipe: Recipe) -> tuple[int, int]:
    """(rows, columns) after the resize; the long edge is truncated, as torchvision and Hugging Face do.

    >>> target_shape(2000, 1000, Recipe("shortest-edge", 518, value_range=(0, 1)))
    (1036, 518)
    """
    if recipe.resize != "shortest-edge":
        return recipe.size, recipe.size
    short, long = min(rows, columns), max(rows, columns)
    other = int(recipe.size * long / short)
    return (recipe.size, other) if rows <= columns else (other, recipe.size)


def _resized(pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    import numpy as np

    if recipe.resize == "crop-then-resize":
        pixels = _centre_crop(pixels, min(pixels.shape[:2]))
    shape = target_shape(pixels.shape[0], pixels.shape[1], recipe)
    if shape == pixels.shape[:2]:
        return pixels
    if recipe.antialias:
        return resize(pixels, shape, recipe.interpolation)
    if recipe.interpolation != "bilinear":
        raise ValueError("resizing without antialiasing is bilinear only")
    return bilinear(pixels.astype(np.float32), shape)


def resize(pixels: np.ndarray, shape: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """Pillow's resize, whose filter widens when shrinking. pixels: (rows, columns[, 3]) uint8 or float32."""
    import numpy as np
    from PIL import Image as Pillow

    filters = {
        "bicubic": Pillow.Resampling.BICUBIC,
        "bilinear": Pillow.Resampling.BILINEAR,
        "box": Pillow.Resampling.BOX,
        "lanczos": Pillow.Resampling.LANCZOS,
    }
    if pixels.ndim == 3 and pixels.dtype != np.uint8:  # Pillow has no three-channel float image
        planes = [resize(pixels[..., c], shape, interpolation) for c in range(pixels.shape[2])]
        return np.stack(planes, axis=-1)
    picture = Pillow.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((shape[1], shape[0]), filters[interpolation]))


def bilinear(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Two-tap bilinear resize, half-pixel centres, no antialiasing (torch: align_corners=False).

    pixels: (rows, columns[, 3]) float32. Returns float32 of the asked shape.

    >>> import numpy as np
    >>> bilinear(np.array([[0.0, 1.0]], np.float32), (1, 4)).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    import numpy as np

    for axis, length in enumerate(shape):
        n = pixels.shape[axis]
        position = np.clip((np.arange(length) + 0.5) * (n / length) - 0.5, 0.0, None)
        lower = np.minimum(position.astype(np.intp), n - 1)
        weight = (position - lower).astype(np.float32)
        weight = weight.reshape([-1 if a == axis else 1 for a in range(pixels.ndim)])
        near, far = pixels.take(lower, axis), pixels.take(np.minimum(lower + 1, n - 1), axis)
        pixels = near * (1 - weight) + far * weight
    return pixels


def _centre_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    rows, columns = pixels.shape[:2]
    if min(rows, columns) < size:
        raise ValueError(f"cannot crop {size} pixels from {rows}x{columns}")
    top, left = (rows - size) // 2, (columns - size) // 2
    return pixels[top : top + size, left : left + size]


def _normalised(pixels: np.ndarray, unit: float, recipe: Recipe) -> np.ndarray:
    import numpy as np

    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    if recipe.value_range is not None:
        low, high = recipe.value_range
        scale, shift = np.full(recipe.channels, (high - low) * unit), np.full(recipe.channels, low)
    else:
        std = np.asarray(recipe.std, dtype=np.float64)
        scale, shift = unit / std, -np.asarray(recipe.mean, dtype=np.float64) / std
    out = planes * scale.astype(np.float32)[:, None, None]
    out += shift.astype(np.float32)[:, None, None]
    return out


def _numbers(values: tuple[float, ...] | None) -> str:
    unique = sorted(set(values or ()))
    shown = unique if len(unique) == 1 else list(values or ())
    return ", ".join(f"{v:.4g}" for v in shown)
