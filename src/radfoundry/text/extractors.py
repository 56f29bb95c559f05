"""An extractor by name, with the options that commands and studies share."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from radfoundry.errors import InputError

if TYPE_CHECKING:
    from radfoundry.text.findings import Dictionary
    from radfoundry.text.llm import LLM
    from radfoundry.text.mentions import Extraction, Extractor, Report
    from radfoundry.text.reading import Reports

Kind = Literal["rules", "llm", "local-llm", "ensemble"]
T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """How reports are read."""

    dictionary: str = "chest-radiograph"
    """Dictionary of findings: a name (radfoundry reports dictionary) or a YAML file."""
    id_column: str | None = None
    """Column with the id of a report, where it has another name."""
    text_columns: tuple[str, ...] = ()
    """Columns with report text, where they have other names; several are joined under their names."""
    extractor: Kind = "rules"
    """rules, llm (an OpenAI-compatible endpoint), local-llm (in process), or ensemble (rules with llm, or
    without --base-url with local-llm)."""
    prompt: str = "zero-shot"
    """zero-shot, one-shot, or a prompt file."""
    base_url: str = ""
    """Endpoint up to /v1, such as http://localhost:8000/v1 (vLLM, Ollama, llama.cpp, a gateway)."""
    llm: str = ""
    """Name of the model at the endpoint."""
    api_key_env: str = ""
    """Environment variable that holds the key; the key itself is never an option."""
    gguf: Path | None = None
    """Model file for local-llm; the packaged SmolLM2 when absent."""
    cache: Path = Path("stores/llm-answers")
    """Answers of language models, kept by content: they hold pieces of reports."""
    concurrency: int = 4
    """Requests at a time."""
    requests_per_minute: float | None = None
    """Limit of the endpoint."""
    timeout: float = 120.0
    """Seconds a request may take."""
    retries: int = 4
    """Attempts after the first."""
    max_tokens: int | None = None
    """Tokens of an answer at most: 2048 at an endpoint and 1024 in process when absent. A model that thinks
    before it answers needs more."""
    price_in: float | None = None
    """Price of a million prompt tokens, for the ledger."""
    price_out: float | None = None
    """Price of a million answer tokens."""


def make(reading: Reading, *, seed: int = 0) -> Extractor:
    """The extractor that the options name. Raises InputError, UnknownName or MissingExtra."""
    from radfoundry.text.rules import Rules

    dictionary = dictionary_of(reading)
    if reading.extractor == "rules":
        return Rules(dictionary)
    if reading.extractor == "ensemble":
        from radfoundry.text.ensemble import Ensemble

        return Ensemble([Rules(dictionary), _llm(reading, dictionary, seed)])
    return _llm(reading, dictionary, seed)


def _llm(reading: Reading, dictionary: Dictionary, seed: int) -> Extractor:
    from radfoundry.text.endpoint import Endpoint, Transport
    from radfoundry.text.llm import LLM

    limit = {} if reading.max_tokens is None else {"max_tokens": reading.max_tokens}
    model: Endpoint | Transport
    if reading.extractor == "local-llm" or (reading.extractor == "ensemble" and not reading.base_url):
        from radfoundry.text.local_llm import LocalModel, packaged

        path = reading.gguf or packaged()
        model = LocalModel(path, seed=seed, **limit)
        # A small model holds a short list and a short window in its context.
        return LLM(model, dictionary, prompt=reading.prompt, cache=reading.cache, per_request=12, window=2500,
                   overlap=300)  # fmt: skip
    if not reading.base_url or not reading.llm:
        raise InputError(
            "--extractor llm needs --base-url and --llm, such as http://localhost:8000/v1 and a name"
        )
    model = Endpoint(
        reading.base_url, reading.llm, reading.api_key_env, reading.timeout, reading.retries,
        reading.concurrency, reading.requests_per_minute, reading.price_in, reading.price_out, seed=seed,
        **limit,
    )  # fmt: skip
    return LLM(model, dictionary, prompt=reading.prompt, cache=reading.cache)


def read_all(extractor: Extractor, reports: Sequence[Report], *, what: str = "reports") -> list[Extraction]:
    """All extractions, with a progress bar on a terminal."""
    return list(watched(extractor.extract(reports), len(reports), what))


def watched(stream: Iterable[T], n: int, what: str = "reports") -> Iterable[T]:
    """What comes of `n` reports, with a progress bar on a terminal."""
    from tqdm import tqdm

    return tqdm(stream, total=n, desc=what, unit="report", file=sys.stderr, disable=None)


def models(extractor: Extractor) -> list[LLM]:
    """The language models behind an extractor."""
    members: Iterable[Any] = getattr(extractor, "members", (extractor,))
    return [one for one in members if hasattr(one, "ledger")]


def ledgers(extractor: Extractor) -> dict[str, dict[str, Any]]:
    """Requests, tokens and cost of every language model behind an extractor, by its name."""
    return {one.name: one.ledger.as_dict() for one in models(extractor)}


def texts(reading: Reading, path: Path) -> Reports:
    """The reports of a table or folder, by the columns that the options name."""
    from radfoundry.text.reading import read_reports

    found = read_reports(path, id_column=reading.id_column, text_columns=reading.text_columns or None)
    ids = [one.report_id for one in found.reports]
    if whole(ids) == ids:
        return found
    reports = [replace(one, report_id=key) for one, key in zip(found.reports, whole(ids), strict=True)]
    failed = {whole([key])[0]: why for key, why in found.failed.items()}
    meta = found.meta.rename(index=dict(zip(ids, whole(ids), strict=True)))
    return replace(found, reports=reports, failed=failed, meta=meta)


def whole(ids: Sequence[str]) -> list[str]:
    """Ids without the decimal that a program gave to all of them: numbers are written so where one was empty.

    >>> whole(["4711.0", "12.0"]), whole(["4711.0", "A1"])
    (['4711', '12'], ['4711.0', 'A1'])
    """
    decimal = bool(ids) and all(re.fullmatch(r"\d+\.0", one) for one in ids)
    return [one.removesuffix(".0") if decimal else one for one in ids]


def dictionary_of(reading: Reading) -> Dictionary:
    """The dictionary that the options name."""
    from radfoundry.text import findings

    return findings.load(reading.dictionary)
