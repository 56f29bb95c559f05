"""`radfoundry demo`: the main study on generated phantoms, from pixels to a report."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Demo:
    """Draw phantom radiographs from two sites, embed them with packaged weights, and write a report."""

    out: Path = Path("runs/demo")
    """Run folder to make."""
    store: Path = Path("stores/demo")
    """Where phantoms' vectors are kept; a second run reads them."""
    cases: int = 90
    """Phantoms of the first site; the second has a third of that."""
    seed: int = 0
    """Seed of phantoms, splits and training."""
    force: bool = False
    """Replace an existing run folder."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.cli.show import Show
        from radfoundry.studies import get

        study = get("ila_vs_atelectasis")
        config = study.Config(
            out=self.out, store=self.store, cases=self.cases, seed=self.seed, force=self.force,
            design="cv", repeats=1, seeds=3, n_boot=1000,
        )  # fmt: skip
        folder = study.run(config)
        print(f"run folder: {folder}", file=sys.stderr)
        return Show(folder, json=self.json).run()
