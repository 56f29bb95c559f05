"""S5 · How many samples to label.

Question. How many positive cases does a frozen encoder need before a simple classifier on its vectors reaches
a goal, is the goal within reach at all, and what would the labels cost?

Methods. Each image becomes one vector by a frozen encoder. Training subsets grow in the number of positives,
each holding the one before, with a constant number of negatives to each positive; the patients tested are the
same at every size and never trained on: a test part, or each fold of a repeated, patient-grouped
cross-validation. The classifier is logistic regression, solved to convergence, its strength chosen within
each training subset. A power law is fitted within bounds to the means over repeats and gives the forecast;
exponential, logarithmic and inverse logarithmic curves (from eight sizes on MMF and Weibull too) are fitted
beside it, weighted by AICc, and what they disagree on is in the interval. A hierarchical bootstrap over
repeats, pool and test patients gives the band, the number of positives at the goal with its 90 % interval,
and the probability that the goal is reached within ten times the largest size measured. Beyond that nothing
is forecast.

Comparators. Raw pixels on the same subsets: an encoder is worth its name where it needs fewer labels than
they do. Ahead of them is one whose gap at the largest size has an interval above 0, with the luck of test
patients, subsets and pool in it. The tool back-tests itself on these data: it fits the small sizes alone
and compares with what the larger ones showed.

Design after a published analysis of chest-radiograph encoders, which fitted a power law to 50 positives or
fewer (arXiv 2510.11553), with what it left out added: intervals, other curves, back-test, cost, a stopping
rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.adapt.fits import processes
from radfoundry.audit import audit
from radfoundry.audit.baselines import is_control
from radfoundry.cohort import Cohort
from radfoundry.errors import InputError
from radfoundry.plan.back_test import BackTest, back_test
from radfoundry.plan.forecast import Forecast, Scale, check_goal, count, forecast
from radfoundry.plan.gap import gap
from radfoundry.plan.learning_curve import Plan, measure, slope_against_final, split_rows
from radfoundry.plan.measured import Measured, chance_of
from radfoundry.plan.ranges import RANGES, check_ranges
from radfoundry.plan.worth import check_mix, cost, next_labels
from radfoundry.report import curve_figures
from radfoundry.splits import Fold, kfold
from radfoundry.studies import evidence, inputs
from radfoundry.studies.inputs import Labelled
from radfoundry.studies.options import Options
from radfoundry.studies.run import Run, command_line
from radfoundry.types import Embeddings, Estimate

TITLE = "How many samples to label"


@dataclass(frozen=True)
class Config(Options):
    """Options of the study; without --cohort it runs on generated phantoms."""

    out: Path = Path("runs/samples_needed")
    """Run folder to make."""
    targets: tuple[str, ...] = ()
    """Label columns, without their y:; --target names a single one."""
    encoder: tuple[str, ...] = ("efficientnet-lite0",)
    """Frozen encoders; raw pixels come along unless --no-controls."""
    goal: float = 0.9
    """Value of the metric that is wanted."""
    metric: str = "auroc"
    """auroc, auprc, f1, sens_at_spec90, balanced_accuracy or another metric that rises."""
    sizes: tuple[int, ...] = ()
    """Numbers of positives to train on; automatic when empty."""
    negatives: float = 5.0
    """Negatives for each positive."""
    head: str = "logistic"
    """A head of `adapt`."""
    repeats: int = 10
    """Shuffles of the training pool, each a curve."""
    folds: int = 5
    """Folds, where there is no test part."""
    horizon: float = 10.0
    """Forecasts end at so many times the largest size."""
    scale: Scale = "value"
    """Fit the metric itself, or the binormal d′ of an AUC (dprime)."""
    back_test_from: int = 50
    """The back-test fits sizes up to so many positives."""
    prevalence: float | None = None
    """Share of positives among cases yet to be labelled; that of the cohort when absent."""
    price: float | None = None
    """Price of labelling one case, for a budget."""
    worth: float = 0.005
    """Gain of the metric that ten more positives must be able to bring to be worth their labels."""
    cases: int = 240
    """Phantoms to draw."""

    @property
    def plan(self) -> Plan:
        sizes = tuple(self.sizes)
        return Plan(sizes, self.negatives, self.repeats, self.folds, self.head, self.metric, seed=self.seed)

    def check(self) -> None:
        super().check()
        self.plan.check()
        if not self.encoder:
            raise InputError("--encoder: name at least one")
        if self.target and self.targets:
            raise InputError("give --target or --targets, not both")
        check_ranges(**{name: getattr(self, name) for name in RANGES if hasattr(self, name)})
        check_mix(self.prevalence, self.negatives)


@dataclass(frozen=True)
class _Answer:
    """All that is said of one curve."""

    forecast: Forecast
    tested: BackTest
    prevalence: float

    @property
    def measured(self) -> Measured:
        return self.forecast.measured


def run(config: Config) -> Path:
    """Run the study; returns the run folder."""
    config.check()
    command = command_line()
    with Run(
        config.out, command=command, config=config, seed=config.seed, title=TITLE, force=config.force
    ) as run:
        cohort = inputs.read(config.cohort, lambda: _phantom(config))
        names = tuple(dict.fromkeys(config.targets)) or (config.target or _only(cohort),)
        labels = [inputs.labelled(cohort, name) for name in names]
        for data in labels:
            check_goal(config.metric, config.goal, chance_of(config.metric, float(data.y.mean())))
        run.add_data(cohort.name, cohort.digest(), len(cohort))
        run.hide([*cohort.patients.astype(str), *cohort.table["case_id"].astype(str)])
        vectors = _vectors(run, config, cohort)
        answers, first = [], None
        for data in labels:
            found, whole, folds = _curves(run, config, data, vectors)
            answers += [_answer(config, data, m) for m in found]
            first = first or (whole, folds)
        _show(run, config, answers, labels, len(cohort))
        assert first is not None  # at least one label
        _audit(run, config, *first, vectors)
        run.section("Methods", key="methods", text=_methods(config, answers))
    return run.out


def _phantom(config: Config) -> Cohort:
    folder = config.store.parent / f"phantom-samples-{config.cases}-{config.effect:g}-{config.seed}"
    options: dict[str, Any] = {"task": "ila", "effect": config.effect, "seed": config.seed, "prevalence": 0.3}
    return inputs.phantom(folder, n=config.cases, **options)


def _only(cohort: Cohort) -> str:
    if len(cohort.targets) != 1:
        known = ", ".join(cohort.targets) or "none"
        raise InputError(
            f"{cohort.name} has {len(cohort.targets)} label columns ({known}). Choose with --target or "
            "--targets"
        )
    return cohort.targets[0]


def _vectors(run: Run, config: Config, cohort: Cohort) -> dict[str, Embeddings]:
    """Every encoder over the whole cohort, whose images all labels share."""
    names = list(dict.fromkeys([*config.encoder, *(["raw-pixels"] if config.controls else [])]))
    return {name: inputs.embed(run, [cohort], name, config)[0] for name in names}


def _curves(
    run: Run, config: Config, data: Labelled, vectors: dict[str, Embeddings]
) -> tuple[list[Measured], Labelled, list[Fold]]:
    """The measured curve of each encoder for one label, and the folds that an audit may use."""
    features = {name: inputs.matrix(data.cohort, found) for name, found in vectors.items()}
    # Absent are cases without any number; single ones that are missing (radiomics) are imputed in each fit.
    whole = np.all([np.isfinite(x).any(axis=1) for x in features.values()], axis=0)
    features = {name: x[whole] for name, x in features.items()}
    data = data.keep(whole, "no usable image")
    train, test = split_rows(data.cohort, data.y, config.design, seed=config.seed)
    found = measure(
        features, data.y, data.patient, config.plan, target=data.target, train=train, test=test,
        fits=inputs.fits(config), jobs=processes(config.jobs), log=run.log,
    )  # fmt: skip
    for words in (found[0].note, *(m.missing for m in found)):
        if words:
            run.note(f"{data.target}: {words}.")
    run.log(f"{data.target}: {found[0].design}, sizes {', '.join(f'{n:g}' for n in found[0].n)}")
    if train is not None and test is not None:
        return found, data, [Fold(train, test)]
    folds = kfold(data.patient, data.y, seed=config.seed)
    return found, data, folds


def _answer(config: Config, data: Labelled, measured: Measured) -> _Answer:
    options: dict[str, Any] = {"horizon": config.horizon, "scale": config.scale, "seed": config.seed}
    options["draws"] = max(50, min(config.n_boot, 2000))
    tested = back_test(measured, config.goal, largest=config.back_test_from, **options)
    return _Answer(
        forecast(measured, config.goal, **options), tested, config.prevalence or float(data.y.mean())
    )


# --- the page -------------------------------------------------------------------------------------------


def _show(run: Run, config: Config, answers: list[_Answer], labels: Sequence[Labelled], read: int) -> None:
    run.section("The question", key="question", text=evidence.paragraph(__doc__, "Question"))
    for data in labels:
        if len(labels) == 1:
            evidence.table_one(run, data)
    evidence.flow(run, read, labels[0], [("cases analysed", len(labels[0].y))])
    _drawings(run, config, answers)
    _table(run, config, answers)
    _families(run, answers)
    _back_tests(run, config, answers)
    _labels_to_come(run, config, answers)
    _early(run, config, answers)
    run.add_estimates([e for a in answers for e in _estimates(a)])
    words, items, gaps = _verdict(config, answers)
    run.verdict(words, items)
    run.add_estimates(gaps)
    for a in answers:
        if not a.forecast.usable:
            run.note(a.forecast.sentence)
        elif a.tested.rows and a.tested.coverage < 0.5:
            run.note(f"{a.measured.label}. {a.tested.sentence}")


def line(f: Forecast) -> curve_figures.Line:
    """A forecast as it is drawn."""
    m = f.measured
    low, high = np.quantile(m.values, [0.05, 0.95], axis=0)
    points = pd.DataFrame({"n": m.n, "value": m.mean, "low": low, "high": high})
    band = f.band if f.usable else f.band.iloc[:0]
    return curve_figures.Line(points, band, float(m.n[-1]), m.chance)


def _drawings(run: Run, config: Config, answers: list[_Answer]) -> None:
    panels: dict[str, dict[str, curve_figures.Line]] = {}
    for a in answers:
        panels.setdefault(a.measured.target, {})[a.measured.name] = line(a.forecast)
    caption = (
        "Points: means over repeats, bars 5 to 95 % of the repeats. Band: 90 %, for new patients. "
        "Dashed: beyond what was measured."
    )
    for index, (target, lines) in enumerate(panels.items()):
        drawn = curve_figures.learning_curve(lines, config.goal, metric=config.metric)
        name = "learning_curve" + (f"-{index + 1}" if index else "")
        run.save_figure(name, *drawn, title=f"Learning curve, {target}", caption=caption)
    if len(panels) > 1:
        drawn = curve_figures.small_multiples(panels, config.goal, metric=config.metric)
        run.save_figure("curves_by_label", *drawn, title="Learning curves by label", caption=caption)


def _table(run: Run, config: Config, answers: list[_Answer]) -> None:
    needed: list[list[Any]] = []
    costs: list[list[Any]] = []
    for a in answers:
        f, m = a.forecast, a.measured
        needed.append([
            m.target, m.name, f"{m.mean[-1]:.3f} at {m.n[-1]:g}", f.verdict, count(f.named), f.interval,
            f.probability,
        ])  # fmt: skip
        found = cost(
            f.named, a.prevalence, negatives=m.negatives, price=config.price, have=float(m.n[-1])
        ) if f.usable else None  # fmt: skip
        if found is not None:
            cases = f"{found.cases:,.0f} ({found.low:,.0f} to {found.high:,.0f})"
            costs.append([
                m.target, m.name, a.prevalence, cases, found.binds if found.cases else "–",
                *([] if found.budget is None else [round(found.budget)]),
            ])  # fmt: skip
    run.set_section("samples_needed", {
        "kind": "table", "title": f"Positives needed for {config.metric} {config.goal:g}",
        "columns": ["label", "features", "measured", "verdict", "positives needed", "90 % interval",
                    "P(within horizon)"],
        "rows": needed,
        "caption": f"Horizon: {config.horizon:g} times the largest size. Unbounded: the lower limit of the "
        "curve never reaches the goal within the horizon.",
    })  # fmt: skip
    if costs:
        priced = [] if config.price is None else [f"budget at {config.price:g} a case"]
        run.set_section("cost", {
            "kind": "table", "title": "What finding them costs",
            "columns": ["label", "features", "prevalence", "further cases to label", "found last", *priced],
            "rows": costs,
            "caption": "Further cases: to screen and label until the missing positives are found and "
            f"{config.negatives:g} negatives for each; found last: the class that decides the number.",
        })  # fmt: skip


def _families(run: Run, answers: list[_Answer]) -> None:
    rows = []
    for a in answers:
        if a.forecast.stack is None:
            continue
        for fitted, weight in zip(a.forecast.stack.fits, a.forecast.stack.weights):
            end = fitted.plateau
            rows.append([
                a.measured.target, a.measured.name, fitted.family, weight, "none" if math.isinf(end) else end,
                fitted.b, ", ".join(f"{t:.3g}" for t in fitted.theta), fitted.aicc,
                "yes" if fitted.converged else "no",
            ])  # fmt: skip
    if rows:
        run.set_section("families", {
            "kind": "table", "title": "Curves that were fitted",
            "columns": ["label", "features", "family", "weight", "plateau", "b", "shape", "AICc",
                        "converged"],
            "rows": rows,
            "caption": "a − b g(n): the plateau a lies between chance and 1. A plateau far above what "
                       "was measured is an extrapolation; do not read it as a promise.",
        })  # fmt: skip


def _back_tests(run: Run, config: Config, answers: list[_Answer]) -> None:
    rows: list[list[Any]] = [
        [a.measured.target, a.measured.name, int(r["n"]), r["forecast"], f"{r['low']:.3f} to {r['high']:.3f}",
         r["observed"], r["error"], "yes" if r["covered"] else "no"]
        for a in answers for r in a.tested.rows
    ]  # fmt: skip
    if not rows:
        run.note(
            f"No back-test: nothing larger than {config.back_test_from} positives was measured, or "
            "fewer than three sizes up to there. Lower --back-test-from to have one."
        )
        return
    errors = [abs(r["error"]) for a in answers for r in a.tested.rows]
    covered = [r["covered"] for a in answers for r in a.tested.rows]
    run.set_section("back_test", {
        "kind": "table", "title": "Back-test: can this forecast be believed here?",
        "columns": ["label", "features", "positives", "forecast", "90 % interval", "observed", "error",
                    "covered"],
        "rows": rows,
        "caption": f"Fitted to sizes up to {config.back_test_from} positives. Mean absolute error "
        f"{np.mean(errors):.3f}; {np.mean(covered):.0%} of {len(covered)} observed means lie inside. "
        "Sizes of one curve err together, so a few curves say little about coverage.",
    })  # fmt: skip
    run.add_estimates([
        Estimate("back_test_mae", float(np.mean(errors)), n=len(errors),
                 method=f"fitted up to {config.back_test_from} positives"),
        Estimate("back_test_coverage", float(np.mean(covered)), method="of 90 % intervals", n=len(covered)),
    ])  # fmt: skip


def _labels_to_come(run: Run, config: Config, answers: list[_Answer]) -> None:
    found = [(a, next_labels(a.forecast, prevalence=a.prevalence, worth=config.worth)) for a in answers]
    rows: list[list[Any]] = [
        [a.measured.target, a.measured.name, f"{g.n:g}", f"{g.positives:.3g}", g.gain,
         f"{g.low:.4f} to {g.high:.4f}", "stop" if g.stop else "go on"]
        for a, g in found if g is not None
    ]  # fmt: skip
    if rows:
        run.set_section("next_labels", {
            "kind": "table", "title": "What the next 10 labels are expected to buy",
            "columns": ["label", "features", "positives now", "positives more", "gain", "90 % interval",
                        "advice"],
            "rows": rows,
            "caption": "Of ten cases as they come, at the prevalence of the table above, so many positives "
            f"find their {config.negatives:g} negatives. Stop: even the upper limit of the gain lies below "
            f"{config.worth:g} for ten positives (--worth).",
        })  # fmt: skip


def _early(run: Run, config: Config, answers: list[_Answer]) -> None:
    found = slope_against_final([a.measured for a in answers], until=config.back_test_from)
    if found["rho"] is None:
        return
    rows = [[r["target"], r["name"], r["slope"], r["final"], int(r["n"])] for r in found["rows"]]
    run.set_section("early_slope", {
        "kind": "table", "title": "Early slope against the final value",
        "columns": ["label", "features", "gain a doubling", "final value", "at positives"], "rows": rows,
        "caption": f"Over {found['n']} curves, Spearman ρ = {found['rho']:.2f} (p = {found['p']:.3f}); "
        f"early: up to {config.back_test_from} positives.",
    })  # fmt: skip
    run.add_estimates([Estimate("early_slope_spearman", found["rho"], method="Spearman", n=found["n"])])


def _estimates(a: _Answer) -> list[Estimate]:
    """The value at the largest size, and the positives needed, as numbers of the run."""
    f, m = a.forecast, a.measured
    tested = m.test_cases or 0
    _, low, high = f.value_at(m.n[-1]) if f.usable else (math.nan, math.nan, math.nan)
    needed = f.named if math.isfinite(f.named) else math.nan
    bounded = math.isfinite(f.low) and math.isfinite(f.high)
    why = f"{f.verdict}; P(within horizon) {f.probability:.2f}" if f.usable else f.verdict
    return [
        Estimate(
            f"{m.metric}@n={m.n[-1]:g}", float(m.mean[-1]), low, high, f.level, "hierarchical bootstrap",
            tested, target=m.target, model=m.name,
        ),
        Estimate(
            "positives_needed", needed, f.low if bounded else math.nan, f.high if bounded else math.nan,
            f.level, "power law; interval over all families", tested, target=m.target, model=m.name, note=why,
        ),
    ]  # fmt: skip


def _verdict(
    config: Config, answers: list[_Answer]
) -> tuple[str, list[tuple[str, Estimate, Estimate | None]], list[Estimate]]:
    """(one sentence a label for its best encoder, its value beside raw pixels, what it is ahead by)."""
    words, items, gaps = [], [], []
    for target in dict.fromkeys(a.measured.target for a in answers):
        own = [a for a in answers if a.measured.target == target]
        trained = [a for a in own if not is_control(a.measured.name)] or own
        best = max(trained, key=_rank)
        words.append(best.forecast.sentence)
        plain = next((a for a in own if a.measured.name == "raw-pixels" and a is not best), None)
        if plain is not None:
            said, found = _against(best, plain, sum(a is not plain for a in trained))
            words.append(said)
            gaps.append(found)
        value = _estimates(best)[0]
        floor = _estimates(plain)[0] if plain else _chance(best, value)
        items.append((f"{config.metric.upper() if config.metric == 'auroc' else config.metric}, {target}, "
                      f"{best.measured.n[-1]:g} positives", value, floor))  # fmt: skip
    return " ".join(word[0].upper() + word[1:] for word in words), items, gaps


def _chance(a: _Answer, value: Estimate) -> Estimate | None:
    """What any constant score reaches, to stand beside a control that is itself the best."""
    chance = a.measured.chance
    if not math.isfinite(chance):
        return None
    return Estimate(
        f"{a.measured.metric}_trivial",
        chance,
        method="chance",
        n=value.n,
        target=value.target,
        model="chance",
    )


def _rank(a: _Answer) -> tuple[float, float]:
    """Most likely to reach the goal first, then the best at the largest size."""
    return (a.forecast.probability if a.forecast.usable else -1.0), float(a.measured.mean[-1])


def _against(best: _Answer, plain: _Answer, among: int = 1) -> tuple[str, Estimate]:
    """(whether the encoder is ahead of raw pixels at the largest size, by how much), by `plan.gap`.

    among: how many encoders it was the best of; the intervals of all of them hold jointly (Bonferroni).
    """
    found = gap(best.measured, plain.measured, level=1 - 0.05 / among)
    size, name, by = f"{best.measured.n[-1]:g}", best.measured.name, f"{found.value:+.3f}"
    if found.note:
        return f"With {size} positives {name} minus raw pixels is {by}; {found.note}.", found
    joint = "" if among == 1 else f", joint over {among} encoders"
    words = f"{by}, 95% CI {found.low:+.3f} to {found.high:+.3f}{joint}"
    if found.low > 0:
        return f"With {size} positives {name} is ahead of raw pixels ({words}).", found
    behind = "behind" if found.high < 0 else "not ahead of"
    return f"With {size} positives {name} is {behind} raw pixels ({words}).", found


def _audit(
    run: Run, config: Config, data: Labelled, folds: list[Fold], vectors: dict[str, Embeddings]
) -> None:
    """Leaks and shortcuts of the first label."""
    found = audit(
        data.cohort, data.target, embeddings=vectors, folds=folds, n_perm=config.n_perm,
        n_boot=min(config.n_boot, 1000), seed=config.seed,
    )  # fmt: skip
    evidence.audit_section(run, found)


def _methods(config: Config, answers: list[_Answer]) -> str:
    words = [evidence.paragraph(__doc__, start) for start in ("Methods", "Comparators")]
    m = answers[0].measured
    sizes = ", ".join(f"{n:g}" for n in m.n)
    return (
        f"{' '.join(words)} Here: {m.design}; {len(m.values)} repeats; sizes {sizes} positives with "
        f"{config.negatives:g} negatives each; head {config.head}; metric {config.metric}."
    )
