"""A trained model of the series sorter: the network, its labels, tags and calibration, in one folder.

model.safetensors   the network, and the vectors of all phrases seen in training
model.json          labels, tag scheme, shape, calibration, how it was trained
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from radfoundry.errors import WeightsError
from radfoundry.series.calibrate import Calibration
from radfoundry.series.encode import TagScheme, Tokens
from radfoundry.series.header import SeriesHeader
from radfoundry.series.phrases import TextTower
from radfoundry.series.tags import DESCRIPTIONS

if TYPE_CHECKING:
    from radfoundry.series.network import SeriesNet

FORMAT = 2
MAX_BYTES = 64 << 20
Look = Literal["tags", "pixels", "both"]
LOOKS: tuple[Look, ...] = ("tags", "pixels", "both")


@dataclass(frozen=True)
class Logits:
    """modality: (n, labels). anatomy: (n, anatomies). embedding: (n, 2 × width)."""

    modality: np.ndarray
    anatomy: np.ndarray
    embedding: np.ndarray


@dataclass(eq=False)
class SeriesModel:
    """modalities: labels of the first head, kinds as "other:BOLD". anatomies: of the second.

    calibration: by look and head, e.g. calibration["tags"]["modality"]. rules: rule verdict -> log P(verdict
    | label), likewise for anatomy. errors: by look and head, share of the network's verdicts to be taken
    as wrong (`calibrate.network_errors`). trained: what it was trained on, for the card.
    """

    net: SeriesNet
    modalities: tuple[str, ...]
    anatomies: tuple[str, ...]
    scheme: TagScheme
    text: TextTower
    image_tower: str
    calibration: Mapping[str, Mapping[str, Calibration]] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    trained: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(image tokens of a series, their dim)."""
        return self.net.shape.image_tokens, self.net.shape.image_dim

    @property
    def reads_descriptions(self) -> bool:
        """Whether it learnt from Series Description or another free text."""
        return any(name in DESCRIPTIONS for name in self.scheme.text)

    def tokens(
        self, headers: Sequence[SeriesHeader | None], images: Sequence[np.ndarray | None] | None = None
    ) -> Tokens:
        """Tokens of series; images are what the image tower made of their slices."""
        found = images if images is not None else [None] * len(headers)
        return self.scheme.encode(headers, self.text, found, self.image_shape)

    def logits(self, tokens: Tokens, *, batch: int = 128) -> Logits:
        """What the network says of each series, uncalibrated."""
        import torch

        if self.net.training:  # walking through all layers costs as much as a tenth of one series
            self.net.eval()
        parts: list[tuple[Any, ...]] = []
        with torch.inference_mode():
            for start in range(0, len(tokens), batch):
                parts.append(self.net(*as_tensors(tokens.take(slice(start, start + batch)))))
        if not parts:
            shape = self.net.shape
            return Logits(*(np.zeros((0, n)) for n in (shape.modalities, shape.anatomies, 2 * shape.width)))
        return Logits(*(torch.cat(part).double().numpy() for part in zip(*parts)))

    def save(self, folder: Path) -> None:
        """Write model.safetensors and model.json; an interrupted call leaves no model.json."""
        import torch
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        known = sorted(self.text.known)
        tensors = {f"net.{key}": value.contiguous() for key, value in self.net.state_dict().items()}
        tensors["phrases"] = torch.from_numpy(
            np.stack([self.text.known[p] for p in known]).astype(np.float32)
        )
        save_file(tensors, str(folder / "model.safetensors"))
        record = {
            "format": FORMAT,
            "modalities": self.modalities,
            "anatomies": self.anatomies,
            "text_tags": self.scheme.text,
            "number_tags": self.scheme.number,
            "edges": self.scheme.edges,
            "shape": asdict(self.net.shape),
            "text_tower": self.text.source,
            "image_tower": self.image_tower,
            "phrases": known,
            "calibration": {
                look: {head: asdict(c) for head, c in heads.items()}
                for look, heads in self.calibration.items()
            },
            "rules": {
                head: {said: values.tolist() for said, values in table.items()}
                for head, table in self.rules.items()
            },
            "errors": self.errors,
            "trained": self.trained,
        }
        partial = folder / "model.json.partial"
        partial.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
        partial.replace(folder / "model.json")


def as_tensors(tokens: Tokens) -> tuple[Any, ...]:
    """The arrays of `tokens` as torch tensors, in the order that the network takes them."""
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(getattr(tokens, name))) for name in Tokens.__slots__)


def load(folder: Path) -> SeriesModel:
    """A model that `save` wrote. WeightsError where a file is missing, damaged or of another format."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from radfoundry.series.network import SeriesNet, Shape

    path = folder / "model.json"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"model.json is larger than {MAX_BYTES:,} bytes")
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, not {FORMAT}")
        tensors = load_file(str(folder / "model.safetensors"))
        vectors = tensors.pop("phrases").numpy()
        net = SeriesNet(Shape(**record["shape"]))
        net.load_state_dict({key.removeprefix("net."): value for key, value in tensors.items()})
        return SeriesModel(
            net.eval(),
            tuple(record["modalities"]),
            tuple(record["anatomies"]),
            TagScheme(tuple(record["text_tags"]), tuple(record["number_tags"]), record["edges"]),
            TextTower(record["text_tower"], dict(zip(record["phrases"], vectors, strict=True))),
            record["image_tower"],
            {
                look: {head: Calibration(**c) for head, c in heads.items()}
                for look, heads in record["calibration"].items()
            },
            {
                head: {said: np.array(values) for said, values in table.items()}
                for head, table in record["rules"].items()
            },
            {look: {head: float(v) for head, v in heads.items()} for look, heads in record["errors"].items()},
            record["trained"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as cause:
        reason = str(cause).splitlines()[0] if str(cause) else ""
        raise WeightsError(
            f"{folder} is no model of the series sorter ({type(cause).__name__}: {reason}). "
            "Make one with `radfoundry series train`, or pass the folder that holds model.json"
        ) from cause
