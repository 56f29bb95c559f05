"""Small checkpoints with the true key layout of each published one, made on the spot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

import radfoundry.encoders as encoders
from radfoundry.encoders.card import EncoderCard
from radfoundry.types import Image
from tests.encoders import tiny_volumes

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
    """Whether the card is a model of transformers' own layout, that a folder of it can stand for."""
    return card.source.startswith("hf-hub:") and card.name != "biomedclip"


def small_card(name: str) -> EncoderCard:
    """The card itself; hub models with two narrow layers at 56 pixels, 3D ones narrow, else as published."""
    card = encoders.card(name)
    if card.is_3d:
        return tiny_volumes.small(name)
    if not card.source.startswith("hf-hub:"):
        return card
    recipe = replace(card.recipe, size=56, crop=card.recipe.crop and 56)
    if name == "biomedclip":
        # Not three heads: their number must not be confused with that of query, key and value.
        sizes = {"width": 24, "layers": 2, "heads": 4, "image": 56, "patch": PATCH}
        return replace(card, recipe=recipe, architecture=sizes, dim=20, checksum="")
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


def biomedclip_state(card: EncoderCard, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor of the image tower as the released checkpoint names it, and a few of the text tower's.

    Names and shapes: open_clip's TimmModel around timm's vit_base_patch16_224, its HFTextEncoder around BERT.
    """
    size = card.architecture
    width, mlp = size["width"], 4 * size["width"]
    shapes: dict[str, tuple[int, ...]] = {
        "visual.trunk.cls_token": (1, 1, width),
        "visual.trunk.pos_embed": (1, 1 + (size["image"] // size["patch"]) ** 2, width),
        "visual.trunk.patch_embed.proj.weight": (width, 3, size["patch"], size["patch"]),
        "visual.trunk.patch_embed.proj.bias": (width,),
    }
    for index in range(size["layers"]):
        block = f"visual.trunk.blocks.{index}."
        for part, outputs, inputs in (
            ("norm1", width, None), ("attn.qkv", 3 * width, width), ("attn.proj", width, width),
            ("norm2", width, None), ("mlp.fc1", mlp, width), ("mlp.fc2", width, mlp),
        ):  # fmt: skip
            shapes[f"{block}{part}.weight"] = (outputs, inputs) if inputs else (outputs,)
            shapes[f"{block}{part}.bias"] = (outputs,)
    shapes |= {
        "visual.trunk.norm.weight": (width,),
        "visual.trunk.norm.bias": (width,),
        "visual.head.proj.weight": (card.dim, width),
        "text.transformer.embeddings.word_embeddings.weight": (60, width),
        "text.transformer.encoder.layer.0.attention.self.query.weight": (width, width),
        "text.proj.0.weight": (30, width),
        "text.proj.2.weight": (card.dim, 30),
        "logit_scale": (),
    }
    draw = torch.Generator().manual_seed(seed)
    # Wide enough that activations leave the linear range and every bias and epsilon shows in the output.
    state = {k: 0.3 * torch.randn(shape, generator=draw) for k, shape in shapes.items()}
    state["text.transformer.embeddings.position_ids"] = torch.arange(512)[None]
    return state


BIOMEDCLIP_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {
            "timm_model_name": "vit_base_patch16_224", "timm_model_pretrained": False, "timm_pool": "",
            "timm_proj": "linear", "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256,
        },
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
    },
}  # fmt: skip
"""What open_clip_config.json of the released model says, as far as it concerns us."""


def write_biomedclip(card: EncoderCard, folder: Path, *, seed: int = 0) -> Path:
    """The folder as it lies on the hub: configuration and checkpoint of both towers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(BIOMEDCLIP_CONFIG))
    torch.save(biomedclip_state(card, seed=seed), folder / "open_clip_pytorch_model.bin")
    return folder


def write_weights(card: EncoderCard, folder: Path, *, seed: int = 0) -> Path | None:
    """A checkpoint for this card; None where the weights are packaged or there are none."""
    if card.is_3d:
        return tiny_volumes.write(card.name, folder, seed=seed) if card.source != "none" else None
    if is_hub(card):
        return write_hub_folder(card, folder, seed=seed)
    if card.name == "biomedclip":
        return write_biomedclip(card, folder, seed=seed)
    if card.source == "none" or card.name == "dinov2-s-focus":
        return None
    return write_state_dict(card.name, folder, seed=seed)
