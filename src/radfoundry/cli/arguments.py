"""From the words of a command line to the dataclass of a command: the one place where they are parsed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, get_type_hints

import tyro

from radfoundry.errors import InputError


def parse(command: Any, words: Sequence[str], **about: Any) -> Any:
    """The command that the words make; about: `prog` and `description` of the help.

    The parser keeps the last of a flag that comes twice and drops the others. Here that is an InputError,
    unless the option collects what each flag brings. Raises SystemExit after --help (0) and for a wrong
    option (2).
    """
    found = tyro.cli(command, args=list(words), **about)
    times = Counter(_flag(word) for word in words if word.startswith("--"))
    twice = [flag for flag, count in times.items() if count > 1]
    dropped = [flag for flag in twice if flag not in set(_collected(found))]
    if dropped:
        flag = f"--{dropped[0]}"
        raise InputError(
            f"{flag} is given {times[dropped[0]]} times and the last alone would count. Give it once; "
            "several values go behind one flag, where it takes several"
        )
    return found


def _flag(word: str) -> str:
    """The option that a flag sets: --accept_licence=X and --no-controls set accept-licence and controls.

    >>> _flag("--accept_licence=X"), _flag("--no-controls")
    ('accept-licence', 'controls')
    """
    return word.partition("=")[0].removeprefix("--").replace("_", "-").removeprefix("no-")


def _collected(command: Any) -> Iterator[str]:
    """Options of a command, and of the subcommand in it, whose flag may be repeated."""
    for name, hint in get_type_hints(type(command), include_extras=True).items():
        if tyro.conf.UseAppendAction in getattr(hint, "__metadata__", ()):
            yield name.replace("_", "-")
    for field in dataclasses.fields(command):
        if dataclasses.is_dataclass(value := getattr(command, field.name)):
            yield from _collected(value)
