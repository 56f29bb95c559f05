"""Models Genesis: the contracting half of a 3D U-Net that learned to restore distorted chest CT."""

from __future__ import annotations

from dataclasses import replace

from radfoundry.encoders.card import EncoderCard, Licence
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.huggingface import UNPINNED
from radfoundry.encoders.torch_backend import seeded
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import Percentiles, VolumeRecipe, Window

ASU_NC = Licence(
    "ASU-NC", "non-commercial research within Arizona State University's terms",
    "https://github.com/MrGiovanni/ModelsGenesis/blob/master/LICENSE", restricted=True,
)  # fmt: skip
DECODER = ("up_tr256.", "up_tr128.", "up_tr64.", "out_tr.")
NORM = (
    "the published batch norm uses the batch's own statistics even in use, so vectors depend on what else is "
    "in the batch; here each volume is normalised by itself, as the published code does for a batch of one "
    "(bn_mode: per-sample, running or batch, in the card's architecture)"
)
SPACING = "trained at the native spacing of LUNA16 scans; 1 mm is chosen here so that crops compare"

RECIPE = VolumeRecipe(
    "LPS", Window(-1000, 1000), spacing_mm=(1.0, 1.0, 1.0), size=(64, 64, 32), crop="roi", border="centred"
)

CARD = EncoderCard(
    name="models-genesis",
    title="Models Genesis 3D U-Net encoder, chest CT, 64x64x32 mm around a lesion",
    source="hf-hub:MrGiovanni/ModelsGenesis",
    weights_file="Genesis_Chest_CT.pt",
    licence=ASU_NC,
    modalities=("CT",),
    recipe=RECIPE,
    output="global average of the bottleneck (512), each volume normalised by itself",
    dim=512,
    needs=("torch",),
    extra="torch",
    citation="Zhou et al. 2021, Medical Image Analysis 67, arXiv:1912.07818",
    traps=(
        NORM,
        SPACING,
        "some benchmarks flatten a 2x2x2 pool of the bottleneck (4096 numbers) instead of averaging it (512)",
        "read as plain tensors; a file that holds more is refused: save its `state_dict` where you trust it",
        UNPINNED,
    ),
    architecture={"width": 32, "bn_mode": "per-sample"},
)
RUNNING = replace(
    CARD,
    name="models-genesis-running",
    title="Models Genesis with the statistics stored while training",
    output="global average of the bottleneck (512), normalised by stored statistics",
    architecture={"width": 32, "bn_mode": "running"},
)
MR = replace(
    CARD,
    name="models-genesis-mr",
    title="Models Genesis 3D U-Net encoder, shown MR",
    modalities=("MR",),
    recipe=replace(RECIPE, intensity=Percentiles(0.0, 99.5, nonzero=True)),
    traps=("learned on CT: MR is mapped to 0..1 by percentiles 0 and 99.5 of non-zero voxels", *CARD.traps),
)


@register(CARD, RUNNING, MR)
def build(request: Request) -> Backend:
    """The encoder, with its norm in the mode of the card's architecture."""
    require("torch", extra="torch")
    from radfoundry.encoders.nets.models_genesis import GenesisEncoder

    sizes = request.card.architecture
    with seeded(request.seed):
        net = GenesisEncoder(**sizes)
    return checkpoint_backend(net, request, beside=DECODER, note=f"bn_mode {sizes['bn_mode']}")
