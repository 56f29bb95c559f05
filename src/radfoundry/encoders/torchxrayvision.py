"""TorchXRayVision's DenseNet-121, read from its state dict: the package itself is not needed.

The released file is a pickled module, which can run code when opened, so it is refused; `CONVERT` turns it
into plain tensors, once, where torchxrayvision is installed.
"""

from __future__ import annotations

from radfoundry.encoders import weights
from radfoundry.encoders.card import APACHE, RADIOGRAPH, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import plain_backend, seeded
from radfoundry.errors import WeightsError
from radfoundry.optional import require
from radfoundry.preprocess.recipe import Recipe

CONVERT = (
    'python -c "import torch, torchxrayvision as xrv; '
    "m = xrv.models.DenseNet(weights='densenet121-res224-all'); "
    "torch.save(m.state_dict(), 'densenet121-res224-all.pt')\""
)

RECIPE = Recipe(
    "crop-then-resize", 224, interpolation="bilinear", eight_bit=False, channels=1,
    value_range=(-1024.0, 1024.0),
)  # fmt: skip

CARD = EncoderCard(
    name="torchxrayvision-densenet121-all",
    title="TorchXRayVision DenseNet-121, eight chest radiograph data sets",
    source="url:https://github.com/mlmed/torchxrayvision/releases",
    revision="densenet121-res224-all",
    weights_file="densenet121-res224-all.pt",
    licence=APACHE,
    modalities=RADIOGRAPH,
    recipe=RECIPE,
    output="ReLU and global average of the final feature map (`features2` upstream)",
    dim=1024,
    needs=("torch",),
    extra="torch",
    citation="Cohen et al. 2022, TorchXRayVision, arXiv:2111.00595",
    traps=(
        "values run from -1024 to 1024, one channel; images in 0..1 give plausible, wrong vectors",
        "`features` upstream is the map before pooling; only ReLU and average pooling give 1024 numbers",
        "trained on NIH, PadChest, CheXpert, MIMIC and others: testing on those is testing on training data",
        "the resize here is Pillow's antialiased bilinear; upstream uses scikit-image, close but not equal",
    ),
)


@register(CARD)
def build(request: Request) -> Backend:
    """DenseNet-121 with one input channel and 18 outputs, pooled to 1024 features."""
    require("torch", extra="torch")
    from radfoundry.encoders.nets.densenet import DenseNet121

    with seeded(request.seed):
        net = DenseNet121(channels=1, classes=18)
    if request.random:
        return plain_backend(net, request, None)
    if request.weights is None:
        raise WeightsError(
            f"{CARD.name} needs its weights as plain tensors, because the release is a pickled module. Where "
            f"torchxrayvision is installed: {CONVERT}; then pass --weights {CARD.weights_file}."
        )
    path = weights.existing(request.weights, request.card)
    # op_threshs are the per-label operating points, not part of the network.
    return plain_backend(net, request, path, ignore=("op_threshs",))
