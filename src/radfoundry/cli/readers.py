"""`radfoundry readers design | power | analyse`: studies of several readers on the same cases."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.evaluate.readers.result import ReaderStudy
    from radfoundry.plan.reader_power import Components, ReaderPower
    from radfoundry.plan.reader_simulation import SimulatedReaderPower


@dataclass(frozen=True)
class Design:
    """Randomised, balanced reading lists, one CSV a reader; the truth stands in none of them."""

    cases: tyro.conf.Positional[Path]
    """CSV or Parquet with case_id and y_true, ideally patient_id."""
    out: Path
    """New folder for the lists and overview.csv."""
    readers: int | None = None
    """How many readers. Give this or --reader."""
    reader: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg()] = field(default=())
    """Name of a reader; repeat it for each."""
    modality: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg()] = field(default=())
    """Modality; repeat it for each. By default unaided and aided."""
    kind: Literal["fully-crossed", "split-plot", "crossover", "sequential"] = "crossover"
    """crossover: periods with a washout between, readers balanced over who begins with what; fully-crossed:
    all modalities by all readers, modality by modality; split-plot: groups of readers with cases of their
    own; sequential: unaided, then aided in one sitting."""
    halves: Literal["readers", "cases"] = "readers"
    """Of a crossover: half of the readers begin aided, or every reader has half of the cases aided first."""
    sessions: int | None = None
    """Sittings of each reader; one a modality by default."""
    groups: int = 2
    """Of a split-plot."""
    washout_days: int = 28
    """Days between two readings of a case."""
    stratum: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg()] = field(default=())
    """Column of the cases to balance besides the truth; may be repeated."""
    seed: int = 0
    """The same seed gives the same lists."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.errors import InputError
        from radfoundry.plan.reader_design import design
        from radfoundry.predictions import files

        if (self.readers is None) == (not self.reader):
            raise InputError("give either --readers, how many, or --reader NAME for each of them")
        made = design(
            files.load(self.cases), self.readers or self.reader, self.modality or ("unaided", "aided"),
            self.kind, halves=self.halves, sessions=self.sessions, groups=self.groups,
            washout_days=self.washout_days, strata=self.stratum, seed=self.seed,
        )  # fmt: skip
        made.write(self.out)
        if self.json:
            _print_json({"out": str(self.out), "kind": made.kind, "seed": made.seed,
                         "overview": _records(made.overview()), "balance": _records(made.balance),
                         "notes": list(made.notes)})  # fmt: skip
        else:
            print(made)
            print(f"lists     {self.out} ({len(made.readers)} readers, overview.csv)\n")
            print(made.balance.round(3).to_string(index=False))
        return 0


@dataclass(frozen=True)
class Power:
    """How many readers and cases find a difference, from the variance components of a pilot or a paper.

    Components of --pilot, else those given by --error, --cov and so on.
    """

    difference: float
    """Difference of the figures of merit that is to be found, such as 0.05; with --margin, the true one."""
    readers: Annotated[tuple[int, ...], tyro.conf.arg()] = (4, 6, 8, 10, 15, 20)
    """Numbers of readers, rows of the table."""
    cases: Annotated[tuple[int, ...], tyro.conf.arg()] = (50, 100, 150, 200, 300)
    """Numbers of cases in all, columns of the table."""
    pilot: Path | None = None
    """Reader table of a pilot with two modalities."""
    merit: str = "auroc"
    """Figure of merit of the pilot or of the components: auroc, auroc_binormal, sensitivity, specificity or
    accuracy. It decides which cases the variance shrinks with."""
    threshold: float | None = None
    """Of the pilot's scores, where it has no decisions and the merit needs them."""
    error: float | None = None
    """Variance of one reader's figure in one modality over cases."""
    cov: tuple[float, float, float] | None = None
    """Cov1 (same reader, other modality), Cov2 (other reader, same modality), Cov3 (both other)."""
    modality_reader: float = 0.0
    """Variance of modality x reader."""
    reader_variance: float = 0.001
    """Variance of readers; it plays a part in --simulate alone."""
    positives: int | None = None
    """Positive cases of the study that the components come from."""
    negatives: int | None = None
    """Its negative cases."""
    prevalence: float | None = None
    """Share of positives in the planned study, where it differs; needs --auc where the merit is an area."""
    auc: float | None = None
    """Expected AUC, from which the change of the variance with prevalence follows."""
    random: Literal["readers and cases", "cases", "readers"] = "readers and cases"
    """What a next study would draw anew."""
    groups: int = 1
    """Split-plot: groups of readers, each with cases of its own."""
    margin: float | None = None
    """Non-inferiority: how much worse the new modality may be."""
    alpha: float | None = None
    """0.05 two-sided by default, 0.025 one-sided with a margin."""
    power: float = 0.8
    """Wanted power, for the number of cases."""
    simulate: int = 0
    """Also draw this many studies of the first number of readers and of cases and analyse each; needs --auc,
    the AUC of the old modality. 0 draws none, 1000 is usual."""
    seed: int = 0
    """Seed of the simulation."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.plan.ranges import check_ranges
        from radfoundry.plan.reader_power import power_table, reader_power, reader_sample_size
        from radfoundry.types import json_ready

        check_ranges(seed=self.seed)
        components = self._components()
        options: dict[str, Any] = {
            "prevalence": self.prevalence, "auc": self.auc, "random": self.random, "groups": self.groups,
            "margin": self.margin, "alpha": self.alpha,
        }  # fmt: skip
        table = power_table(components, self.difference, self.readers, self.cases, **options)
        sizes = reader_sample_size(components, self.difference, self.readers, power=self.power, **options)
        example = reader_power(components, self.difference, self.readers[-1], self.cases[-1], **options)
        simulated = self._simulated(components) if self.simulate else None
        if self.json:
            _print_json({"components": json_ready(components), "power": _records(table.reset_index()),
                         "cases_needed": _records(sizes), "notes": list(components.notes),
                         "simulated": None if simulated is None else simulated[0].as_dict(),
                         "model": None if simulated is None else json_ready(simulated[1])})  # fmt: skip
            return 0
        print(self._words(components, example))
        print(f"\npower\n{table.round(3).to_string()}")
        print(f"\ncases for power {self.power:g}; best: the most that any number of cases reaches")
        print(sizes.round(3).to_string(index=False, na_rep="none"))
        if simulated is not None:
            print(f"\n{simulated[0]}\n{_beside(simulated[1], components)}")
        for note in components.notes:
            print(f"note: {note}", file=sys.stderr)
        return 0

    def _simulated(self, components: Components) -> tuple[SimulatedReaderPower, Components]:
        """Studies drawn from the Roe-Metz model with these components, and the components that it has.

        The difference lies above --auc.
        """
        from radfoundry.cli.sample_size import _bar
        from radfoundry.errors import InputError
        from radfoundry.plan.reader_simulation import check_power, components_of, fit_model, fixed_readers

        if not components.is_area:
            raise InputError(f"--simulate draws ratings and their AUC, not {components.merit}: leave it out")
        if self.auc is None:
            raise InputError("--simulate needs --auc, the AUC of the old modality")
        rate = components.positives / components.cases if self.prevalence is None else self.prevalence
        cases = self.cases[0]
        positives, negatives = (
            self.groups * max(2, round(cases * share / self.groups)) for share in (rate, 1 - rate)
        )
        if positives + negatives != cases:
            told = f"{positives} positive and {negatives} negative cases instead of {cases} in all"
            print(f"note: simulated with {told}: equal parts of both for each group", file=sys.stderr)
        model = fit_model(components, (self.auc, self.auc + self.difference))
        if self.random == "cases":
            model = fixed_readers(model)
        with _bar(self.simulate) as progress:
            drawn = check_power(
                model, self.readers[0], positives, negatives, groups=self.groups, alpha=self.alpha,
                random=self.random, margin=self.margin, replicates=self.simulate, seed=self.seed,
                progress=progress,
            )  # fmt: skip
        return drawn, components_of(model, components.positives, components.negatives)

    def _components(self) -> Components:
        from radfoundry.errors import InputError
        from radfoundry.evaluate.readers.merits import merits
        from radfoundry.plan.reader_power import Components

        given = (self.error, self.cov, self.positives, self.negatives)
        if self.pilot is not None:
            if any(value is not None for value in given):
                raise InputError("--pilot brings its own components: leave --error, --cov and counts away")
            return _of_pilot(self.pilot, self.merit, self.threshold)
        if self.error is None or self.cov is None or self.positives is None or self.negatives is None:
            raise InputError("give --pilot READS, or all of --error, --cov, --positives and --negatives")
        return Components(
            self.modality_reader, self.error, *self.cov, self.positives, self.negatives,
            var_reader=self.reader_variance, source="as given", merit=merits(self.merit).name,
        )  # fmt: skip

    def _words(self, components: Components, example: ReaderPower) -> str:
        kept = [line for line in str(example).splitlines()[1:] if not line.startswith(("note", "test"))]
        values = f"error {components.error:.6g}, Cov1 {components.cov1:.6g}, Cov2 {components.cov2:.6g}, "
        values += f"Cov3 {components.cov3:.6g}, modality x reader {components.var_treatment_reader:.6g}"
        counts = f"{components.positives} positive and {components.negatives} negative cases"
        return "\n".join([*kept, f"values    {values}; of {counts}"])


def _beside(model: Components, given: Components) -> str:
    """The components that the simulated studies have beside those asked for, for as many cases."""
    names = {"error": "error", "cov1": "Cov1", "cov2": "Cov2", "cov3": "Cov3",
             "var_treatment_reader": "modality x reader"}  # fmt: skip
    told = [f"{word} {getattr(model, k):.3g} ({getattr(given, k):.3g})" for k, word in names.items()]
    return f"model     {', '.join(told)}; in brackets as given"


def _of_pilot(path: Path, merit: str, threshold: float | None) -> Components:
    import numpy as np

    from radfoundry.errors import InputError
    from radfoundry.evaluate.readers import analyse, reads
    from radfoundry.evaluate.readers.merits import data_of, merits
    from radfoundry.plan.reader_power import Components

    pilot = reads.read(path, threshold=threshold)
    if len(pilot.modalities) != 2:
        raise InputError(f"{path}: {len(pilot.modalities)} modalities. Components are of a comparison of two")
    wanted = merits(merit)
    found = analyse(pilot, merit=wanted, method="obuchowski-rockette", complete_cases=True)
    one = found.components
    assert one is not None  # an analysis of variance always has them
    # as in the analysis: of the cases that enter the figure, those read by all; of the others every one
    whole = np.isfinite(data_of(pilot, wanted)).all(axis=(0, 1))
    y = pilot.y[whole | ~wanted.relevant(pilot.y)]
    return Components.from_pilot(
        one.reader, one.modality_reader, one.var, one.cov1, one.cov2, one.cov3, int(y.sum()),
        int(len(y) - y.sum()), readers=len(pilot.readers), source=f"pilot {path.name}, {found.merit}",
        merit=found.merit,
    )  # fmt: skip


@dataclass(frozen=True)
class Analyse:
    """Do readers do better with one modality than with another, for other readers and other cases too.

    Exits 1 when there is no interval for the difference.
    """

    file: tyro.conf.Positional[Path]
    """Reader table (CSV, TSV, Parquet, iMRMC): case_id, y_true, reader, modality, and score or decision."""
    merit: str = "auroc"
    """auroc, auroc_binormal, sensitivity, specificity, accuracy, or a part of the curve such as
    specificity:0.8:1."""
    effects: Literal["random", "fixed readers", "fixed cases"] = "random"
    """random: the result is to hold for other readers and cases; fixed readers: for these readers; fixed
    cases: for these cases."""
    method: Literal["auto", "obuchowski-rockette", "u-statistics", "bootstrap"] = "auto"
    """auto: obuchowski-rockette where every case was read by all in all modalities, else u-statistics."""
    covariance: Literal["delong", "jackknife", "bootstrap", "unbiased"] | None = None
    """Of obuchowski-rockette; delong for auroc, else jackknife by default."""
    complete_cases: bool = False
    """Leave out the cases that some reader did not read."""
    margin: float | None = None
    """Non-inferiority: how much worse the first modality may be than the other."""
    modality: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg()] = field(default=())
    """Modality to keep, in this order; differences are first minus second. By default all, sorted."""
    reference: str | None = None
    """Modality that is taken from each of the others. Without this and --modality it is the one called
    unaided, without ai or no ai, where there is one."""
    truth: str | None = None
    """Column that holds the truth, where it has no familiar name."""
    threshold: float | None = None
    """Score from which on a read counts as positive, where the table has no decisions."""
    level: float = 0.95
    """Confidence level."""
    n_boot: int = 1000
    """Draws of readers and cases, where the method or the covariance is bootstrap."""
    seed: int = 0
    """Seed of the bootstrap."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Also write the JSON to this file."""

    def run(self) -> int:
        from radfoundry.cli.evaluate import _check
        from radfoundry.cli.evaluate_files import whole
        from radfoundry.evaluate.readers import analyse, reads
        from radfoundry.evaluate.readers.merits import merits
        from radfoundry.plan.ranges import check_ranges

        _check(self.level, self.n_boot)
        check_ranges(seed=self.seed)
        merit = merits(self.merit)
        table = reads.read(self.file, threshold=self.threshold, modalities=self.modality, truth=self.truth)
        reference = self.reference
        if reference is None and not self.modality:
            unaided = reads.default_reference(table.modalities)
            reference = unaided if reads.is_unaided(unaided) else None
        found = analyse(
            table, merit=merit, effects=self.effects, method=self.method, covariance=self.covariance,
            margin=self.margin, reference=reference, complete_cases=self.complete_cases,
            level=self.level, n_boot=self.n_boot, seed=self.seed,
        )  # fmt: skip
        text = jsonlib.dumps({"format": 1, **found.as_dict()}, indent=2, ensure_ascii=False, allow_nan=False)
        if self.out is not None:
            whole(self.out, text + "\n")
        print(text if self.json else render(found))
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        return int(any(math.isnan(one.low) for one in found.differences))


def render(found: ReaderStudy) -> str:
    """Aligned text: averages, readers, differences."""
    from radfoundry.cli.evaluate import aligned, interval, number, size
    from radfoundry.evaluate.compare import format_p

    title = f"{found.level:.0%} CI"
    own = [["modality", "reader", found.merit, title, "n", "note"]]
    for e in [*found.averages, *found.readers]:
        who = (e.subgroup or "average").removeprefix("reader ")
        own.append([str(e.model), who, number(e.value), interval(e), size(e), e.note or ""])
    several = len(found.differences) > 1
    two = [["difference", "reader", "a - b", title, "p", "Holm p", "note"]]
    for c in [*found.differences, *found.noninferiority, *found.reader_differences]:
        limits = f"{c.low:+.3f} to {c.high:+.3f}" if math.isfinite(c.low) else ""
        p = format_p(c.p) if math.isfinite(c.p) else ""
        adjusted = format_p(c.p_holm) if several and math.isfinite(c.p_holm) else ""
        who = (c.subgroup or "average").removeprefix("reader ")
        two.append([f"{c.model_a} - {c.model_b}", who, number(c.difference, "+"), limits, p, adjusted,
                    c.note or ""])  # fmt: skip
    parts = [f"{found.merit}; {found.method}", aligned(own)]
    if found.test is not None and len(found.averages) > 1:
        parts.append(f"all modalities equal: {found.test}")
    return "\n\n".join([*parts, aligned(two)] if len(two) > 1 else parts)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return jsonlib.loads(table.to_json(orient="records"))


def _print_json(content: dict[str, Any]) -> None:
    print(jsonlib.dumps({"format": 1, **content}, indent=2, ensure_ascii=False, allow_nan=False))


@dataclass(frozen=True)
class ReadersCommand:
    """Studies of several readers: lists, size, analysis."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Design, tyro.conf.subcommand("design")]
        | Annotated[Power, tyro.conf.subcommand("power")]
        | Annotated[Analyse, tyro.conf.subcommand("analyse")]
    ]

    def run(self) -> int:
        return self.command.run()
