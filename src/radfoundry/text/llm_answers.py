"""What a language model may answer: the JSON schema, its strict reading, and the way to mentions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from radfoundry.errors import InputError
from radfoundry.text.llm_guard import MOST_EVIDENCE, locate, neutral
from radfoundry.text.mentions import Laterality, Mention, Severity, Status

MOST_ITEMS = 1_000
ASKED = ("present", "uncertain")
KEYS = ("id", "status", "evidence", "laterality", "severity")

_THINKING = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_CODE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Item:
    """One finding as the model gave it; nothing of it has been checked against the report."""

    id: str
    status: str
    evidence: str
    laterality: str = ""
    severity: str = ""


def schema(ids: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an answer about findings of a chunk.

    Every property is required and nothing may be added, which the strict mode of OpenAI asks for.
    """
    texts: dict[str, Any] = {
        "id": {"type": "string", "enum": list(ids)},
        "status": {"type": "string", "enum": list(ASKED)},
        "evidence": {"type": "string"},
        "laterality": {"type": "string", "enum": list(get_args(Laterality))},
        "severity": {"type": "string", "enum": list(get_args(Severity))},
    }
    item = {"type": "object", "properties": texts, "required": list(KEYS), "additionalProperties": False}
    findings = {"type": "array", "items": item, "maxItems": len(ids)}
    return {"type": "object", "properties": {"findings": findings}, "required": ["findings"],
            "additionalProperties": False}  # fmt: skip


def content(answer: Mapping[str, Any]) -> tuple[str, bool]:
    """The text of a chat completion, and whether it was cut off; InputError when it is none.

    The text is empty where there is none, as when a model spends all its tokens on a thought.
    """
    try:
        choice = answer["choices"][0]
        said = choice["message"]["content"]
    except (KeyError, IndexError, TypeError) as cause:
        raise InputError("the answer is no chat completion") from cause
    return said if isinstance(said, str) else "", choice.get("finish_reason") == "length"


def parse(said: str) -> list[Item]:
    """The findings of an answer; a thought before it or a code fence around it is taken off.

    InputError for anything else than the schema's shape. Its message never repeats the answer, which may hold
    report text.
    """
    if not said.strip():
        raise InputError("the answer is empty")
    bare = _THINKING.sub("", said, count=1) if "</think>" in said else said
    fenced = _CODE.fullmatch(bare)
    try:
        loaded = json.loads(fenced[1] if fenced else bare)
    except (ValueError, RecursionError) as cause:
        raise InputError("the answer is no JSON") from cause
    return items(loaded)


def items(loaded: Any) -> list[Item]:
    """Items from a decoded answer; InputError names the first place of another shape."""
    if not isinstance(loaded, dict) or not isinstance(loaded.get("findings"), list):
        raise InputError("the answer has another shape: no list `findings`")
    found = loaded["findings"]
    if len(found) > MOST_ITEMS:
        raise InputError(f"the answer has {len(found)} findings, more than {MOST_ITEMS}")
    read = []
    for number, one in enumerate(found, 1):
        if not isinstance(one, dict):
            raise InputError(f"the answer has another shape: findings[{number}] is no object")
        for key in KEYS:
            value = one.get(key)
            if value is None and key in ("laterality", "severity"):
                continue
            if not isinstance(value, str):
                raise InputError(f"the answer has another shape: findings[{number}].{key} is no text")
        read.append(Item(*(one.get(key) or "" for key in KEYS)))
    return read


def mentions(
    found: Iterable[Item], ids: Collection[str], window: str, start: int, text: str, dropped: Counter[str]
) -> Iterator[Mention]:
    """Items that a report bears out, as mentions with offsets of `text`; the others are counted by reason.

    window: the neutral text that the model saw, text[start:] as far as it goes.
    """
    for one in found:
        status = one.status.strip().lower()
        span = locate(neutral(one.evidence), window)
        if one.id not in ids:
            dropped["finding that was not asked for"] += 1
        elif status not in ASKED:
            dropped["status neither present nor uncertain"] += 1
        elif len(one.evidence) > MOST_EVIDENCE:
            dropped[f"evidence longer than {MOST_EVIDENCE} characters"] += 1
        elif span is None:
            dropped["evidence not in the report"] += 1
        else:
            first, last = start + span[0], start + span[1]
            yield Mention(
                one.id, cast(Status, status), text[first:last], first, last,
                cast(Laterality, _known(one.laterality, get_args(Laterality), "laterality", dropped)),
                cast(Severity, _known(one.severity, get_args(Severity), "severity", dropped)),
            )  # fmt: skip


def _known(value: str, allowed: Sequence[str], name: str, dropped: Counter[str]) -> str:
    plain = value.strip().lower()
    if plain in allowed:
        return plain
    dropped[f"unknown {name}"] += 1  # the finding stays
    return ""
