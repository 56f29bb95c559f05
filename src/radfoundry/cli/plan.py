"""`radfoundry plan sample-size | learning-curve`: how many cases, before money is spent on labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from radfoundry.cli.sample_size import SampleSize


@dataclass(frozen=True)
class LearningCurve:
    """From labels in hand: how a score grows with more of them."""

    def run(self) -> int:
        from radfoundry.errors import RadfoundryError

        raise RadfoundryError("learning curves are not there yet. For formulas: radfoundry plan sample-size")


@dataclass(frozen=True)
class Plan:
    """How many cases a target needs: by formula before there are labels, by a curve once there are some."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[SampleSize, tyro.conf.subcommand("sample-size")]
        | Annotated[LearningCurve, tyro.conf.subcommand("learning-curve")]
    ]

    def run(self) -> int:
        return self.command.run()
