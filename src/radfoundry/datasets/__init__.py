"""Datasets by name or path: `load("phantom-ila", out=...)`, `load("folder/")`, `load("cohort.csv")`.

Importing this package is light; a dataset's module is imported when it is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radfoundry.cohort import Cohort
    from radfoundry.datasets.cards import DatasetCard


def names() -> list[str]:
    """Names that `load` knows, plug-ins of the entry-point group `radfoundry.datasets` included."""
    return list(_registry())


def card(name: str) -> DatasetCard:
    """Title, licence, citation and source; UnknownName suggests the nearest."""
    return _registry().get(name).card


def load(name_or_path: str | Path, **options: Any) -> Cohort:
    """A cohort from a dataset's name, a table, a folder per class, or a MedMNIST file.

    A path that exists wins over a name. Options go to the reader. Raises UnknownName,
    TableError or ReadError.
    """
    from radfoundry.cohort import read_cohort
    from radfoundry.datasets import folder, medmnist, nih_cxr
    from radfoundry.errors import TableError

    path = Path(name_or_path)
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise TableError(
                f"{path}: no such file or folder. Check it, or name one of: {', '.join(names())}"
            )
        return _registry().get(str(name_or_path)).load(**options)
    if path.is_file():
        return medmnist.read(path, **options) if path.suffix == ".npz" else read_cohort(path, **options)
    if (path / "cohort.csv").exists() or (path / "cohort.parquet").exists():
        return read_cohort(path, **options)
    if (path / "labels_images.csv").exists():
        return nih_cxr.load(root=path, **options)
    return folder.read(path, **options)


def _registry() -> Any:
    from radfoundry.datasets import (  # noqa: F401  they register themselves
        medmnist,
        nih_cxr,
        phantom_lesions,
        phantoms,
    )
    from radfoundry.datasets.cards import datasets

    return datasets
