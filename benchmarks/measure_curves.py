"""Learning curves: intervals calibrated on simulated worlds, then forecasts back-tested on real radiographs.

    python benchmarks/measure_curves.py simulate --out sim.json     # worlds whose true curve is known
    python benchmarks/measure_curves.py calibrate sim.json          # coverage by SPREAD and DRIFT, on the
    first half
    python benchmarks/measure_curves.py coverage sim.json           # error and coverage on the second half
    python benchmarks/measure_curves.py real --data DATA --store STORE [--pneumonia COHORT]

Nothing is tuned on the real curves: `calibrate` sees worlds with even numbers only, `coverage` the odd ones
and
two kinds of world that `calibrate` never saw. A world is a Gaussian feature space of 20 to 200 dimensions
whose
spectrum and signal decay by random powers, AUC 0.6 to 0.99 where all is known; positives may be one cloud
(binormal), several subtypes of unequal share, or of varying severity; features may have heavy tails. The
head is
ridge regression whose penalty is chosen by leave-one-out error.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from radfoundry.evaluate.intervals import auc_covariance, placements
from radfoundry.plan import forecast as forecasting
from radfoundry.plan.forecast import forecast
from radfoundry.plan.measured import Measured

SIZES = (5, 10, 15, 20, 30, 50)
LATER = (100, 200, 500)
SEEN, UNSEEN = ("binormal", "subtypes"), ("severity", "heavy")
REPEATS, NEGATIVES = 10, 3
TEST, POOL = (60, 180), 70  # the finite test set and pool of each world


@dataclass(frozen=True)
class World:
    """Where features come from: scale (p,) of the noise, clouds (k, p) of positives with their shares."""

    kind: str
    scale: np.ndarray
    clouds: np.ndarray
    share: np.ndarray

    def draw(self, positives: int, negatives: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(positives, p) and (negatives, p) features."""
        noise = rng.standard_normal((positives + negatives, len(self.scale)))
        if self.kind == "heavy":
            noise *= np.sqrt(3 / rng.chisquare(3, (len(noise), 1)))
        noise *= self.scale
        moved = self.clouds[rng.choice(len(self.share), positives, p=self.share)]
        if self.kind == "severity":
            moved = moved * rng.exponential(1, (positives, 1))
        return noise[:positives] + moved, noise[positives:]


def make_world(kind: str, rng: np.random.Generator) -> World:
    """A random world."""
    p = int(np.exp(rng.uniform(np.log(20), np.log(200))))
    rank = np.arange(1, p + 1.0)
    scale = rank ** -rng.uniform(0, 0.75)
    signal = rng.standard_normal(p) ** 2 * rank ** -rng.uniform(0, 1.5)
    signal *= 2 * norm.ppf(rng.uniform(0.6, 0.99)) ** 2 / signal.sum()
    cloud = np.sqrt(signal) * scale * rng.choice([-1, 1], p)
    if kind != "subtypes":
        return World(kind, scale, cloud[None], np.ones(1))
    k = int(rng.integers(3, 10))
    share = np.arange(1, k + 1.0) ** -1.2
    clouds = cloud * rng.choice([-1, 1], (k, p)) * rng.uniform(0.7, 1.5, (k, 1))
    return World(kind, scale, clouds, share / share.sum())


def ridge(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Weights (p,) of ridge regression on standardised features, penalty by leave-one-out error."""
    X, y = np.vstack([positive, negative]), np.repeat([1.0, -1.0], [len(positive), len(negative)])
    spread = X.std(axis=0) + 1e-9
    X, y = (X - X.mean(axis=0)) / spread, y - y.mean()
    values, vectors = np.linalg.eigh(X.T @ X)
    values, Z, best = np.maximum(values, 0), X @ vectors, (math.inf, None)
    for penalty in X.shape[1] * 10.0 ** np.arange(-2, 2.1, 0.5):
        w = (Z.T @ y) / (values + penalty)
        leverage = (Z**2) @ (1 / (values + penalty)) + 1 / len(y)
        loss = float((((y - Z @ w) / (1 - leverage)) ** 2).sum())
        best = min(best, (loss, vectors @ w / spread), key=lambda pair: pair[0])
    return best[1]


def auc(weights: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Mann-Whitney, without ties."""
    return float(np.searchsorted(np.sort(negative @ weights), positive @ weights).mean() / len(negative))


def simulate(seed: int, kind: str) -> dict:
    """One world: its true mean curve, and a curve measured on a finite pool and test set."""
    rng = np.random.default_rng([seed, len(kind)])
    world = make_world(kind, rng)
    many = world.draw(4000, 4000, rng)
    test = world.draw(*TEST, rng)
    pool = world.draw(POOL, POOL * NEGATIVES, rng)
    endless, finite = np.empty((2, REPEATS, len(SIZES)))
    components = np.zeros((len(SIZES), sum(TEST)))
    y = np.repeat([1, 0], TEST)
    for r in range(REPEATS):
        fresh = world.draw(max(SIZES), max(SIZES) * NEGATIVES, rng)
        a, b = rng.permutation(POOL), rng.permutation(POOL * NEGATIVES)
        for i, n in enumerate(SIZES):
            endless[r, i] = auc(ridge(fresh[0][:n], fresh[1][: n * NEGATIVES]), *many)
            w = ridge(pool[0][a[:n]], pool[1][b[: n * NEGATIVES]])
            finite[r, i] = auc(w, *test)
            components[i] += placements(y, np.vstack(test) @ w) / REPEATS
    truth = [
        float(np.mean([auc(ridge(*world.draw(n, n * NEGATIVES, rng)), *many) for _ in range(5)]))
        for n in LATER
    ]
    return {"kind": kind, "seed": seed, "endless": endless.tolist(), "finite": finite.tolist(),
            "truth": truth, "covariance": auc_covariance(y, components).tolist()}  # fmt: skip


def simulate_all(worlds: int, out: Path) -> None:
    """`worlds` of each kind, kept in `out` as they are done."""
    done: list[dict] = []
    for seed in range(worlds):
        done += [simulate(seed, kind) for kind in (*SEEN, *UNSEEN)]
        out.write_text(json.dumps(done))
        print(f"{len(done)} worlds", file=sys.stderr)


def _endless(world: dict) -> Measured:
    return Measured(np.array(SIZES, float), np.array(world["endless"]))


def _finite(world: dict) -> Measured:
    return Measured(
        np.array(SIZES, float),
        np.array(world["finite"]),
        pool_positives=POOL,
        test_covariance=np.array(world["covariance"]),
    )


def judge(worlds: list[dict], *, population: bool, scale: str = "value") -> pd.DataFrame:
    """Error and coverage of the forecast of the true mean curve; one row a world and size."""
    rows = []
    for world in worlds:
        measured = _finite(world) if population else _endless(world)
        f = forecast(measured, 0.9, population=population, scale=scale, draws=400)
        for n, truth in zip(LATER, world["truth"]):
            fit, low, high = f.value_at(n) if f.stack else (math.nan,) * 3
            rows.append({"kind": world["kind"], "n": n, "verdict": f.verdict, "error": fit - truth,
                         "width": high - low, "covered": low <= truth <= high, "above": truth > high,
                         "below": truth < low})  # fmt: skip
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Bias, mean absolute error, median width, coverage and misses on either side."""
    return rows.groupby(by).agg(
        curves=("error", "size"), bias=("error", "mean"), mae=("error", lambda e: e.abs().mean()),
        within_03=("error", lambda e: (e.abs() <= 0.03).mean()), width=("width", "median"),
        coverage=("covered", "mean"), above=("above", "mean"), below=("below", "mean"),
    ).round(3)  # fmt: skip


def calibrate(worlds: list[dict]) -> None:
    """Coverage of a grid of constants, on worlds with even numbers of the kinds in SEEN."""
    own = [w for w in worlds if w["seed"] % 2 == 0 and w["kind"] in SEEN]
    for spread in (1.0, 1.25, 1.5, 2.0):
        for drift in (0.0, 0.05, 0.1, 0.15, 0.2):
            forecasting.SPREAD, forecasting.DRIFT = spread, drift
            found = (
                judge(own, population=False)
                .groupby("n")[["covered", "width"]]
                .agg({"covered": "mean", "width": "median"})
            )
            words = [f"n={n}: {row.covered:.2f} (width {row.width:.3f})" for n, row in found.iterrows()]
            print(f"SPREAD {spread:4} DRIFT {drift:4}  " + "  ".join(words), flush=True)


def coverage(worlds: list[dict]) -> None:
    """On worlds that `calibrate` did not see: endless and finite pool and test set, by kind and size."""
    own = [w for w in worlds if w["seed"] % 2 == 1 or w["kind"] in UNSEEN]
    for words, population in (("this pool and test set", False), ("new patients", True)):
        rows = judge(own, population=population)
        print(
            "\nInterval for "
            f"{words}\n{summary(rows, ['n']).to_string()}\n{summary(rows, ['kind', 'n']).to_string()}"
        )


def main() -> int:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("simulate", "calibrate", "coverage", "real"))
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("curves.json"))
    options = parser.parse_args()
    if options.what == "simulate":
        simulate_all(options.worlds, options.out)
        return 0
    worlds = json.loads(options.file.read_text())
    {"calibrate": calibrate, "coverage": coverage}[options.what](worlds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
