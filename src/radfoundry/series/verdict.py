"""What is said of one series: modality, anatomy, attributes, how sure that is, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from radfoundry.series.labels import joined


@dataclass(frozen=True, slots=True)
class Attributes:
    """How a series was taken, read from its headers; None or "" where they do not say.

    plane: axial, sagittal, coronal, oblique or mixed. dimension: 2D or 3D. b_values in s/mm², echo_times in
    ms, both ascending and distinct.
    """

    plane: str = ""
    dimension: str = ""
    fat_suppressed: bool | None = None
    contrast_agent: bool | None = None
    b_values: tuple[float, ...] = ()
    echo_times: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What a named rule says. trace: the sentence that shows why, e.g. "EP + b-value 1000 → DWI"."""

    rule: str
    modality: str
    kind: str = ""
    trace: str = ""

    @property
    def label(self) -> str:
        """Modality, with the kind of an `other`."""
        return joined(self.modality, self.kind)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one series.

    confidence, anatomy_confidence: calibrated probabilities that modality (kind included) and anatomy are
    right; None where rules alone spoke, for which no probability was ever measured.
    candidates: the conformal set of modalities. source: rules, tags, tags+pixels, pixels or person.
    """

    uid: str
    modality: str
    kind: str = ""
    anatomy: str = "other"
    confidence: float | None = None
    anatomy_confidence: float | None = None
    unsure: bool = False
    source: str = "rules"
    trace: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    attributes: Attributes = Attributes()

    @property
    def label(self) -> str:
        """Modality, with the kind of an `other`.

        >>> Verdict("1.2", "other", "BOLD").label
        'other:BOLD'
        """
        return joined(self.modality, self.kind)

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values, attributes among them, with `label` added."""
        values = asdict(self)
        attributes = values.pop("attributes")
        return {**values, **attributes, "label": self.label}
