"""Small phantom cohorts, drawn once for all study tests, and quick control charts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from radfoundry.datasets import phantoms


@pytest.fixture(scope="session")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Cohort tables by name: `ila` (site A), `external` (site B), `fba`."""
    root = tmp_path_factory.mktemp("phantoms")
    phantoms.make(root / "ila", n=60, task="ila", size=96, seed=1, effect=1.5)
    phantoms.make(root / "external", n=30, task="ila", size=96, site="B", seed=1, effect=1.5)
    phantoms.make(root / "fba", n=50, task="fba", size=96, seed=1, effect=1.5, prevalence=0.4)
    return {name: root / name / "cohort.csv" for name in ("ila", "external", "fba")}


@pytest.fixture(scope="module")
def short_simulations() -> Iterator[None]:
    """Limits of control charts from fewer simulated paths, where a test is not about their third digit."""
    from radfoundry.monitor import charts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "ewma", partial(charts.ewma, paths=400))
        patch.setattr(charts, "cusum", partial(charts.cusum, paths=400))
        patch.setattr(charts, "ROUGH", 100)
        yield
