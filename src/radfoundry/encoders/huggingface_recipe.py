"""From a model's preprocessor_config.json to a recipe, held against the image processor it names.

What the file leaves out is taken from the processor's class in `transformers`. The recipe is then compared
with that processor on two made pictures, so a setting that isn't understood here is refused, not ignored.
"""

from __future__ import annotations

import json
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from radfoundry.encoders.huggingface_towers import quietly
from radfoundry.errors import WeightsError
from radfoundry.optional import require
from radfoundry.preprocess import recipe as recipes
from radfoundry.preprocess.recipe import Recipe
from radfoundry.types import Image

if TYPE_CHECKING:
    import numpy as np

FILES = ("preprocessor_config.json", "processor_config.json")
FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
CONVNEXT_WARPS_FROM, CONVNEXT_CROP = 384, 224 / 256
LEVIT_ENLARGES = 256 / 224
SAME = 1e-5
"""Largest difference to the stock processor, as a part of its largest value (rounding of float32)."""
GREY_LEVELS = 2
"""The same in grey levels for processors that only torchvision runs: it resizes with other rounding."""

Numbers = tuple[float, ...]


class Preparation(NamedTuple):
    """colour: whether colour pictures may be shown (not where the model wants blue, green, red)."""

    recipe: Recipe
    colour: bool


def preparation(folder: Path) -> Preparation:
    """How a folder's image processor prepares pictures, proven on two of them.

    Raises WeightsError for a missing file, a class that isn't known here, and what no recipe can express.
    """
    path = _file(folder)
    stock = _processor(folder, path)
    stated = _settings(stock)
    recipe = _recipe(stated, path)
    colour = not stated.get("do_flip_channel_order")
    _prove(recipe, stock, path, colour)
    return Preparation(recipe, colour)


def recipe_from(folder: Path) -> Recipe:
    """The recipe that preprocessor_config.json states; raises as `preparation` does."""
    return preparation(folder).recipe


def stated_normalisation(folder: Path) -> tuple[Numbers, Numbers] | None:
    """(mean, std) on values in [0, 1], or None where the folder doesn't say.

    For models with a card, whose recipe isn't read from the folder: a class unknown here is no obstacle.
    """
    if not any((folder / name).is_file() for name in FILES):
        return None
    path = _file(folder)
    try:
        return _normalisation(_settings(_processor(folder, path)), path)
    except WeightsError:
        stated = _read(path)
        return _normalisation(stated, path) if {"image_mean", "image_std"} <= stated.keys() else None


def _file(folder: Path) -> Path:
    for name in reversed(FILES):  # transformers prefers the nested one, where it holds an image processor
        path = folder / name
        if path.is_file() and ("image_processor" in _json(path) or name == FILES[0]):
            return path
    raise WeightsError(
        f"{folder} holds no preprocessor_config.json, so nothing says how to prepare images. Copy it "
        "from the hub as well."
    )


def _read(path: Path) -> dict[str, Any]:
    found = _json(path)
    return dict(found.get("image_processor", found))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as cause:
        raise WeightsError(f"{path} could not be read ({cause}). Copy it again from the hub.") from cause
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds no settings. Copy it again from the hub.")
    return found


def _processor(folder: Path, path: Path) -> Any:
    """The stock image processor, Pillow's where the class has one."""
    transformers = require("transformers", extra="hf")
    try:
        with quietly():
            return transformers.AutoImageProcessor.from_pretrained(
                folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
    except ImportError as cause:
        raise WeightsError(
            f"{path} names an image processor that needs torchvision: pip install torchvision."
        ) from cause
    except Exception as cause:  # unknown classes, code of their own, settings it refuses: each has its own
        lines = str(cause).strip().splitlines() or ["no message"]
        raise WeightsError(
            f"{path} names no image processor that transformers can build here ({type(cause).__name__}: "
            f"{lines[0][:200]}). Write a loader with a recipe of its own (docs/how-to/encoders.md)."
        ) from cause


def _settings(stock: Any) -> dict[str, Any]:
    """What a processor does, by the names of its file; what its class doesn't know it doesn't do."""
    return {"do_rescale": False, "do_normalize": False} | stock.to_dict()


def _recipe(stated: dict[str, Any], path: Path) -> Recipe:
    kind = stated.get("image_processor_type") or ""
    if not stated.get("do_resize"):
        raise WeightsError(
            f"{path} leaves every picture in its own size (do_resize), but batches need one size."
        )
    edge, exact = _edge(stated.get("size"), path)
    crop = _edge(stated.get("crop_size"), path)[0] if stated.get("do_center_crop") else None
    if kind.startswith("ConvNext"):
        exact = edge >= CONVNEXT_WARPS_FROM
        if not exact:
            edge, crop = int(edge / (stated.get("crop_pct") or CONVNEXT_CROP)), edge
    if kind.startswith("Levit") and not exact:
        edge = int(LEVIT_ENLARGES * edge)
    if not exact and crop is None:
        raise WeightsError(f"{path} keeps the aspect ratio without a crop, but batches need one size.")
    if crop is not None and crop > edge:
        raise WeightsError(
            f"{path} resizes to {edge} pixels and crops {crop}: a border of zeros, which no recipe draws."
        )
    resample = stated.get("resample")
    if resample is not None and int(resample) not in FILTERS:
        raise WeightsError(f"{path} asks for resample={int(resample)}; known are {FILTERS}.")
    mean, std = _normalisation(stated, path)
    ranges = {(round(-m / s, 6) + 0.0, round((1 - m) / s, 6)) for m, s in zip(mean, std, strict=True)}
    plain = not _normalises(stated) and len(ranges) == 1
    return Recipe(
        "exact" if exact else "shortest-edge",
        edge,
        crop,
        interpolation=FILTERS[2 if resample is None else int(resample)],  # type: ignore[arg-type]  # of the table
        mean=None if plain else mean,
        std=None if plain else std,
        value_range=ranges.pop() if plain else None,
    )


def _normalises(stated: dict[str, Any]) -> bool:
    return bool(stated.get("do_normalize", True) or stated.get("include_top"))


def _normalisation(stated: dict[str, Any], path: Path) -> tuple[Numbers, Numbers]:
    """(mean, std) on values in [0, 1] that do all that the file asks for after resizing, in its order."""
    factor = float(stated.get("rescale_factor") or 1 / 255) if stated.get("do_rescale", True) else 1.0
    unit = 1.0 if isclose(255 * factor, 1.0, rel_tol=1e-6) else 1 / (255 * factor)
    mean, std = [0.0] * 3, [unit] * 3
    if stated.get("do_rescale", True) and stated.get("rescale_offset"):
        mean = [m + s for m, s in zip(mean, std, strict=True)]
    if stated.get("do_normalize", True):
        centre, spread = _three(stated, "image_mean", path), _three(stated, "image_std", path)
        mean = [m + c * s for m, c, s in zip(mean, centre, std, strict=True)]
        std = [s * w for s, w in zip(std, spread, strict=True)]
    if stated.get("include_top"):  # EfficientNet divides by the spread once more
        std = [s * w for s, w in zip(std, _three(stated, "image_std", path), strict=True)]
    return tuple(mean), tuple(std)


def _three(stated: dict[str, Any], name: str, path: Path) -> Numbers:
    given = stated.get(name)
    numbers = tuple(float(n) for n in given) if isinstance(given, list | tuple) else (given,) * 3
    if len(numbers) != 3 or not all(isinstance(n, int | float) for n in numbers):
        raise WeightsError(f"{path} asks for {name}={given}: three numbers are needed, one a channel.")
    if name == "image_std" and not all(numbers):
        raise WeightsError(f"{path} divides by {name}={given}. Copy it again from the hub.")
    return tuple(float(n) for n in numbers)  # type: ignore[arg-type]  # None was refused above


def _edge(size: Any, path: Path) -> tuple[int, bool]:
    """(pixels, whether both edges are fixed) of a stated size."""
    sides = {key: int(pixels) for key, pixels in dict(size or {}).items() if pixels}
    if sides.keys() == {"shortest_edge"}:
        return sides["shortest_edge"], False
    if sides.keys() != {"height", "width"} or sides["height"] != sides["width"]:
        raise WeightsError(f"{path} asks for {sides or size}: only square inputs are supported.")
    return sides["height"], True


def _prove(recipe: Recipe, stock: Any, path: Path, colour: bool) -> None:
    """WeightsError unless the recipe gives the stock processor's pixels, both shrinking and enlarging."""
    import numpy as np

    edge = recipe.size
    rng = np.random.default_rng(0)
    for rows, columns in ((edge + 17, 2 * edge + 31), (edge // 2 + 30, edge // 2 + 3)):
        pixels = rng.integers(0, 256, (rows, columns, 3 if colour else 1), dtype=np.uint8)
        pixels = pixels if colour else np.repeat(pixels, 3, axis=2)
        theirs = _stock_pixels(stock, pixels, path)
        ours = recipes.apply(Image(pixels.astype(np.float32), (0.0, 255.0)), recipe)
        if theirs.shape != ours.shape:
            raise WeightsError(_unlike(path, stock, f"shape {theirs.shape}, not {ours.shape}"))
        apart, largest = float(np.abs(ours - theirs).max()), max(1.0, float(np.abs(theirs).max()))
        if apart > SAME * largest and not _other_rounding(ours - theirs, recipe, stock):
            raise WeightsError(_unlike(path, stock, f"values up to {apart:.3g} away"))


def _stock_pixels(stock: Any, pixels: np.ndarray, path: Path) -> np.ndarray:
    import numpy as np

    try:
        made = stock(pixels, input_data_format="channels_last")["pixel_values"][0]
    except Exception as cause:  # settings that contradict each other show only now
        raise WeightsError(
            f"{path}: {type(stock).__name__} fails on a picture of {pixels.shape[0]}x{pixels.shape[1]} "
            f"pixels ({type(cause).__name__}: {cause}). Copy the file again from the hub."
        ) from cause
    return np.asarray(made)


def _other_rounding(difference: np.ndarray, recipe: Recipe, stock: Any) -> bool:
    """Whether torchvision, where it is the only one to run a processor, is as near as its rounding allows."""
    import numpy as np

    if getattr(stock, "backend", "pil") != "torchvision":
        return False
    std = np.asarray(recipe.std or (1.0,) * 3)[:, None, None]
    return bool((np.abs(difference * std) * 255 <= GREY_LEVELS).all())


def _unlike(path: Path, stock: Any, how: str) -> str:
    return (
        f"{path} asks {type(stock).__name__} for something that no recipe expresses: it gives {how}. Write a "
        "loader for this model (docs/how-to/encoders.md)."
    )
