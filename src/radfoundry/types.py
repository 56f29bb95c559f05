"""The values that cross between parts: images with geometry, embeddings, estimates.

Coordinates: `Volume.affine` maps voxel index to RAS+ millimetres (NIfTI convention). DICOM and ITK
speak LPS; whatever takes LPS says so in its name.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from _typeshed import DataclassInstance

Unit = Literal["HU", "SUV", "a.u."]


@dataclass(frozen=True, slots=True)
class Image:
    """One 2D picture, bright where the display is bright (MONOCHROME1 is already inverted).

    array: (rows, columns) float32, or (rows, columns, 3) for colour, in `unit`.
    display_range: the values shown as black and white (from the VOI window, else from the bit depth).
    spacing_mm: (between rows, between columns), or None when the file does not say.
    modality: DICOM modality code (CR, DX, US, MR, ...), or "" when the file does not say.
    record: what was done to the pixels, in order.
    """

    array: np.ndarray
    display_range: tuple[float, float]
    unit: Unit = "a.u."
    spacing_mm: tuple[float, float] | None = None
    modality: str = ""
    source: str = ""
    record: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim not in (2, 3) or (self.array.ndim == 3 and self.array.shape[2] != 3):
            raise ValueError(f"an Image is (rows, columns) or (rows, columns, 3), not {self.array.shape}")
        if min(self.array.shape) < 1:
            raise ValueError(f"an Image needs pixels, not {self.array.shape}")

    @property
    def is_colour(self) -> bool:
        return self.array.ndim == 3

    def display(self) -> np.ndarray:
        """Pixels mapped through the display range to [0, 1], float32.

        >>> import numpy as np
        >>> Image(np.array([[0.0, 50.0, 200.0]], np.float32), (0.0, 100.0)).display()
        array([[0. , 0.5, 1. ]], dtype=float32)
        """
        import numpy as np

        low, high = self.display_range
        scale = 1.0 / max(high - low, 1e-12)
        return np.clip((self.array - np.float32(low)) * np.float32(scale), 0.0, 1.0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Frames:
    """A cine or multi-frame capture without 3D geometry. array: (frames, rows, columns[, 3]) float32."""

    array: np.ndarray
    display_range: tuple[float, float]
    spacing_mm: tuple[float, float] | None = None
    modality: str = ""
    source: str = ""
    record: tuple[str, ...] = ()

    def image(self, index: int) -> Image:
        """One frame as an Image."""
        return Image(
            self.array[index],
            self.display_range,
            "a.u.",
            self.spacing_mm,
            self.modality,
            self.source,
            (*self.record, f"frame {index} of {len(self.array)}"),
        )


@dataclass(frozen=True, slots=True)
class Volume:
    """array: (I, J, K) or (I, J, K, T), in `unit`. affine: (4, 4), voxel index to RAS+ mm."""

    array: np.ndarray
    affine: np.ndarray
    unit: Unit = "a.u."
    modality: str = ""
    source: str = ""
    record: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        import numpy as np

        if self.array.ndim not in (3, 4):
            raise ValueError(f"a Volume is (I, J, K) or (I, J, K, T), not {self.array.shape}")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise ValueError("affine must be a finite (4, 4) matrix")
        direction = self.affine[:3, :3] / self.spacing_mm
        if abs(np.linalg.det(direction)) < 1e-4:
            raise ValueError("affine is singular: two voxel axes point the same way")

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size along I, J, K; a zero-length axis counts as singular."""
        import numpy as np

        return np.maximum(np.linalg.norm(self.affine[:3, :3], axis=0), 1e-12)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """vectors: (n, dim) float32, one row an image; case_id, column and key are (n,) arrays of str."""

    vectors: np.ndarray
    case_id: np.ndarray
    column: np.ndarray
    key: np.ndarray
    encoder: str
    fingerprint: str

    def __post_init__(self) -> None:
        lengths = {len(self.vectors), len(self.case_id), len(self.column), len(self.key)}
        if len(lengths) != 1:
            raise ValueError(f"vectors, case_id, column and key differ in length: {sorted(lengths)}")


def json_ready(record: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass; NaN and infinity become null, because JSON has neither."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(record).items()
    }


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval and the n behind it.

    n counts rows (images); n_clusters counts patients, or whatever `cluster` names, where they were the unit
    of resampling.
    low and high are NaN where no interval can be given, and `note` then says why.

    >>> print(Estimate("auroc", 0.743, 0.697, 0.790, method="DeLong", n=210, n_clusters=200))
    auroc 0.743 (95% CI 0.697 to 0.790; DeLong; n = 210, 200 patients)
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    method: str = ""
    n: int = 0
    n_clusters: int | None = None
    target: str | None = None
    subgroup: str | None = None
    model: str | None = None
    note: str | None = None
    cluster: str = "patient"

    def __str__(self) -> str:
        parts = []
        if math.isfinite(self.low) and math.isfinite(self.high):
            parts.append(f"{self.level:.0%} CI {self.low:.3f} to {self.high:.3f}")
        if self.method:
            parts.append(self.method)
        clusters = "" if self.n_clusters in (None, self.n) else f", {self.n_clusters} {self.cluster}s"
        parts.append(f"n = {self.n}{clusters}")
        if self.note:
            parts.append(self.note)
        return f"{self.name} {self.value:.3f} ({'; '.join(parts)})"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null, because JSON has no NaN.

        >>> Estimate("auroc", 0.5).as_dict()["low"] is None
        True
        """
        return json_ready(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Estimate:
        """The inverse of `as_dict`."""
        floats = ("value", "low", "high")
        values: dict[str, Any] = {
            k: (math.nan if k in floats and v is None else v) for k, v in record.items()
        }
        return cls(**values)
