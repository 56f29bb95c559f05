"""Agreement with published values: the IBSI digital phantom and pyradiomics' own regression tables."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radfoundry import io
from radfoundry.radiomics import names
from radfoundry.radiomics.agreement import (
    CASES,
    FLAT,
    MESH,
    NOT_COMPUTED,
    NOT_RUN,
    VARIANTS,
    Row,
    as_markdown,
    compare,
)
from radfoundry.radiomics.extract import features
from radfoundry.radiomics.settings import FAMILIES, PRESETS, RadiomicsSettings
from radfoundry.types import Volume
from tests._data import data_dir
from tests.radiomics._made import ibsi_phantom

pytest.importorskip("mirp", reason="radiomics need the extra radiomics")

GOLDEN = Path(__file__).parents[1] / "golden" / "radiomics" / "ibsi_1_digital_phantom.csv"
AS_IT_IS = RadiomicsSettings(
    bin_width=None, bin_number=6, resample_mm=None, families=FAMILIES, log_mm=(), wavelet=None
)
# Energy times the volume of a voxel: a feature of pyradiomics alone.
NO_CONSENSUS = {"firstorder_TotalEnergy"}


def _consensus(aggregation: str) -> dict[str, float]:
    with GOLDEN.open(encoding="utf-8") as file:
        return {
            row["feature"]: float(row["consensus"])
            for row in csv.DictReader(file)
            if row["aggregation"] in ("", aggregation)
        }


@pytest.mark.parametrize("aggregation", ["average", "merge"])
def test_ibsi_digital_phantom(aggregation: str) -> None:
    found = features(*ibsi_phantom(), replace(AS_IT_IS, aggregation=aggregation)).as_dict()  # type: ignore[arg-type]
    consensus = _consensus(aggregation)
    assert set(consensus) == set(found) - NO_CONSENSUS
    assert len(consensus) == 166
    wrong = {
        name: (found[name], value) for name, value in consensus.items() if not _rounds_to(found[name], value)
    }
    assert not wrong


def _rounds_to(value: float, published: float) -> bool:
    """Whether `published`, of three significant digits, is `value` rounded (either way at a half)."""
    if published == 0.0:
        return abs(value) < 1e-9
    unit = 10.0 ** (math.floor(math.log10(abs(published))) - 2)
    return abs(value - published) <= 0.5 * unit * (1 + 1e-6)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return compare(data_dir("pyradiomics_cases"))


def test_every_reference_value_is_accounted_for(rows: list[Row]) -> None:
    """4 cases: 107 features native, and those of the families that the other columns hold."""
    counts = Counter(row.column.partition("_")[2] for row in rows)
    assert counts == {
        "": 4 * 107, "resegmentation": 4 * 93, "FBN": 4 * 75, "combined": 4 * 40,
        "normalization": 4 * 93, "flatRegion": 4 * 75,
    }  # fmt: skip
    kinds = Counter(row.kind for row in rows)
    assert kinds == {"direct": 1845, "converted": 36, "mesh": 7, "flat": 8, "absent": 36}


def test_no_column_of_the_reference_tables_is_left_out_silently() -> None:
    known = {f"{case}{variant}" for case in CASES for variant in (*VARIANTS, *NOT_RUN)}
    for table in data_dir("pyradiomics_cases", "baseline").glob("*.csv"):
        with table.open(encoding="utf-8") as file:
            columns = next(csv.reader(file))[1:]
        mine = [c for c in columns if not c.startswith("lung2")]  # its image is not among the data
        assert set(mine) <= known, table.name


@pytest.mark.parametrize("case", CASES)
def test_pyradiomics_values_agree(rows: list[Row], case: str) -> None:
    mine = [row for row in rows if row.column.partition("_")[0] == case]
    wrong = [row for row in mine if row.kind in ("direct", "converted", "mesh") and not row.agrees]
    assert not wrong
    assert max(row.difference for row in mine if row.kind == "direct") < 1e-5


def test_exceptions_are_those_that_are_explained(rows: list[Row]) -> None:
    assert {row.name for row in rows if row.kind == "absent"} == set(NOT_COMPUTED)
    assert {row.name for row in rows if row.kind == "flat"} == set(FLAT)
    mesh = [row for row in rows if row.kind == "mesh"]
    assert {row.name for row in mesh} == set(MESH)
    # Masks whose voxels touch only by edges or corners; in the others the meshes are the same.
    assert {row.column for row in mesh} == {"brain1", "brain2"}
    assert all(row.reason for row in rows if row.kind != "direct")


def test_meshes_differ_only_where_voxels_touch_by_an_edge() -> None:
    """In masks whose mesh agrees there is no 2 x 2 checkerboard, which can be closed in two ways."""
    found = {}
    for case in CASES:
        mask = io.read(data_dir("pyradiomics_cases", f"{case}_label.nrrd"))
        assert isinstance(mask, Volume)
        marked = np.pad(mask.array == 1, 1)
        found[case] = sum(_checkerboards(np.moveaxis(marked, axis, 0)) for axis in range(3))
    assert found["lung1"] == found["breast1"] == 0
    assert found["brain1"] > 0 and found["brain2"] > 0


def _checkerboards(marked: np.ndarray) -> int:
    """2 x 2 squares, in the planes of the last two axes, of which only one diagonal is marked."""
    a, b, c, d = marked[:, :-1, :-1], marked[:, :-1, 1:], marked[:, 1:, :-1], marked[:, 1:, 1:]
    return int(((a == d) & (b == c) & (a != b)).sum())


def test_mcc_is_left_out_for_the_reason_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every element of Haralick's Q, from mirp's own matrices, pyradiomics' value comes out."""
    from mirp._features import cm_features

    def whole(matrix: Any) -> float:
        size = int(matrix.n_g)
        p = np.zeros((size, size))
        p[matrix.pij.i.astype(int) - 1, matrix.pij.j.astype(int) - 1] = matrix.pij.pij
        p = p[np.ix_(p.sum(1) > 0, p.sum(1) > 0)]
        q = (p / p.sum(1)[:, None]) @ (p / p.sum(1)[None, :]).T
        return float(np.sqrt(np.sort(np.linalg.eigvals(q).real)[-2]))

    monkeypatch.setitem(names.GLCM, "cm_mcc", "MCC")
    settings = replace(PRESETS["pyradiomics"], families=("glcm",))
    volume, mask = (
        io.read(data_dir("pyradiomics_cases", f"lung1_{part}.nrrd")) for part in ("image", "label")
    )
    assert isinstance(volume, Volume) and isinstance(mask, Volume)
    reference = 0.5678011944880846  # baseline_glcm.csv, lung1
    assert features(volume, mask, settings, label=1).as_dict()["glcm_MCC"] == pytest.approx(0.5522, abs=1e-4)
    monkeypatch.setattr(cm_features.FeatureCMMaximumCorrelationCoefficient, "_compute", staticmethod(whole))
    found = features(volume, mask, settings, label=1).as_dict()["glcm_MCC"]
    assert found == pytest.approx(reference, rel=1e-9)


def test_page_shows_the_table_of_today(rows: list[Row]) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "radiomics.md"
    assert as_markdown(rows) in page.read_text(encoding="utf-8"), "python -m radfoundry.radiomics.agreement"


def test_printed_table_counts_what_agrees(rows: list[Row]) -> None:
    text = as_markdown(rows)
    assert "1881 of 1932 values agree" in text
    assert "UNEXPLAINED" not in text
    wrong = [replace(row, ours=row.ours * 1.01) if row.name == "glcm_Contrast" else row for row in rows]
    assert "glcm_Contrast" in as_markdown(wrong) and "UNEXPLAINED" in as_markdown(wrong)
