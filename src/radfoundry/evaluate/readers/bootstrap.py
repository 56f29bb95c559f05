"""Readers and cases drawn with replacement: any figure of merit, whoever read what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.readers.anova import Effects
from radfoundry.evaluate.readers.merits import BLOCK, Merit, draw_cases, estimates, values
from radfoundry.evaluate.readers.reads import Reads


@dataclass(frozen=True)
class Draws:
    """of_readers: (I, J, draws) of single readers, their cases drawn; average: (I, draws), readers drawn
    too unless they are fixed. NaN where a draw leaves nothing to average."""

    of_readers: np.ndarray
    average: np.ndarray


def two_way_bootstrap(
    reads: Reads, merit: Merit, effects: Effects = "random", *, n: int = 1000, rng: np.random.Generator
) -> Draws:
    """Draws of every reader and of the average over readers.

    Patients are drawn within those with and without a positive case, readers independently of them; fixed
    readers, or fixed cases, are not drawn. All modalities share a draw. With readers and cases both random
    the spread is too wide rather than too narrow, the more so the fewer of either there are (Gallas et al.,
    Commun Stat Theory 2009;38:2586). A reader whose drawn cases leave the figure undefined is left out of
    that draw.
    """
    if len(reads.readers) < 2 and effects != "fixed readers":
        raise NotEnoughData("one reader: readers can not be drawn. Use effects='fixed readers'")
    i, j = reads.rating.shape[:2]
    of_readers = np.empty((i, j, n))
    for start in range(0, n, BLOCK):
        block = min(BLOCK, n - start)
        if effects == "fixed cases":
            of_readers[..., start : start + block] = estimates(reads, merit)[..., None]
        else:
            of_readers[..., start : start + block] = values(reads, merit, draw_cases(reads, block, rng))
    weights = np.ones((j, n))
    if effects != "fixed readers":
        drawn = rng.integers(j, size=(n, j))
        weights = np.stack([np.bincount(row, minlength=j) for row in drawn], axis=1).astype(float)
    return Draws(of_readers, weighted_mean(of_readers, weights))


def weighted_mean(of_readers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(I, draws) mean over readers who have a value; weights: (J, draws)."""
    there = np.isfinite(of_readers)
    total = np.where(there, of_readers, 0.0)
    below = (there * weights).sum(axis=1)
    return np.divide((total * weights).sum(axis=1), below, out=np.full(below.shape, np.nan), where=below > 0)
