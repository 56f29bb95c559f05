"""The recipe against the stock image processors and torch, its geometry, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import radfoundry.encoders as encoders
from radfoundry.preprocess import recipe as recipes
from radfoundry.preprocess.recipe import Recipe
from radfoundry.types import Image

SHAPES = [(300, 410), (410, 300), (256, 256), (61, 83)]


def picture(rows: int, columns: int, *, colour: bool = False, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (rows // 8 + 1, columns // 8 + 1, 3), dtype=np.uint8)
    fine = coarse.repeat(8, 0).repeat(8, 1)[:rows, :columns]
    return np.ascontiguousarray(fine if colour else fine[..., 0])


def stock(name: str) -> object:
    """The image processor as transformers builds it from the published preprocessor_config.json."""
    transformers = pytest.importorskip("transformers")
    recipe = encoders.card(name).recipe
    common = {"image_mean": recipe.mean, "image_std": recipe.std, "resample": 3, "do_convert_rgb": True}
    if recipe.resize == "exact":
        size = {"height": recipe.size, "width": recipe.size}
        return transformers.SiglipImageProcessorPil(size=size, **common)
    kind = transformers.CLIPImageProcessorPil if "clip" in name else transformers.BitImageProcessorPil
    crop = {"height": recipe.crop, "width": recipe.crop}
    return kind(size={"shortest_edge": recipe.size}, crop_size=crop, do_center_crop=True, **common)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name", ["rad-dino", "dinov2-small", "dinov2-s-focus", "clip-vit-b16", "xraysiglip-vit-b16-siglip512"]
)
def test_equals_the_stock_processor(name: str, shape: tuple[int, int], colour: bool) -> None:
    from PIL import Image as Pillow

    pixels = picture(*shape, colour=colour)
    rgb = Pillow.fromarray(pixels).convert("RGB")
    expected = np.asarray(stock(name)(rgb, return_tensors="np")["pixel_values"][0])  # type: ignore[operator]
    ours = recipes.apply(Image(pixels.astype(np.float32), (0.0, 255.0)), encoders.card(name).recipe)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() < 2e-6, "float rounding of the normalisation only"


@pytest.mark.parametrize("shape", SHAPES)
def test_without_antialiasing_equals_torch(shape: tuple[int, int]) -> None:
    pixels = picture(*shape).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(pixels)[None, None],
        (448, 448),
        mode="bilinear",
        align_corners=False,
        antialias=False,
    )[0, 0].numpy()
    assert np.abs(recipes.bilinear(pixels, (448, 448)) - expected).max() < 1e-2  # of 255


@given(arrays(np.uint8, (3, 4)))
def test_eight_bit_pictures_pass_unchanged(pixels: np.ndarray) -> None:
    image = Image(pixels.astype(np.float32), (0.0, 255.0))
    assert np.array_equal(recipes.eight_bit(image), pixels)


@given(
    st.floats(-2000, 2000),
    st.floats(1, 4000),
    arrays(np.float32, (4, 5), elements=st.floats(-5e3, 5e3, width=32)),
)
def test_eight_bit_rounds_the_display_range(low: float, width: float, pixels: np.ndarray) -> None:
    image = Image(pixels, (low, low + width))
    exact = np.clip((pixels.astype(np.float64) - low) / width, 0, 1) * 255
    assert np.abs(recipes.eight_bit(image).astype(float) - exact).max() <= 0.51


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.sampled_from(["rad", "exact", "square"]))
def test_every_shape_comes_out_square(rows: int, columns: int, kind: str) -> None:
    recipe = {
        "rad": Recipe("shortest-edge", 28, 28, mean=(0.5,) * 3, std=(0.5,) * 3),
        "exact": Recipe("exact", 28, mean=(0.5,) * 3, std=(0.5,) * 3),
        "square": Recipe("crop-then-resize", 28, eight_bit=False, channels=1, value_range=(-1.0, 1.0)),
    }[kind]
    out = recipes.apply(Image(picture(rows, columns).astype(np.float32), (0.0, 255.0)), recipe)
    assert out.shape == (recipe.channels, 28, 28) and out.dtype == np.float32


def test_torchxrayvision_range_is_reached() -> None:
    ramp = np.tile(np.linspace(0, 4095, 224, dtype=np.float32), (224, 1))
    recipe = encoders.card("torchxrayvision-densenet121-all").recipe
    out = recipes.apply(Image(ramp, (0.0, 4095.0)), recipe)
    assert out.min() == pytest.approx(-1024) and out.max() == pytest.approx(1024, abs=1e-3)


def test_three_equal_channels_are_grey() -> None:
    grey = picture(90, 70).astype(np.float32)
    recipe = encoders.card("raw-pixels").recipe
    colour = Image(np.stack([grey] * 3, -1), (0.0, 255.0))
    assert np.array_equal(recipes.apply(colour, recipe), recipes.apply(Image(grey, (0.0, 255.0)), recipe))


@pytest.mark.parametrize(
    "bad",
    [
        {"channels": 2, "value_range": (0.0, 1.0)},
        {"mean": (0.5,), "std": (0.5,)},
        {"mean": (0.5,) * 3, "std": (0.5,) * 3, "value_range": (0.0, 1.0)},
        {},
    ],
)
def test_contradictory_recipes_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError):
        Recipe("exact", 28, **bad)
