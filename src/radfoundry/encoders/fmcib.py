"""FMCIB, the foundation model for cancer imaging biomarkers: a wide 3D ResNet-50 that looks at CT lesions."""

from __future__ import annotations

from dataclasses import replace

from radfoundry.encoders.card import MIT, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.medicalnet import plain
from radfoundry.encoders.torch_backend import seeded
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import VolumeRecipe, Window

RECIPE = VolumeRecipe(
    "SPL", Window(-1024, 2048, clip=False), spacing_mm=(1.0, 1.0, 1.0), size=(50, 50, 50), crop="roi",
    centre="floor", grid="RAS", patient_axes=True, outside="pad", border="both",
)  # fmt: skip
CARD = EncoderCard(
    name="fmcib",
    title="FMCIB wide 3D ResNet-50, lesions in CT, 50 mm around the seed point",
    source="url:https://zenodo.org/records/10528450/files/model_weights.torch",
    revision="zenodo 10528450",
    weights_file="model_weights.torch",
    licence=MIT,
    modalities=("CT",),
    recipe=RECIPE,
    output="global average of the last feature map, flattened",
    dim=4096,
    needs=("torch", "monai"),
    extra="volume",
    citation="Pai et al. 2024, Nature Machine Intelligence 6:354, doi:10.1038/s42256-024-00807-9",
    traps=(
        "HU are mapped by (HU + 1024) / 3072 and not clipped: metal gives values above 1",
        "seed points are LPS mm (DICOM, ITK); RAS points land in the other lung, and nothing warns",
        "axes go in as (Z, Y, X); an array (X, Y, Z) gives plausible, wrong vectors",
        "near the border of the volume the crop is what is there, padded equally on both sides, so the "
        "lesion is not in the middle: fmcib-centred keeps it there",
        "the crop begins at a whole voxel of the volume resampled to 1 mm, up to 1 mm from the seed point",
        "a CT model: MR is refused. Embeddings encode the size of the lesion, so report it beside them",
    ),
    architecture={"width": 128},
)
CENTRED = replace(
    CARD,
    name="fmcib-centred",
    title="FMCIB, the lesion exactly in the middle of the crop, also near the border",
    recipe=replace(RECIPE, centre="exact", border="centred"),
    traps=(
        *CARD.traps[:3],
        "not how the published embeddings were made: fmcib cuts as they were",
        CARD.traps[5],
    ),
)


@register(CARD, CENTRED)
def build(request: Request) -> Backend:
    """MONAI's ResNet-50, twice as wide; the projection head of the pretraining is left behind."""
    require("torch", extra="volume")
    from radfoundry.encoders.nets.monai_resnet import resnet3d

    with seeded(request.seed):
        net = resnet3d(50, width=request.card.architecture["width"], bias_downsample=True)
    return checkpoint_backend(net, request, plain)
