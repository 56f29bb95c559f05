"""`radfoundry cohort check FILE | table1 FILE | phantom --out DIR | from SOURCE --out DIR`."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from collections.abc import Callable

    from radfoundry.cohort import Cohort


@dataclass(frozen=True)
class Check:
    """Read a cohort, check every row, and say what is in it."""

    file: tyro.conf.Positional[Path]
    """CSV or Parquet table, or a folder with cohort.csv."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.cohort import read_cohort

        _print(describe(read_cohort(self.file)), self.json)
        return 0


@dataclass(frozen=True)
class TableOne:
    """Characteristics of the cohort by group, with standardised differences."""

    file: tyro.conf.Positional[Path]
    """CSV or Parquet table, or a folder with cohort.csv."""
    by: str | None = None
    """Column or target that makes the groups."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.cohort import read_cohort, table_one
        from radfoundry.table_one import as_text

        frame = table_one(read_cohort(self.file), by=self.by)
        if self.json:
            print(frame.reset_index().to_json(orient="records", indent=2, force_ascii=False))
        else:
            print(as_text(frame))
        return 0


@dataclass(frozen=True)
class Phantom:
    """Generate chest radiographs, or lung nodules on CT, with known truth."""

    out: Path
    """Folder for images, masks, cohort.csv and cohort.yaml."""
    kind: Literal["radiographs", "lesions"] = "radiographs"
    """radiographs: of the chest, PNG; lesions: lung nodules on CT with seed points, NIfTI."""
    n: int = 200
    """Number of cases."""
    task: Literal["ila", "fba"] = "ila"
    """ila: interstitial pattern against atelectasis; fba: foreign body against chronic cough in children.
    For radiographs."""
    effect: float = 1.0
    """Size of the difference between the classes; 0 leaves none."""
    confounder: float = 0.0
    """How far scanner, projection and age tell the label: 0 not at all, 1 fully. For radiographs."""
    volume_effect: float = 0.3
    """How far volume alone tells the label: 0 not at all, 0.3 with an AUC of .58, 1 of .76. For lesions."""
    site: Literal["A", "B"] = "A"
    """B looks like another hospital: use it as external cohort. For radiographs; lesions come from both."""
    prevalence: float = 0.5
    """Share of the positive class."""
    size: int = 384
    """Side of the images in pixels. For radiographs."""
    seed: int = 0
    """Seed; the same seed gives the same files."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from tqdm import tqdm

        from radfoundry.errors import InputError

        make = self._maker()
        with tqdm(total=self.n, unit="image", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
            try:
                cohort = make(lambda done, _: bar.update(done - bar.n))
            except ValueError as cause:  # an option out of its range
                raise InputError(str(cause)) from cause
        _print({**describe(cohort), "written": str(self.out / "cohort.csv")}, self.json)
        return 0

    def _maker(self) -> Callable[[Callable[[int, int], None]], Cohort]:
        """What draws the kind, given where progress is told. Raises InputError for an option of the other."""
        from radfoundry.datasets import phantom_lesions, phantoms
        from radfoundry.errors import InputError

        common: dict[str, Any] = {
            "n": self.n, "effect": self.effect, "prevalence": self.prevalence, "seed": self.seed
        }  # fmt: skip
        own = {"radiographs": ("task", "confounder", "site", "size"), "lesions": ("volume_effect",)}
        for kind, names in own.items():
            for name in names if kind != self.kind else ():
                if getattr(self, name) != getattr(Phantom, name):
                    flag = name.replace("_", "-")
                    raise InputError(f"--{flag} belongs to --kind {kind}, not to {self.kind}. Leave it out")
        options = common | {name: getattr(self, name) for name in own[self.kind]}
        if self.kind == "lesions":
            workers = os.cpu_count() or 1
            return lambda tell: phantom_lesions.make(self.out, workers=workers, progress=tell, **options)
        return lambda tell: phantoms.make(self.out, progress=tell, **options)


@dataclass(frozen=True)
class From:
    """Make a cohort table from a folder per class, a MedMNIST file, or a dataset's name."""

    source: tyro.conf.Positional[str]
    """Folder, .npz file, table, or a name such as pneumoniamnist."""
    out: Path
    """Folder for cohort.csv and cohort.yaml (and for images, where the source is not a folder of them)."""
    modality: str = ""
    """DICOM code (CR, DX, US, MR, CT) of the images of a folder per class."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry import datasets
        from radfoundry.cohort import write_cohort

        cohort = datasets.load(self.source, **self._options())
        if cohort.root.resolve() != self.out.resolve() or not (self.out / "cohort.csv").exists():
            write_cohort(cohort, self.out / "cohort.csv")
        _print({**describe(cohort), "written": str(self.out / "cohort.csv")}, self.json)
        return 0

    def _options(self) -> dict[str, Any]:
        path = Path(self.source)
        if path.is_dir():
            tabled = any((path / f).exists() for f in ("cohort.csv", "cohort.parquet", "labels_images.csv"))
            return {} if tabled else {"modality": self.modality}
        return {"out": self.out} if path.suffix == ".npz" or not path.exists() else {}


@dataclass(frozen=True)
class CohortCommand:
    """Check, describe or make a cohort table."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[TableOne, tyro.conf.subcommand("table1")]
        | Annotated[Phantom, tyro.conf.subcommand("phantom")]
        | Annotated[From, tyro.conf.subcommand("from")]
    ]

    def run(self) -> int:
        return self.command.run()


def describe(cohort: Cohort) -> dict[str, Any]:
    """Counts, columns, classes of each target, and what was assumed."""
    targets = {}
    for target in cohort.targets:
        counts = cohort.table[f"y:{target}"].value_counts(dropna=False)
        few = len(counts) <= 10
        targets[target] = {
            "kind": cohort.kind(target),
            "values": {_word(k): int(v) for k, v in sorted(counts.items(), key=lambda i: str(i[0]))}
            if few
            else {},
        }
    return {
        "name": cohort.name,
        "cases": len(cohort),
        "patients": int(cohort.table["patient_id"].nunique()),
        "images": cohort.image_columns,
        "targets": targets,
        "covariates": cohort.covariates,
        "splits": cohort.table["split"].value_counts().to_dict() if "split" in cohort.table else {},
        "notes": list(cohort.notes),
        "digest": cohort.digest(),
    }


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(jsonlib.dumps(facts, indent=2, ensure_ascii=False))
        return
    for key, value in facts.items():
        if key == "targets":
            for name, about in value.items():
                counts = ", ".join(f"{k}: {n}" for k, n in about["values"].items()) or "many values"
                print(f"target      {name} ({about['kind']}; {counts})")
        elif key == "notes":
            for note in value:
                print(f"note        {note}")
        elif isinstance(value, dict):
            print(f"{key:<12}{', '.join(f'{k}: {n}' for k, n in value.items()) or '–'}")
        else:
            print(f"{key:<12}{', '.join(value) or '–' if isinstance(value, list) else value}")


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
