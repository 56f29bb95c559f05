"""The options that every image study takes; a study's `Config` adds its own and sets its own defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from radfoundry.errors import InputError

Design = Literal["auto", "split", "holdout", "cv"]


@dataclass(frozen=True)
class Options:
    """What to run on, where to write, how to load encoders, and chance."""

    cohort: Path | None = None
    """Cohort (CSV or Parquet); generated phantoms when absent."""
    target: str | None = None
    """Label column, without its y:; needed where the cohort has several."""
    out: Path = Path("runs/study")
    """Run folder to make."""
    force: bool = False
    """Replace an existing run folder."""
    store: Path = Path("stores/embeddings")
    """Store of vectors and of finished fits, shared between runs: an interrupted run goes on from there."""
    design: Design = "auto"
    """How cases are split: auto, split (own column), holdout (80:10:10) or cv."""
    repeats: int = 5
    """Repeats of the 5-fold cross-validation."""
    controls: bool = True
    """Also run the random twin of the encoder (one more pass over the images)."""
    effect: float = 1.0
    """Phantoms: how visible the findings are; 0 is no signal at all."""
    device: str = "cpu"
    """cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """auto, fp32, bf16 or openvino."""
    weights: Path | None = None
    """Local weights of the encoder."""
    revision: str | None = None
    """Branch, tag or commit of the weights."""
    accept_licence: tuple[str, ...] = ()
    """Restricted licences that you accept, by name."""
    jobs: int = 0
    """Processes for the fits of heads; 0 uses every CPU."""
    n_boot: int = 2000
    """Bootstrap draws."""
    n_perm: int = 200
    """Permutations of the shuffled-label floor."""
    seed: int = 0
    """Seed of splits, training and resampling."""

    @property
    def torch_device(self) -> str:
        """Where small networks train: the GPU where one was asked for, else the CPU."""
        return self.device if self.device.startswith(("cuda", "mps")) else "cpu"

    def check(self) -> None:
        """InputError for a number out of its range: before anything is read, drawn or trained."""
        smallest = {"repeats": 1, "seeds": 1, "cases": 1, "n_boot": 1, "n_perm": 1, "jobs": 0, "effect": 0}
        for name, least in smallest.items():
            if getattr(self, name, least) < least:
                option = name.replace("_", "-")
                raise InputError(f"--{option} must be at least {least}, not {getattr(self, name)}")
