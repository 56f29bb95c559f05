"""Networks for transfer learning: a pretrained backbone, dropout and one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from radfoundry.encoders.weights import digest
from radfoundry.errors import InputError, WeightsError
from radfoundry.preprocess.recipe import IMAGENET_MEAN, IMAGENET_STD
from radfoundry.registry import Registry

_CLASSIFIERS = ("_fc", "fc", "classifier")


def _efficientnet_lite0(pretrained: bool, weights: Path | None, seed: int) -> nn.Module:
    from radfoundry.encoders.efficientnet import build_efficientnet_lite0

    return build_efficientnet_lite0(pretrained=pretrained, weights_file=weights, seed=seed)


def _mobilenet_v2(pretrained: bool, weights: Path | None, seed: int) -> nn.Module:
    from radfoundry.encoders.mobilenet import build_mobilenet_v2

    return build_mobilenet_v2(pretrained=pretrained, weights_file=weights, seed=seed)


# A builder takes (pretrained, weights file or None, seed) and gives a module with `dim` and
# `embed(x): (B, 3, H, W) -> (B, dim)`, for input of ImageNet mean and standard deviation.
BACKBONES: Registry[Callable[[bool, Path | None, int], nn.Module]] = Registry(
    "backbone", "radfoundry.backbones"
)
BACKBONES.add("efficientnet-lite0", _efficientnet_lite0)
BACKBONES.add("mobilenet-v2", _mobilenet_v2)


@dataclass(frozen=True)
class Start:
    """Weights that a backbone starts from: a file and its SHA-256, or the published ones."""

    file: str | None = None
    digest: str = ""


PUBLISHED = Start()


def starts_of(backbones: Sequence[str], given: Sequence[str]) -> dict[str, Start]:
    """Which backbone starts from which file: FILE for the only backbone, NAME=FILE for each of several.

    Raises InputError where it is not clear which file is whose, WeightsError for a file that is not there.
    """
    found: dict[str, Start] = {}
    for word in given:
        name, equals, file = word.partition("=")
        if not (equals and name in backbones):
            name, file = backbones[0] if len(backbones) == 1 else "", word
        if not name or name in found:
            entries = " ".join(f"{known}=FILE" for known in backbones) or "nothing, as none is fine-tuned"
            raise InputError(f"--transfer-weights {word}: of which backbone? Give {entries}")
        path = Path(file).expanduser()
        if not path.is_file():
            raise WeightsError(f"--transfer-weights {word}: no file {file!r} for {name}. Check the path")
        found[name] = Start(str(path), digest(path))
    return found


def check_weights(backbones: Sequence[str], given: Sequence[str]) -> None:
    """Build every backbone once, so that missing or foreign weights are refused before hours of work.

    given: as in `starts_of`. Raises what that raises, WeightsError and MissingExtra.
    """
    starts = starts_of(backbones, given)
    for name in backbones:
        file = starts.get(name, PUBLISHED).file
        try:
            BACKBONES.get(name)(True, Path(file) if file else None, 0)
        except WeightsError as fault:  # loaders speak of the option that encoders have
            own = f"--transfer-weights {f'{name}=' if len(backbones) > 1 else ''}FILE"
            raise WeightsError(str(fault).replace("--weights FILE", own)) from fault


class Net(nn.Module):
    """backbone -> global average -> dropout -> linear. Input: (B, 1 or 3, H, W) in [0, 1]."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, name: str, outputs: int, *, pretrained: bool, weights: Path | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.backbone = BACKBONES.get(name)(pretrained, weights, seed)
        for classifier in _CLASSIFIERS:
            if hasattr(self.backbone, classifier):
                setattr(self.backbone, classifier, nn.Identity())
        dim = int(self.backbone.dim)  # type: ignore[arg-type]  # nn.Module types every attribute as a tensor
        self.linear = nn.utils.skip_init(nn.Linear, dim, outputs)
        nn.init.zeros_(self.linear.bias)
        drawn = torch.rand((outputs, dim), generator=torch.Generator().manual_seed(seed))
        self.linear.weight = nn.Parameter((drawn * 2 - 1) / dim**0.5)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1 or 3, H, W) in [0, 1] -> (B, dim); grey is shown to all three channels."""
        normal: Any = (x - self.mean) / self.std
        return self.backbone.embed(normal.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]

    def forward(self, x: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, outputs). keep: (B, dim) dropout factors, 0 or 1/(1-rate), drawn by the caller."""
        features = self.features(x)
        return self.linear(features if keep is None else features * keep)

    def unfreeze(self, blocks: int | str) -> None:
        """Let the linear layer and the last `blocks` units of the backbone train ("all": every one; 0: none).

        A unit is a top-level convolution, normalisation or block, counted in the order of the network.
        """
        units = _units(self.backbone)
        if blocks != "all" and not (isinstance(blocks, int) and blocks >= 0):
            raise InputError(f"unfreeze must be 'all' or a number of blocks, not {blocks!r}")
        count = len(units) if blocks == "all" else min(int(blocks), len(units))
        for index, unit in enumerate(units):
            for parameter in unit.parameters():
                parameter.requires_grad_(index >= len(units) - count)

    def train_mode(self, batchnorm: str) -> None:
        """Training mode; with `frozen` the batch normalisations keep their running statistics.

        A normalisation whose weights do not train always keeps them.
        """
        self.train()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and (
                batchnorm == "frozen" or not module.weight.requires_grad
            ):
                module.eval()


def _units(backbone: nn.Module) -> list[nn.Module]:
    units: list[nn.Module] = []
    for child in backbone.children():
        parts = list(child.children()) if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
        units += [part for part in parts if not isinstance(part, nn.Identity)]
    return units
