"""`radfoundry plan learning-curve`: measure a curve, or take a measured one, and forecast from it."""

from __future__ import annotations

import json as jsonlib
import math
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    import numpy as np

    from radfoundry.cohort import Cohort
    from radfoundry.plan.back_test import BackTest
    from radfoundry.plan.forecast import Forecast
    from radfoundry.plan.learning_curve import Plan
    from radfoundry.plan.measured import Measured
    from radfoundry.plan.worth import Gain

MEASURING = (
    "target", "encoder", "weights", "store", "features", "sizes", "negatives", "repeats", "folds", "design",
    "head", "device", "accept_licence", "jobs",
)  # fmt: skip
"""Options that say how a curve is to be measured; beside --curve they would do nothing."""


@dataclass(frozen=True)
class LearningCurve:
    """How a score grows with labels: nested subsets of a cohort, a fitted curve, positives needed for a goal.

    Give a cohort with --encoder or --features, or --curve with a curve that was measured elsewhere.
    """

    cohort: tyro.conf.Positional[Path | None] = None
    """Cohort table (CSV or Parquet), or a folder that holds one."""
    target: tuple[str, ...] = ()
    """Label columns, without their y:; needed where the cohort has several."""
    encoder: tuple[str, ...] = ()
    """Frozen encoders to compare."""
    weights: tuple[str, ...] = ()
    """Local weights: a path for the encoder that is not packaged; NAME=FILE for each of several."""
    store: Path | None = None
    """Folder of stored vectors; finished fits are kept there too, so that an interrupted run goes on."""
    features: tuple[Path, ...] = ()
    """Feature tables instead of encoders: CSV or Parquet, case_id and numbers."""
    curve: Path | None = None
    """A measured curve: CSV with n, repeat, value; see docs/how-to/plan.md for optional columns."""
    goal: float = 0.9
    """Value of the metric that is wanted."""
    metric: str | None = None
    """auroc (the default), auprc, f1, sens_at_spec90, balanced_accuracy or another metric that rises; with
    --curve that of the file."""
    sizes: tuple[int, ...] = ()
    """Numbers of positives to train on; automatic when empty."""
    negatives: float | None = None
    """Negatives for each positive; 5 by default."""
    repeats: int = 10
    """Shuffles of the training pool."""
    folds: int = 5
    """Folds, where there is no test part."""
    design: Literal["auto", "split", "holdout", "cv"] = "auto"
    """auto: the cohort's split column, else cross-validation; holdout: 30 % of the patients."""
    head: str = "logistic"
    """A head of `adapt`."""
    horizon: float = 10.0
    """Forecasts end at so many times the largest size."""
    scale: Literal["value", "dprime"] = "value"
    """Fit the metric itself, or the binormal d′ of an AUC."""
    families: tuple[str, ...] = ()
    """Of power, exponential, log, ilog2, mmf, weibull; by the number of sizes when empty."""
    back_test_from: float = 50
    """The back-test fits sizes up to so many positives."""
    prevalence: float | None = None
    """Share of positives among cases yet to be labelled: turns positives into cases."""
    price: float | None = None
    """Price of labelling one case: turns cases into a budget."""
    worth: float = 0.005
    """Gain of the metric that ten more positives must be able to bring to be worth their labels."""
    level: float = 0.9
    """Level of the intervals."""
    draws: int = 1000
    """Bootstrap draws."""
    device: str = "cpu"
    """cpu, cuda, cuda:N or mps."""
    accept_licence: tuple[str, ...] = ()
    """Restricted licences that you accept, by name."""
    jobs: int = 0
    """Processes; 0 uses every CPU."""
    seed: int = 0
    """Seed of subsets and resampling."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Also write: a .json file, a .csv of the measured curves, or else a folder with both and the plots."""

    def run(self) -> int:
        from radfoundry.errors import InputError
        from radfoundry.plan.back_test import back_test
        from radfoundry.plan.curves import family_of
        from radfoundry.plan.forecast import forecast
        from radfoundry.plan.ranges import RANGES, check_ranges
        from radfoundry.plan.worth import check_mix, next_labels

        check_ranges(**{name: getattr(self, name) for name in RANGES})
        if (self.cohort is None) == (self.curve is None):
            raise InputError("give either a cohort, or --curve with a measured curve")
        if self.price is not None and self.prevalence is None:
            raise InputError(
                "--price needs --prevalence: how many cases must be labelled to find one positive?"
            )
        for name in self.families:
            family_of(name)
        if self.curve is None:
            check_mix(self.prevalence, self.plan.negatives)
        measured = self._measure() if self.curve is None else self._read()
        options: dict[str, Any] = {
            "horizon": self.horizon, "level": self.level, "scale": self.scale, "draws": self.draws,
            "families": self.families or None, "seed": self.seed,
        }  # fmt: skip
        answers = []
        for m in measured:
            f = forecast(m, self.goal, **options)
            tested = back_test(m, self.goal, largest=self.back_test_from, **options)
            gain = next_labels(f, prevalence=self.prevalence, worth=self.worth)
            answers.append((f, tested, gain))
        content = self._content(answers, measured)
        if self.out is not None:
            self._write(self.out, answers, content)
        if self.json:
            print(jsonlib.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print(text(answers, content))
        return 0

    @property
    def plan(self) -> Plan:
        from radfoundry.plan.learning_curve import Plan

        default = Plan()
        return Plan(
            tuple(self.sizes),
            default.negatives if self.negatives is None else self.negatives,
            self.repeats,
            self.folds,
            self.head,
            default.metric if self.metric is None else self.metric,
            seed=self.seed,
        )

    def _read(self) -> list[Measured]:
        from radfoundry.errors import InputError
        from radfoundry.plan.measured import read_curves

        assert self.curve is not None  # the caller asked
        plain = {own.name: own.default for own in fields(self)}
        idle = [f"--{name.replace('_', '-')}" for name in MEASURING if getattr(self, name) != plain[name]]
        if idle:
            raise InputError(
                f"{', '.join(idle)}: for measuring a curve, and {self.curve.name} holds one that was "
                "measured. Leave out these options, or --curve"
            )
        self.plan.check()
        return read_curves(self.curve, metric=self.metric)

    def _measure(self) -> list[Measured]:
        import numpy as np

        from radfoundry.adapt.fits import Fits, processes
        from radfoundry.cohort import read_cohort
        from radfoundry.errors import InputError, NotEnoughData
        from radfoundry.plan.forecast import check_goal
        from radfoundry.plan.learning_curve import measure, split_rows
        from radfoundry.plan.measured import chance_of
        from radfoundry.studies.inputs import labelled
        from radfoundry.studies.options import local_weights

        assert self.cohort is not None  # the caller asked
        plan = self.plan
        plan.check()
        if not self.encoder and not self.features:
            raise InputError("name at least one --encoder, or a table with --features")
        self._refuse_namesakes()
        weights = local_weights(self.encoder, self.weights)
        images = bool(self.encoder)
        cohort = read_cohort(self.cohort, check_files=images, need_images=images)
        labels = [labelled(cohort, name) for name in dict.fromkeys(self.target or (None,))]
        for data in labels:
            check_goal(plan.metric, self.goal, chance_of(plan.metric, float(data.y.mean())))
        matrices = self._features(cohort, weights)
        fits = Fits(None if self.store is None else self.store / "fits")
        found = []
        for data in labels:
            places = np.flatnonzero(np.isin(cohort.table["case_id"].astype(str), data.case_id))
            there = np.all([present[places] for _, present in matrices.values()], axis=0)
            if not there.any():
                raise NotEnoughData(
                    f"{data.target}: no labelled case has features in all of {', '.join(matrices)}. Compare "
                    "the case ids"
                )
            data, places = data.keep(there, "no features"), places[there]
            if not there.all():
                print(
                    f"{data.target}: {(~there).sum()} cases without features were left out", file=sys.stderr
                )
            train, test = split_rows(data.cohort, data.y, self.design, seed=self.seed)
            found += measure(
                {name: x[places] for name, (x, _) in matrices.items()}, data.y, data.patient, plan,
                target=data.target,
                train=train, test=test, fits=fits, jobs=processes(self.jobs),
                log=lambda words: print(words, file=sys.stderr),
            )  # fmt: skip
        return found

    def _refuse_namesakes(self) -> None:
        """A table is called by its file's name: of two that share one, one would stand for both."""
        from radfoundry.errors import InputError

        names: dict[str, str] = {name: name for name in self.encoder}
        for path in self.features:
            if path.stem in names:
                raise InputError(
                    f"--features: {path} would be called {path.stem}, as {names[path.stem]} is. Rename it"
                )
            names[path.stem] = str(path)

    def _features(self, cohort: Cohort, weights: dict[str, Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Name to (n, p) values, NaN where one is missing, and (n,) whether a case is there at all."""
        import numpy as np

        from radfoundry.studies.inputs import matrix

        found = {path.stem: read_features(path, cohort) for path in self.features}
        if not self.encoder:
            return found
        from radfoundry import encoders

        with tempfile.TemporaryDirectory(prefix="radfoundry-plan-") as scratch:
            for name in self.encoder:
                encoder = encoders.load(
                    name, weights=weights.get(name), device=self.device,
                    accept_licences=self.accept_licence, seed=self.seed,
                )  # fmt: skip
                result = encoders.embed(cohort, encoder, self.store or scratch)
                for case, column, message in result.failures:
                    print(f"failed: case {case}, {column}: {message}", file=sys.stderr)
                known = np.isin(cohort.table["case_id"].astype(str), result.embeddings.case_id.astype(str))
                found[name] = matrix(cohort, result.embeddings), known
        return found

    def _content(self, answers: list[Answer], measured: list[Measured]) -> dict[str, Any]:
        from radfoundry.plan.learning_curve import slope_against_final
        from radfoundry.plan.worth import cost

        rows = []
        for f, tested, gain in answers:
            m = f.measured
            row = {
                **f.as_dict(), "measured": [
                    {"n": float(n), "mean": float(v), "sd": float(s)}
                    for n, v, s in zip(m.n, m.mean, m.values.std(axis=0, ddof=1))
                ],
                "design": m.design, "back_test": tested.as_dict(),
                "next_labels": None if gain is None else gain.as_dict(), "cost": None, "further_cost": None,
            }  # fmt: skip
            if self.prevalence is not None and f.usable:
                for key, have in (("cost", 0.0), ("further_cost", float(m.n[-1]))):
                    found = cost(
                        f.named, self.prevalence, negatives=m.negatives, price=self.price, have=have,
                        level=self.level,
                    )  # fmt: skip
                    row[key] = None if found is None else found.as_dict()
            rows.append(row)
        slope = slope_against_final(measured, until=self.back_test_from)
        return {
            "format": 1, "goal": self.goal, "curves": rows,
            "early_slope": {**slope, "until": self.back_test_from},
        }  # fmt: skip

    def _write(self, out: Path, answers: list[Answer], content: dict[str, Any]) -> None:
        import pandas as pd

        from radfoundry.cli.evaluate_files import whole
        from radfoundry.table_files import whole_folder

        table = pd.concat([f.measured.table() for f, _, _ in answers], ignore_index=True).to_csv(index=False)
        record = jsonlib.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if out.suffix in (".json", ".csv"):
            return whole(out, record if out.suffix == ".json" else table)
        with whole_folder(out) as folder:
            (folder / "curves.csv").write_text(table, encoding="utf-8")
            (folder / "forecast.json").write_text(record, encoding="utf-8")
            self._draw(folder, [f for f, _, _ in answers])
        print(f"written to {out}", file=sys.stderr)

    def _draw(self, out: Path, forecasts: list[Forecast]) -> None:
        from radfoundry.report import curve_figures
        from radfoundry.report.figures import save
        from radfoundry.studies.samples_needed import line

        panels: dict[str, dict[str, curve_figures.Line]] = {}
        for f in forecasts:
            panels.setdefault(f.measured.target, {})[f.measured.name] = line(f)
        first = forecasts[0].measured
        if len(panels) == 1:
            drawn = curve_figures.learning_curve(next(iter(panels.values())), self.goal, metric=first.metric)
        else:
            drawn = curve_figures.small_multiples(panels, self.goal, metric=first.metric)
        save(drawn[0], out / "learning_curve")


Answer = tuple["Forecast", "BackTest", "Gain | None"]
BEYOND = "What the next labels buy is not said: they lie beyond the horizon. Raise --horizon."


def read_features(path: Path, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """(n, p) numbers of a feature table in the cohort's order, and (n,) whether the table has the case.

    Numbers are NaN where the table has none. Raises TableError for a table without numbers or with none of
    the cases, and what `plan.tables.load` raises.
    """
    from radfoundry.errors import TableError
    from radfoundry.plan import tables

    table = tables.load(path, path.name)
    columns = tables.features_of(table)
    if not columns:
        raise TableError(f"{path.name}: no column of numbers. A feature table has one column a feature")
    found, present = tables.of_cases(table[columns], cohort, path.name)
    if not present.any():
        raise TableError(f"{path.name}: no case_id of {cohort.name} occurs in it. Use the same case ids")
    return found.to_numpy(float), present


def text(answers: list[Answer], content: dict[str, Any]) -> str:
    """The measured means, then a paragraph a curve."""
    from radfoundry.cli.evaluate import aligned

    sizes = sorted({n for f, _, _ in answers for n in f.measured.n})
    table = [["curve", *(f"n={n:g}" for n in sizes)]]
    for f, _, _ in answers:
        by = dict(zip(f.measured.n, f.measured.mean))
        table.append([f.measured.label, *(f"{by[n]:.3f}" if n in by else "" for n in sizes)])
    blocks = [f"mean {answers[0][0].measured.metric} by positives in training\n{aligned(table)}"]
    for (f, tested, gain), row in zip(answers, content["curves"]):
        more = [gain.sentence] if gain else [BEYOND] if f.usable else []
        lines = [f.sentence, tested.sentence, *more, *_costs(row)]
        blocks.append("\n".join([*lines, *(f"note: {note}" for note in f.notes)]))
    slope = content["early_slope"]
    if slope["rho"] is not None:
        blocks.append(
            f"Early slope (up to {slope['until']:g} positives) against the final value over {slope['n']} "
            f"curves: Spearman {slope['rho']:.2f} (p = {slope['p']:.3f})."
        )
    return "\n\n".join(blocks)


def _costs(row: dict[str, Any]) -> list[str]:
    found = row["cost"]
    if found is None:
        return []
    budget = "" if found["budget"] is None else f", budget {found['budget']:,.0f}"
    further = row["further_cost"]
    more = math.ceil(further["cases"])
    return [
        f"At a prevalence of {found['prevalence']:g} that is {found['cases']:,.0f} cases to label "
        f"({found['low']:,.0f} to {found['high']:,.0f}){budget}; {more:,} of them beyond the "
        f"{row['largest']['n']:g} positives in hand. {_bound(found)}"
    ]


def _bound(found: dict[str, Any]) -> str:
    """Which class the number of cases comes from."""
    if found["negatives"] is None:
        return "Positives alone are counted: how many negatives came with each is not known of this curve."
    if found["binds"] == "negatives":
        return f"The negatives bind: {found['positives']:,} positives need {found['negatives']:,} of them."
    return f"The positives bind: their {found['negatives']:,} negatives are found on the way."
