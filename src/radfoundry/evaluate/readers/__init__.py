"""Studies of several readers on the same cases (multi-reader multi-case).

`reads` arranges the reader table, `analyse` compares modalities. The parts: `merits` (figures of merit and
their covariances), `anova` (Obuchowski-Rockette and DBM), `u_statistics` (designs that are not fully
crossed), `bootstrap`, `binormal`, `result`; beside accuracy, `reading_time` and `automation_bias`.
"""

from __future__ import annotations

from radfoundry.evaluate.readers.analysis import analyse
from radfoundry.evaluate.readers.reads import Reads
from radfoundry.evaluate.readers.result import ReaderStudy

__all__ = ["ReaderStudy", "Reads", "analyse"]
