"""The command `radfoundry`: find the verb, parse its dataclass, run it, turn errors into exit codes.

Exit codes: 0 done; 1 done, but something in the input failed or a check did not pass; 2 refused, with
the reason on stderr; 3 the system failed us (disk full, no permission); 130 interrupted.

Only the verb that was asked for is imported, so that `radfoundry --help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from radfoundry import __version__
from radfoundry.errors import Notice, RadfoundryError

# verb: (module, object that tyro parses, one line for --help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("demo", "Demo", "run the main study on generated phantoms, start to report"),
    "doctor": ("doctor", "Doctor", "what is installed, what is missing, how to add it"),
    "scan": ("scan", "Scan", "list the image series below a folder, one row each"),
    "cohort": ("cohort", "CohortCommand", "check, describe or make a cohort table"),
    "encoders": ("encoders", "Encoders", "list encoder cards, their licences and what is installed"),
    "embed": ("embed", "Embed", "turn the images of a cohort into vectors, once"),
    "study": ("study", "Study", "list, explain or run a study"),
    "evaluate": ("evaluate", "Evaluate", "metrics with intervals for anybody's predictions"),
    "compare": ("compare", "Compare", "paired tests between two prediction tables"),
    "ablate": ("ablate", "Ablate", "which pipeline to trust: nested cross-validation over a grid"),
    "audit": ("audit", "AuditCommand", "look for leaks, shortcuts and trivial explanations"),
    "plan": ("plan", "Plan", "how many cases a target needs, before money is spent on labels"),
    "reports": ("reports", "ReportsCommand", "findings of reports; what AI drafts omit or invent, over time"),
    "series": ("series", "SeriesCommand", "what every MRI series is; BIDS or renamed trees; corrections"),
    "readers": ("readers", "ReadersCommand", "studies of several readers: lists, size, analysis"),
    "show": ("show", "Show", "print a finished run"),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, raises nothing that a user could cause."""
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"radfoundry {__version__}")
        return 0
    try:
        with _notices_as_lines():
            return _dispatch(words[0], words[1:])
    except RadfoundryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `radfoundry show RUN | head` closes our stdout: not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: {_explain(error)}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, run the same command to go on", file=sys.stderr)
        return 130


def usage() -> str:
    """The first screen of help: every verb with one line."""
    rows = "\n".join(f"  {verb:<10} {line}" for verb, (_, _, line) in COMMANDS.items())
    return (
        "usage: radfoundry VERB [options]    (radfoundry VERB --help explains a verb)\n\n"
        "Radiology foundation models from DICOM to evidence.\n\n"
        f"{rows}\n\n"
        "Results go to stdout, progress to stderr. Start with: radfoundry demo"
    )


@contextmanager
def _notices_as_lines() -> Iterator[None]:
    """A Notice is one line `note: ...` on stderr, without the line of code that a warning names."""
    plain = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **where: Any) -> None:
        if issubclass(category, Notice):
            print(f"note: {message}", file=sys.stderr)
        else:
            plain(message, category, *place, **where)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _dispatch(verb: str, rest: list[str]) -> int:
    if verb not in COMMANDS:
        from radfoundry.registry import nearest

        raise RadfoundryError(f"no verb {verb!r}.{nearest(verb, COMMANDS)} Verbs: {', '.join(COMMANDS)}")
    if verb == "study" and rest[:1] == ["run"]:
        from radfoundry.cli.study import run_study

        return run_study(rest[1:])
    from radfoundry.cli.arguments import parse

    module, name, summary = COMMANDS[verb]
    target = getattr(importlib.import_module(f"radfoundry.cli.{module}"), name)
    try:
        return parse(target, rest, prog=f"radfoundry {verb}", description=summary).run()
    except SystemExit as stop:  # tyro leaves this way after --help (0) and after a wrong option (2)
        return int(stop.code or 0)


def _explain(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk{where}. Free some, or choose another place with --out or --store"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"no permission{where}. Choose another place with --out or --store, or mend the rights"
    if error.errno == errno.ENOENT:
        return f"no such file or folder{where}. Check the path"
    return f"{error.strerror or error}{where}"


if __name__ == "__main__":
    raise SystemExit(main())
