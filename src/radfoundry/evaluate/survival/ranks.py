"""Sums over comparable pairs and censoring weights, for many bootstrap draws at once.

A draw of patients is a column of counts, as in `resample`. The pairs that a C-index compares are found by
halving: rows in order of time are cut into blocks of 1, 2, 4, ... rows, each sorted by score; who is still at
risk at a death is a union of such blocks, one a size. So a draw costs O(n log n) and no loop over pairs.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse


class ComparablePairs:
    """Who died (cases) against who was still at risk, ranked by a score; higher is worse.

    time, event, score: (n,). A pair is comparable when one died before the other's time, or at the time at
    which the other was censored; two deaths at one time are not. Ties of the score count one half.
    """

    def __init__(self, time: np.ndarray, event: np.ndarray, score: np.ndarray) -> None:
        n = len(time)
        self.order = np.lexsort((event, -time))  # the longest first; censored before deaths of that time
        t, dead = time[self.order], event[self.order] == 1
        at = np.flatnonzero(dead)
        self.cases = self.order[at]
        """(m,) rows with an event."""
        later, upto = np.searchsorted(-t, -t[at], "left"), np.searchsorted(-t, -t[at], "right")
        kept = np.concatenate([[0], np.cumsum(~dead)])
        self.prefix = later + kept[upto] - kept[later]
        rank = np.unique(score, return_inverse=True)[1].reshape(-1)[self.order]
        self._levels = [self._level(size, rank, at) for size in _powers(n)]
        self._n = n

    def _level(self, size: int, rank: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, ...]:
        """(rows in order, cases, block starts, first equal, first above) of blocks of one size."""
        wide = int(rank.max()) + 1 if len(rank) else 1
        key = np.arange(len(rank)) // size * wide + rank
        by_key = np.argsort(key, kind="stable")
        used = np.flatnonzero(self.prefix & size)
        block = self.prefix[used] // (2 * size) * 2  # the block that completes this prefix
        wanted = block * wide + rank[at[used]]
        ordered = key[by_key]
        left, right = (np.searchsorted(ordered, wanted, side) for side in ("left", "right"))
        return self.order[by_key], used, block * size, left, right

    def against(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each case: the weight it outranks, and all weight it is compared with; both (m, draws).

        weight: (n, draws), how often each row was drawn. Counts may be float32: exact below 2^24.
        """
        wins = np.zeros((len(self.cases), weight.shape[1]))
        for rows, used, start, left, right in self._levels:
            if len(used):
                upto = _cumulated(weight[rows])
                wins[used] += 0.5 * (upto[left] + upto[right]) - upto[start]
        return wins, _cumulated(weight[self.order])[self.prefix].astype(float)

    def back(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The transposed sums, seen by who was outranked; (n,) each. weight: (m,) of the cases."""
        wins = np.zeros(self._n)
        for rows, used, start, left, right in self._levels:
            v = weight[used]
            ends = np.bincount(np.concatenate([left, right, start]),
                               np.concatenate([0.5 * v, 0.5 * v, -v]), self._n + 1)  # fmt: skip
            wins[rows] += np.cumsum(ends[::-1])[::-1][1:]
        total = np.empty(self._n)
        total[self.order] = np.cumsum(np.bincount(self.prefix, weight, self._n + 1)[::-1])[::-1][1:]
        return wins, total

    def concordance(self, weight: np.ndarray, by_case: np.ndarray | None = None) -> np.ndarray:
        """(draws,) share of comparable pairs in which the higher score died first; NaN without a pair.

        by_case: (m, draws) further weights of the cases, as Uno's.
        """
        wins, total = self.against(weight)
        own = weight[self.cases] if by_case is None else weight[self.cases] * by_case
        return divide((own * wins).sum(axis=0), (own * total).sum(axis=0))

    def influence(self) -> tuple[float, np.ndarray]:
        """(C, (n,) infinitesimal jackknife of each row); NaN without a comparable pair."""
        wins, total = (x[:, 0] for x in self.against(np.ones((self._n, 1))))
        if not total.sum() > 0:
            return np.nan, np.full(self._n, np.nan)
        c = wins.sum() / total.sum()
        seen_wins, seen_total = self.back(np.ones(len(self.cases)))
        out = seen_wins - c * seen_total
        out[self.cases] += wins - c * total
        return float(c), out / total.sum()


class Censoring:
    """The chance to be still uncensored, by Kaplan-Meier with the parts of death and censoring exchanged.

    At a time with both, deaths come first. time, event: (n,).
    """

    def __init__(self, time: np.ndarray, event: np.ndarray) -> None:
        self.times, where = np.unique(time, return_inverse=True)
        shape = (len(self.times), len(time))
        rows = np.arange(len(time))
        dead = event > 0
        self._dead, self._lost = (
            sparse.csr_array((np.ones(int(m.sum())), (where[m], rows[m])), shape=shape) for m in (dead, ~dead)
        )
        self.where = where

    def kept(self, weight: np.ndarray) -> np.ndarray:
        """(times, draws) chance to be uncensored beyond each time. weight: (n, draws)."""
        return self._product(weight, self._lost, self._dead)

    def until(self, kept: np.ndarray) -> np.ndarray:
        """(n, draws) chance to be uncensored just before each row's own time, G(t-), from `kept`.

        Who has the event at t was not censored before t. A censoring at t itself is later than an event of
        that time, so it does not count: with G(t) the weights of rounded times would add up to more than n.
        """
        return np.concatenate([np.ones((1, kept.shape[1]), kept.dtype), kept[:-1]])[self.where]

    def survival(self, weight: np.ndarray) -> np.ndarray:
        """(times, draws) Kaplan-Meier survival after each time."""
        return self._product(weight, self._dead, None)

    def _product(
        self, weight: np.ndarray, ends: sparse.csr_array, first: sparse.csr_array | None
    ) -> np.ndarray:
        dead, lost = self._dead @ weight, self._lost @ weight
        risk = np.cumsum((dead + lost)[::-1], axis=0)[::-1]
        if first is not None:
            risk = risk - dead
        share = np.divide(lost if first is not None else dead, risk, out=np.zeros_like(risk), where=risk > 0)
        return np.cumprod(1 - share, axis=0)

    def at(self, steps: np.ndarray, horizon: float) -> np.ndarray:
        """(draws,) of `kept` or `survival`, at one time."""
        i = int(np.searchsorted(self.times, horizon, "right")) - 1
        return np.ones(steps.shape[1]) if i < 0 else steps[i]

    @cached_property
    def plain(self) -> np.ndarray:
        """(times,) `kept` with every row once."""
        return self.kept(np.ones((len(self.where), 1)))[:, 0]


class Ordered:
    """Rows in order of a score (n,), so that weighted ranks of many draws are cumulative sums."""

    def __init__(self, score: np.ndarray) -> None:
        self._order = np.argsort(score, kind="stable")
        ordered = score[self._order]
        self._left, self._right = (np.searchsorted(ordered, score, side) for side in ("left", "right"))

    def below(self, weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(len(rows), draws) weight of lower scores, and half that of equal ones."""
        upto = _cumulated(weight[self._order])
        return 0.5 * (upto[self._left[rows]] + upto[self._right[rows]]).astype(float)


def divide(top: np.ndarray | float, bottom: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    top, bottom = np.broadcast_arrays(top, bottom)
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _cumulated(weight: np.ndarray) -> np.ndarray:
    out = np.zeros((len(weight) + 1, weight.shape[1]), weight.dtype)
    np.cumsum(weight, axis=0, out=out[1:])
    return out


def _powers(n: int) -> list[int]:
    return [1 << k for k in range(max(n, 1).bit_length())]
