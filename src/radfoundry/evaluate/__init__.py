"""Statistics of predictions: (truth, score) to Estimate. No images, no torch.

`evaluate` judges one prediction table, `compare_tables` two of them. The parts below can be used alone:
`classification`, `intervals`, `calibration`, `curves`, `subgroups`, `baselines`, the paired tests in
`compare`, and agreement of readings in `agreement`.
"""

from __future__ import annotations

from radfoundry.evaluate.compare import Comparison
from radfoundry.evaluate.pairing import Paired, compare_tables
from radfoundry.evaluate.table import evaluate

__all__ = ["Comparison", "Paired", "compare_tables", "evaluate"]
