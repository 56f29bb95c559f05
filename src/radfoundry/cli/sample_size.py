"""`radfoundry plan sample-size QUESTION`: parse, call `radfoundry.plan.sample_size`, print."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from radfoundry.plan.requirement import Requirement


@dataclass(frozen=True)
class Auc:
    """An AUC with an interval of a given width."""

    auc: float
    """AUC you expect."""
    prevalence: float
    """Share of positives among the cases: what you will meet, or what you will choose."""
    width: float | None = None
    """Whole width of the interval: 0.1 is plus or minus 0.05. Give this or --n."""
    n: int | None = None
    """Cases you have: says how wide the interval will be."""
    model: Literal["hanley-mcneil", "binormal"] = "hanley-mcneil"
    """Formula of the standard error; hanley-mcneil is the usual and more cautious one."""
    simulate: int = 0
    """Also draw this many studies and take DeLong's interval in each; 0 draws none, 1000 is usual."""
    scores: Literal["binormal", "negative-exponential"] = "binormal"
    """Distribution of the simulated scores."""
    level: float = 0.95
    """Confidence level."""
    seed: int = 0
    """Seed of the simulation."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Also write: a .json or .csv file, or else a folder with both and the plot as SVG and PNG."""

    def run(self) -> int:
        from radfoundry.plan import sample_size

        ask = partial(
            sample_size.auc_precision, self.auc, self.prevalence, level=self.level, model=self.model
        )
        found = ask(width=self.width, n=self.n)
        simulated = None
        if self.simulate:
            with _bar(self.simulate) as progress:
                simulated = sample_size.simulate_auc(
                    self.auc, *_classes(found), scores=self.scores, draws=self.simulate,
                    level=self.level, seed=self.seed, progress=progress,
                )  # fmt: skip
        return _answer(found, lambda n: ask(n=n), self.json, self.out, simulated)


@dataclass(frozen=True)
class SensSpec:
    """Sensitivity and specificity with intervals of a given width."""

    prevalence: float
    """Share of positives among the cases that will be screened."""
    sensitivity: float | None = None
    """Sensitivity you expect; may be left out."""
    specificity: float | None = None
    """Specificity you expect; may be left out."""
    width: float | None = None
    """Whole width of each interval: 0.1 is plus or minus 0.05. Give this or --n."""
    n: int | None = None
    """Cases you have: says how wide the intervals will be."""
    interval: Literal["wilson", "clopper-pearson", "wald"] = "wilson"
    """Kind of interval; wald is Buderer's formula."""
    level: float = 0.95
    """Confidence level."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Also write: a .json or .csv file, or else a folder with both and the plot as SVG and PNG."""

    def run(self) -> int:
        from radfoundry.plan import sample_size

        ask = partial(
            sample_size.sens_spec_precision,
            prevalence=self.prevalence,
            sensitivity=self.sensitivity,
            specificity=self.specificity,
            level=self.level,
            interval=self.interval,
        )
        return _answer(ask(width=self.width, n=self.n), lambda n: ask(n=n), self.json, self.out)


@dataclass(frozen=True)
class Develop:
    """Developing a risk model of a binary outcome: the criteria of Riley and others."""

    prevalence: float
    """Share of cases with the outcome."""
    parameters: int
    """Candidate predictor parameters, counted before any selection."""
    auc: float | None = None
    """AUC you expect, corrected for optimism. Give this, --r2 or --r2-nagelkerke."""
    r2: float | None = None
    """Cox-Snell R2 you expect."""
    r2_nagelkerke: float | None = None
    """Nagelkerke R2 you expect: Cox-Snell's as a share of its maximum; 0.15 is a cautious guess."""
    shrinkage: float = 0.9
    """Smallest expected shrinkage of the coefficients."""
    optimism: float = 0.05
    """Largest difference of apparent and adjusted Nagelkerke R2."""
    risk_margin: float = 0.05
    """Largest margin of error of the overall risk."""
    mape: float = 0.05
    """Largest mean absolute error of predicted risks; 0 leaves this criterion out."""
    n: int | None = None
    """Cases you have: says what they reach."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Also write: a .json or .csv file, or else a folder with both and the plot as SVG and PNG."""

    def run(self) -> int:
        from radfoundry.plan import sample_size

        ask = partial(
            sample_size.develop_model,
            self.prevalence,
            self.parameters,
            r2=self.r2,
            r2_nagelkerke=self.r2_nagelkerke,
            auc=self.auc,
            shrinkage=self.shrinkage,
            optimism=self.optimism,
            risk_margin=self.risk_margin,
            mape=self.mape or None,
        )
        return _answer(ask(n=self.n), lambda n: ask(n=n), self.json, self.out)


@dataclass(frozen=True)
class Validate:
    """Validating a risk model: calibration, AUC and net benefit, precisely enough."""

    prevalence: float
    """Share of cases with the outcome."""
    auc: float
    """AUC you expect."""
    lp_normal: tuple[float, float] | None = None
    """Mean and SD of the model's linear predictor, where known; else AUC and prevalence imply it."""
    risk_beta: tuple[float, float] | None = None
    """Instead: the two parameters of a beta distribution of predicted risks."""
    oe_width: float = 0.2
    """Width of the interval of observed over expected events."""
    slope_width: float = 0.2
    """Width of the interval of the calibration slope."""
    auc_width: float = 0.1
    """Width of the interval of the AUC."""
    threshold: float | None = None
    """Risk from which on one would act: adds the criterion of net benefit."""
    sensitivity: float | None = None
    """Sensitivity at that threshold; default as the linear predictor implies."""
    specificity: float | None = None
    """Specificity at that threshold; default as the linear predictor implies."""
    benefit_width: float = 0.2
    """Width of the interval of standardised net benefit."""
    level: float = 0.95
    """Confidence level."""
    n: int | None = None
    """Cases you have: says how wide the intervals will be."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Also write: a .json or .csv file, or else a folder with both and the plot as SVG and PNG."""

    def run(self) -> int:
        from radfoundry.plan import sample_size

        ask = partial(
            sample_size.validate_model,
            self.prevalence,
            self.auc,
            lp_normal=self.lp_normal,
            risk_beta=self.risk_beta,
            oe_width=self.oe_width,
            slope_width=self.slope_width,
            auc_width=self.auc_width,
            threshold=self.threshold,
            sensitivity=self.sensitivity,
            specificity=self.specificity,
            benefit_width=self.benefit_width,
            level=self.level,
        )
        return _answer(ask(n=self.n), lambda n: ask(n=n), self.json, self.out)


@dataclass(frozen=True)
class CompareAuc:
    """Telling two AUCs apart, on the same cases or on two groups."""

    auc_a: float
    """AUC of the first model."""
    auc_b: float
    """AUC of the second model."""
    prevalence: float
    """Share of positives among the cases."""
    power: float = 0.8
    """Chance of finding the difference."""
    n: int | None = None
    """Cases you have: says the power."""
    paired: bool = True
    """Both models score the same cases; --no-paired: two groups, half of the cases each."""
    score_correlation: float = 0.5
    """Correlation of the two models' scores within a class."""
    correlation: float | None = None
    """Correlation of the two AUCs, where known, instead of that of the scores."""
    model: Literal["hanley-mcneil", "binormal"] = "binormal"
    """Formula of the standard errors; hanley-mcneil asks for more cases."""
    alpha: float = 0.05
    """Significance level."""
    sides: Literal[1, 2] = 2
    """Sides of the test."""
    simulate: int = 0
    """Also draw this many studies and test each by DeLong's test; 0 draws none, 1000 is usual."""
    seed: int = 0
    """Seed of the simulation."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Also write: a .json or .csv file, or else a folder with both and the plot as SVG and PNG."""

    def run(self) -> int:
        from radfoundry.errors import InputError
        from radfoundry.plan import sample_size

        ask = partial(
            sample_size.compare_aucs,
            self.auc_a,
            self.auc_b,
            self.prevalence,
            power=self.power,
            alpha=self.alpha,
            sides=self.sides,
            paired=self.paired,
            score_correlation=self.score_correlation,
            correlation=self.correlation,
            model=self.model,
        )
        if self.simulate and (self.sides == 1 or self.correlation is not None):
            raise InputError(
                "the simulation knows two sides and the correlation of scores only: leave out "
                "--sides 1 and --correlation, or --simulate"
            )
        found = ask(n=self.n)
        simulated = None
        if self.simulate:
            positives, negatives = _classes(found)
            arms = 1 if self.paired else 2
            with _bar(self.simulate) as progress:
                simulated = sample_size.simulate_comparison(
                    self.auc_a, self.auc_b, positives // arms, negatives // arms, paired=self.paired,
                    score_correlation=self.score_correlation, alpha=self.alpha,
                    draws=self.simulate, seed=self.seed, progress=progress,
                )  # fmt: skip
        return _answer(found, lambda n: ask(n=n), self.json, self.out, simulated)


@dataclass(frozen=True)
class McNemar:
    """Telling two paired proportions apart: accuracy, sensitivity, or specificity on the same cases."""

    share_a: float
    """Share that the first gets right: its accuracy, sensitivity or specificity."""
    share_b: float
    """Share that the second gets right."""
    discordant: float | None = None
    """Share of cases on which the two disagree; default as if they erred independently, which is cautious."""
    prevalence: float | None = None
    """For sensitivities or specificities: share of positives among the cases to be screened."""
    among: Literal["positives", "negatives"] = "positives"
    """With --prevalence: positives for sensitivities, negatives for specificities."""
    power: float = 0.8
    """Chance of finding the difference."""
    n: int | None = None
    """Cases you have: says the power."""
    test: Literal["exact", "approximate"] = "exact"
    """McNemar's exact test, or Connor's normal approximation."""
    alpha: float = 0.05
    """Significance level."""
    sides: Literal[1, 2] = 2
    """Sides of the test."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Also write: a .json or .csv file, or else a folder with both and the plot as SVG and PNG."""

    def run(self) -> int:
        from radfoundry.plan import sample_size

        ask = partial(
            sample_size.compare_paired_proportions,
            self.share_a,
            self.share_b,
            discordant=self.discordant,
            prevalence=self.prevalence,
            among=self.among,
            power=self.power,
            alpha=self.alpha,
            sides=self.sides,
            test=self.test,
        )
        return _answer(ask(n=self.n), lambda n: ask(n=n), self.json, self.out)


@dataclass(frozen=True)
class SampleSize:
    """How many cases a question needs, by formula; with --n, what a number of cases reaches."""

    question: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Auc, tyro.conf.subcommand("auc")]
        | Annotated[SensSpec, tyro.conf.subcommand("sens-spec")]
        | Annotated[Develop, tyro.conf.subcommand("develop")]
        | Annotated[Validate, tyro.conf.subcommand("validate")]
        | Annotated[CompareAuc, tyro.conf.subcommand("compare-auc")]
        | Annotated[McNemar, tyro.conf.subcommand("mcnemar")]
    ]

    def run(self) -> int:
        return self.question.run()


@contextmanager
def _bar(draws: int) -> Iterator[Callable[[int, int], object]]:
    """Progress on stderr, where somebody watches."""
    from tqdm import tqdm

    with tqdm(total=draws, unit="study", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        yield lambda done, _: bar.update(done - bar.n)


def _classes(found: Requirement) -> tuple[int, int]:
    assert found.n_positive is not None and found.n_negative is not None
    return max(found.n_positive, 2), max(found.n_negative, 2)


def _answer(
    found: Requirement,
    at: Callable[[int], Requirement],
    as_json: bool,
    out: Path | None,
    simulated: Any = None,
) -> int:
    """Print the requirement, and write it where asked."""
    content = found.as_dict()
    if simulated is not None:
        content["simulation"] = simulated.as_dict()
    text = jsonlib.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    if out is not None:
        _write(out, text, found, at)
        print(f"written: {out}", file=sys.stderr)
    if as_json:
        print(text)
        return 0
    print(found)
    if simulated is not None:
        print(f"\n{simulated}")
    return 0


def _write(out: Path, text: str, found: Requirement, at: Callable[[int], Requirement]) -> None:
    from radfoundry.cli.evaluate_files import whole
    from radfoundry.plan.sample_size import trade_off
    from radfoundry.table_files import whole_folder

    if out.suffix == ".json":
        return whole(out, text + "\n")
    curve = trade_off(at, found.n)
    if out.suffix == ".csv":
        return whole(out, curve.to_csv(index=False))
    from radfoundry.plan.sample_size_figure import sample_size
    from radfoundry.report.figures import save

    figure, data = sample_size(found, curve)
    with whole_folder(out) as folder:
        (folder / "sample_size.json").write_text(text + "\n", encoding="utf-8")
        data.to_csv(folder / "sample_size.csv", index=False)
        save(figure, folder / "sample_size")
