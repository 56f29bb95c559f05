"""The options that every image study takes; a study's `Config` adds its own and sets its own defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from radfoundry.errors import InputError, WeightsError

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
    weights: tuple[str, ...] = ()
    """Local weights: a path for the encoder that is not packaged; NAME=FILE for each of several."""
    revision: str | None = None
    """Branch, tag or commit of the weights of the encoder that is not packaged."""
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

    def weights_of(self, name: str) -> Path | None:
        """Local weights of one encoder of the study; None for those that load their own."""
        return local_weights(self._encoders, self.weights).get(name)

    def revision_of(self, name: str) -> str | None:
        """Revision of one encoder of the study. InputError where it is not clear whose `--revision` is."""
        if self.revision is None:
            return None
        own = _unpackaged(self._encoders)
        if len(own) != 1:
            some = "several encoders load" if own else "no encoder loads"
            raise InputError(
                f"--revision {self.revision}: {some} weights of a hub. Leave it out, or name encoders as "
                "hf-hub:ORG/NAME@REVISION"
            )
        return self.revision if name == own[0] else None

    @property
    def _encoders(self) -> tuple[str, ...]:
        asked = getattr(self, "encoder", ())
        return (asked,) if isinstance(asked, str) else tuple(asked)

    def check(self) -> None:
        """InputError for a number out of its range: before anything is read, drawn or trained.

        Raises what `local_weights` raises too.
        """
        self.weights_of("")
        self.revision_of("")
        smallest = {"repeats": 1, "seeds": 1, "cases": 1, "n_boot": 1, "n_perm": 1, "jobs": 0, "effect": 0}
        for name, least in smallest.items():
            if getattr(self, name, least) < least:
                option = name.replace("_", "-")
                raise InputError(f"--{option} must be at least {least}, not {getattr(self, name)}")


def local_weights(encoders: Sequence[str], given: Sequence[str]) -> dict[str, Path]:
    """Which encoder loads which of the files of `--weights`; no file is ever offered to two of them.

    encoders: their names. given: one bare path, for the only encoder that is neither packaged nor a control;
    or NAME=FILE for each that has a file, a packaged one too. Raises InputError where it is not clear which
    file is whose, UnknownName for an encoder that does not exist, WeightsError for a missing file.
    """
    from radfoundry.registry import nearest

    if not given:
        return {}
    trained = _trained(encoders)
    found: dict[str, Path] = {}
    for word in given:
        name = next((n for n in trained if word.startswith(f"{n}=")), None)
        file = word if name is None else word.removeprefix(f"{name}=")
        if name is None and "=" in word and not Path(word).expanduser().exists():
            asked = word.partition("=")[0]
            known = f"{nearest(asked, trained)} They are: {', '.join(trained) or 'none'}"
            raise InputError(f"--weights {word}: {asked!r} is no trained encoder of --encoder.{known}")
        name = name or _owner(word, trained, alone=len(given) == 1)
        if name in found:
            raise InputError(f"--weights: {name} has two files. Give one")
        if not file or not Path(file).expanduser().exists():
            raise WeightsError(f"--weights {word}: no file or folder {file!r} for {name}. Check the path")
        found[name] = Path(file)
    return found


def _owner(path: str, trained: Sequence[str], *, alone: bool) -> str:
    """The only encoder that a bare path can be meant for."""
    own = _unpackaged(trained)
    if len(own) == 1 and alone:
        return own[0]
    if own:
        entries = " ".join(f"{name}=FILE" for name in own)
        raise InputError(f"--weights {path}: of which encoder? Name it: --weights {entries}")
    if trained:
        raise InputError(
            f"--weights {path}: {', '.join(trained)} comes with its weights. To load others in their place, "
            f"say so: --weights {trained[0]}={path}"
        )
    raise InputError(f"--weights {path}: no encoder of --encoder has weights. Leave it out")


def _trained(encoders: Sequence[str]) -> list[str]:
    from radfoundry.audit.baselines import is_control

    return [name for name in dict.fromkeys(encoders) if not is_control(name)]


def _unpackaged(encoders: Sequence[str]) -> list[str]:
    return [name for name in _trained(encoders) if not _packaged(name)]


def _packaged(name: str) -> bool:
    """Whether an encoder's id says where its weights lie on this machine."""
    from radfoundry import encoders

    if name.startswith(("local:", "hf-hub:")):
        return name.startswith("local:")
    return encoders.card(name).source.startswith("package:")
