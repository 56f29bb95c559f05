"""Vision models of the Hugging Face layout (config.json + safetensors), by card or by any id.

Only the vision tower is built. Code that comes with a model is never run, and pickles are never opened.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any

from radfoundry.encoders import weights
from radfoundry.encoders.card import (
    APACHE,
    CC_BY_NC,
    HAI_DEF,
    MIT,
    MSRLA,
    RADIOGRAPH,
    RADIOLOGY_2D,
    UNSTATED,
    EncoderCard,
    Licence,
)  # fmt: skip
from radfoundry.encoders.catalogue import Request, cards, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.huggingface_recipe import preparation, stated_normalisation
from radfoundry.encoders.huggingface_towers import (
    CLS,
    PROJECTED,
    quietly,
    require_repeatable,
    stated_width,
    tower,
    width,
)
from radfoundry.encoders.torch_backend import runner, seeded
from radfoundry.errors import WeightsError
from radfoundry.optional import require
from radfoundry.preprocess.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
POOLED = "attention-pooled vision output, not normalised"
FIXED_SIZE = ("clip_vision_model", "siglip_vision_model")
NEEDS = ("torch", "transformers")
PHOTOGRAPHS = "trained on photographs: on radiographs it sees texture and edges, not findings"
LATERAL = "the centre crop loses the lateral lung in landscape films"
UNPINNED = "no commit is pinned, so `main` is read and may change: name one with --revision"
BY_ID = ("hf-hub:", "local:")
"""How the names of models without a card begin."""


def _vit(hidden: int, layers: int, heads: int, image: int, patch: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "image_size": image, "patch_size": patch, **more,
    }  # fmt: skip


def _dinov2(hidden: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {"model_type": "dinov2"} | _vit(hidden, layers, heads, 518, 14, **more)


RAD_DINO_RECIPE = Recipe("shortest-edge", 518, 518, mean=(0.5307,) * 3, std=(0.2583,) * 3)
RAD_DINO = EncoderCard(
    name="rad-dino",
    title="RAD-DINO ViT-B/14, chest radiographs",
    source="hf-hub:microsoft/rad-dino",
    revision="110cbc18d5133582e320b43d53bf5c44e410c936",
    licence=MIT,
    modalities=RADIOGRAPH,
    recipe=RAD_DINO_RECIPE,
    output=CLS,
    dim=768,
    needs=NEEDS,
    extra="hf",
    citation="Pérez-García et al. 2025, Nature Machine Intelligence, arXiv:2401.10815",
    traps=(
        LATERAL,
        "MIT since 2025; older pages still name the research licence MSRLA",
        "trained on public chest sets, MIMIC and NIH among them: testing there is testing on training data",
    ),
    architecture=_dinov2(768, 12, 12),
)
RAD_DINO_MAIRA_2 = EncoderCard(
    name="rad-dino-maira-2",
    title="RAD-DINO-MAIRA-2 ViT-B/14, chest radiographs",
    source="hf-hub:microsoft/rad-dino-maira-2",
    licence=MSRLA,
    modalities=RADIOGRAPH,
    recipe=RAD_DINO_RECIPE,
    output=CLS,
    dim=768,
    needs=NEEDS,
    extra="hf",
    citation="Bannur et al. 2024, MAIRA-2, arXiv:2406.04449",
    traps=(
        LATERAL,
        "trained on more, partly private data: overlap with a test set cannot be audited",
        UNPINNED,
    ),
    architecture=_dinov2(768, 12, 12),
)
MEDSIGLIP = EncoderCard(
    name="medsiglip",
    title="MedSigLIP 448, medical images and text",
    source="hf-hub:google/medsiglip-448",
    revision="9cea28a1a1195f665105faa6e8544c112fd960a4",
    licence=HAI_DEF,
    modalities=(*RADIOGRAPH, "CT", "MR", "XC", "OP", "SM"),
    colour=True,
    recipe=Recipe("exact", 448, interpolation="bilinear", antialias=False, mean=HALF, std=HALF),
    output=POOLED,
    dim=1152,
    needs=NEEDS,
    extra="hf",
    citation="Sellergren et al. 2025, MedGemma technical report, arXiv:2507.05201",
    traps=(
        "gated: accept the terms on the hub, then log in there",
        "resized without antialiasing, as its authors recommend; stock processors antialias and drift",
        "transformers 5 returns an object from get_image_features: snippets that divide it by its norm fail",
    ),
    architecture={"model_type": "siglip_vision_model"} | _vit(1152, 27, 16, 448, 14, intermediate_size=4304),
)
CLIP_B16 = EncoderCard(
    name="clip-vit-b16",
    title="OpenAI CLIP ViT-B/16",
    source="hf-hub:openai/clip-vit-base-patch16",
    revision="57c216476eefef5ab752ec549e440a49ae4ae5f3",
    weights_file="pytorch_model.bin",  # no safetensors for certain: the repository is older than they are
    licence=MIT,
    modalities=RADIOLOGY_2D,
    colour=True,
    recipe=Recipe("shortest-edge", 224, 224, mean=CLIP_MEAN, std=CLIP_STD),
    output=PROJECTED,
    dim=512,
    needs=NEEDS,
    extra="hf",
    citation="Radford et al. 2021, arXiv:2103.00020",
    traps=(PHOTOGRAPHS, "CLIP has its own mean and std; ImageNet's are a common mistake", LATERAL),
    architecture={"model_type": "clip_vision_model", "projection_dim": 512}
    | _vit(768, 12, 12, 224, 16, intermediate_size=3072),
)


def _dinov2_card(
    size: str, letter: str, dim: int, layers: int, heads: int, revision: str, **more: Any
) -> EncoderCard:
    return EncoderCard(
        name=f"dinov2-{size}",
        title=f"DINOv2 ViT-{letter}/14",
        source=f"hf-hub:facebook/dinov2-{size}",
        revision=revision,
        licence=APACHE,
        modalities=RADIOLOGY_2D,
        colour=True,
        recipe=Recipe("shortest-edge", 256, 224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        output=CLS,
        dim=dim,
        needs=NEEDS,
        extra="hf",
        citation="Oquab et al. 2023, arXiv:2304.07193",
        traps=(PHOTOGRAPHS, "224 px is the published default; any multiple of 14 runs; 518 is finer"),
        architecture=_dinov2(dim, layers, heads, **more),
    )


STANFORD_REVISIONS = {"XraySigLIP__vit-l-16-siglip-384__webli": "e80904a69fa4c2517670950e444f8c9d626d84c3"}


def _stanford_card(loss: str, backbone: str) -> EncoderCard:
    """One of StanfordAIMI's eight: the name is loss x backbone, and the backbone decides the loader."""
    short, dim, architecture = {
        "vit-b-16__laion2b-s34b-b88k": ("vit-b16", 512, _vit(768, 12, 12, 512, 16)),
        "vit-l-14__laion2b-s32b-b82k": ("vit-l14", 768, _vit(1024, 24, 16, 512, 14)),
        "vit-b-16-siglip-512__webli": ("vit-b16-siglip512", 768, _vit(768, 12, 12, 512, 16)),
        "vit-l-16-siglip-384__webli": ("vit-l16-siglip384", 1024, _vit(1024, 24, 16, 512, 16)),
    }[backbone]
    siglip = "siglip" in backbone
    architecture["intermediate_size"] = 4 * architecture["hidden_size"]
    kind: dict[str, Any] = {"model_type": "siglip_vision_model"}
    if not siglip:
        kind = {"model_type": "clip_vision_model", "projection_dim": dim}
    mean, std = (HALF, HALF) if siglip else (CLIP_MEAN, CLIP_STD)
    traps = [
        "the abstract that used these does not say which of the eight it used: report the full name",
        "the mapping from DICOM to 8 bit used in training is unstated",
        "squeezed to 512x512 without a crop: the film's aspect ratio is lost",
    ]
    if "384" in backbone:
        traps.append("named 384, runs at 512x512")
    if "vit-l-14" in backbone:
        traps.append("512x512 is what its siblings take; a folder that takes another size is refused")
    revision = STANFORD_REVISIONS.get(f"{loss}__{backbone}", "main")
    if revision == "main":
        traps.append(UNPINNED)
    return EncoderCard(
        name=f"{loss.lower()}-{short}",
        title=f"{loss} {short}, chest radiographs and reports",
        source=f"hf-hub:StanfordAIMI/{loss}__{backbone}",
        revision=revision,
        licence=CC_BY_NC,
        modalities=RADIOGRAPH,
        recipe=Recipe("exact", 512, mean=mean, std=std),
        output=POOLED if siglip else PROJECTED,
        dim=dim,
        needs=NEEDS,
        extra="hf",
        citation="Chen et al. 2024, CheXagent, arXiv:2401.12208",
        traps=tuple(traps),
        architecture=kind | architecture,
    )


DINOV2 = (
    _dinov2_card("small", "S", 384, 12, 6, "ed25f3a31f01632728cabb09d1542f84ab7b0056"),
    _dinov2_card("base", "B", 768, 12, 12, "f9e44c814b77203eaa57a6bdbbd535f21ede1415"),
    _dinov2_card("large", "L", 1024, 24, 16, "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c"),
    _dinov2_card("giant", "g", 1536, 40, 24, "611a9d42f2335e0f921f1e313ad3c1b7178d206d", use_swiglu_ffn=True),
)
STANFORD = tuple(
    _stanford_card(loss, backbone)
    for loss in ("XrayCLIP", "XraySigLIP")
    for backbone in (
        "vit-b-16__laion2b-s34b-b88k", "vit-l-14__laion2b-s32b-b82k",
        "vit-b-16-siglip-512__webli", "vit-l-16-siglip-384__webli",
    )
)  # fmt: skip


@register(RAD_DINO, RAD_DINO_MAIRA_2, MEDSIGLIP, CLIP_B16, *DINOV2, *STANFORD)
def build(request: Request) -> Backend:
    """The vision tower, its weights checked to be complete and of the card's width."""
    transformers = require("transformers", extra="hf")
    require("torch", extra="hf")
    card = request.card
    by_id = card.name.removeprefix("random:").startswith(BY_ID)
    if request.random:
        options = dict(card.architecture)
        config = transformers.AutoConfig.for_model(options.pop("model_type"), **options)
        found = tower(config)
        build_random = getattr(found.model_class, "from_config", found.model_class)
        with seeded(request.seed):
            model = build_random(config)
        shape = (json.dumps(dict(card.architecture), sort_keys=True, default=str),) if by_id else ()
        digest, commit = weights.text_digest(card.name, request.seed, *shape), ""
    else:
        folder, commit = folder_of(card, request.weights, request.revision)
        config = read_config(folder)
        found = tower(config)
        if not by_id:
            _check_same_model(card, config, folder)
            _check_normalisation(card, folder)
            _check_licence(card, folder)
        model = _from_folder(found.model_class, folder, config, pooler=found.pooler)
        digest = weights.digest(folder)
    forward, engine = runner(model, request, found.embed)
    if by_id:
        require_repeatable(forward, card.picture_recipe.input_size, card.dim, card.name)
    return Backend(forward, engine, digest, commit)


def describe(source: str, revision: str | None, given: Path | None = None) -> EncoderCard:
    """A card for any `hf-hub:org/name` or `local:/path`, from its two configuration files.

    given: the folder to read instead of the source. A folder that names a model with a card takes over that
    card's licence (where it is restricted), traps, input contract, and what no configuration file can say.
    """
    name = source.partition(":")[2]
    stub = EncoderCard(
        name=source,
        title=f"{name} (by id)",
        source=source,
        revision=revision or "main",
        licence=Licence("unstated", UNSTATED.allowed_use, _page(source)),
        modalities=RADIOLOGY_2D,
        colour=True,
        recipe=Recipe("exact", 224, mean=HALF, std=HALF),
        output="",
        dim=0,
        needs=NEEDS,
        extra="hf",
        citation="see the model's own page",
        traps=("no card exists for this model: licence, training data and input contract are unchecked",),
    )
    folder, _ = folder_of(stub, given, revision)
    config = read_config(folder)
    found = tower(config)
    recipe, colour = preparation(folder)
    traps = (
        stub.traps if colour else (*stub.traps, "trained on blue, green, red: colour pictures are refused")
    )
    dim = width(found, config, recipe.input_size, source)
    card = replace(
        stub, recipe=recipe, colour=colour, dim=dim, output=found.output, traps=traps,
        architecture=config.to_dict(),
    )  # fmt: skip
    origin = origin_of(folder)
    return card if origin is None else _derived(card, origin)


def origin_of(folder: Path) -> EncoderCard | None:
    """The card of the model that a folder says it is, or was made from; one with a restricted licence first.

    It is named in config.json (`_name_or_path`), by the hub's cache in the path, or by the commit that
    `hf download` notes. Only restricted models are also known by their bare name.
    """
    texts = (str(folder.absolute()), str(folder.resolve()), *_named(folder))
    named = {_repository(text) for text in texts}
    names = named | {name.rpartition("/")[2] for name in named}
    commits = {
        line.strip()
        for note in folder.glob(".cache/huggingface/download/*.metadata")
        for line in note.read_text(errors="replace").splitlines()[:1]
    }
    found = []
    for card in cards():
        if card.is_3d or not card.source.startswith("hf-hub:"):
            continue
        repo = card.source.removeprefix("hf-hub:").lower()
        known = {repo, repo.rpartition("/")[2]} if card.licence.restricted else {repo}
        if known & names or card.revision in commits:
            found.append(card)
    return max(found, key=lambda card: card.licence.restricted, default=None)


def _named(folder: Path) -> list[str]:
    """Every `_name_or_path` of config.json, of the whole model and of its towers."""
    try:
        stated = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):  # read_config says what is wrong
        return []
    parts = [stated, *stated.values()] if isinstance(stated, dict) else []
    return [
        str(part["_name_or_path"]) for part in parts if isinstance(part, dict) and "_name_or_path" in part
    ]


def _repository(text: str) -> str:
    """The last two parts of a path or address, as org/name in lower case."""
    cached = re.search(r"models--([^/\\]+?)--([^/\\]+)", text)
    parts = cached.groups() if cached else re.split(r"[/\\]+", text.strip().rstrip("/\\"))[-2:]
    return "/".join(parts).lower()


def _derived(card: EncoderCard, origin: EncoderCard) -> EncoderCard:
    """The card of a model by id with what holds of the carded model that it is, or was made from."""
    theirs = origin.picture_recipe  # size and normalisation are the file's, how to resize is the card's
    how = {
        "interpolation": theirs.interpolation,
        "antialias": theirs.antialias,
        "eight_bit": theirs.eight_bit,
    }
    says = (
        f"it names {origin.source.removeprefix('hf-hub:')} as what it is or was made from: if it is that "
        f"model, run it by its card, {origin.name}, with --weights and this folder"
    )
    return replace(
        card,
        licence=origin.licence if origin.licence.restricted else card.licence,
        modalities=origin.modalities,
        colour=card.colour and origin.colour,
        recipe=replace(card.picture_recipe, **how),  # type: ignore[arg-type]  # fields of another recipe
        traps=(says, *card.traps, *(trap for trap in origin.traps if trap != UNPINNED)),
    )


def folder_of(card: EncoderCard, given: Path | None, revision: str | None) -> tuple[Path, str]:
    """(folder with config.json, commit): the one given, the local one of the source, or the hub's."""
    if given is not None:
        path = weights.existing(given, card)
        return (path if path.is_dir() else path.parent), ""
    if card.source.startswith("local:"):
        return weights.existing(Path(card.source.removeprefix("local:")).expanduser(), card), ""
    repo = card.source.removeprefix("hf-hub:")
    patterns = ("*.json", card.weights_file or "*.safetensors")
    return weights.hub_folder(repo, revision or card.revision, card, patterns=patterns)


def read_config(folder: Path) -> Any:
    """The vision part of config.json; WeightsError when it is absent or of a kind that needs foreign code."""
    transformers = require("transformers", extra="hf")
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"{folder} holds no config.json. Give the folder as it lies on the hub: config.json, "
            "preprocessor_config.json and *.safetensors."
        )
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (ValueError, OSError, KeyError) as cause:
        raise WeightsError(
            f"{folder}/config.json describes no model that transformers knows ({cause}). Models that bring "
            "their own code are not run; write a loader for it (docs/how-to/encoders.md)."
        ) from cause
    if config.model_type == "clip":
        # The projection's width is stated outside the vision part.
        config.vision_config.projection_dim = config.projection_dim
    return getattr(config, "vision_config", config)


def _check_same_model(card: EncoderCard, config: Any, folder: Path) -> None:
    kind, size = config.model_type, getattr(config, "image_size", card.picture_recipe.input_size)
    expected = card.architecture.get("model_type", kind)
    if kind != expected:
        raise WeightsError(
            f"{folder} holds a model of type {kind}, {card.name} is of type {expected}: another model. "
            f"Use the id local:{folder} to run it under its own name."
        )
    if stated_width(config) != card.dim:
        raise WeightsError(
            f"{folder} gives {stated_width(config)} numbers an image, {card.name} gives {card.dim}: another "
            f"model. Use the id local:{folder} to run it under its own name."
        )
    if kind in FIXED_SIZE and size != card.picture_recipe.input_size:
        raise WeightsError(
            f"{folder} takes {size} pixels, {card.name} {card.picture_recipe.input_size}: "
            "it is another model."
        )


def _check_normalisation(card: EncoderCard, folder: Path) -> None:
    """Mean and std leave no trace in the tensors, and wrong ones give plausible, wrong vectors."""
    stated, ours = stated_normalisation(folder), card.picture_recipe
    if stated is None:
        return
    theirs_and_ours = zip((*stated[0], *stated[1]), (*(ours.mean or ()), *(ours.std or ())), strict=False)
    if not all(isclose(a, b, abs_tol=1e-4) for a, b in theirs_and_ours):
        raise WeightsError(
            f"{folder} normalises with mean {stated[0]} and std {stated[1]}, {card.name} with "
            f"{ours.mean} and {ours.std}: another model. Use the id local:{folder} to run it as it states."
        )


def _check_licence(card: EncoderCard, folder: Path) -> None:
    """A restricted model of the same shape must not pass under the name of a free one."""
    origin = origin_of(folder)
    if origin is not None and origin.licence.restricted and origin.licence != card.licence:
        raise WeightsError(
            f"{folder} names {origin.source.removeprefix('hf-hub:')}, which is {origin.name} under "
            f"{origin.licence.name}, not {card.name}. Use the id {origin.name}."
        )


def _from_folder(model_class: Any, folder: Path, config: Any, *, pooler: bool) -> Any:
    """The model with every tensor filled from the folder, or WeightsError."""
    torch = require("torch", extra="hf")
    safe = any(folder.glob("*.safetensors"))
    if not safe and not any(folder.glob("*.bin")):
        raise WeightsError(f"{folder} holds no *.safetensors. Copy the whole folder from the hub.")
    try:
        with quietly():
            model, info = model_class.from_pretrained(
                folder, config=config, local_files_only=True, use_safetensors=safe, weights_only=True,
                dtype=torch.float32, output_loading_info=True,
            )  # fmt: skip
    except Exception as cause:  # truncated files, other shapes, refused pickles: each library has its own
        raise WeightsError(
            f"the weights in {folder} could not be loaded ({type(cause).__name__}: {cause}). Copy the folder "
            "again; pickled files are only read as plain tensors."
        ) from cause
    missing = sorted(k for k in info["missing_keys"] if pooler or not k.startswith("pooler."))
    if missing:
        raise WeightsError(
            f"{folder} lacks {len(missing)} tensors of {model_class.__name__} ({', '.join(missing[:3])}, "
            "...): it is incomplete or another model."
        )
    return model


def _page(source: str) -> str:
    kind, _, name = source.partition(":")
    return f"https://huggingface.co/{name}" if kind == "hf-hub" else ""
