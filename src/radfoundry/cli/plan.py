"""`radfoundry plan sample-size | learning-curve`: how many cases, before money is spent on labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from radfoundry.cli.learning_curve import LearningCurve
from radfoundry.cli.sample_size import SampleSize


@dataclass(frozen=True)
class Plan:
    """How many cases a target needs: by formula before there are labels, by a curve once there are some."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[SampleSize, tyro.conf.subcommand("sample-size")]
        | Annotated[LearningCurve, tyro.conf.subcommand("learning-curve")]
    ]

    def run(self) -> int:
        return self.command.run()
