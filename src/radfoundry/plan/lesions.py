"""Several lesions of one patient as one case of an ablation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from radfoundry.adapt.pooling import make_bags, pool
from radfoundry.errors import InputError
from radfoundry.plan.grid import Grid


def by_patient(
    matrices: Mapping[str, np.ndarray], grid: Grid, patient: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pool each set as the grid says, and where each patient's first lesion stands.

    matrices: set to (lesions, p). patient: (lesions,). Returns set to (patients, p) and rows (patients,),
    both in the order in which patients first occur. `largest` measures lesions by the first column of the
    grid's first volume set. A joined set is joined from its pooled parts. InputError names the set that
    cannot be pooled.
    """
    _, first = np.unique(patient, return_index=True)
    order = np.argsort(first)
    pooled = {
        name: _pooled(name, matrices, grid, patient)[order]
        for name, spec in grid.features.items()
        if not spec.join
    }
    for name, spec in grid.features.items():
        if spec.join:
            pooled[name] = np.hstack([pooled[part] for part in spec.join])
    return {name: pooled[name] for name in matrices}, first[order]


def _pooled(name: str, matrices: Mapping[str, np.ndarray], grid: Grid, patient: np.ndarray) -> np.ndarray:
    """(patients, p) float32, patients sorted."""
    how = grid.features[name].pool or grid.pool
    if how == "none":
        raise InputError(f"features: {name}: the other sets are pooled by patient; give it a pool too")
    matrix = matrices[name].astype(np.float64)
    try:
        if how != "largest":
            return pool(make_bags(matrix, patient)[0], how).astype(np.float32)
        bags, _ = make_bags(np.column_stack([matrix, _size(matrices, grid)]), patient)
        return pool(bags, how, size_column=matrix.shape[1])[:, :-1].astype(np.float32)
    except InputError as error:
        raise InputError(f"features: {name}: {error}") from error


def _size(matrices: Mapping[str, np.ndarray], grid: Grid) -> np.ndarray:
    sets = grid.of_role("volume")
    if not sets:
        raise InputError(
            "largest needs to know the size of a lesion. Add a set with role: volume, the volume first"
        )
    return matrices[sets[0]][:, 0]
