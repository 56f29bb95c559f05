"""Learning curves: intervals checked on simulated worlds, then forecasts back-tested on real radiographs.

    python benchmarks/measure_curves.py simulate --out worlds.json   # worlds whose true curve is known
    python benchmarks/measure_curves.py layers worlds.json           # what each part of the interval is for
    python benchmarks/measure_curves.py coverage worlds.json         # error and coverage on the others
    python benchmarks/measure_curves.py real --data DATA --store STORE --out curves.json
    python benchmarks/measure_curves.py real --labels Effusion Atelectasis --folds 10 --fitted-to 50

No interval is tuned on the real curves; the point became the power law after they had been seen, which the
simulations favour too. The interval was designed on worlds with even numbers of two kinds
(`layers`); `coverage` judges it on the odd ones and on two kinds of world that were never looked at before. A
world is a Gaussian feature space of 20 to 200 dimensions whose spectrum and signal decay by random powers,
AUC 0.6 to 0.99 where all is known; positives may be one cloud (binormal), subtypes of unequal share, or
of varying severity; features may have heavy tails. The head is ridge regression, its penalty chosen by
leave-one-out error.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from radfoundry import encoders
from radfoundry.adapt.fits import Fits
from radfoundry.audit.baselines import align
from radfoundry.datasets import medmnist, nih_cxr
from radfoundry.evaluate.intervals import auc_covariance, placements
from radfoundry.plan import forecast as forecasting
from radfoundry.plan.back_test import back_test
from radfoundry.plan.forecast import forecast
from radfoundry.plan.learning_curve import Plan, measure, slope_against_final
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


def judge(worlds: list[dict], *, population: bool, families: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Error and coverage of the forecast of the true mean curve; one row a world and size."""
    rows = []
    for world in worlds:
        measured = _finite(world) if population else _endless(world)
        f = forecast(measured, 0.9, population=population, families=families, draws=400)
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


def layers(worlds: list[dict]) -> None:
    """Coverage with less than the whole interval, on worlds with even numbers of the kinds in SEEN."""
    own = [w for w in worlds if w["seed"] % 2 == 0 and w["kind"] in SEEN]
    floor, rising = forecasting.SIGMA_FLOOR, forecasting._rising
    for words, families, least, monotone in (
        ("power law, repeats resampled", ("power",), 1e-4, False),
        ("and a floor of the error", ("power",), floor, False),
        ("and several families", None, floor, False),
        ("and no fall beyond the data", None, floor, True),
    ):
        forecasting.SIGMA_FLOOR = least
        forecasting._rising = rising if monotone else lambda refits, at, largest: refits
        found = summary(judge(own, population=False, families=families), ["n"])
        print(f"\n{words}\n{found.to_string()}", flush=True)


def coverage(worlds: list[dict]) -> None:
    """On worlds that `layers` did not see: endless and finite pool and test set, by kind and size."""
    own = [w for w in worlds if w["seed"] % 2 == 1 or w["kind"] in UNSEEN]
    for words, population in (("this pool and test set", False), ("new patients", True)):
        rows = judge(own, population=population)
        print(
            "\nInterval for "
            f"{words}\n{summary(rows, ['n']).to_string()}\n{summary(rows, ['kind', 'n']).to_string()}"
        )


NIH = (
    "Atelectasis",
    "Effusion",
    "Cardiomegaly",
    "Fibrosis",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
)
ENCODERS = ("efficientnet-lite0", "dinov2-s-focus", "raw-pixels")
PNEUMONIA_POOL = 2500  # of the 4,708 training images, the first: enough for 500 positives and negatives


def real(
    data: Path, store: Path, out: Path, labels: tuple[str, ...], *, folds: int = 3, fitted_to: int = 30
) -> None:
    """Both data sets; curves and back-tests as JSON, and a table on stdout.

    folds, fitted_to: of the NIH labels, of which there are few; more folds leave more positives to train on.
    """
    rows: list[dict] = []
    curves: list[Measured] = []
    for measured, largest in _real_curves(data, store, labels, folds, fitted_to):
        curves.append(measured)
        tested = back_test(measured, 0.9, largest=largest)
        for r in tested.rows:
            rows.append({"target": measured.target, "features": measured.name, "fitted up to": largest, **r})
        print(
            f"{measured.label}: " + "  ".join(f"{n:g}: {v:.3f}" for n, v in zip(measured.n, measured.mean)),
            flush=True,
        )
        record = {"curves": [m.table().to_dict("list") for m in curves], "rows": rows}
        out.write_text(json.dumps(record))
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    last = table.groupby(["target", "features"]).tail(1)
    for words, some in (("all sizes", table), ("largest size of each curve", last)):
        error = some["error"].abs()
        print(
            f"{words}: {len(some)} forecasts, mean absolute error {error.mean():.3f}, largest "
            f"{error.max():.3f}, "
            f"within .03 {(error <= 0.03).mean():.2f}, 90 % intervals that hold {some['covered'].mean():.2f}"
        )
    found = slope_against_final(curves)
    print(
        f"early slope against final value: Spearman {found['rho']} (p {found['p']}) over {found['n']} curves"
    )


def _real_curves(data: Path, store: Path, labels: tuple[str, ...], folds: int, fitted_to: int):
    """(curve, largest size of the back-test's fit), one encoder after the other."""
    fits = Fits(store / "fits")
    if "pneumonia" in labels:
        cohort = medmnist.read(data / "medmnist" / "pneumoniamnist_restored.npz", out=store.parent / "pneu")
        split = cohort.table["split"].to_numpy()
        train = np.flatnonzero(split == "train")[:PNEUMONIA_POOL]
        test = np.flatnonzero(split == "test")
        cohort = cohort.subset(np.concatenate([train, test]))
        y, patient = cohort.labels(cohort.targets[0]), cohort.patients.astype(str)
        plan = Plan(sizes=(5, 10, 15, 20, 30, 50, 75, 100, 200, 300, 500), negatives=1)
        rows = np.arange(len(y))
        for name in ENCODERS:
            features = {name: _vectors(cohort, name, store)}
            for m in measure(features, y, patient, plan, target="pneumonia", train=rows[: len(train)],
                             test=rows[len(train) :], fits=fits, jobs=1):  # fmt: skip
                yield m, 50
    cohort = nih_cxr.load(root=data / "nih_cxr")
    for label in labels:
        if label == "pneumonia":
            continue
        y, patient = cohort.labels(label), cohort.patients.astype(str)
        for name in ENCODERS:
            features = {name: _vectors(cohort, name, store)}
            plan = Plan(negatives=3, folds=folds)
            for m in measure(features, y, patient, plan, target=label, fits=fits, jobs=1):
                yield m, fitted_to


def _vectors(cohort, name: str, store: Path) -> np.ndarray:
    return align(cohort, encoders.embed(cohort, encoders.load(name), store).embeddings).astype(np.float32)


def main() -> int:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("simulate", "layers", "coverage", "real"))
    parser.add_argument("file", type=Path, nargs="?", default=Path("worlds.json"))
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("RADFOUNDRY_DATA", "../shared/data"))
    )
    parser.add_argument("--store", type=Path, default=Path("stores/curves"))
    parser.add_argument("--labels", nargs="+", default=["pneumonia", *NIH])
    parser.add_argument("--folds", type=int, default=3, help="cross-validation of the NIH labels")
    parser.add_argument("--fitted-to", type=int, default=30, help="largest size that their forecasts see")
    parser.add_argument("--out", type=Path, default=Path("curves.json"))
    options = parser.parse_args()
    if options.what == "simulate":
        simulate_all(options.worlds, options.out)
    elif options.what == "real":
        real(
            options.data, options.store, options.out, tuple(options.labels), folds=options.folds,
            fitted_to=options.fitted_to,
        )  # fmt: skip
    else:
        worlds = json.loads(options.file.read_text())
        {"layers": layers, "coverage": coverage}[options.what](worlds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
