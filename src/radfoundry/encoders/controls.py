"""Controls without learned weights: what pixels alone, or a random map of them, are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radfoundry.encoders.card import APACHE, RADIOLOGY_2D, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.weights import text_digest
from radfoundry.preprocess.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np

RAW = EncoderCard(
    name="raw-pixels",
    title="Raw pixels at 28x28 (control)",
    source="none",
    licence=APACHE,
    modalities=RADIOLOGY_2D,
    recipe=Recipe("exact", 28, interpolation="box", channels=1, value_range=(0.0, 1.0)),
    output="the 28x28 pixels, row by row",
    dim=784,
    citation="none: a baseline",
    traps=("good at what is global (view, exposure, site): a strong score here is a warning, not a success",),
)

PROJECTION = EncoderCard(
    name="random-projection",
    title="Gaussian random projection of 64x64 pixels (control)",
    source="none",
    licence=APACHE,
    modalities=RADIOLOGY_2D,
    recipe=Recipe("exact", 64, interpolation="box", channels=1, value_range=(-1.0, 1.0)),
    output="4096 pixels times a Gaussian matrix drawn from the seed, scaled by 1/sqrt(384)",
    dim=384,
    citation="Johnson & Lindenstrauss 1984, doi:10.1090/conm/026/737400",
    traps=("keeps distances between images, learns nothing: any encoder has to beat it",),
)


@register(RAW)
def build_raw(request: Request) -> Backend:
    """Flatten the pixels."""
    return Backend(lambda batch: batch.reshape(len(batch), -1), "numpy", text_digest(RAW.name), verified=True)


@register(PROJECTION)
def build_projection(request: Request) -> Backend:
    """Multiply the pixels with a fixed Gaussian matrix, so that distances survive on average."""
    import numpy as np

    rng = np.random.default_rng(request.seed)
    pixels = request.card.picture_recipe.input_size**2
    matrix = rng.standard_normal((pixels, request.card.dim)).astype(np.float32)
    matrix /= np.float32(np.sqrt(request.card.dim))

    def forward(batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1) @ matrix

    return Backend(forward, "numpy", text_digest(PROJECTION.name, request.seed), verified=True)
