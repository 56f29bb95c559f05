"""S11 · What is every MRI series: by its header, by its pixels, by both, and does the sorter know when not?

Question. Archives name series freely, so every trial and every model starts with sorting by hand. How many
series does the sorter name rightly, with which evidence, what remains when headers are anonymised, and are
its errors among the series that it calls unsure?

Methods. Header rules speak first or abstain; a network reads 36 tags, one token each, and nine slices through
a frozen image encoder; six transformer layers join them, with a head for modality and one for anatomy. Tags
and slices are hidden at random in training, so that either may be absent, and tags are taken from other
series of the same label. Probabilities are calibrated by temperature on studies kept from training, and the
network is taken to err as often as it did on vendors left out of training, or on real series where these
calibrated it. Rules and network are joined by Bayes, and the rules verify MRA, SSFP, DWI and ADC last. Pixels
are read only where the header leaves doubt. Series Description and Protocol Name are not read. Every way of
looking is judged on the same series: rules alone, tags alone, slices alone, all together; with headers as
they are, without sequence names, without Image Type, and anonymised.

Comparators. The most frequent label. The share of series left to a person is part of each result: accuracy
when sure stands beside coverage.

Design after the published system (BERT over tags, 3D ResNet-18 over 32 slices, six transformer layers; 1,501
series; 97.4 % and 96.7 % for modality in neuro and musculoskeletal series, 8 to 10 s each), with what it left
out added: intervals, calibration, abstention, attributes, time.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.engines import Bars
from radfoundry.errors import InputError
from radfoundry.series import labels as label_files
from radfoundry.series import model as models
from radfoundry.series.assess import Assessment, assess, hide
from radfoundry.series.classify import Classified, Classifier, in_batches
from radfoundry.series.examples import labelled, read_labels
from radfoundry.series.find import Series, find
from radfoundry.series.header import SeriesHeader
from radfoundry.series.origin import without_name
from radfoundry.series.pixels import Pixels, read_pixels
from radfoundry.series.tags import TagList, load_tags, read_header
from radfoundry.series.towers import ImageTower, build
from radfoundry.studies import series_sections as sections
from radfoundry.studies.run import Run, command_line

TITLE = "MRI series by tags and pixels"
HIDDEN: dict[str, tuple[str, ...]] = {
    "header as it is": (),
    "no sequence names": ("names",),
    "no Image Type": ("image-type",),
    "anonymised": ("anonymised",),
}
"""What is taken from the headers, beside Series Description and Protocol Name, which are never read."""


@dataclass(frozen=True)
class Config:
    """Options of the study; without --series it runs on generated studies of seven vendors."""

    series: Path | None = None
    """Folder of DICOM series to judge on; phantoms when absent."""
    truth: Path | None = None
    """Their labels: CSV or Parquet with series_uid or series_dir, modality, kind, anatomy."""
    model: Path | None = None
    """Folder of a trained model; the default model of the store when absent, which is trained if need be."""
    out: Path = Path("runs/mri_series")
    """Run folder to make."""
    force: bool = False
    """Replace an existing run folder."""
    store: Path = Path("stores/series")
    """Where phantoms and the default model are kept."""
    studies: int = 16
    """Phantoms: studies to judge on."""
    phantoms: int = 600
    """Phantom studies for training by header, if the model has to be trained."""
    pictures: int = 120
    """Phantom studies for training with pixels."""
    epochs: int = 16
    """Passes over the training series."""
    image_tower: str = "efficientnet-lite0"
    """How slices become tokens."""
    seed: int = 0
    """Seed of phantoms and training."""


def run(config: Config) -> Path:
    """Run the study; returns the run folder."""
    if (config.series is None) != (config.truth is None):
        raise InputError("--series needs --truth, the labels of its series, and --truth needs --series")
    with Run(
        config.out, command=command_line(), config=config, seed=config.seed, title=TITLE, force=config.force
    ) as run:
        model = _model(config, run)
        tags = load_tags()
        folder, table = _material(config, run)
        rows = read_labels(table, label_files.load())
        start = time.perf_counter()
        pairs = labelled(find(folder, tags=tags), rows)
        series = [one for one, _ in pairs]
        truth = {(one.uid, one.study): rows[key] for one, key in pairs}
        found_s = time.perf_counter() - start
        if not series:
            raise InputError(
                f"{table} labels no series below {folder}. Its series_dir are relative to that folder"
            )
        run.add_data("series", _digest(series), len(series))
        run.hide([s.subject for s in series])
        judged = _judge(series, truth, tags, model, run)
        timed = _timed(series, tags, model, found_s)
        sections.write(run, config, judged, timed, model, phantoms=config.series is None)
    return run.out


@dataclass(frozen=True)
class Judged:
    """Assessments by (evidence, what was hidden), and the verdicts of the headline."""

    arms: dict[tuple[str, str], Assessment]
    headline: tuple[str, str]
    found: list[Classified]
    truth: list[str]
    anatomy: list[str]


def _judge(
    series: Sequence[Series],
    truth: dict[tuple[str, str], tuple[str, str]],
    tags: TagList,
    model: models.SeriesModel,
    run: Run,
) -> Judged:
    """Every way of looking on the same series; files and slices are read once."""
    headers = {(one.uid, one.study): read_header(one, tags) for one in series}
    reader, tower = _remembering(build(model.image_tower))
    ways: dict[str, dict[str, Any]] = {
        "rules": {"model": None, "pixels": "never"},
        "tags": {"model": model, "pixels": "never", "use_rules": False},
        "slices": {"model": model, "pixels": "always", "use_rules": False, "use_tags": False},
        "rules and tags": {"model": model, "pixels": "never"},
        "all": {"model": model, "pixels": "auto"},
    }
    arms: dict[tuple[str, str], Assessment] = {}
    kept: list[Classified] = []
    for hidden, names in HIDDEN.items():
        bare = {key: hide(header, names) for key, header in headers.items()}
        for way, options in ways.items():
            if way == "slices" and (hidden != "header as it is" or "pixels" not in model.calibration):
                continue  # it sees no header at all; or the model was trained without slices
            classifier = Classifier(
                **options, tower=tower, reader=reader, thumbnails=way == "all" and not names
            )
            found = in_batches(series, _reading(bare), classifier)
            rows = [truth[item.series.uid, item.series.study] for item in found]
            found = [_without_folder(item) for item in found]
            arms[way, hidden] = assess(
                found,
                [label for label, _ in rows],
                anatomy=[anatomy for _, anatomy in rows],
                name=f"{way}, {hidden}",
            )
            run.log(f"{way}, {hidden}: {arms[way, hidden].estimates[0]}")
            if way == "all" and not names:
                kept, answers = found, rows
    return Judged(arms, ("all", "header as it is"), kept, [a for a, _ in answers], [b for _, b in answers])


def _without_folder(item: Classified) -> Classified:
    """What the run folder may hold of a series: a pseudonym and its number, no folder and no UID."""
    one = item.series
    number = "without number" if one.number is None else one.number
    return without_name(item, f"{one.subject}, series {number}")


def _reading(headers: dict[tuple[str, str], SeriesHeader]) -> Callable[[Series], SeriesHeader]:
    return lambda one: headers[one.uid, one.study]


def _remembering(tower: ImageTower) -> tuple[Callable[[Series], Pixels], ImageTower]:
    """A reader of slices and an image tower that do each series once."""
    pixels: dict[tuple[str, str], Pixels] = {}
    tokens: dict[int, np.ndarray] = {}

    def reader(one: Series) -> Pixels:
        key = one.uid, one.study
        if key not in pixels:
            pixels[key] = read_pixels(one)
        return pixels[key]

    def embed(slices: np.ndarray) -> np.ndarray:
        if id(slices) not in tokens:  # the arrays live as long as `pixels` does
            tokens[id(slices)] = tower.embed(slices)
        return tokens[id(slices)]

    return reader, ImageTower(tower.name, tower.dim, tower.slices, embed)


def _timed(
    series: Sequence[Series], tags: TagList, model: models.SeriesModel, found_s: float
) -> dict[str, float]:
    """Median seconds a series, one at a time, everything loaded; of slices where there are any to read."""
    by_header, with_slices = Classifier(model, "never"), Classifier(model, "always")
    chosen = list(series)[:40]
    by_header(chosen[:1], [read_header(chosen[0], tags)])
    with_slices(chosen[:1], [read_header(chosen[0], tags)])
    seconds: dict[str, list[float]] = {"header": [], "by header": [], "with slices": []}
    for one in chosen:
        start = time.perf_counter()
        header = read_header(one, tags)
        seconds["header"].append(time.perf_counter() - start)
        for name, classifier in (("by header", by_header), ("with slices", with_slices)):
            start = time.perf_counter()
            (found,) = classifier([one], [header])
            spent = time.perf_counter() - start
            if name == "by header" or found.thumbnail is not None:
                seconds[name].append(spent)
    return {
        "find": found_s / len(series),
        **{name: float(np.median(spent)) if spent else math.nan for name, spent in seconds.items()},
        "n": float(len(chosen)),
        "n with slices": float(len(seconds["with slices"])),
    }


def _model(config: Config, run: Run) -> models.SeriesModel:
    from radfoundry.series.default import Recipe, make
    from radfoundry.series.train import TrainConfig

    if config.model is not None:
        return models.load(config.model)
    training = TrainConfig(epochs=config.epochs, image_tower=config.image_tower, seed=config.seed)
    with Bars() as bars:
        folder = make(
            Recipe(config.phantoms, config.pictures, training),
            config.store,
            progress=bars,
            log=lambda line: print(line, file=sys.stderr),
        )
    run.log(f"model: {folder.name}")
    return models.load(folder)


def _material(config: Config, run: Run) -> tuple[Path, Path]:
    """(folder of series, table of their labels): the user's, or phantoms that trained nothing."""
    if config.series is not None and config.truth is not None:
        return config.series, config.truth
    from radfoundry.datasets import phantom_series

    folder = config.store / f"phantom-studies-{config.studies}-{config.seed}-v{phantom_series.CODE_VERSION}"
    if not (folder / "truth.csv").exists():
        with Bars() as bars:
            phantom_series.make(
                folder, n=config.studies, seed=10_000 + config.seed, progress=bars("phantom studies")
            )
    return folder, folder / "truth.csv"


def _digest(series: Sequence[Series]) -> str:
    """Of UIDs and file sizes: reading all pixels to name the data would cost more than the study."""
    from radfoundry.encoders.weights import text_digest

    return text_digest(*sorted((one.uid, sum(file.length for file in one.files)) for one in series))
