"""`radfoundry ablate GRID`: every pipeline of a grid under nested cross-validation."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Ablate:
    """Run every pipeline of a grid under nested cross-validation and say which to trust.

    The grid is a small YAML file: feature tables, factors with their levels, design (docs/how-to/ablate.md).
    """

    grid: tyro.conf.Positional[Path]
    """Grid file (YAML)."""
    cohort: Path | None = None
    """Cohort (CSV or Parquet) instead of the grid's."""
    target: str | None = None
    """Label column instead of the grid's, without its y:."""
    only: str = ""
    """Run these cells alone: FACTOR=LEVEL, separated by commas."""
    list: bool = False
    """Print the cells of the grid and stop."""
    out: Path = Path("runs/ablate")
    """Run folder to make."""
    force: bool = False
    """Replace an existing run folder."""
    store: Path = Path("stores/embeddings")
    """Where finished cells are kept; an interrupted run goes on from there."""
    engine: Literal["local", "ray"] = "local"
    """local (processes of this machine) or ray."""
    ray_address: str | None = None
    """Ray cluster: auto or HOST:PORT; without it a cluster of this machine."""
    jobs: int = 0
    """Processes; 0 uses every CPU."""
    seed: int | None = None
    """Seed instead of the grid's."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.cli.show import Show
        from radfoundry.studies import ablation

        config = ablation.AblateConfig(
            self.grid, self.cohort, self.target, self.only, self.out, self.force, self.store, self.engine,
            self.ray_address, self.jobs, self.seed,
        )  # fmt: skip
        if self.list:
            _, cells, notes = ablation.load(config)
            addresses = [cell.address for cell in cells]
            print(jsonlib.dumps(addresses, indent=2) if self.json else "\n".join(addresses))
            print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
            return 0
        folder = ablation.run(config)
        print(f"run folder: {folder}", file=sys.stderr)
        return Show(folder, json=self.json).run()
