"""Narrow twins of the 3D encoders, and checkpoints for them with the keys that the published files have.

Where MONAI is the origin of a network the checkpoint is the state dict of MONAI's own whole model, decoder
and heads included; the others are put together here by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import radfoundry.encoders as encoders
from radfoundry.encoders.card import EncoderCard
from radfoundry.types import Volume

NAMES = (
    "ct-fm", "ct-fm-lesion", "merlin", "merlin-contrastive", "vista3d", "models-genesis",
    "models-genesis-running", "models-genesis-mr", *(f"medicalnet-resnet{d}" for d in (10, 18, 34, 50)),
    "brainiac-v1", "brainiac-v2", "brainiac-v2-mean", "fmcib", "fmcib-centred", "astra-ct",
    "astra-ct-chest", "umedpt", "umedpt-mean", "umedpt-lesion", "r3d-18", "se-resnet50-3d",
)  # fmt: skip
BLOCKS = (1, 1, 1, 1, 1)
SWIN = {"width": 8, "depths": (2, 2), "heads": (2, 4), "window": 4}


def family(name: str) -> str:
    """Whose checkpoint fits: one of the keys of `WRITERS`."""
    return next(f for f in sorted(WRITERS, key=len, reverse=True) if name.startswith(f))


def small(name: str) -> EncoderCard:
    """The card with a narrow network and a small input."""
    card = encoders.card(name)
    changes: dict[str, dict[str, Any]] = {
        "ct-fm": {"architecture": {"init_filters": 4, "blocks_down": BLOCKS}, "dim": 64},
        "merlin": {
            "architecture": {"layers": (1, 2, 1, 1), "width": 4}
            | ({"contrastive": 10} if name == "merlin-contrastive" else {}),
            "dim": 10 if name == "merlin-contrastive" else 128,
        },
        "vista3d": {
            "architecture": {"init_filters": 8, "blocks_down": (1, 2, 2, 4, 4), "norm": "instance"},
            "dim": 128,
        },
        "models-genesis": {"architecture": {**card.architecture, "width": 2}, "dim": 32},
        "medicalnet": {"architecture": {**card.architecture, "width": 4}, "dim": card.dim // 16},
        "fmcib": {"architecture": {"width": 4}, "dim": 128},
        "astra-ct": {"architecture": {"layers": (1, 2, 1, 1), "width": 4}, "dim": 128},
        "brainiac-v1": {"architecture": {"width": 4}, "dim": 128},
        "brainiac-v2": {
            "architecture": {
                **card.architecture, "image": (32, 32, 32), "width": 12, "hidden": 24, "layers": 2,
                "heads": 3,
            },
            "dim": 12,
        },
        "umedpt": {"architecture": {**card.architecture, **SWIN}, "dim": 12},
        "r3d-18": {"architecture": {"width": 4, "classes": 5}, "dim": 32},
        "se-resnet50-3d": {"architecture": {"layers": (1, 1, 1, 1)}},
        "efficientnet-lite0-lesion": {},
    }  # fmt: skip
    recipe = card.recipe
    if recipe.size is not None:
        size = (32, 32, 16) if recipe.size == (64, 64, 32) else (32, 32, 32)
        size = (recipe.size[0] and 6, 32, 32) if recipe.bag else size
        recipe = replace(recipe, size=size)
    return replace(card, recipe=recipe, checksum="", **changes[family(name)])


def scan(shape: tuple[int, int, int] = (40, 36, 24), *, modality: str = "CT", seed: int = 0) -> Volume:
    """A smooth body in air (CT, HU) or on zeros (MR), voxels 1.2 x 1.1 x 2 mm, stored left to right."""
    rng = np.random.default_rng(seed)
    i, j, k = np.mgrid[tuple(slice(0, n) for n in shape)].astype(np.float32)
    waves = sum(
        np.sin(i / a + b) * np.cos(j / c) * np.sin(k / d + b) for a, b, c, d in rng.uniform(2, 8, (6, 4))
    )
    away = sum(((x - n / 2) / (0.45 * n)) ** 2 for x, n in zip((i, j, k), shape, strict=True))
    body = away < 1
    affine = np.diag([-1.2, -1.1, 2.0, 1.0])
    affine[:3, 3] = [24.0, 20.0, -20.0]
    if modality == "MR":
        return Volume(
            np.where(body, 300 + 60 * waves, 0.0).astype(np.float32), affine, "a.u.", "MR", "made.nii"
        )
    array = np.where(body, 40 + 90 * waves, -1024.0).astype(np.float32)
    return Volume(array, affine, "HU", "CT", "made.nii")


def draw(state: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The same names and shapes, filled so that every weight, bias and statistic shows in the output."""
    rng = torch.Generator().manual_seed(seed)
    out = {}
    for name, value in state.items():
        if not value.is_floating_point() or name.endswith("relative_coords_table"):
            out[name] = value.clone()
        elif name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            out[name] = 0.4 * torch.rand(value.shape, generator=rng) + 0.4
        elif value.ndim < 2:
            out[name] = 0.1 * torch.randn(value.shape, generator=rng)
        else:
            out[name] = torch.randn(value.shape, generator=rng) * (2.0 / value[0].numel()) ** 0.5
    return out


def ct_fm(card: EncoderCard) -> Any:
    from monai.networks.nets.segresnet_ds import SegResNetDS

    net = SegResNetDS(init_filters=card.architecture["init_filters"], blocks_down=BLOCKS)
    return {k.removeprefix("encoder."): v for k, v in net.state_dict().items() if k.startswith("encoder.")}


def merlin(card: EncoderCard) -> Any:
    """Names: MerlinArchitecture of StanfordMIMI/Merlin: image tower, two heads, text tower, temperature."""
    width, prefix = card.architecture["width"], "encode_image.i3_resnet."
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (width, 3, 3, 7, 7)}
    norms = {"bn1": width}
    inputs = width
    for index, blocks in enumerate(card.architecture["layers"]):
        middle = width * 2**index
        for block in range(blocks):
            name = f"layer{index + 1}.{block}"
            shapes[f"{name}.conv1.weight"] = (middle, inputs, 1, 1, 1)
            shapes[f"{name}.conv2.weight"] = (middle, middle, 3, 3, 3)
            shapes[f"{name}.conv3.weight"] = (4 * middle, middle, 1, 1, 1)
            norms |= {f"{name}.bn1": middle, f"{name}.bn2": middle, f"{name}.bn3": 4 * middle}
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * middle, inputs, 1, 1, 1)
                norms[f"{name}.downsample.1"] = 4 * middle
            inputs = 4 * middle
    for name, channels in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
    for head, outputs in (("classifier", 7), ("contrastive_head", 10)):
        shapes[f"{head}.weight"], shapes[f"{head}.bias"] = (outputs, inputs, 1, 1, 1), (outputs,)
    state = {prefix + k: torch.zeros(shape) for k, shape in shapes.items()}
    state |= {f"{prefix}{name}.num_batches_tracked": torch.tensor(5) for name in norms}
    return state | {
        "encode_text.text_encoder.embeddings.word_embeddings.weight": torch.zeros(9, 4),
        "encode_text.linear_layer.weight": torch.zeros(10, 4),
        "logit_scale": torch.tensor(1.0),
    }


def vista3d(card: EncoderCard) -> Any:
    from monai.networks.nets.vista3d import vista3d132

    return vista3d132(encoder_embed_dim=card.architecture["init_filters"]).state_dict()


def models_genesis(card: EncoderCard) -> Any:
    """Names: pytorch/unet3d.py of MrGiovanni/ModelsGenesis, saved from DataParallel."""
    width = card.architecture["width"]
    state: dict[str, torch.Tensor] = {}

    def layer(name: str, inputs: int, outputs: int) -> None:
        state[f"module.{name}.conv1.weight"] = torch.empty(outputs, inputs, 3, 3, 3)
        state[f"module.{name}.conv1.bias"] = torch.empty(outputs)
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"module.{name}.bn1.{part}"] = torch.empty(outputs)
        state[f"module.{name}.bn1.num_batches_tracked"] = torch.tensor(7)

    inputs = 1
    for depth, level in enumerate(("down_tr64", "down_tr128", "down_tr256", "down_tr512")):
        middle = width * 2**depth
        layer(f"{level}.ops.0", inputs, middle)
        layer(f"{level}.ops.1", middle, 2 * middle)
        inputs = 2 * middle
    state["module.up_tr256.up_conv.weight"] = torch.empty(16 * width, 16 * width, 2, 2, 2)
    layer("up_tr64.ops.1", 2 * width, 2 * width)
    state["module.out_tr.final_conv.weight"] = torch.empty(1, 2 * width, 1, 1, 1)
    return state


def monai_resnet(depth: int, width: int, **options: Any) -> Any:
    """MONAI's own constructor of that depth, made narrow."""
    from monai.networks.nets import resnet

    build = getattr(resnet, f"resnet{depth}")
    return build(pretrained=False, spatial_dims=3, widen_factor=width / 64, **options)


def medicalnet_net(card: EncoderCard) -> Any:
    """As MONAI builds it for pretrained=True: see its get_medicalnet_pretrained_resnet_args."""
    from monai.networks.nets.resnet import get_medicalnet_pretrained_resnet_args

    depth = card.architecture["depth"]
    bias, shortcut = get_medicalnet_pretrained_resnet_args(depth)
    return monai_resnet(
        depth, card.architecture["width"], n_input_channels=1, feed_forward=False, shortcut_type=shortcut,
        bias_downsample=bias,
    )  # fmt: skip


def fmcib_net(card: EncoderCard) -> Any:
    """As fmcib's own code builds it, with a narrower factor than 2."""
    return monai_resnet(
        50, card.architecture["width"], n_input_channels=1, conv1_t_stride=2, feed_forward=False,
        bias_downsample=True,
    )  # fmt: skip


def astra(card: EncoderCard) -> Any:
    """Names: as packaged, Merlin's tower without its prefix, its heads and the text tower."""
    prefix = "encode_image.i3_resnet."
    tower = {k.removeprefix(prefix): v for k, v in merlin(card).items() if k.startswith(prefix)}
    return {k: v for k, v in tower.items() if not k.startswith(("classifier.", "contrastive_head."))}


def brainiac_v1_net(card: EncoderCard) -> Any:
    """As BrainIAC's own code builds it: MONAI's defaults, another first convolution, no classifier."""
    net = monai_resnet(50, card.architecture["width"])
    net.conv1 = torch.nn.Conv3d(1, card.architecture["width"], 7, stride=2, padding=3, bias=False)
    net.fc = torch.nn.Identity()
    return net


def brainiac_v2(card: EncoderCard) -> Any:
    """MONAI 1.3's names, with which the weights were trained: networks/nets/vit.py and the blocks it uses."""
    size = card.architecture
    width, hidden = size["width"], size["hidden"]
    tokens = int(np.prod([n // p for n, p in zip(size["image"], size["patch"], strict=True)]))
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.position_embeddings": (1, tokens, width),
        "patch_embedding.patch_embeddings.weight": (width, 1, *size["patch"]),
        "patch_embedding.patch_embeddings.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(size["layers"]):
        shapes[f"blocks.{i}.attn.qkv.weight"] = (3 * width, width)
        for part, outputs, inputs in (
            ("norm1", width, None), ("norm2", width, None), ("attn.out_proj", width, width),
            ("mlp.linear1", hidden, width), ("mlp.linear2", width, hidden),
        ):  # fmt: skip
            shapes[f"blocks.{i}.{part}.weight"] = (outputs, inputs) if inputs else (outputs,)
            shapes[f"blocks.{i}.{part}.bias"] = (outputs,)
    return {f"backbone.{k}": torch.zeros(shape) for k, shape in shapes.items()}


def swin_layers(card: EncoderCard) -> dict[str, torch.Tensor]:
    """torchvision's swin_v2 names and shapes, without its head."""
    size = card.architecture
    width, window = size["width"], size["window"]
    shapes: dict[str, tuple[int, ...]] = {
        "features.0.0.weight": (width, 3, 4, 4),
        "features.0.0.bias": (width,),
    }

    def norm(name: str, channels: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)

    norm("features.0.2", width)
    for stage, (depth, heads) in enumerate(zip(size["depths"], size["heads"], strict=True)):
        c = width * 2**stage
        for index in range(depth):
            block = f"features.{1 + 2 * stage}.{index}"
            norm(f"{block}.norm1", c)
            norm(f"{block}.norm2", c)
            shapes[f"{block}.attn.logit_scale"] = (heads, 1, 1)
            for part, outputs, inputs in (
                ("attn.qkv", 3 * c, c), ("attn.proj", c, c), ("mlp.0", 4 * c, c), ("mlp.3", c, 4 * c),
                ("attn.cpb_mlp.0", 512, 2),
            ):  # fmt: skip
                shapes[f"{block}.{part}.weight"], shapes[f"{block}.{part}.bias"] = (
                    (outputs, inputs),
                    (outputs,),
                )
            shapes[f"{block}.attn.cpb_mlp.2.weight"] = (heads, 512)
            shapes[f"{block}.attn.relative_coords_table"] = (1, 2 * window - 1, 2 * window - 1, 2)
            shapes[f"{block}.attn.relative_position_index"] = (window**4,)
        if stage + 1 < len(size["depths"]):
            shapes[f"features.{2 + 2 * stage}.reduction.weight"] = (2 * c, 4 * c)
            norm(f"features.{2 + 2 * stage}.norm", 2 * c)
    norm("norm", width * 2 ** (len(size["depths"]) - 1))
    state = {k: torch.zeros(shape) for k, shape in shapes.items()}
    return state | _window_tables(shapes, window)


def _window_tables(shapes: dict[str, tuple[int, ...]], window: int) -> dict[str, torch.Tensor]:
    """The two tables that torchvision stores with every block, by their definition, place by place."""
    index = torch.zeros(window**4, dtype=torch.long)
    table = torch.zeros(1, 2 * window - 1, 2 * window - 1, 2)
    for a in range(2 * window - 1):
        for b in range(2 * window - 1):
            for axis, offset in enumerate((a - window + 1, b - window + 1)):
                scaled = 8 * offset / (window - 1)
                table[0, a, b, axis] = np.sign(scaled) * np.log2(abs(scaled) + 1) / np.log2(8)
    for i in range(window**2):
        for j in range(window**2):
            rows, columns = i // window - j // window, i % window - j % window
            index[i * window**2 + j] = (rows + window - 1) * (2 * window - 1) + columns + window - 1
    return {
        k: index if k.endswith("index") else table
        for k in shapes
        if k.endswith(("relative_position_index", "relative_coords_table"))
    }


def umedpt(card: EncoderCard) -> Any:
    """The released blocks side by side: encoder, squeezer, grouper."""
    dim = card.dim
    last = card.architecture["width"] * 2 ** (len(card.architecture["depths"]) - 1)
    state = {f"encoder.model.wrapped_model.{k}": v for k, v in swin_layers(card).items()}
    state |= {
        "squeezer.norm.weight": torch.zeros(dim), "squeezer.norm.bias": torch.zeros(dim),
        "squeezer.conv.weight": torch.zeros(dim, last, 1, 1), "squeezer.conv.bias": torch.zeros(dim),
        "grouper.reducer.weightgiver.weight": torch.zeros(1, dim),
        "grouper.reducer.weightgiver.bias": torch.zeros(1),
    }  # fmt: skip
    return state


def r3d_net(card: EncoderCard) -> Any:
    """The same network as MONAI would build it, under MONAI's names."""
    return monai_resnet(
        18, card.architecture["width"], n_input_channels=3, conv1_t_size=(3, 7, 7), conv1_t_stride=(1, 2, 2),
        no_max_pool=True, shortcut_type="B", bias_downsample=False, num_classes=card.architecture["classes"],
    )  # fmt: skip


def r3d(card: EncoderCard) -> Any:
    """torchvision's names for MONAI's layers."""
    out = {}
    for name, value in r3d_net(card).state_dict().items():
        if name.startswith(("conv1.", "bn1.")):
            name = name.replace("conv1.", "stem.0.").replace("bn1.", "stem.1.")
        elif not name.startswith("fc."):
            for part in ("1", "2"):
                name = name.replace(f".conv{part}.", f".conv{part}.0.").replace(
                    f".bn{part}.", f".conv{part}.1."
                )
        out[name] = value
    return out


def se_resnet50(card: EncoderCard) -> Any:
    from monai.networks.nets import SEResNet50

    return SEResNet50(spatial_dims=3, in_channels=1, num_classes=3, **card.architecture).state_dict()


def efficientnet(card: EncoderCard) -> Any:
    from radfoundry.encoders.nets.efficientnet_lite import EfficientNetLite0

    return EfficientNetLite0().state_dict()


WRITERS: dict[str, Callable[[EncoderCard], Any]] = {
    "ct-fm": ct_fm,
    "merlin": merlin,
    "vista3d": vista3d,
    "models-genesis": models_genesis,
    "fmcib": lambda c: fmcib_net(c).state_dict(),
    "astra-ct": astra,
    "medicalnet": lambda c: {f"module.{k}": v for k, v in medicalnet_net(c).state_dict().items()},
    "brainiac-v1": lambda c: {f"backbone.{k}": v for k, v in brainiac_v1_net(c).state_dict().items()},
    "brainiac-v2": brainiac_v2,
    "umedpt": umedpt,
    "r3d-18": r3d,
    "se-resnet50-3d": se_resnet50,
    "efficientnet-lite0-lesion": efficientnet,
}
WRAPPED = {
    **dict.fromkeys(("models-genesis", "medicalnet", "brainiac-v1", "brainiac-v2"), "state_dict"),
    "astra-ct": "state_dict",
    "fmcib": "trunk_state_dict",
}
"""Published inside a dictionary of this key, with the epoch and the like."""


@cache
def _layout(name: str) -> dict[str, torch.Tensor]:
    return WRITERS[family(name)](small(name))


def state_of(name: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor of the published file, under its published name."""
    return draw(_layout(name), seed)


def write(name: str, folder: Path, state: dict[str, torch.Tensor] | None = None, *, seed: int = 0) -> Path:
    """The file as it is published (UMedPT: as converted), random but for its layout."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    card = encoders.card(name)
    path = folder / (card.weights_file or "own.pt")
    state = state_of(name, seed=seed) if state is None else state
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        wrapper = WRAPPED.get(family(name))
        torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    return path
