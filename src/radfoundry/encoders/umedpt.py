"""UMedPT: a 2D Swin-V2 trained on many medical tasks at once; a volume is a bag of its slices.

The release is a zip of pickled modules, which can run code when opened, so it is refused; `CONVERT` turns it
into plain tensors, once, where the upstream package is installed and its licence was accepted.
"""

from __future__ import annotations

from dataclasses import replace

from radfoundry.encoders.card import EncoderCard, Licence
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import seeded
from radfoundry.errors import WeightsError
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import Percentiles, VolumeRecipe

FRAUNHOFER_NC = Licence(
    "Fraunhofer-NC", "non-commercial research; no redistribution, no diagnostic use, patent pending",
    "https://github.com/FraunhoferMEVIS/MedicalMultitaskModeling", restricted=True,
)  # fmt: skip
CONVERT = (
    'python -c "import torch; from mmm.labelstudio_ext.NativeBlocks import *; '
    "b = NativeBlocks(MMM_MODELS[DEFAULT_MODEL], device_identifier='cpu'); "
    "torch.save({f'{k}.{n}': t for k in ('encoder', 'squeezer', 'grouper') "
    "for n, t in b[k].state_dict().items()}, 'umedpt-1.0.4.pt')\""
)
INTENSITY = Percentiles(2.5, 97.5)
BORDERS = "slices of one value throughout (padding) are left out of the bag"
RANGE = "values run from 0 to 1 without ImageNet's mean and std, which torchvision's own Swin would want"

CARD = EncoderCard(
    name="umedpt",
    title="UMedPT Swin-V2-B, all slices of a volume, weighted by its grouper",
    source="url:https://data.rslide.org/encoder-1.0.4.pt.zip",
    revision="1.0.4",
    weights_file="umedpt-1.0.4.pt",
    licence=FRAUNHOFER_NC,
    modalities=("MR", "CT"),
    recipe=VolumeRecipe("SPL", INTENSITY, size=(None, 224, 224), resize=True, channels=3, bag=True),
    output="squeezer's vector of each slice, pooled by the grouper: (1/n) sum sigmoid(w h + b) h",
    dim=512,
    needs=("torch",),
    extra="torch",
    citation="Schäfer et al. 2024, Nature Computational Science 4, 495-509",
    traps=(
        "the grouper divides by the number of slices, not by the sum of weights: slices of little weight "
        "pull the vector towards 0",
        "a public script pools by a grouper whose weights it never loads; here the released ones are needed, "
        "or take umedpt-mean",
        RANGE,
        BORDERS,
        "2D: it never sees two slices at once",
    ),
    architecture={
        "width": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32), "window": 8, "pool": "weighted",
    },
)  # fmt: skip
MEAN = replace(
    CARD,
    name="umedpt-mean",
    title="UMedPT Swin-V2-B, all slices of a volume, averaged",
    output="mean over slices of the squeezer's vector",
    traps=("every slice counts alike; the released grouper is not used", RANGE, BORDERS),
    architecture={**CARD.architecture, "pool": "mean"},
)
LESION = replace(
    CARD,
    name="umedpt-lesion",
    title="UMedPT Swin-V2-B, 24 slices of 192x192 around a lesion",
    recipe=VolumeRecipe(
        "SPL", INTENSITY, size=(24, 192, 192), crop="roi", border="centred", channels=3, bag=True
    ),
    traps=("cut at the file's own voxels: millimetres differ between scans", *CARD.traps),
)


@register(CARD, MEAN, LESION)
def build(request: Request) -> Backend:
    """Encoder, squeezer and the grouper that the card's architecture names."""
    require("torch", extra="torch")
    from radfoundry.encoders.nets.umedpt import UMedPT

    sizes = request.card.architecture
    with seeded(request.seed):
        net = UMedPT(**sizes, dim=request.card.dim)
    if not request.random and (request.weights is None or request.weights.suffix == ".zip"):
        raise WeightsError(
            f"{request.card.name} needs its weights as plain tensors, because the release "
            f"({request.card.source.removeprefix('url:')}) is a zip of pickled modules. Where "
            f"medicalmultitaskmodeling 1.0.4 is installed and its licence accepted: {CONVERT}; then pass "
            f"--weights {request.card.weights_file}."
        )
    beside = ("grouper.",) if sizes["pool"] == "mean" else ()
    return checkpoint_backend(net, request, beside=beside, note=f"pool {sizes['pool']}")
