"""`radfoundry compare A B`: paired tests between two prediction tables."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.evaluate import Comparison


@dataclass(frozen=True)
class Compare:
    """Test two models on the cases both have scored; the difference is the first minus the second."""

    a: tyro.conf.Positional[Path]
    """Predictions of the first model."""
    b: tyro.conf.Positional[Path]
    """Predictions of the second model, on the same case_id and target; may be the same file."""
    model_a: str | None = None
    """First model, where its table holds several: its name, or the column that holds its scores."""
    model_b: str | None = None
    """Second model, likewise."""
    truth: str | None = None
    """Column that holds the truth, where it has no familiar name."""
    positive: str | None = None
    """Label that counts as positive, where labels are words."""
    threshold: float | None = None
    """Decide positive from this score on, where a table has no decision or threshold column."""
    competing: bool = False
    """Events of 2 and more are other causes: Harrell's C alone, which takes them as censored."""
    level: float = 0.95
    """Confidence level."""
    n_boot: int = 2000
    """Bootstrap draws of patients; permutations too."""
    seed: int = 0
    """Seed of bootstrap and permutations."""
    json: bool = False
    """Print JSON instead of a table."""
    out: Path | None = None
    """Also write the JSON to this file."""

    def run(self) -> int:
        from radfoundry.cli.evaluate import _check
        from radfoundry.cli.evaluate_files import whole
        from radfoundry.evaluate import compare_tables

        _check(self.level, self.n_boot)
        found = compare_tables(
            self._read(self.a, self.model_a),
            self._read(self.b, self.model_b),
            level=self.level,
            n_boot=self.n_boot,
            n_permutations=self.n_boot,
            seed=self.seed,
            threshold=self.threshold,
            competing=self.competing,
        )
        content = {
            "format": 1,
            "notes": list(found.notes),
            "unmatched": {"a": found.only_a, "b": found.only_b},
            "comparisons": [c.as_dict() for c in found.comparisons],
        }
        text = jsonlib.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        if self.out is not None:
            whole(self.out, text + "\n")
        print(text if self.json else render(found.comparisons))
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        return int(any(": no AUC. " in note for note in found.notes))  # as `evaluate`: one class only

    def _read(self, path: Path, model: str | None) -> pd.DataFrame:
        from radfoundry.predictions import read_predictions

        models = () if model is None else (model,)
        return read_predictions(path, truth=self.truth, models=models, positive=self.positive)


def render(comparisons: tuple[Comparison, ...]) -> str:
    """Aligned text, one line a target x test; Holm's p where there are several targets."""
    from radfoundry.cli.evaluate import aligned, number
    from radfoundry.evaluate.compare import format_p

    if not comparisons:
        return "nothing to compare"
    first = comparisons[0]
    several = len({c.target for c in comparisons}) > 1
    lines = [
        ["target", "metric", "a", "b", "a - b", f"{first.level:.0%} CI", "p", "Holm p", "n", "method", "note"]
    ]
    for c in comparisons:
        limits = f"{c.low:+.3f} to {c.high:+.3f}" if math.isfinite(c.low) else ""
        size = str(c.n) if c.n_clusters in (None, c.n) else f"{c.n} ({c.n_clusters} pat.)"
        p = format_p(c.p) if math.isfinite(c.p) else ""
        corrected = format_p(c.p_holm) if several and math.isfinite(c.p_holm) else ""
        lines.append(
            [
                str(c.target) if c.subgroup is None else f"{c.target}, {c.subgroup}",
                c.name,
                number(c.value_a),
                number(c.value_b),
                number(c.difference, "+"),
                limits,
                p,
                corrected,
                size,
                c.method,
                c.note or "",
            ]
        )
    return f"a = {first.model_a}, b = {first.model_b}\n{aligned(lines)}"
