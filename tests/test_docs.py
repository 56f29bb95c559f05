"""The documentation is executed and complete: commands parse, snippets run, links lead somewhere.

Conventions. A line in a code block that starts with `radfoundry` or `$ radfoundry` is a command. A Python
block whose first line is `# needs: ...` (data or weights) or `# skip: ...` is compiled and its imports are
run; every other one is executed, page by page, in an empty folder.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from radfoundry import studies
from radfoundry.cli.arguments import parse as parse_words
from radfoundry.cli.main import COMMANDS
from radfoundry.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = {"", "console", "bash", "sh"}
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<to>[^)\s]+)\)")
IMAGE = re.compile(r"<img[^>]+src=\"(?P<to>[^\"]+)\"")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return [(m["language"], m["body"]) for m in FENCE.finditer(page.read_text(encoding="utf-8"))]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[str]:
    """Commands of fenced shell blocks and of indented code, without prompt."""
    lines = [line for language, body in blocks(page) if language in SHELL for line in body.splitlines()]
    lines += [line for line in prose(page).splitlines() if line.startswith("    ")]
    found = (re.match(r"\s*(?:\$ )?(radfoundry(?: .*)?)$", line) for line in lines)
    return [m[1] for m in found if m]


def parse(command: str) -> object:
    """The dataclass that a command line makes; it is not run.

    Raises SystemExit for a wrong option, InputError for a flag that comes twice and would lose values.
    """
    words = shlex.split(command.split(" | ")[0], comments=True)[1:]
    assert words and words[0] in COMMANDS, f"no verb {words[:1]}"
    if words[:2] == ["study", "run"]:
        config, rest = studies.get(words[2]).Config, [w for w in words[3:] if w != "--json"]
        return parse_words(config, rest)
    module, attribute, _ = COMMANDS[words[0]]
    return parse_words(getattr(importlib.import_module(f"radfoundry.cli.{module}"), attribute), words[1:])


ALL_COMMANDS = [(name(page), command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS)
def test_command_parses(page: str, command: str) -> None:
    try:
        parse(command)
    except SystemExit as stop:
        assert stop.code in (0, None), f"{page}: {command!r} is not understood"


def test_parse_refuses_an_unknown_option() -> None:
    with pytest.raises(SystemExit) as stop:
        parse("radfoundry audit cohort.csv --target ila --colour red")
    assert stop.value.code == 2
    with pytest.raises(AssertionError):
        parse("radfoundry embedd cohort.csv")


def test_parse_refuses_a_repeated_flag_whose_first_values_would_be_lost() -> None:
    with pytest.raises(InputError, match="--encoder is given 2 times"):
        parse("radfoundry study run embeddings_vs_radiomics --encoder fmcib --encoder astra-ct")
    with pytest.raises(InputError, match="--target is given 2 times"):
        parse("radfoundry audit cohort.csv --target ila --target mass")
    parse("radfoundry evaluate p.csv --model a --model b")  # collected: nothing is lost


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_verbs_in_prose_exist(page: Path) -> None:
    verbs = set(re.findall(r"`radfoundry ([A-Za-z]+)", prose(page)))
    assert verbs <= {*COMMANDS, "VERB"}


def test_readme_names_every_verb_and_both_set_up_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [verb for verb in COMMANDS if f"radfoundry {verb}" not in text]
    missing += [command for command in ("make demo", "make test") if command not in text]
    assert not missing


PYTHON = {page: [body for language, body in blocks(page) if language == "python"] for page in PAGES}


@pytest.mark.parametrize("page", [page for page, found in PYTHON.items() if found], ids=name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": "docs"}
    for body in PYTHON[page]:
        tree = ast.parse(body, filename=name(page))
        if re.match(r"# (needs|skip): \S", body):
            tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(tree, name(page), "exec"), space)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_images_resolve(page: Path) -> None:
    text = prose(page)
    targets = [m["to"] for pattern in (LINK, IMAGE) for m in pattern.finditer(text)]
    local = [t.split("#")[0] for t in targets if not re.match(r"[a-z]+:", t)]
    assert not [t for t in local if t and not (page.parent / t).exists()]


@pytest.mark.parametrize("study", studies.STUDIES)
def test_study_has_a_page(study: str) -> None:
    text = (ROOT / "docs" / "studies" / f"{study}.md").read_text(encoding="utf-8")
    assert f"radfoundry study run {study}" in text
    assert "## Measured" in text


def test_index_links_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / m["to"]).resolve() for m in LINK.finditer(index.read_text(encoding="utf-8"))}
    assert not [name(page) for page in PAGES if page != index and page.resolve() not in linked]
