"""Small checkpoints with the true key layout of each published one, made on the spot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

import radfoundry.encoders as encoders
from radfoundry.encoders.card import EncoderCard
from radfoundry.types import Image

VISION = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48,
}  # fmt: skip
TEXT = VISION | {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PATCH = 14


def chest(rows: int = 96, columns: int = 80, *, modality: str = "CR", seed: int = 0) -> Image:
    """A smooth grey picture with structure, 8 bit."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    waves = sum(np.sin(x / a + b) * np.cos(y / c) for a, b, c in rng.uniform(3, 12, (6, 3)))
    grey = np.round(255 * (waves - waves.min()) / np.ptp(waves)).astype(np.float32)
    return Image(grey, (0.0, 255.0), modality=modality, source="made.png")


def is_hub(card: EncoderCard) -> bool:
    """Whether the card is a Hugging Face model that a folder can stand for."""
    return card.source.startswith("hf-hub:") and card.name != "biomedclip"


def small_card(name: str) -> EncoderCard:
    """The card itself; for hub models with two narrow layers at 56 pixels, else as published."""
    card = encoders.card(name)
    if not is_hub(card):
        return card
    recipe = replace(card.recipe, size=56, crop=card.recipe.crop and 56)
    sizes = VISION | {"image_size": 56, "patch_size": PATCH}
    architecture = dict(card.architecture) | sizes
    if "projection_dim" in architecture:
        architecture["projection_dim"] = 20
    dim = architecture.get("projection_dim", 24)
    return replace(card, recipe=recipe, architecture=architecture, dim=dim)


def write_hub_folder(card: EncoderCard, folder: Path, *, seed: int = 0) -> Path:
    """config.json, preprocessor_config.json and model.safetensors as they lie on the hub (both towers)."""
    options = dict(card.architecture)
    kind = options.pop("model_type")
    torch.manual_seed(seed)
    if kind == "dinov2":
        model: Any = transformers.Dinov2Model(transformers.Dinov2Config(**options))
    elif kind == "clip_vision_model":
        width = options.pop("projection_dim")
        config = transformers.CLIPConfig(vision_config=options, text_config=TEXT, projection_dim=width)
        model = transformers.CLIPModel(config)
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig(vision_config=options, text_config=TEXT))
    model.save_pretrained(folder)
    write_preprocessor(card, folder)
    return folder


def write_preprocessor(card: EncoderCard, folder: Path) -> None:
    """preprocessor_config.json saying what the card's recipe says."""
    recipe = card.recipe
    stated: dict[str, Any] = {
        "size": {"shortest_edge": recipe.size}
        if recipe.resize == "shortest-edge"
        else {"height": recipe.size, "width": recipe.size},
        "resample": {"bilinear": 2, "bicubic": 3, "box": 4}[recipe.interpolation],
        "image_mean": recipe.mean,
        "image_std": recipe.std,
        "do_center_crop": recipe.crop is not None,
    }
    if recipe.crop:
        stated["crop_size"] = {"height": recipe.crop, "width": recipe.crop}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))


def write_state_dict(name: str, folder: Path, *, seed: int = 0) -> Path:
    """A file of the true shapes for one of the networks of `encoders.nets`."""
    from radfoundry.encoders.nets.densenet import DenseNet121
    from radfoundry.encoders.nets.efficientnet_lite import EfficientNetLite0
    from radfoundry.encoders.nets.mobilenet import MobileNetV2
    from radfoundry.encoders.nets.resnet import ResNet50

    nets: dict[str, Any] = {
        "torchxrayvision-densenet121-all": DenseNet121,
        "efficientnet-lite0": EfficientNetLite0,
        "mobilenet-v2": MobileNetV2,
        "resnet50": ResNet50,
    }
    torch.manual_seed(seed)
    path = folder / "made.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(nets[name]().state_dict(), path)
    return path


class FakeClip(torch.nn.Module):
    """What open_clip returns, as far as it is used: `encode_image`."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = torch.nn.Linear(3, 512)

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        return self.proj(batch.mean(dim=(2, 3)))


def fake_open_clip() -> Any:
    """A stand-in for the module open_clip: it reads one tensor file from a local directory."""

    def create_model(name: str, pretrained: str | None = None) -> FakeClip:
        model = FakeClip()
        if name.startswith("local-dir:"):
            folder = Path(name.removeprefix("local-dir:"))
            model.load_state_dict(torch.load(folder / "open_clip_model.bin", weights_only=True))
        return model

    return SimpleNamespace(create_model=create_model)


def write_weights(card: EncoderCard, folder: Path, *, seed: int = 0) -> Path | None:
    """A checkpoint for this card; None where the weights are packaged or there are none."""
    if is_hub(card):
        return write_hub_folder(card, folder, seed=seed)
    if card.name == "biomedclip":
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        torch.save(FakeClip().state_dict(), folder / "open_clip_model.bin")
        return folder
    if card.source == "none" or card.name == "dinov2-s-focus":
        return None
    return write_state_dict(card.name, folder, seed=seed)
