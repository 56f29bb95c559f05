"""A series as numbers: one token a tag (a phrase, a binned number, or missing), and tokens of slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.series.attributes import read_attributes
from radfoundry.series.header import SeriesHeader
from radfoundry.series.phrases import TextTower, phrase

BINS = 16


@dataclass(frozen=True, slots=True)
class Tokens:
    """n series for the network; `*_known` are bool, False where the tag is missing or no slice was read.

    phrases: (n, text tags, text dim). numbers: (n, number tags, 2 × BINS + 1). images: (n, slices + 1, image
    dim), the last being the histogram. All float32.
    """

    phrases: np.ndarray
    phrases_known: np.ndarray
    numbers: np.ndarray
    numbers_known: np.ndarray
    images: np.ndarray
    images_known: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Tokens:
        """The same of some series."""
        return Tokens(*(getattr(self, name)[rows] for name in self.__slots__))

    def __len__(self) -> int:
        return len(self.phrases)


@dataclass(frozen=True)
class TagScheme:
    """How tags become tokens; `edges` (number tag -> BINS + 1 ascending bounds) come from training series.

    Binning is piecewise linear (Gorishniy et al. 2022, arXiv:2203.05556, PLE): a number fills the bins below
    it and its own in part, so that nothing is assumed about its scale.
    """

    text: tuple[str, ...]
    number: tuple[str, ...]
    edges: Mapping[str, tuple[float, ...]]

    def phrases(self, header: SeriesHeader) -> list[str]:
        """One phrase a text tag, "" where it is missing."""
        found = {name: header.values.get(name) for name in self.text}
        plane = read_attributes(header).plane
        found["ImageOrientationPatient"] = (plane,) if plane else None
        found = {
            name: tuple(map(_without_digits, values)) if name == "SequenceName" and values else values
            for name, values in found.items()
        }
        return [phrase(name, values) if (values := found[name]) else "" for name in self.text]

    def numbers(self, header: SeriesHeader) -> tuple[np.ndarray, np.ndarray]:
        """((number tags, 2 × BINS + 1), which are known): bins of least and largest, whether they differ."""
        out = np.zeros((len(self.number), 2 * BINS + 1), np.float32)
        known = np.zeros(len(self.number), bool)
        for row, name in enumerate(self.number):
            values = number_of(header, name)
            if not values:
                continue
            known[row] = True
            low, high = min(values), max(values)
            out[row, :BINS] = _piecewise(low, self.edges[name])
            out[row, BINS : 2 * BINS] = _piecewise(high, self.edges[name])
            out[row, -1] = float(high > low)
        return out, known

    def encode(
        self,
        headers: Sequence[SeriesHeader | None],
        tower: TextTower,
        images: Sequence[np.ndarray | None],
        image_shape: tuple[int, int],
    ) -> Tokens:
        """Tokens of series; a header or an image of None leaves that half missing.

        images: per series (k, image dim) with k at most image_shape[0]; image_shape: (slices + 1, image dim).
        The histogram token is the last row of each.
        """
        words = [self.phrases(h) if h else [""] * len(self.text) for h in headers]
        table = tower.embed([""] + [w for row in words for w in row if w])
        dim = table.shape[1]
        phrases = np.zeros((len(words), len(self.text), dim), np.float32)
        for i, row in enumerate(words):
            for j, word in enumerate(row):
                if word:
                    phrases[i, j] = tower.known[word]
        pairs = [self.numbers(h) if h else self.numbers(SeriesHeader()) for h in headers]
        pixels = np.zeros((len(words), *image_shape), np.float32)
        seen = np.zeros((len(words), image_shape[0]), bool)
        for i, found in enumerate(images):
            if found is not None:
                pixels[i, : len(found) - 1], pixels[i, -1] = found[:-1], found[-1]
                seen[i, : len(found) - 1], seen[i, -1] = True, True
        return Tokens(
            phrases,
            np.array([[bool(w) for w in row] for row in words], bool).reshape(len(words), -1),
            np.stack([values for values, _ in pairs])
            if pairs
            else np.zeros((0, len(self.number), 2 * BINS + 1)),
            np.stack([known for _, known in pairs]) if pairs else np.zeros((0, len(self.number)), bool),
            pixels,
            seen,
        )


def scheme(tags: Mapping[str, str], headers: Sequence[SeriesHeader]) -> TagScheme:
    """The scheme of a tag list (keyword -> text, number, ...), its bounds from these headers."""
    text = tuple(name for name, how in tags.items() if how == "text" or name == "ImageOrientationPatient")
    number = tuple(name for name in tags if name not in text)
    edges = {}
    for name in number:
        values = [v for header in headers for v in number_of(header, name)]
        edges[name] = _edges(np.array(values, np.float64))
    return TagScheme(text, number, edges)


def number_of(header: SeriesHeader, name: str) -> tuple[float, ...]:
    """The numbers of one tag; what is merged over the series (echo times, b-values, counts) counts first."""
    if name == "InstanceCount":
        return (float(header.n_images),) if header.n_images else ()
    if name == "DiffusionGradientOrientation":
        return (float(header.n_directions),) if header.n_directions else ()
    merged = {
        "EchoTime": header.echo_times,
        "RepetitionTime": header.repetition_times,
        "InversionTime": header.inversion_times,
        "DiffusionBValue": header.b_values,
    }
    if merged.get(name):
        return merged[name]
    found = []
    for value in header.values.get(name, ()):
        for part in value if isinstance(value, tuple) else (value,):
            number = _float(part)
            if number is not None and (name != "AcquisitionMatrix" or number > 0):
                found.append(number)
    return tuple(found)


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):  # text where a number belongs: missing
        return None
    return number if math.isfinite(number) else None


def _without_digits(name: Any) -> str:
    """A sequence name without its counters: *ep_b1000#12 and *ep_b1000#13 are one phrase."""
    return str(name).split("#")[0]


def _edges(values: np.ndarray) -> tuple[float, ...]:
    """BINS + 1 ascending bounds at quantiles of the values; equal ones are set apart by the least step."""
    if values.size == 0:
        values = np.array([0.0, 1.0])
    bounds = np.quantile(values, np.linspace(0, 1, BINS + 1))
    for i in range(1, len(bounds)):
        bounds[i] = max(bounds[i], np.nextafter(np.float32(bounds[i - 1]), np.float32(np.inf)))
    return tuple(float(b) for b in bounds)


def _piecewise(value: float, edges: Sequence[float]) -> np.ndarray:
    """(BINS,) in 0..1: bins below the value are full, the one that holds it is filled in part.

    >>> _piecewise(2.5, [0, 1, 2, 3, *range(4, 17)])[:4].tolist()
    [1.0, 1.0, 0.5, 0.0]
    """
    bounds = np.asarray(edges, np.float64)
    return np.clip((value - bounds[:-1]) / (bounds[1:] - bounds[:-1]), 0, 1).astype(np.float32)
