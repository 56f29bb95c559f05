"""`radfoundry evaluate FILE`: metrics with intervals for anybody's predictions."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.types import Estimate

COMPACT_FROM = 4  # models x targets from which one line each is printed
COMPACT = ("prevalence", "auroc", "auprc", "sensitivity", "specificity", "accuracy", "accuracy_trivial")


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
    """Covariate column to split by; may be repeated."""
    threshold: float | None = None
    """Decide positive from this score on, where the table has no decision or threshold column."""
    min_n: int = 20
    """Subgroups with fewer patients get no estimate."""
    level: float = 0.95
    """Confidence level."""
    n_boot: int = 2000
    """Bootstrap draws of patients."""
    seed: int = 0
    """Seed of the bootstrap."""
    all: bool = False
    """Print every metric also when there are many models and targets."""
    json: bool = False
    """Print JSON instead of tables."""
    out: Path | None = None
    """Also write: a .json or .csv file, or else a folder with metrics.json, metrics.csv and curves."""

    def run(self) -> int:
        from radfoundry.evaluate import evaluate
        from radfoundry.predictions import read_predictions

        _check(self.level, self.n_boot)
        table = read_predictions(self.file, truth=self.truth, models=self.model, positive=self.positive)
        estimates = evaluate(
            table,
            level=self.level,
            n_boot=self.n_boot,
            seed=self.seed,
            subgroups=self.subgroup,
            min_n=self.min_n,
            threshold=self.threshold,
        )
        if self.out is not None:
            write(self.out, estimates, table, self.seed, self.level)
        if self.json:
            notes = table.attrs["notes"]
            content = {"format": 1, "notes": notes, "estimates": [e.as_dict() for e in estimates]}
            print(jsonlib.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print(render(estimates, every=self.all))
        for note in table.attrs["notes"]:
            print(f"note: {note}", file=sys.stderr)
        return _one_class(estimates)


def _check(level: float, n_boot: int) -> None:
    from radfoundry.errors import InputError

    if not 0 < level < 1:
        raise InputError(f"--level must lie between 0 and 1, not {level}. For 95 % give 0.95")
    if n_boot < 100:
        raise InputError(f"--n-boot must be at least 100, not {n_boot}: fewer draws give no usable limits")


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
        hint = "\n\nOne line each, because there are many: --all prints every metric, --json gives all of it."
        return _overview(groups) + hint
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


def _interval_title(found: list[Estimate]) -> str:
    return f"{found[0].level:.0%} CI" if found else "CI"


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


def write(out: Path, estimates: list[Estimate], table: pd.DataFrame, seed: int, level: float) -> None:
    """The estimates as one file, or a folder that also holds the curves; whole or not at all."""
    import pandas as pd

    records = [e.as_dict() for e in estimates]
    text = jsonlib.dumps(records, indent=2, ensure_ascii=False, allow_nan=False)
    if out.suffix == ".json":
        return _whole(out, text)
    if out.suffix == ".csv":
        return _whole(out, pd.DataFrame(records).to_csv(index=False))
    drawn = curves(table, seed, level)  # before the first file is written
    _whole(out / "metrics.json", text)
    _whole(out / "metrics.csv", pd.DataFrame(records).to_csv(index=False))
    for name, frame in drawn.items():
        _whole(out / f"{name}.csv", frame.to_csv(index=False))


def curves(table: pd.DataFrame, seed: int, level: float) -> dict[str, pd.DataFrame]:
    """roc, pr, calibration and decision_curve of every binary model x target x split.

    Over repeats of cross-validation ROC and precision-recall are averaged, the others stacked, as the numbers
    beside them are. Where repeats score different cases the first one is drawn.
    """
    import numpy as np
    import pandas as pd

    from radfoundry.evaluate import calibration
    from radfoundry.evaluate import curves as shapes
    from radfoundry.evaluate.parts import parts

    found: dict[str, list[pd.DataFrame]] = {}
    for part in parts(table):
        first = part.repeats[0]
        if not part.binary or len(np.unique(first.y)) < 2:
            continue
        repeats = part.repeats if part.aligned else part.repeats[:1]
        y, score, who = first.y, np.stack([r.score[:, 0] for r in repeats]), first.codes
        rng = np.random.default_rng(seed)
        drawn = {
            "roc": shapes.roc_curve(y, score, who, level=level, rng=rng),
            "pr": shapes.pr_curve(y, score, who, level=level, rng=rng),
        }
        y, who, score = np.tile(y, len(score)), np.tile(who, len(score)), score.ravel()
        if part.is_probability:
            drawn["calibration"] = calibration.reliability_curve(y, score, level=level, cluster=who)
            benefit = calibration.net_benefit(y, score, cluster=who, n=500, level=level, rng=rng)
            names = {"model": "net_benefit", "all": "treat_all", "none": "treat_none"}
            drawn["decision_curve"] = benefit.rename(columns=names)
        for name, frame in drawn.items():
            frame.insert(0, "split", part.label or "")
            frame.insert(0, "target", part.target)
            frame.insert(0, "model", part.model)
            found.setdefault(name, []).append(frame)
    return {name: pd.concat(frames, ignore_index=True) for name, frames in found.items()}


def _whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
