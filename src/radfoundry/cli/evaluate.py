"""`radfoundry evaluate FILE`: metrics with intervals for anybody's predictions."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.evaluate.fairness import Fairness, Gap
    from radfoundry.evaluate.fairness.thresholds import GroupThreshold
    from radfoundry.types import Estimate

COMPACT_FROM = 4  # models x targets from which one line each is printed
COMPACT = ("prevalence", "auroc", "auprc", "sensitivity", "specificity", "accuracy", "accuracy_trivial")
SPREAD = "highest minus lowest"
GROUP_COLUMNS = {
    "prevalence": "prevalence", "auroc": "auroc", "sensitivity": "sens", "specificity": "spec", "ppv": "ppv",
    "selection_rate": "selected", "observed_minus_expected": "obs - exp", "calibration_slope": "slope",
    "ece": "ece",
}  # fmt: skip
GAP_WORDS = {
    "fpr": "false positive rate", "equalised_odds": "equalised odds", "selection_rate": "selection rate",
    "observed_minus_expected": "observed - expected",
}  # fmt: skip
GAPS_NOTE = """Highest and lowest were picked on these data; `chance` is the mean gap of permuted groups.
80 % power: the gap that this n finds at the corrected level; more patients: to find one as large as seen."""


@dataclass(frozen=True)
class Evaluate:
    """Judge a table of predictions: AUC, accuracy, calibration and more, each with its interval."""

    file: tyro.conf.Positional[Path]
    """CSV, TSV or Parquet: y_true and score (or score:<class>), ideally case_id and patient_id."""
    truth: str | None = None
    """Column that holds the truth, where it has no familiar name."""
    model: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg()] = field(default=())
    """Model to judge: its name in the column `model`, or the column of its scores; may be repeated."""
    positive: str | None = None
    """Label that counts as positive, where labels are words."""
    subgroup: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg()] = field(default=())
    """Covariate to split by: a column, age:quartile, age:quantile=3, sex*age; may be repeated."""
    threshold: float | None = None
    """Decide positive from this score on, where the table has no decision or threshold column."""
    min_n: int = 20
    """Subgroups with fewer patients get no estimate."""
    level: float = 0.95
    """Confidence level."""
    n_boot: int = 2000
    """Bootstrap draws of patients."""
    n_perm: int = 2000
    """Permutations of patients between subgroups."""
    group_thresholds: str | None = None
    """Split on which thresholds by subgroup are chosen, to be judged on the others: an analysis."""
    equal: Literal["sensitivity", "fpr"] = "sensitivity"
    """What --group-thresholds makes equal in all subgroups."""
    seed: int = 0
    """Seed of the bootstrap and the permutations."""
    horizon: Annotated[tyro.conf.UseAppendAction[tuple[float, ...]], tyro.conf.arg()] = field(default=())
    """Where the target is a time to an event: judge at this time; may be repeated. By default the horizons of
    the columns surv:<horizon>."""
    cutoff: str | None = None
    """Score that parts low from high risk: a number, train:0.5 (quantile of the rows of split train), or
    median."""
    competing: bool = False
    """Events of 2 and more are other causes."""
    in_sample: bool = False
    """Judge scores on the cases they were fitted on, which every estimate then says."""
    all: bool = False
    """Print every metric also when there are many models and targets."""
    json: bool = False
    """Print JSON instead of tables."""
    out: Path | None = None
    """Also write: a .json or .csv file, or else a folder with metrics.json, metrics.csv and curves."""

    def run(self) -> int:
        from radfoundry.cli.evaluate_files import write
        from radfoundry.evaluate import evaluate
        from radfoundry.predictions import is_survival, read_predictions

        self._refuse()
        cutoff = _number_or_words(self.cutoff)
        subgroups = tuple(dict.fromkeys(self.subgroup))
        table = read_predictions(self.file, truth=self.truth, models=self.model, positive=self.positive)
        classified = table[~is_survival(table)]
        splits = self._splits(table)
        estimates = evaluate(
            table,
            level=self.level,
            n_boot=self.n_boot,
            seed=self.seed,
            subgroups=subgroups,
            min_n=self.min_n,
            threshold=self.threshold,
            horizons=self.horizon,
            cutoff=cutoff,
            competing=self.competing,
            in_sample=self.in_sample,
        )
        fair = self._fairness(classified, subgroups) if subgroups and len(classified) else None
        thresholds = self._thresholds(classified, subgroups, splits)
        printed = list(estimates)
        if fair is not None:
            given = {(e.model, e.target, e.subgroup, e.name) for e in estimates}
            estimates += [e for e in fair.estimates if (e.model, e.target, e.subgroup, e.name) not in given]
        if self.out is not None:
            write(
                self.out, estimates, table, self.seed, self.level, fair, thresholds, cutoff, self.in_sample,
                self.competing,
            )  # fmt: skip
        notes = [*table.attrs["notes"], *(fair.notes if fair else [])]
        if self.json:
            content: dict[str, object] = {"format": 1, "notes": notes}
            content["estimates"] = [e.as_dict() for e in estimates]
            if fair is not None:
                content["gaps"] = [g.as_dict() for g in fair.gaps]
            if thresholds:
                content["group_thresholds"] = [t.as_dict() for t in thresholds]
            print(jsonlib.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print(render(printed, every=self.all))
            if fair is not None:
                print("\n" + render_fairness(fair, every=self.all))
            if thresholds:
                print("\n" + render_thresholds(thresholds))
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        return _one_class(estimates)

    def _refuse(self) -> None:
        """InputError for options that make no sense, whatever the table."""
        from radfoundry.errors import InputError

        _check(self.level, self.n_boot)
        for horizon in self.horizon:
            if not 0 < horizon < math.inf:
                raise InputError(f"--horizon must be a time above zero, not {horizon:g}")
        if self.group_thresholds is not None and not self.subgroup:
            raise InputError("--group-thresholds needs --subgroup: which groups?")
        if self.n_perm < 100:
            raise InputError(f"--n-perm must be at least 100, not {self.n_perm}: p could not be small")

    def _fairness(self, table: pd.DataFrame, subgroups: tuple[str, ...]) -> Fairness:
        from radfoundry.evaluate.fairness import fairness

        return fairness(
            table,
            subgroups,
            level=self.level,
            n_boot=self.n_boot,
            n_perm=self.n_perm,
            seed=self.seed,
            min_n=self.min_n,
            threshold=self.threshold,
        )

    def _splits(self, table: pd.DataFrame) -> list[str]:
        """Where thresholds of groups are judged; refused before any work where there is no such split."""
        if self.group_thresholds is None:
            return []
        from radfoundry.errors import InputError
        from radfoundry.evaluate.fairness.thresholds import check_split
        from radfoundry.predictions import is_survival

        check_split(table, self.group_thresholds)
        found = [str(s) for s in table.loc[~is_survival(table), "split"].dropna().unique()]
        others = [s for s in found if s != self.group_thresholds]
        if not others:
            raise InputError(
                f"every row is of split {self.group_thresholds!r}: thresholds chosen there need another "
                "split to be judged on"
            )
        return others

    def _thresholds(
        self, table: pd.DataFrame, subgroups: tuple[str, ...], splits: list[str]
    ) -> list[GroupThreshold]:
        if self.group_thresholds is None:
            return []
        from radfoundry.evaluate.fairness.thresholds import group_thresholds

        return [
            found
            for covariate in subgroups
            for other in splits
            for found in group_thresholds(
                table,
                covariate,
                chosen_on=self.group_thresholds,
                judged_on=other,
                equal=self.equal,
                threshold=self.threshold,
                level=self.level,
                n_boot=self.n_boot,
                seed=self.seed,
            )
        ]


def _check(level: float, n_boot: int) -> None:
    from radfoundry.errors import InputError

    if not 0 < level < 1:
        raise InputError(f"--level must lie between 0 and 1, not {level}. For 95 % give 0.95")
    if n_boot < 100:
        raise InputError(f"--n-boot must be at least 100, not {n_boot}: fewer draws give no usable limits")


def _number_or_words(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _one_class(estimates: list[Estimate]) -> int:
    """1, with the reason on stderr, when an AUC was asked of one class only."""
    failed = [
        e for e in estimates if e.name.startswith("auroc") and e.subgroup is None and math.isnan(e.value)
    ]
    for e in failed:
        print(f"warning: {e.model}, {e.target}: {e.name} {e.note}", file=sys.stderr)
    return 1 if failed else 0


def render(estimates: list[Estimate], *, every: bool = False) -> str:
    """Aligned text: one table a model x target, or one line each when there are many."""
    groups: dict[tuple[str | None, str | None], list[Estimate]] = {}
    for e in estimates:
        groups.setdefault((e.model, e.target), []).append(e)
    if len(groups) >= COMPACT_FROM and not every:
        hint = "One line each, because there are many: --all prints every metric, --json gives all of it."
        timed = {key: found for key, found in groups.items() if any(e.name == "c_harrell" for e in found)}
        rest = {key: found for key, found in groups.items() if key not in timed}
        blocks = [_survival_overview(timed)] * bool(timed) + [_overview(rest)] * bool(rest)
        return "\n\n".join([*blocks, hint])
    return "\n\n".join(_group(model, target, found) for (model, target), found in groups.items())


def _group(model: str | None, target: str | None, found: list[Estimate]) -> str:
    whole = [e for e in found if e.subgroup is None]
    beside = {(e.subgroup, e.name): e for e in found if e.name.endswith("_trivial")}
    lines = [["metric", "value", _interval_title(found), "trivial", "n", "method", "note"]]
    for e in [*whole, *(e for e in found if e.subgroup is not None)]:
        if e.name.endswith("_trivial"):
            continue
        t = beside.get((e.subgroup, f"{e.name}_trivial"))
        name = e.name if e.subgroup is None else f"{e.subgroup}: {e.name}"
        lines.append(
            [
                name,
                number(e.value),
                interval(e),
                number(t.value) if t else "",
                size(e),
                e.method,
                e.note or "",
            ]
        )
    return f"{target}, {model}\n{aligned(lines)}"


def _overview(groups: dict[tuple[str | None, str | None], list[Estimate]]) -> str:
    lines = [["target", "model", "n", *COMPACT[:2], "95% CI", *COMPACT[2:]]]
    for (model, target), found in groups.items():
        for part in dict.fromkeys(e.subgroup for e in found):
            named = {e.name: e for e in found if e.subgroup == part}
            first = next(iter(named.values()))
            label = f"{target}" if part is None else f"{target}, {part}"
            auc = named.get("auroc") or named.get("auroc_ovr_macro")
            cells = [number(named[n].value) if n in named else "" for n in COMPACT]
            cells[1:2] = [number(auc.value), interval(auc)] if auc else ["", ""]
            lines.append([label, str(model), size(first), *cells])
    lines[0][5] = _interval_title([e for found in groups.values() for e in found])
    return aligned(lines)


def _survival_overview(groups: dict[tuple[str | None, str | None], list[Estimate]]) -> str:
    first = [e for found in groups.values() for e in found]
    lines = [["target", "model", "n", "events", "c_harrell", _interval_title(first), "c_uno"]]
    for (model, target), found in groups.items():
        for part in dict.fromkeys(e.subgroup for e in found):
            named = {e.name: e for e in found if e.subgroup == part}
            label = f"{target}" if part is None else f"{target}, {part}"
            events, c, uno = (named.get(name) for name in ("events", "c_harrell", "c_uno"))
            lines.append([
                label, str(model), size(next(iter(named.values()))),
                f"{events.value:.0f}" if events and math.isfinite(events.value) else "–",
                number(c.value) if c else "", interval(c) if c else "", number(uno.value) if uno else "",
            ])  # fmt: skip
    return aligned(lines)


def _interval_title(found: list[Estimate]) -> str:
    return f"{found[0].level:.0%} CI" if found else "CI"


def render_fairness(fair: Fairness, *, every: bool = False) -> str:
    """Every group on one line, then the gaps; against the rest, and groups of many targets, with `every`."""
    if not fair.gaps:
        return "No gaps between subgroups: the notes say why."
    many = len(fair.groups) >= COMPACT_FROM and not every
    blocks = [] if many else [_groups_table(fair, *key) for key in fair.groups]
    shown = [g for g in fair.gaps if every or g.kind == SPREAD]
    lines = [["target", "model", "metric", "highest", "lowest", "values", "gap", "CI", "chance", "p", "Holm",
              "80 % power", "more patients", ""]]  # fmt: skip
    lines += [_gap_line(g) for g in shown]
    if len(fair.groups) == 1:
        lines = [line[2:] for line in lines]
    blocks.append(f"Gaps between subgroups\n{aligned(lines)}")
    blocks.append(GAPS_NOTE)
    if len(shown) < len(fair.gaps):
        blocks[-1] += "\nEach group against the rest: --all prints it, --json gives all of it."
    return "\n\n".join(blocks)


def _groups_table(fair: Fairness, model: str, target: str) -> str:
    known = {(e.subgroup, e.name): e for e in fair.estimates if (e.model, e.target) == (model, target)}
    lines = [["subgroup", "n", *GROUP_COLUMNS.values()]]
    for name in (n for names in fair.groups[model, target] for n in names):
        first = next(e for (subgroup, _), e in known.items() if subgroup == name)
        found = [known.get((name, column)) for column in GROUP_COLUMNS]
        lines.append([name, size(first), *(number(e.value) if e else "" for e in found)])
    return f"{target}, {model}, by subgroup\n{aligned(lines)}"


def _gap_line(gap: Gap) -> list[str]:
    from radfoundry.evaluate.compare import format_p
    from radfoundry.evaluate.fairness import NOT_TOLD, about

    limits = f"{gap.low:+.3f} to {gap.high:+.3f}" if math.isfinite(gap.low) else ""
    p, corrected = (format_p(v) if math.isfinite(v) else "" for v in (gap.p, gap.p_holm))
    values = f"{gap.value_a:.3f} - {gap.value_b:.3f}" if math.isfinite(gap.gap) else ""
    beside = number(gap.by_chance) if math.isfinite(gap.by_chance) else ""
    where = f"{gap.split}, " if gap.split else ""
    verdict = NOT_TOLD if math.isfinite(gap.p_holm) and not gap.distinguishable else ""
    power = f"from {gap.detectable:.3f}" if math.isfinite(gap.detectable) else ""
    more = about(gap.more_patients) if math.isfinite(gap.more_patients) else ""
    return [str(gap.target), str(gap.model), GAP_WORDS.get(gap.metric, gap.metric), where + gap.group_a,
            gap.group_b, values, number(gap.gap, "+"), limits, beside, p, corrected, power, more,
            "; ".join(filter(None, (verdict, gap.note)))]  # fmt: skip


def render_thresholds(found: list[GroupThreshold]) -> str:
    """Each group under the common rule and under its own threshold."""
    lines = [
        ["target", "model", "subgroup", "judged on", "rule", "sensitivity", "", "specificity", "", "ppv", "n"]
    ]
    for one in found:
        for rule, estimates in (("common", one.common), (f"own, {one.threshold:.4g}", one.own)):
            known = {e.name: e for e in estimates}
            cells = [f(known[m]) for m in ("sensitivity", "specificity") for f in (_value, interval)]
            lines.append([one.target, one.model, one.group, one.judged_on, rule, *cells,
                          _value(known["ppv"]), size(known["ppv"])])  # fmt: skip
    first = found[0]
    goal = "sensitivity" if first.equal == "sensitivity" else "false positive rate"
    head = f"Equal {goal} in every subgroup, thresholds chosen on split {first.chosen_on}: {first.note}"
    return f"{head}\n{aligned(lines)}"


def _value(e: Estimate) -> str:
    return number(e.value)


def number(value: float, sign: str = "") -> str:
    """Three decimals, or a dash for what is not defined."""
    return format(value, f"{sign}.3f") if math.isfinite(value) else "–"


def interval(e: Estimate) -> str:
    """Both limits, or nothing where there is no interval."""
    return f"{e.low:.3f} to {e.high:.3f}" if math.isfinite(e.low) and math.isfinite(e.high) else ""


def size(e: Estimate) -> str:
    """Cases, and patients where they differ."""
    return str(e.n) if e.n_clusters in (None, e.n) else f"{e.n} ({e.n_clusters} pat.)"


def aligned(lines: list[list[str]]) -> str:
    """Columns padded to their widest cell; a rule under the header; empty columns dropped."""
    used = [i for i in range(len(lines[0])) if any(line[i] for line in lines[1:])]
    kept = [[line[i] for i in used] for line in lines]
    widths = [max(len(line[i]) for line in kept) for i in range(len(used))]
    text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in kept]
    return "\n".join([text[0], "  ".join("-" * w for w in widths), *text[1:]])
