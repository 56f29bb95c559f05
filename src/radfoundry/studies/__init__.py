"""Studies: one readable file each, with a `Config` dataclass and `run(config) -> Path`.

Outsiders add theirs with an entry point in the group `radfoundry.studies` that names the module.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from types import ModuleType

from radfoundry.errors import UnknownName
from radfoundry.registry import nearest

# name: the question it answers. Listing must not import a study: they pull in scikit-learn.
STUDIES: dict[str, str] = {
    "ila_vs_atelectasis": "S4 · Does a frozen encoder with a small MLP tell interstitial lung abnormality "
    "from atelectasis, here and at another site?",
    "foreign_body_aspiration": "S13 · On a small imbalanced cohort, do embeddings with classical heads match "
    "transfer learning?",
    "samples_needed": "S5 · How many positive cases must be labelled to reach a goal, with which encoder, "
    "and is it within reach?",
    "draft_report_monitoring": "S6 · What do AI drafts of reports omit or invent, by how dangerous a miss "
    "is, and does it get worse?",
    "reader_study": "S12 · Do readers do better with the AI than without, how much faster, and do they "
    "follow it when it errs?",
    "mri_series": "S11 · What is every MRI series, by header, by pixels, by both, and does the sorter know "
    "when it does not?",
    "embeddings_vs_radiomics": "S9 · Does an embedding of a lesion tell more than radiomics, size and age, "
    "and which choices matter?",
}


def names() -> list[str]:
    """Every study by name, plug-ins included."""
    return sorted({*STUDIES, *(point.name for point in entry_points(group="radfoundry.studies"))})


def get(name: str) -> ModuleType:
    """The module of a study: `Config`, `run`, and a docstring that reads like a methods section."""
    if name in STUDIES:
        return importlib.import_module(f"radfoundry.studies.{name}")
    for point in entry_points(group="radfoundry.studies"):
        if point.name == name:
            return point.load()
    raise UnknownName(f"no study named {name!r}.{nearest(name, names())} Known: {', '.join(names())}")
