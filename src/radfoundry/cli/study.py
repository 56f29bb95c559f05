"""`radfoundry study list | info NAME | run NAME [options of that study]`."""

from __future__ import annotations

import inspect
import json as jsonlib
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from radfoundry import studies
from radfoundry.cli.arguments import parse


@dataclass(frozen=True)
class List:
    """Every study and the question it answers."""

    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        rows = {name: studies.STUDIES.get(name, "plug-in") for name in studies.names()}
        if self.json:
            print(jsonlib.dumps(rows, indent=2, ensure_ascii=False))
        else:
            print("\n".join(f"{name}\n    {question}" for name, question in rows.items()))
        return 0


@dataclass(frozen=True)
class Info:
    """The methods of one study, and its options."""

    name: tyro.conf.Positional[str]
    """Name of the study."""

    def run(self) -> int:
        print(inspect.getdoc(studies.get(self.name)))
        print(f"\nOptions: radfoundry study run {self.name} --help")
        return 0


@dataclass(frozen=True)
class Run:
    """Run one study: radfoundry study run NAME [options of that study]."""

    name: tyro.conf.Positional[str]
    """Name of the study."""

    def run(self) -> int:
        return run_study([self.name])


def run_study(words: list[str]) -> int:
    """Parse the options of the study's own `Config` and run it. Prints the run as `show` does."""
    from radfoundry.cli.show import Show

    if not words or words[0].startswith("-"):
        print("usage: radfoundry study run NAME [options]\n\nStudies:", *studies.names(), sep="\n  ")
        return 0 if words[:1] in (["--help"], ["-h"]) else 2
    name, options = words[0], words[1:]
    as_json = "--json" in options
    module = studies.get(name)
    try:
        config = parse(
            module.Config,
            [word for word in options if word != "--json"],
            prog=f"radfoundry study run {name}",
            description=inspect.getdoc(module),
        )
    except SystemExit as stop:
        return int(stop.code or 0)
    folder = module.run(config)
    print(f"run folder: {folder}", file=sys.stderr)
    return Show(folder, json=as_json).run()


@dataclass(frozen=True)
class Study:
    """List, explain or run a study."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[List, tyro.conf.subcommand("list")]
        | Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Run, tyro.conf.subcommand("run")]
    ]

    def run(self) -> int:
        return self.command.run()
