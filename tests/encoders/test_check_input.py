"""The input contract: what is refused, what is noted, and that each refusal says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import radfoundry.encoders as encoders
from radfoundry.encoders.encoder import check_input
from radfoundry.errors import InputMismatch
from radfoundry.io import read_image
from radfoundry.types import Image
from tests.encoders.tiny import chest
from tests.io.synthetic import dicom, save

CXR = encoders.card("rad-dino")
PHOTO = encoders.card("dinov2-small")


def changed(**fields: object) -> Image:
    return replace(chest(300, 300), **fields)  # type: ignore[arg-type]


def with_pixel(value: float) -> np.ndarray:
    pixels = chest(300, 300).array.copy()
    pixels[3, 4] = value
    return pixels


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_radiographs_pass_without_a_note(modality: str) -> None:
    assert check_input(CXR, changed(modality=modality)) == ()


@pytest.mark.parametrize(
    ("image", "what", "next_step"),
    [
        (changed(modality=""), "does not say its modality", "cohort.yaml"),
        (changed(modality="CT"), "modality CT", "radfoundry encoders"),
        (changed(unit="HU"), "Hounsfield", "radfoundry encoders"),
        (changed(array=np.random.default_rng(0).random((300, 300, 3), np.float32)), "colour", "grey"),
        (changed(array=with_pixel(np.nan)), "not finite", "Export"),
        (changed(array=with_pixel(np.inf)), "not finite", "Export"),
        (changed(array=np.full((300, 300), 7, np.float32)), "constant", "Leave it out"),
        (changed(display_range=(9.0, 9.0)), "empty display range", "window"),
        (changed(display_range=(1000.0, 2000.0)), "outside its display range", "window"),
    ],
)
def test_refusals_name_the_image_and_the_remedy(image: Image, what: str, next_step: str) -> None:
    with pytest.raises(InputMismatch) as refusal:
        check_input(CXR, image)
    assert "made.png" in str(refusal.value) and what in str(refusal.value) and next_step in str(refusal.value)


@pytest.mark.parametrize("modality", ["US", "MR", "CT", "MG", "CR"])
def test_natural_image_encoders_take_any_2d_radiology(modality: str) -> None:
    unit = "HU" if modality == "CT" else "a.u."
    assert check_input(PHOTO, changed(modality=modality, unit=unit)) == ()


def test_small_pictures_are_noted_not_refused() -> None:
    assert "too small: 28x28" in check_input(PHOTO, chest(28, 28))[0]
    assert check_input(PHOTO, chest(56, 56)) == ()


def test_grey_stored_as_colour_is_noted() -> None:
    grey = chest(300, 300)
    colour = replace(grey, array=np.stack([grey.array] * 3, -1))
    assert check_input(CXR, colour) == ("three equal channels read as grey",)


def test_raw_detector_data_are_noted_not_refused(tmp_path: Path) -> None:
    """Presentation Intent Type FOR PROCESSING (PS3.3 C.8.11.1.1.1): what is shown comes later."""
    pixels = np.random.default_rng(0).integers(0, 4000, (300, 300)).astype(np.uint16)
    elements = {"Modality": "DX", "RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None}
    for intent, notes in (
        ("FOR PROCESSING", ("raw detector data, not for presentation",)),
        ("FOR PRESENTATION", ()),
    ):
        path = save(dicom(pixels, PresentationIntentType=intent, **elements), tmp_path / "a.dcm")
        assert check_input(CXR, read_image(path)) == notes


def test_a_batch_of_another_shape_is_refused() -> None:
    with pytest.raises(InputMismatch, match="prepare"):
        encoders.load("raw-pixels").encode(np.zeros((2, 3, 28, 28), np.float32))
