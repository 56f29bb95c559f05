"""Which image tower: nine slices through a frozen 2D network, or a 3D ResNet-18 over 32 slices?

    python benchmarks/measure_series_towers.py [--model FOLDER] [--epochs 6] [--studies 120]

The default model's look at pixels alone (EfficientNet-Lite0, frozen, then the transformer) against a 3D
ResNet-18 that is trained from scratch on the pictures of the same phantom studies: there are no weights of a
3D network for MRI that may be bundled. Both judge phantom studies that trained neither, and, where
RADFOUNDRY_DATA/dicom_series is, the development half of the real series; seconds a series are those of
the network alone, slices already read.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measure_series import truth_of
from radfoundry.datasets import phantom_series
from radfoundry.encoders.nets.monai_resnet import resnet3d
from radfoundry.errors import ReadError
from radfoundry.evaluate.intervals import wilson
from radfoundry.series.default import Recipe, make
from radfoundry.series.examples import labelled
from radfoundry.series.find import Series, find, from_datasets
from radfoundry.series.labels import joined
from radfoundry.series.model import SeriesModel, load
from radfoundry.series.pixels import Pixels, read_pixels
from radfoundry.series.towers import build

SLICES, SIZE = 32, 64
HELD_SEED, HELD = 977, 30
BATCH = 16


@dataclass(frozen=True)
class Pictures:
    """volumes: (n, SLICES, SIZE, SIZE) float16 in 0..1. small: what the 2D tower sees. labels: n."""

    volumes: np.ndarray
    small: Sequence[Pixels]
    labels: Sequence[str]


def main() -> None:
    """Print accuracy with intervals and seconds of both towers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="model folder; the default model in stores/series")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--studies", type=int, default=120)
    asked = parser.parse_args()
    model = load(asked.model or make(Recipe(), Path("stores/series"), log=print))
    begun = time.perf_counter()
    seen = of_phantoms(1, asked.studies)
    judged = {"held-out phantoms": of_phantoms(HELD_SEED, HELD)}
    real = Path(os.environ.get("RADFOUNDRY_DATA", "../shared/data")) / "dicom_series"
    if real.is_dir():
        judged["real, development"] = of_folder(real)
    print(f"{len(seen.labels)} series to learn from, read in {time.perf_counter() - begun:.0f} s")
    begun = time.perf_counter()
    net = trained(seen, model.modalities, asked.epochs)
    print(f"3D ResNet-18 trained in {time.perf_counter() - begun:.0f} s")
    for name, pictures in judged.items():
        print(f"{name}, n = {len(pictures.labels)}")
        told(by_slices(model, pictures), pictures.labels, "EfficientNet-Lite0, 9 slices")
        told(by_volume(net, model.modalities, pictures), pictures.labels, f"3D ResNet-18, {SLICES} slices")


def of_phantoms(seed: int, studies: int) -> Pictures:
    """Series of phantom studies; seed 1 is what the default model learnt its pictures from."""
    parts = []
    for number in range(studies):
        drawn = phantom_series.draw_study(np.random.default_rng((seed, number)), pixels=True)
        pairs = [
            (from_datasets(one.datasets)[0], joined(one.truth["modality"], one.truth["kind"]))
            for one in drawn
        ]
        parts.append(read(pairs))
    return Pictures(
        np.concatenate([part.volumes for part in parts]),
        [one for part in parts for one in part.small],
        [label for part in parts for label in part.labels],
    )


def of_folder(root: Path) -> Pictures:
    """Real series with a label."""
    table, _ = truth_of(root)
    truth = dict(zip(table["series_dir"], table["modality"], strict=True))
    return read([(one, truth[key]) for one, key in labelled(find(root), truth)])


def read(pairs: Sequence[tuple[Series, str]]) -> Pictures:
    """Slices of both kinds; a series whose pixels cannot be read is left out."""
    volumes, small, labels = [], [], []
    for series, label in pairs:
        try:
            many, few = read_pixels(series, slices=SLICES, size=SIZE).slices, read_pixels(series)
        except ReadError:
            continue
        volume = np.zeros((SLICES, SIZE, SIZE), np.float16)
        rows = np.linspace(0, len(many) - 1, SLICES).round().astype(int)  # too few slices are repeated
        volume[:] = many[rows]
        volumes.append(volume)
        small.append(few)
        labels.append(label)
    return Pictures(np.stack(volumes) if volumes else np.zeros((0, SLICES, SIZE, SIZE)), small, labels)


class Sorter(torch.nn.Module):
    """3D ResNet-18 and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = resnet3d(18, shortcut="B")
        self.head = torch.nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def trained(seen: Pictures, labels: Sequence[str], epochs: int) -> Sorter:
    """AdamW with one cycle of the rate; flips, shifts, gamma and noise as augmentation."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    places = {label: i for i, label in enumerate(labels)}
    rows = np.array([i for i, label in enumerate(seen.labels) if label in places])
    y = np.array([places.get(label, -1) for label in seen.labels])
    net = Sorter(len(labels))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.05)
    steps = epochs * math.ceil(len(rows) / BATCH)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for epoch in range(epochs):
        total, right = 0.0, 0
        order = rng.permutation(rows)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            x = torch.from_numpy(np.stack([varied(seen.volumes[i], rng) for i in chosen]))[:, None]
            truth = torch.from_numpy(y[chosen])
            logits = net(x)
            loss = torch.nn.functional.cross_entropy(logits, truth, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
            total += float(loss.detach()) * len(chosen)
            right += int((logits.argmax(1) == truth).sum())
        print(f"epoch {epoch + 1} of {epochs}: loss {total / len(rows):.3f}, right {right / len(rows):.3f}")
    return net.eval()


def varied(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(SLICES, SIZE, SIZE) float32, mirrored, moved, with another gamma and some noise."""
    out = volume.astype(np.float32) ** np.float32(np.exp(rng.uniform(-0.3, 0.3)))
    if rng.random() < 0.5:
        out = out[:, :, ::-1]
    if rng.random() < 0.5:
        out = out[::-1]
    out = np.roll(out, tuple(rng.integers(-5, 6, 2)), axis=(1, 2))
    return out + rng.normal(0, 0.02, out.shape).astype(np.float32)


def by_slices(model: SeriesModel, pictures: Pictures) -> tuple[list[str], float]:
    """Verdicts of the default model on slices alone, and its seconds a series."""
    tower = build(model.image_tower)
    tower.tokens(pictures.small[0])
    begun = time.perf_counter()
    tokens = [tower.tokens(one) for one in pictures.small]
    logits = model.logits(model.tokens([None] * len(tokens), tokens)).modality
    return [model.modalities[i] for i in logits.argmax(1)], (time.perf_counter() - begun) / len(tokens)


def by_volume(net: Sorter, labels: Sequence[str], pictures: Pictures) -> tuple[list[str], float]:
    """The same of the 3D network."""
    volumes: Any = torch.from_numpy(pictures.volumes.astype(np.float32))[:, None]
    with torch.inference_mode():
        net(volumes[:1])
        begun = time.perf_counter()
        found = torch.cat([net(volumes[k : k + BATCH]) for k in range(0, len(volumes), BATCH)]).argmax(1)
    return [labels[i] for i in found], (time.perf_counter() - begun) / len(volumes)


def told(found: tuple[list[str], float], truth: Sequence[str], name: str) -> None:
    """One line: accuracy, interval, n, seconds; the most frequent label beside it."""
    said, seconds = found
    hits = sum(a == b for a, b in zip(said, truth, strict=True))
    low, high = wilson(hits, len(truth))
    most = max(truth.count(label) for label in set(truth)) / len(truth)  # type: ignore[attr-defined]
    print(f"  {name}: {hits / len(truth):.3f} ({low:.3f} to {high:.3f}), always the most frequent label "
          f"{most:.3f}; {seconds:.3f} s a series")  # fmt: skip


if __name__ == "__main__":
    main()
