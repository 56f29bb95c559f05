"""A small sorter for tests: three labels, headers that tell them, towers without weights."""

from __future__ import annotations

import hashlib

import numpy as np

from radfoundry.series.header import SeriesHeader
from radfoundry.series.phrases import TextTower
from radfoundry.series.tags import load_tags
from radfoundry.series.towers import ImageTower
from radfoundry.series.train import Examples, TrainConfig, train

LABELS = ("T1", "T2", "other:BOLD")
CONFIG = TrainConfig(epochs=6, width=32, layers=2, batch=16, least=3, rate=4e-3)


class HashTower(TextTower):
    """Phrases as fixed random unit vectors."""

    def _encode(self, phrases):
        def one(phrase: str) -> np.ndarray:
            seed = int.from_bytes(hashlib.sha256(phrase.encode()).digest()[:4], "little")
            z = np.random.default_rng(seed).normal(size=16)
            return (z / np.linalg.norm(z)).astype(np.float32)

        return np.stack([one(p) for p in phrases])


class LevelTower(ImageTower):
    """Tokens whose level is that of the slices: 0 for T1, 0.5 for T2, 1 for BOLD."""

    def tokens(self, pixels):
        level = round(2 * float(pixels.slices.mean()))
        return image(LABELS[level], np.random.default_rng(level))


TOWER = LevelTower("level", 60, 9, lambda slices: slices)


def header(label: str, rng: np.random.Generator, uid: str = "") -> SeriesHeader:
    """T1: short TE and TR; T2: long ones; BOLD: echo planar, many images."""
    te, tr, sequence, n = {
        "T1": (rng.uniform(8, 15), rng.uniform(400, 700), "SE", 24),
        "T2": (rng.uniform(80, 110), rng.uniform(3000, 6000), "SE", 24),
        "other:BOLD": (rng.uniform(25, 40), rng.uniform(1500, 3000), "EP", 2400),
    }[label]
    values = {
        "EchoTime": (te,),
        "RepetitionTime": (tr,),
        "ScanningSequence": (sequence,),
        "Manufacturer": ("ACME",),
    }
    return SeriesHeader(uid, values, n_images=n, n_positions=24, echo_times=(te,), repetition_times=(tr,))


def image(label: str, rng: np.random.Generator) -> np.ndarray:
    """Tokens of nine slices and the histogram: their level tells the label."""
    level = {"T1": -1.0, "T2": 0.0, "other:BOLD": 1.0}[label]
    return (level + 0.3 * rng.normal(size=(10, 60))).astype(np.float32)


def examples(n: int = 240, seed: int = 0, *, pixels: bool = True) -> Examples:
    rng = np.random.default_rng(seed)
    labels = [LABELS[i % 3] for i in range(n)]
    return Examples(
        [header(label, rng, f"1.2.{i}") for i, label in enumerate(labels)],
        [image(label, rng) if pixels else None for label in labels],
        labels,
        ["Brain" if i % 2 else "Knee" for i in range(n)],
        [f"p{i // 3}" for i in range(n)],
    )


def sorter(config: TrainConfig = CONFIG, **how):
    return train(examples(420), load_tags().tags, config, tower=TOWER, text=HashTower("test"), **how)
