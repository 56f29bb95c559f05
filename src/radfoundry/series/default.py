"""The model that comes from phantoms alone: where it lies, and how it is made where it does not yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from radfoundry.series import examples, model
from radfoundry.series.tags import TagList, load_tags
from radfoundry.series.train import CODE_VERSION, Examples, TrainConfig, train


@dataclass(frozen=True)
class Recipe:
    """What a model is made of: phantom studies drawn for headers, others with pixels, and the training."""

    phantoms: int = 600
    pictures: int = 120
    training: TrainConfig = field(default_factory=TrainConfig)

    def folder(self, store: Path) -> Path:
        """Where the model of this recipe lies; that of any other recipe lies elsewhere."""
        from radfoundry.datasets import phantom_series
        from radfoundry.encoders.weights import text_digest

        settings = sorted(asdict(self.training).items())
        name = text_digest(CODE_VERSION, phantom_series.CODE_VERSION, self.phantoms, self.pictures, settings)
        return store / f"model-{name[:12]}"


Progress = Callable[[str], Callable[[int, int], None]]
"""What is being drawn -> progress(done, of)."""


def drawn(
    recipe: Recipe, tags: TagList, store: Path, *, workers: int = 0, progress: Progress | None = None
) -> Examples:
    """The training series of a recipe; what was drawn before is read from the store."""
    found = Examples([], [], [], [], [])
    for studies, pixels in ((recipe.phantoms, False), (recipe.pictures, True)):
        if studies:
            what = "phantoms with pixels" if pixels else "phantom headers"
            found = found + examples.from_phantoms(
                studies,
                tags,
                pixels=pixels,
                seed=2 * recipe.training.seed + pixels,
                tower=recipe.training.image_tower,
                store=store,
                workers=workers or os.cpu_count() or 1,
                progress=progress(what) if progress is not None else None,
            )
    return found


def make(
    recipe: Recipe,
    store: Path,
    *,
    tags: TagList | None = None,
    workers: int = 0,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Path:
    """Folder of the recipe's model, trained first where it is not there; an interrupted training goes on."""
    folder = recipe.folder(store)
    if (folder / "model.json").exists():
        return folder
    wanted = tags or load_tags()
    found = drawn(recipe, wanted, store, workers=workers, progress=progress)
    fit_and_save(found, wanted, recipe.training, folder, log=log)
    return folder


def fit_and_save(
    found: Examples, tags: TagList, config: TrainConfig, folder: Path, *, log: Callable[[str], None]
) -> model.SeriesModel:
    """Train on examples and save; the state of an unfinished training lies beside the folder."""
    state = folder.parent / f".{folder.name}.training.safetensors"
    trained = train(found, tags.tags, config, state=state, log=log)
    trained.save(folder)
    state.unlink(missing_ok=True)
    return trained
