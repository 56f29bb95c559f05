"""The image encoder of NVIDIA's VISTA3D, which segments 127 structures in CT. MONAI holds the network."""

from __future__ import annotations

from radfoundry.encoders.card import EncoderCard, Licence
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.ct_fm import last_level, segres_encoder
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import seeded
from radfoundry.preprocess.volume_recipe import VolumeRecipe, Window

NVIDIA_NC = Licence(
    "NVIDIA-OneWay-NC", "non-commercial research and evaluation",
    "https://developer.download.nvidia.com/licenses/NVIDIA-OneWay-Noncommercial-License-22Mar2022.pdf",
    restricted=True,
)  # fmt: skip
PREFIX = "image_encoder.encoder."
BESIDE = ("image_encoder.up_layers.", "image_encoder.up_layers_auto.", "class_head.", "point_head.")

CARD = EncoderCard(
    name="vista3d",
    title="VISTA3D image encoder, CT, 192 mm around a lesion",
    source="url:https://developer.download.nvidia.com/assets/Clara/monai/tutorials/model_zoo/model_vista3d.pt",
    revision="model_vista3d.pt",
    weights_file="model_vista3d.pt",
    licence=NVIDIA_NC,
    modalities=("CT",),
    recipe=VolumeRecipe(
        "RAS", Window(-963.8247715525971, 1053.678477684517), spacing_mm=(1.5, 1.5, 1.5),
        size=(128, 128, 128), crop="roi", border="centred",
    ),
    output="global average of the last level of the image encoder",
    dim=768,
    needs=("torch", "monai"),
    extra="volume",
    citation="He et al. 2024, VISTA3D, arXiv:2406.05285",
    traps=(
        "the window -963.8..1053.7 HU is the published bundle's; benchmarks have used -1024..2048",
        "instance norm: no stored statistics, so a small crop is normalised by itself",
        "trained to segment organs: it knows where it is better than what is wrong there",
        "later weights of the network (nvidia/NV-Segment-CT) come under other terms; this card is about "
        "model_vista3d.pt",
    ),
    architecture={"init_filters": 48, "blocks_down": (1, 2, 2, 4, 4), "norm": "instance"},
)  # fmt: skip


@register(CARD)
def build(request: Request) -> Backend:
    """The encoder cut out of the whole model's file; decoders and heads are left behind."""
    with seeded(request.seed):
        net = segres_encoder(**request.card.architecture)
    return checkpoint_backend(net, request, last_level, prefixes=(PREFIX, ""), beside=BESIDE)
