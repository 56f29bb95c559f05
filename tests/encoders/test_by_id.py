"""Models of transformers by id: the right tensor, the processor's pixels, the licence of their origin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image as Pillow
from torch import nn

import radfoundry.encoders as encoders
from radfoundry.cli.main import main
from radfoundry.encoders import huggingface, huggingface_towers
from radfoundry.encoders.huggingface_recipe import preparation
from radfoundry.encoders.huggingface_towers import CLS, PATCH_MEAN, POOLER, PROJECTED, UNMASKED
from radfoundry.errors import InputMismatch, LicenceNotAccepted, WeightsError
from radfoundry.preprocess import recipe as recipes
from radfoundry.types import Image
from tests.encoders.tiny import TEXT, chest, small_card, write_hub_folder

SQUARE = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2,
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}  # fmt: skip
VIT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
DECODER = {
    "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}  # fmt: skip


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights wide enough that patches, layers and norms all show; norms of batches fitted to pictures."""
    draw = torch.Generator().manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        with torch.no_grad():
            for weight in (p for p in model.parameters() if p.ndim == 4):
                weight.copy_(torch.randn(weight.shape, generator=draw) * (2 / weight[0].numel()) ** 0.5)
            for norm in norms:
                norm.momentum = 0.5
                norm.weight.fill_(1.0)
            for _ in range(8):
                model.train()(torch.randn(4, 3, 32, 32, generator=draw).cumsum(-1))
        return model.eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=draw).abs())
    return model.eval()


def write(model: nn.Module, folder: Path, **stated: Any) -> Path:
    """The folder as it lies on the hub."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SQUARE | stated))
    return folder


def _pooler(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model(x).pooler_output.flatten(1)


def _cls(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model(x).last_hidden_state[:, 0]


def _whole_mae(model: Any, x: torch.Tensor) -> torch.Tensor:
    """The encoder layer by layer, on all patches in their order, without the code that draws."""
    embedding = model.embeddings
    patches = embedding.patch_embeddings(x) + embedding.position_embeddings[:, 1:]
    first = embedding.cls_token + embedding.position_embeddings[:, :1]
    hidden = torch.cat([first.expand(len(x), -1, -1), patches], dim=1)
    for layer in model.layers:
        hidden = layer(hidden)
    return model.layernorm(hidden)[:, 0]


MODELS: dict[str, tuple[Any, Any, str, int]] = {
    "vit": (lambda: transformers.ViTModel(transformers.ViTConfig(**VIT)), _cls, CLS, 16),
    "deit": (lambda: transformers.DeiTModel(transformers.DeiTConfig(**VIT)), _cls, CLS, 16),
    "dinov2": (lambda: transformers.Dinov2Model(transformers.Dinov2Config(**VIT)), _pooler, CLS, 16),
    "dinov2-registers": (
        lambda: transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**VIT)),
        _pooler, CLS, 16),
    "ijepa": (
        lambda: transformers.IJepaModel(transformers.IJepaConfig(**VIT)),
        lambda model, x: model(x).last_hidden_state.mean(1), PATCH_MEAN, 16),
    "vit-mae": (
        lambda: transformers.ViTMAEModel(transformers.ViTMAEConfig(**VIT, **DECODER)), _whole_mae, UNMASKED,
        16),
    "vit-mae with its decoder": (
        lambda: transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**VIT, **DECODER)),
        lambda model, x: _whole_mae(model.vit, x), UNMASKED, 16),
    "clip": (
        lambda: transformers.CLIPModel(
            transformers.CLIPConfig(vision_config=VIT, text_config=TEXT, projection_dim=12)),
        lambda model, x: model.visual_projection(model.vision_model(x).pooler_output), PROJECTED, 12),
    "siglip": (
        lambda: transformers.SiglipModel(transformers.SiglipConfig(vision_config=VIT, text_config=TEXT)),
        lambda model, x: model.vision_model(x).pooler_output, POOLER, 16),
    "swin": (
        lambda: transformers.SwinModel(transformers.SwinConfig(
            image_size=32, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4)),
        _pooler, POOLER, 24),
    "swinv2": (
        lambda: transformers.Swinv2Model(transformers.Swinv2Config(
            image_size=32, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4)),
        _pooler, POOLER, 24),
    "beit": (lambda: transformers.BeitModel(transformers.BeitConfig(**VIT)), _pooler, POOLER, 16),
    "convnext": (
        lambda: transformers.ConvNextModel(
            transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1])),
        _pooler, POOLER, 16),
    "resnet": (
        lambda: transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
        _pooler, POOLER, 16),
    "mobilenet-v2": (
        lambda: transformers.MobileNetV2Model(
            transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.25, finegrained_output=False)),
        _pooler, POOLER, 320),
    "efficientnet": (
        lambda: transformers.EfficientNetModel(transformers.EfficientNetConfig(
            image_size=32, width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320)),
        _pooler, POOLER, 320),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_embedding_is_what_transformers_calls_it(name: str, tmp_path: Path) -> None:
    build, expected, output, dim = MODELS[name]
    torch.manual_seed(0)
    model = shaken(build())
    encoder = encoders.load(f"local:{write(model, tmp_path)}")
    assert (encoder.card.output, encoder.dim) == (output, dim)
    batch = np.stack([encoder.prepare(chest(seed=seed)) for seed in (0, 1)])
    vectors = encoder.encode(batch)
    with torch.inference_mode():
        theirs = expected(model, torch.from_numpy(batch)).numpy()
    assert theirs.shape == (2, dim) and np.abs(theirs[0] - theirs[1]).max() > 1e-3
    assert np.allclose(vectors, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
    assert np.array_equal(vectors, encoder.encode(batch))


def test_swin_does_not_give_its_top_left_patch(tmp_path: Path) -> None:
    model = shaken(MODELS["swin"][0]())
    encoder = encoders.load(f"local:{write(model, tmp_path)}")
    batch = np.stack([encoder.prepare(chest())])
    with torch.inference_mode():
        corner = model(torch.from_numpy(batch)).last_hidden_state[:, 0].numpy()
    assert np.abs(encoder.encode(batch) - corner).max() > 0.01


def test_two_loads_of_a_masked_autoencoder_agree(tmp_path: Path) -> None:
    folder = write(shaken(MODELS["vit-mae"][0]()), tmp_path)
    assert json.loads((folder / "config.json").read_text())["mask_ratio"] == 0.75
    first, second = (encoders.load(f"local:{folder}") for _ in range(2))
    batch = np.stack([first.prepare(chest())])
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.encode(batch), second.encode(batch))


def test_what_has_no_vector_of_a_picture_is_refused(tmp_path: Path) -> None:
    segformer = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
    )  # fmt: skip
    folder = write(transformers.SegformerModel(segformer), tmp_path / "segformer")
    with pytest.raises(WeightsError, match=r"segformer gives no pooler_output.*Supported are vit, deit"):
        encoders.load(f"local:{folder}")
    text = {k: v for k, v in TEXT.items() if not k.endswith("_id")}
    folder = write(transformers.BertModel(transformers.BertConfig(**text)), tmp_path / "bert")
    with pytest.raises(WeightsError, match=r"type bert could not be run on a picture.*Supported are"):
        encoders.load(f"local:{folder}")


def test_a_picture_that_the_model_cannot_take_is_refused(tmp_path: Path) -> None:
    folder = write(MODELS["vit"][0](), tmp_path, size={"height": 48, "width": 48})
    with pytest.raises(WeightsError, match=r"picture of 48x48 pixels .*doesn't match model"):
        encoders.load(f"local:{folder}")


def test_a_model_that_draws_at_random_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(shaken(MODELS["swin"][0]()), tmp_path)
    stock = huggingface_towers._pooled

    def dropping(model: Any, batch: Any) -> Any:
        return nn.functional.dropout(stock(model, batch), 0.5, training=True)

    monkeypatch.setattr(huggingface_towers, "_pooled", dropping)
    with pytest.raises(WeightsError, match=r"two passes over one picture differ by .*draws at random"):
        encoders.load(f"local:{folder}")


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    model = MODELS["resnet"][0]()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="aren't finite"):
        encoders.load(f"local:{write(model, tmp_path)}")


def test_the_command_embeds_with_a_model_that_states_no_width(tmp_path: Path) -> None:
    folder = write(shaken(MODELS["mobilenet-v2"][0]()), tmp_path / "model")
    for seed in range(2):
        Pillow.fromarray(chest(seed=seed).array.astype(np.uint8)).save(tmp_path / f"{seed}.png")
    (tmp_path / "cohort.yaml").write_text("modality: CR\n")
    (tmp_path / "cohort.csv").write_text("case_id,image\na,0.png\nb,1.png\n")
    asked = ["embed", str(tmp_path / "cohort.csv"), "--encoder", f"local:{folder}"]
    assert main([*asked, "--store", str(tmp_path / "store")]) == 0


def test_a_folder_of_another_type_is_not_taken_for_a_card(tmp_path: Path) -> None:
    """Swin of DINOv2's width and normalisation would pass every other check."""
    card = small_card("dinov2-small")
    swin = transformers.SwinConfig(
        image_size=56, embed_dim=12, depths=[1, 1], num_heads=[2, 2], hidden_size=24, window_size=7
    )
    folder = write(transformers.SwinModel(swin), tmp_path / "swin", image_mean=card.recipe.mean,
                   image_std=card.recipe.std)  # fmt: skip
    with pytest.raises(WeightsError, match="holds a model of type swin, dinov2-small is of type dinov2"):
        encoders.load(card, weights=folder)
    folder = write(MODELS["mobilenet-v2"][0](), tmp_path / "mobile")
    with pytest.raises(WeightsError, match="another model"):
        encoders.load(card, weights=folder)


@pytest.mark.parametrize("name", ["swin", "clip", "mobilenet-v2"])
def test_the_random_twin_of_a_model_by_id(name: str, tmp_path: Path) -> None:
    folder = write(MODELS[name][0](), tmp_path)
    trained = encoders.load(f"local:{folder}")
    twins = [encoders.load(f"random:local:{folder}", seed=seed) for seed in (0, 0, 1)]
    batch = np.stack([trained.prepare(chest())])
    a, b, c = (twin.encode(batch) for twin in twins)
    assert a.shape == (1, trained.dim) and twins[0].card.recipe == trained.card.recipe
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert len({trained.fingerprint, *(twin.fingerprint for twin in twins)}) == 3
    stated = json.loads((folder / "config.json").read_text())
    stated.get("vision_config", stated)["initializer_range"] = 0.3
    (folder / "config.json").write_text(json.dumps(stated))
    assert encoders.load(f"random:local:{folder}").fingerprint != twins[0].fingerprint


def test_weights_beside_an_id_are_read_instead_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def refuse(*args: object, **kwargs: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    folder = write(MODELS["swin"][0](), tmp_path)
    encoder = encoders.load("hf-hub:some/swin", weights=folder)
    assert encoder.card.output == POOLER and encoder.dim == 24


# What preprocessor_config.json may say, beside what it may leave to its class.
PROCESSORS: dict[str, dict[str, Any]] = {
    "vit, all by its class": {"image_processor_type": "ViTImageProcessor"},
    "clip, all by its class": {"image_processor_type": "CLIPImageProcessor"},
    "clip of old": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 96, "crop_size": 64},
    "bit, mean absent": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 64},
                         "crop_size": {"height": 56, "width": 56}},
    "fast": {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 64, "width": 64}},
    "do_normalize false": SQUARE | {"do_normalize": False},
    "rescale to 0..2": SQUARE | {"do_normalize": False, "rescale_factor": 1 / 127.5},
    "rescale to 0..2, then normalise": SQUARE | {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 0.9, 0.8]},
    "do_rescale false": SQUARE | {"do_rescale": False, "image_mean": [123.7, 116.3, 103.5],
                                  "image_std": [58.4, 57.1, 57.4]},
    "neither": SQUARE | {"do_rescale": False, "do_normalize": False},
    "do_center_crop false": {"image_processor_type": "CLIPImageProcessor", "do_center_crop": False,
                             "size": {"height": 64, "width": 64}},
    "efficientnet": {"image_processor_type": "EfficientNetImageProcessor", "resample": 2,
                     "size": {"height": 64, "width": 64}, "image_mean": [0.485, 0.456, 0.406],
                     "image_std": [0.229, 0.224, 0.225]},
    "efficientnet with offset": {"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True,
                                 "rescale_factor": 1 / 127.5, "include_top": False,
                                 "size": {"height": 64, "width": 64}},
    "convnext, crop_pct absent": {"image_processor_type": "ConvNextImageProcessor",
                                  "size": {"shortest_edge": 64}},
    "levit": {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 64},
              "crop_size": {"height": 64, "width": 64}},
    "mobilenet": {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 72},
                  "crop_size": {"height": 64, "width": 64}},
    "mobilevit": {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 72},
                  "crop_size": {"height": 64, "width": 64}},
}  # fmt: skip


def colours(rows: int, columns: int) -> Image:
    planes = [chest(rows, columns, seed=seed).array for seed in (1, 2, 3)]
    return Image(np.stack(planes, axis=-1), (0.0, 255.0), modality="CR", source="made.png")


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_the_file_says_or_leaves_to_its_class_is_done(name: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[name]))
    recipe, colour = preparation(tmp_path)
    assert colour == (name != "mobilevit")
    stock = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    for rows, columns in ((170, 130), (130, 170), (50, 60)):
        image = colours(rows, columns) if colour else chest(rows, columns)
        pixels = image.array if image.is_colour else np.repeat(image.array[..., None], 3, axis=2)
        theirs = stock(pixels.astype(np.uint8))["pixel_values"][0]
        ours = recipes.apply(image, recipe)
        ours = np.broadcast_to(ours, theirs.shape)
        assert np.abs(ours - theirs).max() < 1e-5 * max(1.0, float(np.abs(theirs).max()))


def test_a_mean_that_is_absent_is_the_class_s_own(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "CLIPImageProcessor"}')
    assert preparation(tmp_path).recipe.mean == huggingface.CLIP_MEAN
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    assert preparation(tmp_path).recipe.mean == (0.5, 0.5, 0.5)


def test_a_model_of_blue_green_red_refuses_colour_and_takes_grey(tmp_path: Path) -> None:
    mobile = {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 40},
              "crop_size": {"height": 32, "width": 32}}  # fmt: skip
    config = transformers.MobileViTConfig(
        image_size=32, hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16],
        num_attention_heads=2,
    )  # fmt: skip
    encoder = encoders.load(f"local:{write(transformers.MobileViTModel(config), tmp_path, **mobile)}")
    assert encoder.encode(np.stack([encoder.prepare(chest())])).shape == (1, 16)
    assert any("blue, green, red" in trap for trap in encoder.card.traps)
    with pytest.raises(InputMismatch, match="colour picture"):
        encoder.prepare(colours(80, 60))


REFUSED = {
    "do_resize": (SQUARE | {"do_resize": False}, "own size"),
    "border": ({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32},
                "crop_size": {"height": 64, "width": 64}}, "border of zeros"),
    "no crop": ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}, "without a crop"),
    "not square": (SQUARE | {"size": {"height": 32, "width": 64}}, "square"),
    "nearest": (SQUARE | {"resample": 0}, "resample=0"),
    "two means": (SQUARE | {"image_mean": [0.5, 0.5]}, "three numbers"),
    "std of zero": (SQUARE | {"image_std": [0.5, 0.0, 0.5]}, "divides by"),
    "unknown class": ({"image_processor_type": "OursImageProcessor"}, "names no image processor"),
    "own code": ({"auto_map": {"AutoImageProcessor": "ours.Ours"}}, "names no image processor"),
    "another order": (PROCESSORS["mobilevit"] | {"do_normalize": True}, "no recipe expresses"),
    "crop of its own": ({"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 64},
                         "crop_size": {"height": 64, "width": 64}}, "no recipe expresses"),
    "no text": ([], "holds no settings"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_recipe_expresses_is_refused(name: str, tmp_path: Path) -> None:
    stated, reason = REFUSED[name]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    with pytest.raises(WeightsError, match=reason):
        preparation(tmp_path)


def test_settings_in_the_newer_file_count(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": SQUARE}))
    assert preparation(tmp_path).recipe.input_size == 32
    (tmp_path / "processor_config.json").write_text("{")
    with pytest.raises(WeightsError, match="could not be read"):
        preparation(tmp_path)
    (tmp_path / "processor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"holds no preprocessor_config\.json"):
        preparation(tmp_path)


def test_a_card_is_held_against_what_the_folder_really_does(tmp_path: Path) -> None:
    card = small_card("dinov2-small")
    folder = write_hub_folder(card, tmp_path)
    path = folder / "preprocessor_config.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps(stated | {"do_normalize": False}))
    with pytest.raises(WeightsError, match=r"normalises with mean \(0\.0, 0\.0, 0\.0\)"):
        encoders.load(card, weights=folder)
    path.write_text(json.dumps(stated | {"image_processor_type": "OursImageProcessor"}))
    assert encoders.load(card, weights=folder).card == card


ADDRESSES = [
    "hf-hub:google/medsiglip-448", "hf-hub:Google/MedSigLIP-448", "hf-hub:google/medsiglip-448/",
    "hf-hub:google/medsiglip-448/@main", "hf-hub: google/medsiglip-448 @ main",
    "hf-hub:/google/medsiglip-448",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_spelling_of_its_address_hides_a_restricted_model(address: str, tmp_path: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match="medsiglip is under a restricted licence, HAI-DEF"):
        encoders.load(address, weights=tmp_path)


def _siglip(folder: Path, **more: Any) -> Path:
    config = transformers.SiglipVisionConfig(**VIT)
    model = shaken(transformers.SiglipVisionModel(config))
    write(model, folder, image_processor_type="SiglipImageProcessor", **more)
    return folder


def _names(folder: Path, name: str, place: str | None = None) -> Path:
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    (stated if place is None else stated.setdefault(place, {}))["_name_or_path"] = name
    path.write_text(json.dumps(stated))
    return folder


@pytest.mark.parametrize(
    "name",
    ["google/medsiglip-448", "Google/MedSigLIP-448/", "/data/models/google/medsiglip-448", "./medsiglip-448",
     "https://huggingface.co/google/medsiglip-448", "~/hub/models--google--medsiglip-448/snapshots/0f"],
)  # fmt: skip
def test_a_folder_that_names_a_restricted_model_is_under_its_licence(name: str, tmp_path: Path) -> None:
    folder = _names(_siglip(tmp_path / "model"), name)
    with pytest.raises(LicenceNotAccepted, match="HAI-DEF"):
        encoders.load(f"local:{folder}")
    encoder = encoders.load(f"local:{folder}", accept_licences=["HAI-DEF"])
    card = encoders.card("medsiglip")
    assert encoder.card.licence == card.licence and encoder.provenance["licence_restricted"]
    assert not encoder.card.recipe.antialias and encoder.card.recipe.input_size == 32
    assert set(card.traps) <= set(encoder.card.traps) and encoder.card.modalities == card.modalities
    assert "medsiglip, with --weights" in encoder.card.traps[0]
    assert encoder.encode(np.stack([encoder.prepare(chest())])).shape == (1, 16)


@pytest.mark.parametrize("kind", ["folder", "cache", "commit", "tower"])
def test_a_restricted_model_is_known_by_where_it_lies(kind: str, tmp_path: Path) -> None:
    card = encoders.card("medsiglip")
    place = {"folder": "MedSigLIP-448", "cache": "models--google--medsiglip-448/snapshots/0f"}.get(kind, "m")
    folder = _siglip(tmp_path / place)
    if kind == "commit":
        note = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
        note.parent.mkdir(parents=True)
        note.write_text(f"{card.revision}\n0a1b\n1750000000.0\n")
    if kind == "tower":
        _names(folder, "google/medsiglip-448", "vision")
    with pytest.raises(LicenceNotAccepted, match="HAI-DEF"):
        encoders.load(f"local:{folder}")


def test_a_copy_of_a_carded_model_runs_as_its_card_does(tmp_path: Path) -> None:
    card = small_card("medsiglip")
    folder = _names(write_hub_folder(card, tmp_path), "google/medsiglip-448")
    copy = encoders.load(f"local:{folder}", accept_licences=["HAI-DEF"])
    own = encoders.load(card, weights=folder, accept_licences=["HAI-DEF"])
    assert copy.card.recipe == card.recipe and copy.fingerprint != own.fingerprint
    image = chest(170, 130)
    a, b = (e.encode(np.stack([e.prepare(image)])) for e in (copy, own))
    assert np.array_equal(a, b)


def test_a_free_origin_lends_its_traps_but_no_licence(tmp_path: Path) -> None:
    card = small_card("rad-dino")
    folder = _names(write_hub_folder(card, tmp_path), "microsoft/rad-dino")
    made = encoders.load(f"local:{folder}").card
    assert set(card.traps) <= set(made.traps) and made.modalities == card.modalities
    assert made.licence.name == "unstated" and not made.colour


def test_a_restricted_model_does_not_pass_under_a_free_name(tmp_path: Path) -> None:
    card = small_card("rad-dino")
    folder = write_hub_folder(card, tmp_path / "m")
    encoders.load(card, weights=folder)
    _names(folder, "microsoft/rad-dino-maira-2")
    with pytest.raises(WeightsError, match="rad-dino-maira-2 under MSRLA, not rad-dino"):
        encoders.load(card, weights=folder)
    restricted = replace(card, name="rad-dino-maira-2", licence=encoders.card("rad-dino-maira-2").licence)
    encoders.load(restricted, weights=folder, accept_licences=["MSRLA"])
