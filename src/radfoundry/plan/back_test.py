"""How far a forecast from few positives would have been wrong, on the user's own curve."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import norm

from radfoundry.plan.forecast import HORIZON, finite, forecast, mean_error, plain
from radfoundry.plan.measured import Measured, lowest
from radfoundry.plan.ranges import check_ranges


@dataclass(frozen=True)
class BackTest:
    """Forecasts from the small sizes against what the larger ones showed.

    rows: n, forecast, low, high, observed, error, covered. mae: mean absolute error. coverage: share of
    observed values inside the interval; sizes of one curve err together, so coverage means something over
    many curves.
    """

    name: str
    target: str
    largest: float
    rows: tuple[dict[str, Any], ...] = field(default=())

    @property
    def mae(self) -> float:
        return float(np.mean([abs(r["error"]) for r in self.rows])) if self.rows else math.nan

    @property
    def coverage(self) -> float:
        return float(np.mean([r["covered"] for r in self.rows])) if self.rows else math.nan

    @property
    def sentence(self) -> str:
        """The test in words, with a warning where most larger sizes lay outside their interval."""
        if not self.rows:
            return f"No back-test: no size above {self.largest:g} positives, or too few sizes up to there."
        last = self.rows[-1]
        warning = " Do not trust the forecast: it would have missed here." if self.coverage < 0.5 else ""
        return (
            f"Back-test: from {self.largest:g} positives or fewer, {last['forecast']:.3f} "
            f"({last['low']:.3f} to {last['high']:.3f}) was forecast for {last['n']:g}, "
            f"{last['observed']:.3f} was observed; mean absolute error {self.mae:.3f}, "
            f"{self.coverage:.0%} of {len(self.rows)} sizes inside their interval.{warning}"
        )

    def as_dict(self) -> dict[str, Any]:
        return {"target": self.target, "name": self.name, "sentence": self.sentence,
                "fitted_up_to": self.largest,
                "mae": finite(self.mae), "coverage": finite(self.coverage),
                "rows": [plain(r) for r in self.rows]}  # fmt: skip


def back_test(measured: Measured, goal: float, *, largest: float = 50, **options: Any) -> BackTest:
    """Fit on sizes up to `largest` positives and compare with every larger size, on the same pool and test
    set.

    The interval holds the error of the observed mean too. Where no larger size was measured, or no curve can
    be fitted to the small ones, `rows` is empty. Raises InputError for options out of range.
    """
    check_ranges(back_test_from=largest)
    later = measured.n > largest
    early = measured.n <= largest
    empty = BackTest(measured.name, measured.target, largest)
    if not later.any() or early.sum() < 3:
        return empty
    far = max(options.get("horizon", HORIZON), measured.n[-1] / measured.n[early][-1])
    f = forecast(measured.upto(largest), goal, **{**options, "population": False, "horizon": far})
    if f.stack is None:
        return empty
    _, error = mean_error(measured)
    z, rows = float(norm.ppf((1 + f.level) / 2)), []
    for n, observed, own in zip(measured.n[later], measured.mean[later], error[later]):
        fit, low, high = f.value_at(n)
        low = max(fit - math.hypot(fit - low, z * own), lowest(measured.metric))
        high = min(fit + math.hypot(high - fit, z * own), 1.0)
        rows.append({"n": float(n), "forecast": fit, "low": low, "high": high, "observed": float(observed),
                     "error": fit - float(observed), "covered": bool(low <= observed <= high)})  # fmt: skip
    return BackTest(measured.name, measured.target, largest, tuple(rows))
