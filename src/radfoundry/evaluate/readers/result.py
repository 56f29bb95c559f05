"""The result of a reader study, and how its estimates are worded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from radfoundry.evaluate.compare import Comparison
from radfoundry.evaluate.readers.anova import Components, Contrast, GlobalTest
from radfoundry.evaluate.readers.reads import Reads
from radfoundry.types import Estimate


@dataclass(frozen=True)
class ReaderStudy:
    """What a reader study found.

    readers: one estimate a modality (`model`) and reader (`subgroup`), its interval over cases. averages: one
    a modality. differences: one a pair of modalities, averaged over readers, Holm-corrected where there are
    several; reader_differences: the same of each reader. noninferiority: with the margin, p one-sided, where
    there are several Holm-corrected too, and the verdict in the note by the corrected p. test:
    whether all modalities are equal. components: mean squares and covariances (Obuchowski-Rockette alone).
    """

    merit: str
    effects: str
    method: str
    level: float
    readers: tuple[Estimate, ...]
    averages: tuple[Estimate, ...]
    differences: tuple[Comparison, ...] = ()
    reader_differences: tuple[Comparison, ...] = ()
    noninferiority: tuple[Comparison, ...] = ()
    test: GlobalTest | None = None
    components: Components | None = None
    notes: tuple[str, ...] = ()

    def estimates(self) -> list[Estimate]:
        """All of it as estimates, averages first: for a run folder's metrics.json."""
        compared = [*self.differences, *self.noninferiority, *self.reader_differences]
        return [*self.averages, *self.readers, *(one.estimate() for one in compared)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN and infinity become null."""
        found: dict[str, Any] = {
            name: getattr(self, name) for name in ("merit", "effects", "method", "level")
        }
        for name in ("averages", "readers", "differences", "reader_differences", "noninferiority"):
            found[name] = [one.as_dict() for one in getattr(self, name)]
        for name in ("test", "components"):
            value = getattr(self, name)
            fields = {} if value is None else asdict(value)
            found[name] = {k: v if math.isfinite(v) else None for k, v in fields.items()} or None
        return {**found, "notes": list(self.notes)}

    def __str__(self) -> str:
        lines = [f"{self.merit}: {self.method}"]
        lines += [f"  {one.model}: {one}" for one in self.averages]
        lines += [f"  all modalities equal: {self.test}"] if self.test is not None else []
        compared = [*self.differences, *self.noninferiority]
        lines += [f"  {one.model_a} minus {one.model_b}: {one}" for one in compared]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


@dataclass(frozen=True)
class Scope:
    """What estimates of one study share. pairs: indices of the modalities compared, first minus second.
    without: why there is no interval where a standard error is missing."""

    reads: Reads
    merit: str
    method: str
    level: float
    pairs: tuple[tuple[int, int], ...]
    margin: float | None = None
    without: str = "the variance estimate is not positive"

    @property
    def n(self) -> int:
        return len(self.reads.cases)

    @property
    def patients(self) -> int:
        return len(np.unique(self.reads.patient))

    def estimate(self, contrast: Contrast, modality: int, reader: int | None = None) -> Estimate:
        """A figure of merit with limits cut at 0 and 1."""
        low, high = max(0.0, contrast.low), min(1.0, contrast.high)
        if not contrast.se > 0:
            low = high = math.nan
        return Estimate(
            self.merit, contrast.value, low, high, self.level, worded(self.method, contrast), self.n,
            self.patients, model=self.reads.modalities[modality],
            subgroup=None if reader is None else titled(self.reads.readers[reader]),
            note=None if contrast.se > 0 else f"no interval: {self.without}",
        )  # fmt: skip

    def comparison(
        self, contrast: Contrast, values: np.ndarray, pair: tuple[int, int], reader: int | None = None
    ) -> Comparison:
        """Modality a minus b; values: (I,) of all modalities."""
        a, b = pair
        low, high = max(-1.0, contrast.low), min(1.0, contrast.high)
        if not contrast.se > 0:
            low = high = math.nan
        return Comparison(
            self.merit, float(values[a]), float(values[b]), contrast.value, low, high, self.level,
            contrast.statistic, contrast.p, method=worded(self.method, contrast), n=self.n,
            n_clusters=self.patients, model_a=self.reads.modalities[a], model_b=self.reads.modalities[b],
            subgroup=None if reader is None else titled(self.reads.readers[reader]),
            note=None if contrast.se > 0 else f"no test: {self.without}",
        )  # fmt: skip

    def not_inferior(self, compared: Comparison, p: float) -> Comparison:
        """The comparison as a test of "no worse by the margin or more"; p: one-sided."""
        return Comparison(
            compared.name, compared.value_a, compared.value_b, compared.difference, compared.low,
            compared.high, self.level, compared.statistic, p, method=f"non-inferiority; {compared.method}",
            n=compared.n, n_clusters=compared.n_clusters, model_a=compared.model_a,
            model_b=compared.model_b, note=self.verdict(compared, p),
        )  # fmt: skip

    def corrected(self, compared: Comparison, p_holm: float) -> Comparison:
        """A test of non-inferiority among several, judged by its corrected p."""
        note = f"{self.verdict(compared, p_holm)}, Holm"
        return replace(compared, p_holm=p_holm, note=note)

    def verdict(self, compared: Comparison, p: float) -> str:
        """Whether non-inferiority is shown; p: one-sided, half of what the level leaves is alpha."""
        assert self.margin is not None
        alpha = (1 - self.level) / 2
        said = "not tested" if math.isnan(p) else "shown" if p < alpha else "not shown"
        pair = f"{compared.model_a} not worse than {compared.model_b}"
        return f"{pair} by {self.margin:g}: {said} at one-sided {alpha:g}"


def titled(reader: str) -> str:
    """The name of a reader, with the word before a mere number or code.

    >>> titled("3"), titled("Reader 3")
    ('reader 3', 'Reader 3')
    """
    return reader if reader.casefold().startswith("reader") else f"reader {reader}"


def worded(method: str, contrast: Contrast) -> str:
    """The method with the standard error and what law it was judged by."""
    if not contrast.se > 0:
        return method
    law = f"t with {contrast.df:.2f} df" if math.isfinite(contrast.df) else "normal"
    return f"{method}; SE {contrast.se:.4f}, {law}"
