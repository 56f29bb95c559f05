"""Merlin: the image tower, an inflated ResNet-152 trained on abdominal CT, reports and diagnosis codes."""

from __future__ import annotations

from dataclasses import replace

from radfoundry.encoders.card import MIT, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.huggingface import UNPINNED
from radfoundry.encoders.torch_backend import seeded
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import VolumeRecipe, Window

PREFIX = "encode_image.i3_resnet."
BESIDE = ("encode_text.", "logit_scale", f"{PREFIX}classifier.")
HEAD = f"{PREFIX}contrastive_head."

CARD = EncoderCard(
    name="merlin",
    title="Merlin I3D ResNet-152, abdominal CT",
    source="hf-hub:stanfordmimi/Merlin",
    weights_file="i3_resnet_clinical_longformer_best_clip_04-02-2024_23-21-36_epoch_99.pt",
    licence=MIT,
    modalities=("CT",),
    recipe=VolumeRecipe(
        "RAS", Window(-1000, 1000), spacing_mm=(1.5, 1.5, 3.0), size=(224, 224, 160), crop="centre"
    ),
    output="global average of the last feature map (`ImageEmbedding=True` upstream)",
    dim=2048,
    needs=("torch",),
    extra="torch",
    citation="Blankemeier et al. 2024, Merlin, arXiv:2406.06512",
    traps=(
        "336 x 336 x 480 mm around the middle of the scan: short scans are padded with air (0), and of a "
        "whole-body scan only the middle is seen",
        "axes RAS go in; the network itself turns the slices to the front",
        "the default output of the upstream class is a pair of heads, not these 2048 numbers",
        "benchmarks have shown it lesion crops of 48 mm, which it was not trained for",
        UNPINNED,
    ),
    architecture={"layers": (3, 8, 36, 3), "width": 64},
)
CONTRASTIVE = replace(
    CARD,
    name="merlin-contrastive",
    title="Merlin I3D ResNet-152, the space it shares with reports",
    output="contrastive head on the global average, not normalised",
    dim=512,
    traps=("normalise to length 1 before comparing with text", *CARD.traps),
    architecture={**CARD.architecture, "contrastive": 512},
)


@register(CARD, CONTRASTIVE)
def build(request: Request) -> Backend:
    """The image tower, with its contrastive head where that is the output; the text tower is left behind."""
    require("torch", extra="torch")
    from radfoundry.encoders.nets.i3resnet import I3ResNet

    sizes = request.card.architecture
    with seeded(request.seed):
        net = I3ResNet(**sizes)
    beside = BESIDE if "contrastive" in sizes else (*BESIDE, HEAD)
    return checkpoint_backend(net, request, prefixes=(PREFIX, ""), beside=beside)
