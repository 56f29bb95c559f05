"""Which tensor of a `transformers` vision model is the embedding, and how long it is.

Types known to put a CLS token first give that; the others give what they call `pooler_output`, or the mean of
their patches where that is the type's own convention. What has none of these is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from radfoundry.errors import WeightsError
from radfoundry.optional import require

if TYPE_CHECKING:
    import numpy as np

CLS = "CLS token after the final layer norm"
PROJECTED = "CLS token after the visual projection, not normalised"
POOLER = "the model's pooler_output, not normalised"
UNMASKED = "CLS token after the final layer norm, no patch masked"
PATCH_MEAN = "mean of the patch tokens after the final layer norm"

CLS_FIRST = ("vit", "deit", "vit_msn", "dinov2", "dinov2_with_registers", "dinov3_vit")
"""Types whose last_hidden_state is normalised and begins with the CLS token. Their pooler, where they have
one, is a trained layer of a classifier (random in most published weights), so it isn't used."""

WITHOUT_CLS = ("ijepa",)
"""Types without CLS token and pooler, whose authors average the patches."""

SUPPORTED = (
    f"Supported are {', '.join((*CLS_FIRST, 'vit_mae'))} (CLS token), clip, siglip, {', '.join(WITHOUT_CLS)} "
    "(mean of patches) and every type whose output has pooler_output: swin, convnext, resnet, regnet, "
    "efficientnet, mobilenet_v2, mobilevit, beit and others."
)
AGREE = 1e-3
"""Two passes over a picture may differ by this part of the vector's length: rounding is less, noise more."""


@dataclass(frozen=True)
class Tower:
    """A vision model's class and its embedding.

    embed: (model, (B, 3, H, W)) to (B, dim). output: which tensor that is, for the card. pooler: whether the
    pooler's weights matter.
    """

    model_class: Any
    embed: Callable[[Any, Any], Any]
    output: str
    pooler: bool


def tower(config: Any) -> Tower:
    """The vision model of a configuration and the tensor that is its embedding."""
    transformers = require("transformers", extra="hf")
    kind = config.model_type
    if kind == "clip_vision_model":
        return Tower(transformers.CLIPVisionModelWithProjection, _projected, PROJECTED, pooler=True)
    if kind == "siglip_vision_model":
        return Tower(transformers.SiglipVisionModel, _pooled, POOLER, pooler=True)
    if kind in CLS_FIRST:
        return Tower(transformers.AutoModel, _first_token, CLS, pooler=False)
    if kind == "vit_mae":
        config.mask_ratio = 0.0  # pretraining hides three quarters of the patches, drawn anew at each pass
        return Tower(transformers.AutoModel, _unmasked, UNMASKED, pooler=False)
    if kind in WITHOUT_CLS:
        return Tower(transformers.AutoModel, _patch_mean, PATCH_MEAN, pooler=False)
    return Tower(transformers.AutoModel, _pooled, POOLER, pooler=True)


def width(found: Tower, config: Any, size: int, name: str) -> int:
    """Length of the embedding, by one pass of a picture of `size` pixels through a network without weights.

    Raises WeightsError where the network cannot be run on one picture, or has no such embedding.
    """
    torch = require("torch", extra="hf")
    build = getattr(found.model_class, "from_config", found.model_class)
    try:
        with quietly(), torch.device("meta"), torch.inference_mode():
            model = build(config).eval()
            vectors = found.embed(model, torch.zeros(1, 3, size, size))
    except WeightsError as cause:
        raise WeightsError(f"{name}: {cause}") from cause
    except Exception as cause:  # text models, missing inputs, sizes that don't fit: each model has its own
        lines = str(cause).strip().splitlines() or ["no message"]
        raise WeightsError(
            f"{name}: a model of type {config.model_type} could not be run on a picture of {size}x{size} "
            f"pixels ({type(cause).__name__}: {lines[0][:200]}). {SUPPORTED}"
        ) from cause
    if vectors.ndim != 2 or len(vectors) != 1:
        raise WeightsError(
            f"{name}: a model of type {config.model_type} gives {tuple(vectors.shape)} for one picture, not "
            f"one vector. {SUPPORTED}"
        )
    return int(vectors.shape[1])


def stated_width(config: Any) -> int | None:
    """Length of the embedding as the configuration of a carded type states it; None where it doesn't."""
    name = "projection_dim" if config.model_type == "clip_vision_model" else "hidden_size"
    found = getattr(config, name, None)
    return found if isinstance(found, int) else None


def require_repeatable(forward: Callable[[np.ndarray], np.ndarray], size: int, dim: int, name: str) -> None:
    """WeightsError unless two passes over one picture give the same finite vector of `dim` numbers.

    The store keeps vectors by what went in: a model that draws at random would fill it with noise.
    """
    import numpy as np

    picture = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    first, second = forward(picture), forward(picture)
    if first.shape != (1, dim):
        raise WeightsError(
            f"{name}: gives {first.shape[-1]} numbers a picture, its configuration says {dim}."
        )
    if not np.isfinite(first).all():
        raise WeightsError(
            f"{name}: gives numbers that aren't finite. Try --precision fp32; else the weights are damaged."
        )
    apart = float(np.linalg.norm(first - second) / max(float(np.linalg.norm(first)), 1e-12))
    if apart > AGREE:
        raise WeightsError(
            f"{name}: two passes over one picture differ by {apart:.0%} of the vector's length. The model "
            "draws at random when it runs (masking or dropout that its configuration leaves on), so "
            "its vectors mean nothing. Turn that off in config.json, or choose another model."
        )


@contextmanager
def quietly() -> Iterator[None]:
    """No progress bar and no list of the text tower's tensors, which are left out on purpose."""
    logging = require("transformers", extra="hf").logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _first_token(model: Any, batch: Any) -> Any:
    return model(pixel_values=batch).last_hidden_state[:, 0]


def _projected(model: Any, batch: Any) -> Any:
    return model(pixel_values=batch).image_embeds


def _pooled(model: Any, batch: Any) -> Any:
    pooled = getattr(model(pixel_values=batch), "pooler_output", None)
    if pooled is None:
        raise WeightsError(
            f"a model of type {model.config.model_type} gives no pooler_output, and it isn't known where it "
            f"keeps the vector of a whole picture. {SUPPORTED}"
        )
    return pooled.flatten(1)


def _patch_mean(model: Any, batch: Any) -> Any:
    return model(pixel_values=batch).last_hidden_state.mean(1)


def _unmasked(model: Any, batch: Any) -> Any:
    """Rising noise sorts to itself: with nothing masked, the patches keep their order."""
    torch = require("torch", extra="hf")
    patches = model.embeddings.patch_embeddings.num_patches
    noise = torch.arange(patches, device=batch.device, dtype=torch.float32).expand(len(batch), -1)
    return model(pixel_values=batch, noise=noise).last_hidden_state[:, 0]
