"""BiomedCLIP's loader against the published layout, an independent implementation, and broken files."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

import radfoundry.encoders as encoders
from radfoundry.encoders.nets.vit import ProjectedViT
from radfoundry.errors import MissingExtra, WeightsError
from tests.encoders.test_loaders import Bomb
from tests.encoders.tiny import BIOMEDCLIP_CONFIG, biomedclip_state, chest, small_card, write_biomedclip

CARD = small_card("biomedclip")
BIN = "open_clip_pytorch_model.bin"


def test_network_has_the_published_layout() -> None:
    card = encoders.card("biomedclip")
    with torch.device("meta"):
        net = ProjectedViT(**card.architecture, dim=card.dim)
        published = {k: v for k, v in biomedclip_state(card).items() if k.startswith("visual.")}
    # ViT-B/16 has 86,567,656 parameters in torchvision's table of weights, 769,000 of them the classifier.
    assert sum(p.numel() for p in net.parameters()) == 86_567_656 - 769_000 + 512 * 768
    shapes = {f"visual.{k}": tuple(v.shape) for k, v in net.state_dict().items()}
    assert shapes == {k: tuple(v.shape) for k, v in published.items()}
    assert len(shapes) == 151 and shapes["visual.trunk.pos_embed"] == (1, 197, 768)


def reference(state: dict[str, torch.Tensor], batch: np.ndarray) -> np.ndarray:
    """transformers' ViT with these weights, then the projection of its class token."""
    size = CARD.architecture
    config = transformers.ViTConfig(
        hidden_size=size["width"], num_hidden_layers=size["layers"], num_attention_heads=size["heads"],
        intermediate_size=4 * size["width"], image_size=size["image"], patch_size=size["patch"],
        layer_norm_eps=1e-6, hidden_act="gelu", qkv_bias=True,
    )  # fmt: skip
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    trunk = {k.removeprefix("visual.trunk."): v for k, v in state.items() if k.startswith("visual.trunk.")}
    theirs = {
        "embeddings.cls_token": trunk["cls_token"],
        "embeddings.position_embeddings": trunk["pos_embed"],
    }
    for kind in ("weight", "bias"):
        theirs[f"embeddings.patch_embeddings.projection.{kind}"] = trunk[f"patch_embed.proj.{kind}"]
        theirs[f"layernorm.{kind}"] = trunk[f"norm.{kind}"]
        for i in range(size["layers"]):
            ours, block = f"blocks.{i}.", f"layers.{i}."
            for name, part in zip("qkv", trunk[f"{ours}attn.qkv.{kind}"].chunk(3), strict=True):
                theirs[f"{block}attention.{name}_proj.{kind}"] = part
            for a, b in (
                ("attention.o_proj", "attn.proj"), ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2"),
            ):  # fmt: skip
                theirs[f"{block}{a}.{kind}"] = trunk[f"{ours}{b}.{kind}"]
    model.load_state_dict(theirs)
    with torch.inference_mode():
        token = model(torch.from_numpy(batch)).last_hidden_state[:, 0]
        return (token @ state["visual.head.proj.weight"].T).numpy()


def images(encoder: encoders.Encoder) -> np.ndarray:
    return np.stack([encoder.prepare(chest(seed=s)) for s in range(3)])


def test_vectors_equal_an_independent_implementation(tmp_path: Path) -> None:
    encoder = encoders.load(CARD, weights=write_biomedclip(CARD, tmp_path))
    batch = images(encoder)
    expected = reference(biomedclip_state(CARD), batch)
    z = encoder.encode(batch)
    assert z.shape == (3, 20) and np.abs(z - expected).max() <= 2e-6 * np.abs(expected).max()
    assert np.abs(np.linalg.norm(z, axis=1) - 1).min() > 0.1, "the feature is not normalised"


def test_file_folder_and_format_give_the_same_vectors(tmp_path: Path) -> None:
    folder = write_biomedclip(CARD, tmp_path / "bin")
    first = encoders.load(CARD, weights=folder)
    safe = tmp_path / "safe" / "open_clip_model.safetensors"
    safe.parent.mkdir()
    save_file(biomedclip_state(CARD), safe)
    batch = images(first)
    z = first.encode(batch)
    for weights in (folder / BIN, safe, safe.parent):
        assert np.allclose(encoders.load(CARD, weights=weights).encode(batch), z, rtol=1e-5, atol=1e-6)
    assert encoders.load(CARD, weights=folder / BIN).fingerprint == first.fingerprint


def test_text_tower_is_left_out(tmp_path: Path) -> None:
    state = biomedclip_state(CARD)
    torch.save({k: v for k, v in state.items() if k.startswith("visual.")}, tmp_path / "image_only.pt")
    z = [
        encoders.load(CARD, weights=path)
        for path in (write_biomedclip(CARD, tmp_path / "both"), tmp_path / "image_only.pt")
    ]
    batch = images(z[0])
    assert np.allclose(z[0].encode(batch), z[1].encode(batch), rtol=1e-5, atol=1e-6)


def saved(state: dict[str, Any], folder: Path) -> Path:
    torch.save(state, folder / BIN)
    return folder


def test_checkpoints_of_other_networks_are_refused(tmp_path: Path) -> None:
    folder, state = write_biomedclip(CARD, tmp_path), biomedclip_state(CARD)
    short = {k: v for k, v in state.items() if k != "visual.trunk.norm.bias"}
    with pytest.raises(WeightsError, match=r"1 tensors missing \(visual\.trunk\.norm\.bias\)"):
        encoders.load(CARD, weights=saved(short, folder))
    narrow = state | {"visual.head.proj.weight": torch.zeros(19, 24)}
    with pytest.raises(WeightsError, match=r"1 of another shape \(visual\.head\.proj\.weight\)"):
        encoders.load(CARD, weights=saved(narrow, folder))
    normed = state | {"visual.trunk.norm_pre.weight": torch.ones(24)}
    with pytest.raises(WeightsError, match=r"1 unknown \(visual\.trunk\.norm_pre\.weight\)"):
        encoders.load(CARD, weights=saved(normed, folder))


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    folder = write_biomedclip(CARD, tmp_path / "hub")
    (folder / BIN).write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(WeightsError, match="pickled module"):
        encoders.load(CARD, weights=folder)
    torch.save({"visual": Bomb(tmp_path / "executed")}, folder / BIN)
    with pytest.raises(WeightsError, match="pickled module"):
        encoders.load(CARD, weights=folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision_cfg", "timm_pool", "avg"),
        ("vision_cfg", "timm_proj", "mlp"),
        ("vision_cfg", "timm_model_name", "vit_base_patch16_clip_224"),
        ("preprocess_cfg", "mean", [0.5, 0.5, 0.5]),
        ("preprocess_cfg", "resize_mode", "squash"),
    ],
)
def test_same_tensors_used_otherwise_are_refused(tmp_path: Path, part: str, key: str, value: Any) -> None:
    """Pooling, projection and pixels leave no trace in the tensors, so the configuration decides."""
    folder = write_biomedclip(CARD, tmp_path)
    config = copy.deepcopy(BIOMEDCLIP_CONFIG)
    (config if part in config else config["model_cfg"])[part][key] = value
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    for weights in (folder, folder / BIN):
        with pytest.raises(WeightsError, match=f"another model than biomedclip: {key}="):
            encoders.load(CARD, weights=weights)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_cfg": null}', '{"model_cfg": {"vision_cfg": 3}}'])
def test_broken_configuration_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_biomedclip(CARD, tmp_path)
    (folder / "open_clip_config.json").write_text(text)
    with pytest.raises(WeightsError, match="no configuration of open_clip"):
        encoders.load(CARD, weights=folder)


def test_folder_without_weights_names_the_files(tmp_path: Path) -> None:
    folder = write_biomedclip(CARD, tmp_path)
    (folder / BIN).unlink()
    with pytest.raises(WeightsError, match=f"neither open_clip_model.safetensors nor {BIN}"):
        encoders.load(CARD, weights=folder)


def test_hub_is_asked_for_the_pinned_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, str, list[str]]] = []

    def snapshot(repo: str, *, revision: str, allow_patterns: list[str], **_: object) -> str:
        asked.append((repo, revision, allow_patterns))
        return str(write_biomedclip(CARD, tmp_path / revision))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    encoder = encoders.load(CARD)
    assert len(CARD.revision) == 40 and encoder.provenance["revision"] == CARD.revision
    assert encoders.load(CARD, revision="main").provenance["revision"] == "main"
    repo = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
    patterns = ["open_clip_config.json", "open_clip_model.safetensors", BIN]
    assert asked == [(repo, CARD.revision, patterns), (repo, "main", patterns)]


def test_published_name_with_other_bytes_is_refused(tmp_path: Path) -> None:
    card = replace(CARD, checksum=encoders.card("biomedclip").checksum)
    folder = write_biomedclip(CARD, tmp_path)
    assert len(card.checksum) == 64
    with pytest.raises(WeightsError, match="SHA-256"):
        encoders.load(card, weights=folder)
    chosen = encoders.load(card, weights=folder, revision="main")
    assert not chosen.provenance["checksum_verified"]


def test_only_the_hub_needs_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("huggingface_hub", "open_clip", "timm", "torchvision"):
        monkeypatch.setitem(sys.modules, module, None)
    assert encoders.load(CARD, weights=write_biomedclip(CARD, tmp_path)).dim == 20
    with pytest.raises(MissingExtra, match=r"huggingface_hub.*radfoundry\[hf\]"):
        encoders.load("biomedclip")
