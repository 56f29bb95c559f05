"""How far our features agree with reference values of pyradiomics, feature by feature, and why not.

    python -m radfoundry.radiomics.agreement FOLDER

FOLDER holds `CASE_image.nrrd`, `CASE_label.nrrd` and `baseline/baseline_*.csv`, as the `data` folder of
pyradiomics does (https://github.com/AIM-Harvard/pyradiomics, BSD-3-Clause). Prints a Markdown table.
"""

from __future__ import annotations

import ast
import csv
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from radfoundry.errors import ReadError
from radfoundry.radiomics.extract import Features, features
from radfoundry.radiomics.settings import PRESETS, RadiomicsSettings
from radfoundry.types import Volume

CASES = ("brain1", "brain2", "breast1", "lung1")
TOLERANCE = 1e-5
"""Relative. pyradiomics normalises with n - 1 voxels, which alone makes 9e-6 in the smallest image."""
ABSOLUTE = 1e-12
"""pyradiomics adds 2.2e-16 within logarithms, which leaves entropies of one grey level at -3e-16."""
ROUNDING = 1e-9
"""Below it, differences are those of floating point and not told apart in the table."""

_PYRADIOMICS = PRESETS["pyradiomics"]
VARIANTS: Mapping[str, RadiomicsSettings] = {
    "": _PYRADIOMICS,
    "_resegmentation": replace(_PYRADIOMICS, resegment_sigma=3.0),
    "_FBN": replace(_PYRADIOMICS, bin_width=None, bin_number=64),
    "_combined": replace(_PYRADIOMICS, aggregation="merge"),
    "_normalization": replace(_PYRADIOMICS, normalise="image", scale=100.0, bin_width=5.0),
    "_flatRegion": replace(_PYRADIOMICS, resegment=(0.0, None), bin_width=5000.0),
}
"""Columns of the reference tables (CASE + variant), and the settings that mean the same."""

NOT_RUN: Mapping[str, str] = {
    "_2d": "textures slice by slice: ours are three-dimensional",
    "_resampling": "pyradiomics puts its grid at the corner of the image, IBSI at its centre: other voxels",
    "_shape2D": "shape of a slice: ours is three-dimensional",
}

_MESH = "pyradiomics closes the mesh differently where voxels touch only by an edge or a corner"
MESH: Mapping[str, float] = {
    "shape_SurfaceArea": 1e-2,
    "shape_SurfaceVolumeRatio": 1e-2,
    "shape_Sphericity": 1e-2,
    "shape_MeshVolume": 1e-3,
}
"""Relative tolerance where a mask has such voxels (brain1, brain2); elsewhere TOLERANCE holds."""

NOT_COMPUTED: Mapping[str, str] = {
    "glcm_MCC": "mirp leaves out elements of Haralick's Q where the co-occurrence is 0; with them it agrees",
    "shape_Maximum2DDiameterSlice": "not in IBSI",
    "shape_Maximum2DDiameterColumn": "not in IBSI",
    "shape_Maximum2DDiameterRow": "not in IBSI",
}

FLAT: Mapping[str, str] = {
    "glcm_Imc1": "one grey level: 0 divided by 0 is set to 1 by mirp, to 0 by pyradiomics",
    "glcm_InverseVariance": "one grey level: no pair of different levels; NaN in mirp, 0 in pyradiomics",
}
"""Conventions for a region of one grey level (variant _flatRegion)."""


def _n(ours: Mapping[str, float]) -> float:
    """Voxels of the intensity mask."""
    return round(ours["firstorder_Energy"] / ours["firstorder_RootMeanSquared"] ** 2)


def _energy(ours: Mapping[str, float], shift: float) -> float:
    n = _n(ours)
    return ours["firstorder_Energy"] + 2 * shift * n * ours["firstorder_Mean"] + shift**2 * n


def _total_energy(ours: Mapping[str, float], shift: float) -> float:
    return _energy(ours, shift) * ours["firstorder_TotalEnergy"] / ours["firstorder_Energy"]


def _axis(name: str) -> Callable[[Mapping[str, float], float], float]:
    return lambda ours, _: ours[name] * math.sqrt((_n(ours) - 1) / _n(ours))


_AXES = "covariance of voxel positions: pyradiomics divides by n, mirp by n - 1; ours times sqrt((n - 1) / n)"
_SHIFT = "this column was made with voxelArrayShift = 2000 (the default of pyradiomics is 0); ours shifted"
CONVERTED: Mapping[str, tuple[Callable[[Mapping[str, float], float], float], str]] = {
    "firstorder_Kurtosis": (
        lambda ours, _: ours["firstorder_ExcessKurtosis"] + 3.0,
        "pyradiomics does not subtract 3; ours (ExcessKurtosis) plus 3",
    ),
    "firstorder_Energy": (_energy, _SHIFT),
    "firstorder_TotalEnergy": (_total_energy, _SHIFT),
    "firstorder_RootMeanSquared": (lambda o, shift: math.sqrt(_energy(o, shift) / _n(o)), _SHIFT),
    "shape_MajorAxisLength": (_axis("shape_IbsiMajorAxisLength"), _AXES),
    "shape_MinorAxisLength": (_axis("shape_IbsiMinorAxisLength"), _AXES),
    "shape_LeastAxisLength": (_axis("shape_IbsiLeastAxisLength"), _AXES),
}
"""Other definitions with an exact relation to ours: (pyradiomics' value from ours and the shift, reason)."""


@dataclass(frozen=True)
class Row:
    """One reference value. kind: direct, converted, mesh, flat, or absent (ours is NaN then)."""

    column: str
    name: str
    reference: float
    ours: float
    kind: str
    reason: str = ""

    @property
    def family(self) -> str:
        return self.name.partition("_")[0]

    @property
    def difference(self) -> float:
        """Relative to the reference; 0 when both are within ABSOLUTE."""
        apart = abs(self.ours - self.reference)
        return 0.0 if apart <= ABSOLUTE else apart / max(abs(self.reference), ABSOLUTE)

    @property
    def agrees(self) -> bool:
        """Within the tolerance that its kind has; kinds without a comparison never agree."""
        if self.kind in ("absent", "flat"):
            return False
        return self.difference <= (MESH[self.name] if self.kind == "mesh" else TOLERANCE)


def compare(folder: str | Path, cases: tuple[str, ...] = CASES) -> list[Row]:
    """Every reference value of the cases' columns that VARIANTS names, beside ours.

    Raises ReadError where the folder lacks an image, a mask or the tables.
    """
    folder = Path(folder)
    tables = sorted((folder / "baseline").glob("baseline_*.csv"))
    if not tables:
        raise ReadError(f"{folder}/baseline holds no baseline_*.csv. Give the data folder of pyradiomics")
    rows: list[Row] = []
    for case in cases:
        volume, mask = _read(folder / f"{case}_image.nrrd"), _read(folder / f"{case}_label.nrrd")
        for variant, settings in VARIANTS.items():
            ours = features(volume, mask, settings, label=1)
            for table in tables:
                rows += _rows(table, case + variant, ours, variant)
    return rows


def _rows(table: Path, column: str, found: Features, variant: str) -> Iterator[Row]:
    with table.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    if column not in lines[0]:
        return
    at = lines[0].index(column)
    values = {line[0]: line[at] for line in lines[1:]}
    shift = float(ast.literal_eval(values["diagnostics_Configuration_Settings"]).get("voxelArrayShift", 0))
    ours = found.as_dict()
    for long_name, value in values.items():
        if not long_name.startswith("diagnostics_"):
            yield _row(column, long_name.removeprefix("original_"), float(value), ours, shift, variant)


def _row(
    column: str, name: str, reference: float, ours: Mapping[str, float], shift: float, variant: str
) -> Row:
    if name in NOT_COMPUTED:
        return Row(column, name, reference, math.nan, "absent", NOT_COMPUTED[name])
    if variant == "_flatRegion" and name in FLAT:
        return Row(column, name, reference, ours[name], "flat", FLAT[name])
    if name in CONVERTED and (shift or name not in ours):
        convert, reason = CONVERTED[name]
        return Row(column, name, reference, convert(ours, shift), "converted", reason)
    row = Row(column, name, reference, ours[name], "direct")
    if name in MESH and row.difference > TOLERANCE:
        return replace(row, kind="mesh", reason=_MESH)
    return row


def _read(path: Path) -> Volume:
    from radfoundry import io

    found = io.read(path)
    if not isinstance(found, Volume):
        raise ReadError(f"{path} is no volume. Give the data folder of pyradiomics")
    return found


def as_markdown(rows: list[Row]) -> str:
    """A table of families, then one of what differs and why."""
    lines = ["| family | reference values | agree as they are | after conversion | largest difference |"]
    lines.append("|---|---|---|---|---|")
    for family in dict.fromkeys(row.family for row in rows):
        mine = [row for row in rows if row.family == family]
        direct = [row for row in mine if row.kind == "direct" and row.agrees]
        converted = [row for row in mine if row.kind == "converted" and row.agrees]
        apart = max(max(row.difference for row in (*direct, *converted)), ROUNDING)
        largest = 10.0 ** math.ceil(math.log10(apart))
        lines.append(f"| {family} | {len(mine)} | {len(direct)} | {len(converted)} | below {largest:.0e} |")
    agreed = sum(row.agrees for row in rows if row.kind in ("direct", "converted"))
    lines += ["", f"{agreed} of {len(rows)} values agree within {TOLERANCE:g} (relative). The others:", ""]
    lines += ["| feature | columns | largest difference | why |", "|---|---|---|---|"]
    rest = [row for row in rows if not (row.kind in ("direct", "converted") and row.agrees)]
    for name in dict.fromkeys(row.name for row in rest):
        mine = [row for row in rest if row.name == name]
        compared = [row.difference for row in mine if np.isfinite(row.difference) and row.kind == "mesh"]
        largest_text = f"{max(compared):.1e}" if compared else "not compared"
        reason = mine[0].reason or "UNEXPLAINED"
        lines.append(f"| {name} | {', '.join(_columns(mine))} | {largest_text} | {reason} |")
    return "\n".join(lines)


def _columns(rows: list[Row]) -> list[str]:
    """Names of columns, shortened where every case has one."""
    variants: dict[str, list[str]] = {}
    for row in rows:
        case, _, variant = row.column.partition("_")
        variants.setdefault(variant, []).append(case)
    return [
        (variant or "native") if len(cases) == len(CASES) else f"{'/'.join(cases)} {variant}".strip()
        for variant, cases in variants.items()
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Print the tables; exit 1 where a difference has no explanation."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    rows = compare(arguments[0])
    print(as_markdown(rows))
    return 0 if all(row.agrees or row.reason for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
