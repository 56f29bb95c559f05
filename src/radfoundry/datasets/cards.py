"""What a dataset is, who may use it, and how it is turned into a cohort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from radfoundry.cohort import Cohort
from radfoundry.registry import Registry


@dataclass(frozen=True)
class DatasetCard:
    """One dataset. n counts images in the published release, or 0 where the user decides.

    needs: what `load` must be given: "out" (a folder to write into) or "root" (the user's copy).
    """

    name: str
    title: str
    modality: str
    licence: str
    cite: str
    source: str
    n: int
    needs: str


@dataclass(frozen=True)
class Dataset:
    """A card and the function that makes the cohort."""

    card: DatasetCard
    load: Callable[..., Cohort]


datasets: Registry[Dataset] = Registry("dataset", "radfoundry.datasets")


def register(card: DatasetCard) -> Callable[[Callable[..., Cohort]], Callable[..., Cohort]]:
    """Decorate a function that returns a Cohort; it gets the card's name."""

    def add(load: Callable[..., Cohort]) -> Callable[..., Cohort]:
        datasets.add(card.name, Dataset(card, load))
        return load

    return add
