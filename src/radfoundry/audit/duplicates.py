"""The same picture twice: by pixel digest, by perceptual hash, by embedding.

Two images are near-duplicates when their perceptual hashes are close (a cheap filter over all pairs)
and their band-passed thumbnails correlate (the proof). Constants were set on real films: over 192,510
pairs of chest radiographs of different patients the smallest hash distance was 58 bits of 256 and the
largest thumbnail correlation 0.83; the same films halved in size, brightened, gamma-changed, with noise
or recompressed at JPEG quality 40 stayed within 20 bits and above 0.98.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as PilImage
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from radfoundry.errors import RadfoundryError
from radfoundry.types import Embeddings, Image

SIDE = 32  # thumbnail side, pixels
HASH_BITS = 256
HASH_DISTANCE = 40  # bits of 256; different chest films: at least 58
CORRELATION = 0.90  # of band-passed thumbnails; different chest films: at most 0.83
BAND_SIGMA = 1.5  # thumbnail pixels; what is smoother than this (the shape all chests share) is removed
BLOCK = 4096  # images a block of the all-pairs comparison


@dataclass(frozen=True, slots=True)
class Prints:
    """Fingerprints of n images.

    row: (n,) cohort row; column: (n,) image column; digest: (n,) sha256 of pixels and shape;
    thumbnail: (n, 32, 32) float32 in [0, 1]; failures: what could not be read, with the reason.
    """

    row: np.ndarray
    column: np.ndarray
    digest: np.ndarray
    thumbnail: np.ndarray
    failures: tuple[tuple[str, str, str], ...] = ()

    @property
    def blank(self) -> np.ndarray:
        """(n,) bool: one grey throughout, so nothing to compare."""
        return np.ptp(self.thumbnail.reshape(len(self.thumbnail), -1), axis=1) < 1e-3

    def pixels(self, rows: int) -> np.ndarray:
        """(rows, k) raw-pixel features by cohort row: the mean over an image's columns, NaN if unread."""
        flat = self.thumbnail.reshape(len(self.thumbnail), SIDE * SIDE)
        total, count = np.zeros((rows, SIDE * SIDE), np.float32), np.zeros(rows)
        np.add.at(total, self.row, flat)
        np.add.at(count, self.row, 1)
        total[count == 0] = np.nan
        return total / np.maximum(count, 1)[:, None].astype(np.float32)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images (positions in `Prints` or `Embeddings`) and why they are taken for one.

    kind: 'exact', 'near', 'mirrored' or 'embedding'. similarity: thumbnail correlation or cosine.
    """

    first: int
    second: int
    kind: str
    similarity: float
    hash_distance: int | None = None


def thumbnail(image: Image) -> np.ndarray:
    """(32, 32) float32 in [0, 1]: grey, antialiased, squeezed to a square (aspect ratio is not kept)."""
    grey = image.display()
    if image.is_colour:
        grey = grey.mean(axis=2, dtype=np.float32)
    small = PilImage.fromarray(np.ascontiguousarray(grey, np.float32), mode=None)
    return np.asarray(small.resize((SIDE, SIDE), PilImage.Resampling.BILINEAR), np.float32)


def digest(image: Image) -> str:
    """sha256 over shape and pixels: equal exactly when the decoded pixels are equal."""
    pixels = np.ascontiguousarray(image.array)
    head = f"{pixels.shape} {pixels.dtype.str}".encode()
    return hashlib.sha256(head + pixels.tobytes()).hexdigest()


def fingerprint(
    jobs: Sequence[tuple[int, str, str, Callable[[], Image]]], *, workers: int | None = None
) -> Prints:
    """Digest and thumbnail of every image; an unreadable one is listed, and stops nothing.

    jobs: (cohort row, case_id, column, function that reads the image), one an image.
    """

    def one(job: tuple[int, str, str, Callable[[], Image]]) -> tuple[str, np.ndarray] | str:
        try:
            image = job[3]()
            return digest(image), thumbnail(image)
        except (RadfoundryError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
        results = list(pool.map(one, jobs))
    good = [(job, r) for job, r in zip(jobs, results, strict=True) if not isinstance(r, str)]
    failures = [(job[1], job[2], r) for job, r in zip(jobs, results, strict=True) if isinstance(r, str)]
    return Prints(
        np.array([job[0] for job, _ in good], int),
        np.array([job[2] for job, _ in good], object),
        np.array([r[0] for _, r in good], object),
        np.stack([r[1] for _, r in good]) if good else np.zeros((0, SIDE, SIDE), np.float32),
        tuple(failures),
    )


def perceptual_hash(thumbnails: np.ndarray) -> np.ndarray:
    """(n, 32, 32) to (n, 32) uint8: 256 packed bits, the low DCT frequencies against their median.

    The DCT hash of Zauner, "Implementation and benchmarking of perceptual image hash functions",
    2010, with 16 x 16 instead of 8 x 8 coefficients: radiographs of one projection look alike, and 64
    bits do not tell them apart. The mean grey (first coefficient) counts as 0.
    """
    low = dctn(thumbnails.astype(np.float64), axes=(1, 2), norm="ortho")[:, :16, :16].reshape(-1, HASH_BITS)
    if not len(low):
        return np.zeros((0, HASH_BITS // 8), np.uint8)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1)


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, bytes) and (m, bytes) packed bits to (n, m) distances in bits, one 64-bit word at a time."""
    words_a, words_b = (np.ascontiguousarray(x).view(np.uint64) for x in (a, b))
    distance = np.zeros((len(a), len(b)), np.uint16)
    for k in range(words_a.shape[1]):
        distance += _popcount(words_a[:, k, None] ^ words_b[None, :, k])
    return distance


def band_pass(thumbnails: np.ndarray) -> np.ndarray:
    """(n, 32, 32) to (n, 1024) unit vectors without the coarse shape; blank images become zeros."""
    fine = thumbnails - gaussian_filter(thumbnails, (0, BAND_SIGMA, BAND_SIGMA))
    flat = fine.reshape(len(fine), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(norm > 1e-4, flat / np.maximum(norm, 1e-12), 0.0).astype(np.float32)


def find(prints: Prints) -> list[Pair]:
    """Every pair of images that show the same picture: exact, near or mirrored; most alike first.

    Time grows with the square of n (100,000 images: minutes), memory with n and the block size.
    """
    usable = np.flatnonzero(~prints.blank)
    thumbs = prints.thumbnail[usable]
    straight, flipped = perceptual_hash(thumbs), perceptual_hash(thumbs[:, :, ::-1])
    bands, mirror = band_pass(thumbs), band_pass(thumbs[:, :, ::-1])
    pairs: dict[tuple[int, int], Pair] = {}
    for kind, hashes, other in (("near", straight, bands), ("mirrored", flipped, mirror)):
        for i, j, distance in _close_pairs(straight, hashes):
            similarity = np.einsum("ij,ij->i", bands[i], other[j])
            for k in np.flatnonzero(similarity >= CORRELATION):
                key = (int(usable[i[k]]), int(usable[j[k]]))
                pairs.setdefault(key, Pair(*key, kind, float(similarity[k]), int(distance[k])))
    for key in _equal_pairs(prints.digest):
        pairs[key] = Pair(*key, "exact", 1.0, 0)
    order = {"exact": 0, "near": 1, "mirrored": 2}
    return sorted(pairs.values(), key=lambda p: (order[p.kind], -p.similarity, p.first, p.second))


def groups(pairs: Sequence[Pair], n: int) -> np.ndarray:
    """(n,) group number of each image: images joined by a chain of pairs share one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    i = np.array([p.first for p in pairs], int)
    j = np.array([p.second for p in pairs], int)
    graph = coo_matrix((np.ones(len(pairs)), (i, j)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def find_by_embedding(
    embeddings: Embeddings, patient: np.ndarray, *, spread: float = 6.0, floor: float = 0.9
) -> tuple[list[Pair], float]:
    """Pairs of images of different patients whose vectors are suspiciously close. Heuristic.

    Vectors are standardised by dimension and scaled to length 1. Each image's cosine with its nearest
    image of another patient, as Fisher z, gives a distribution; suspicious is what lies `spread` robust
    standard deviations (1.4826 x median absolute deviation) above its median, is at least `floor`, and is
    mutual: each the nearest of the other. Returns the pairs and the cosine that served as threshold. The
    rule assumes that most images have no duplicate; it names candidates to look at, and proves nothing.
    """
    z = embeddings.vectors.astype(np.float64)
    z = (z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-12)
    unit = (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    best, where = _nearest(unit, patient)
    has = where >= 0
    if has.sum() < 30:
        return [], float("nan")
    fisher = np.arctanh(np.clip(best[has], -0.999999, 0.999999))
    centre = np.median(fisher)
    sigma = 1.4826 * np.median(np.abs(fisher - centre))
    threshold = max(float(np.tanh(centre + spread * max(sigma, 1e-6))), floor)
    mutual = [
        Pair(int(i), int(where[i]), "embedding", float(best[i]))
        for i in np.flatnonzero(has & (best >= threshold))
        if i < where[i] and where[where[i]] == i
    ]
    return sorted(mutual, key=lambda p: -p.similarity), threshold


def across(pairs: Sequence[Pair], labels: np.ndarray) -> np.ndarray:
    """(len(pairs),) bool: whether the two carry different labels; "" (not assigned) differs from nothing."""
    if not pairs:
        return np.zeros(0, bool)
    a = labels[[p.first for p in pairs]].astype(str)
    b = labels[[p.second for p in pairs]].astype(str)
    return (a != b) & (a != "") & (b != "")


def rows(
    pairs: Sequence[Pair], case_id: np.ndarray, columns: dict[str, np.ndarray] | None = None
) -> list[dict[str, Any]]:
    """A table of pairs; each of `columns` (values by image) appears as `name_a` and `name_b`."""
    table = []
    for p in pairs:
        row: dict[str, Any] = {"case_a": case_id[p.first], "case_b": case_id[p.second], "kind": p.kind}
        row["similarity"] = round(p.similarity, 4)
        for name, values in (columns or {}).items():
            row[f"{name}_a"], row[f"{name}_b"] = values[p.first], values[p.second]
        table.append(row)
    return table


def _close_pairs(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Index pairs i < j with hamming(a[i], b[j]) within reach, block by block."""
    for start in range(0, len(a), BLOCK):
        for other in range(start, len(b), BLOCK):
            distance = hamming(a[start : start + BLOCK], b[other : other + BLOCK])
            i, j = np.nonzero(distance <= HASH_DISTANCE)
            keep = (i + start) < (j + other)
            i, j = i[keep], j[keep]
            if len(i):
                yield i + start, j + other, distance[i, j]


def _equal_pairs(digests: np.ndarray) -> Iterator[tuple[int, int]]:
    """Each image with the first of its digest: k copies give k - 1 pairs, not k squared."""
    first: dict[str, int] = {}
    for index, value in enumerate(digests):
        if value in first:
            yield first[value], index
        else:
            first[value] = index


def _nearest(unit: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest cosine with a row of another patient, and that row (-1 when there is none)."""
    codes = np.unique(patient.astype(str), return_inverse=True)[1]
    best, where = np.full(len(unit), -np.inf, np.float32), np.full(len(unit), -1)
    for start in range(0, len(unit), BLOCK // 4):
        stop = min(start + BLOCK // 4, len(unit))
        cosine = unit[start:stop] @ unit.T
        cosine[codes[start:stop, None] == codes[None, :]] = -np.inf
        nearest = cosine.argmax(axis=1)
        best[start:stop] = cosine[np.arange(stop - start), nearest]
        where[start:stop] = np.where(np.isfinite(best[start:stop]), nearest, -1)
    return best, where


def _popcount(words: np.ndarray) -> np.ndarray:
    """Bits set in each uint64."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    table = np.array([bin(i).count("1") for i in range(1 << 16)], np.uint8)  # numpy before 2.0
    halves = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 4)
    return table[halves].sum(axis=-1, dtype=np.uint8)
