"""Findings by a language model: any OpenAI-compatible endpoint, or a model in this process.

A report is cut into windows, the dictionary into chunks of neighbouring regions; each window is asked about
each chunk. A finding counts when its evidence stands in the report word for word; a model that obeys a
sentence of the report can at worst point at words of that report. Absent findings are not asked for: over a
large dictionary they would be nearly all of the answer.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from radfoundry.errors import InputError, MissingExtra, RadfoundryError, WeightsError
from radfoundry.text import llm_answers, llm_prompts
from radfoundry.text.endpoint import Endpoint, HttpTransport, Transport
from radfoundry.text.findings import Dictionary
from radfoundry.text.llm_answers import Item
from radfoundry.text.llm_cache import Cache, key_of
from radfoundry.text.llm_guard import neutral, suspicious
from radfoundry.text.llm_ledger import Ledger
from radfoundry.text.llm_prompts import Chunk, Prompt
from radfoundry.text.mentions import MOST_CHARACTERS, Extraction, Report, strongest

CODE_VERSION = 2
"""Raised whenever the same answer would give other findings, or the same report another request."""

FORMATS = ("json_schema", "json_object", "none")
"""Ways to ask for JSON, the strictest first. What the endpoint refuses is not tried again."""

REPAIR = (
    "That cannot be used: {fault}. Answer again with one JSON object of the form described and nothing else, "
    "without comments and without a code fence. Keep each evidence short."
)


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request to be: a chunk of the dictionary about a window of a report. text is neutral."""

    start: int
    text: str
    chunk: Chunk


RUN_AGAIN = "Run again to ask for these alone"
RAISE_LIMIT = "Raise --max-tokens (max_tokens), or the context of the model where that is full"
OTHER_MODEL = "Running again hardly helps at temperature 0: try another model or prompt"


@dataclass(frozen=True, slots=True)
class _Answer:
    """error: why there are no items. advice: what helps, unless the error tells. said: what was of no use."""

    items: tuple[Item, ...] = ()
    error: str = ""
    advice: str = ""
    said: str = ""


class LLM:
    """Report to findings by a language model; an `Extractor`.

    ledger: requests, tokens and cost so far. flagged: reports that hold instruction-like text, with its
    kinds; they belong before a reader, whatever was found in them.
    """

    def __init__(
        self,
        model: Endpoint | Transport,
        dictionary: Dictionary,
        *,
        prompt: str | Path | Prompt = "zero-shot",
        cache: Path | None = None,
        per_request: int = 60,
        window: int = 12_000,
        overlap: int = 600,
        name: str = "",
    ) -> None:
        """prompt: a name of the package or a file. cache: a folder for answers; it will hold pieces of
        reports, and servers that call different models by one name need different folders. per_request:
        findings asked for at once. window, overlap: characters of a report at once, and of
        two windows in common.

        Raises MissingExtra without httpx (for an endpoint), InputError, UnknownName.
        """
        self.transport: Transport = HttpTransport(model) if isinstance(model, Endpoint) else model
        self.endpoint = self.transport.endpoint
        self.dictionary = dictionary
        self.prompt = prompt if isinstance(prompt, Prompt) else llm_prompts.load(prompt)
        self.name = name or f"llm-{self.prompt.name}"
        self.ledger = Ledger(self.endpoint.price_in, self.endpoint.price_out)
        self.flagged: dict[str, tuple[str, ...]] = {}
        self._cache = Cache(cache)
        self._per_request, self._window, self._overlap = per_request, window, overlap
        self._chunks = llm_prompts.chunks(dictionary, per_request)
        list(llm_prompts.windows("", window, overlap))  # refuses sizes that cannot be meant
        self._format = 0
        self._lock = threading.Lock()

    @cached_property
    def version(self) -> str:
        """The model, and a digest of prompt, dictionary, settings and code."""
        decides = {
            "code": CODE_VERSION, "model": self.endpoint.model, "prompt": self.prompt.digest,
            "dictionary": self.dictionary.digest, "per_request": self._per_request, "window": self._window,
            "overlap": self._overlap, "seed": self.endpoint.seed, "max_tokens": self.endpoint.max_tokens,
        }  # fmt: skip
        return f"{self.endpoint.model} {key_of(decides)[:12]}"

    def extract(self, reports: Iterable[Report]) -> Iterator[Extraction]:
        """One extraction a report, in their order; several requests at a time.

        A report of which any request failed has an error and no findings: a part of the dictionary that
        nobody looked for must not look normal. What was answered is in the cache, so a second run with the
        same settings asks for the rest alone. Raises RunError when the cache cannot be written, WeightsError
        when a local model cannot be loaded.
        """
        todo = iter(reports)
        ahead = 2 * self.endpoint.concurrency
        under_way: deque[tuple[Report, list[tuple[_Ask, Future[_Answer]]], str]] = deque()
        pool = ThreadPoolExecutor(self.endpoint.concurrency, thread_name_prefix="llm")
        try:
            while True:
                for report in islice(todo, ahead - len(under_way)):
                    asks, error = self._asks(report)
                    under_way.append((report, [(ask, pool.submit(self._answer, ask)) for ask in asks], error))
                if not under_way:
                    return
                report, futures, error = under_way.popleft()
                answers = [(ask, future.result()) for ask, future in futures]
                yield Extraction(report.report_id, error=error) if error else self._joined(report, answers)
        finally:  # an interrupted run: requests on their way are finished and kept, the others are dropped
            pool.shutdown(wait=True, cancel_futures=True)

    def _asks(self, report: Report) -> tuple[list[_Ask], str]:
        if len(report.text) > MOST_CHARACTERS:
            return [], f"the report has {len(report.text)} characters, more than {MOST_CHARACTERS}. Cut it"
        kinds = suspicious(report.text)
        if kinds:
            self.flagged[report.report_id] = kinds
        text = neutral(report.text)
        spans = llm_prompts.windows(text, self._window, self._overlap)
        return [
            _Ask(start, text[start:end], chunk)
            for start, end in spans if text[start:end].strip() for chunk in self._chunks
        ], ""  # fmt: skip

    def _joined(self, report: Report, answers: list[tuple[_Ask, _Answer]]) -> Extraction:
        failed = [answer for _, answer in answers if answer.error]
        if failed:
            said = f"{len(failed)} of {len(answers)} requests got no usable answer"
            advice = dict.fromkeys(answer.advice for answer in failed if answer.advice)
            return Extraction(
                report.report_id, error=". ".join([f"{said}; the first: {failed[0].error}", *advice])
            )
        dropped: Counter[str] = Counter()
        found = [
            mention
            for ask, answer in answers
            for mention in llm_answers.mentions(
                answer.items, ask.chunk.ids, ask.text, ask.start, report.text, dropped
            )
        ]
        return Extraction(report.report_id, strongest(found), dict(dropped))

    # -- in a thread --------------------------------------------------------------------------------------

    def _answer(self, ask: _Ask) -> _Answer:
        self.ledger.add(asked=1)
        messages = self.prompt.messages(ask.chunk.listing, ask.text)
        body = {"model": self.endpoint.model, "messages": messages, "temperature": 0,
                "seed": self.endpoint.seed, "max_tokens": self.endpoint.max_tokens}  # fmt: skip
        key = key_of({"code": CODE_VERSION, "body": body, "schema": ask.chunk.schema})
        try:
            kept = tuple(llm_answers.items(self._cache.read(key)))
        except InputError:  # nothing kept, or not by us: ask
            pass
        else:
            self.ledger.add(cached=1)
            return _Answer(kept)
        try:
            found = self._converse(body, ask.chunk.schema)
        except (MissingExtra, WeightsError):  # no report of the run could be read
            raise
        except InputError as error:  # refused: it would be again
            found = _Answer(error=str(error))
        except RadfoundryError as error:
            found = _Answer(error=str(error).removesuffix("."), advice=RUN_AGAIN)
        if found.error:
            self.ledger.add(failures=1)
            return found
        self._cache.write(key, {"findings": [asdict(one) for one in found.items]})
        self.ledger.add(answered=1)
        return found

    def _converse(self, body: dict[str, Any], schema: dict[str, Any]) -> _Answer:
        """Ask; when the answer is of no use, say why and ask once more.

        Not after an answer that was cut off: a second one, to a longer question, would be cut off as well.
        """
        found = self._once(body, schema)
        if not found.error or found.advice == RAISE_LIMIT:
            return found
        self.ledger.add(repairs=1)
        again = [
            *body["messages"],
            {"role": "assistant", "content": found.said[:2000] or "{}"},
            {"role": "user", "content": REPAIR.format(fault=found.error)},
        ]
        return self._once({**body, "messages": again}, schema)

    def _once(self, body: dict[str, Any], schema: dict[str, Any]) -> _Answer:
        """One question and what came of it."""
        answer = self._send(body, schema)
        said, cut = "", False
        try:
            said, cut = llm_answers.content(answer)
            return _Answer(tuple(llm_answers.parse(said)))
        except InputError as fault:
            if not cut:
                return _Answer(error=str(fault), advice=OTHER_MODEL, said=said)
        self.ledger.add(cut=1)
        return _Answer(error=f"the answer was cut off at {body['max_tokens']} tokens", advice=RAISE_LIMIT)

    def _send(self, body: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
        """A completion in the strictest format that the endpoint takes; InputError if it takes none."""
        for level in range(self._format, len(FORMATS)):
            answer = self.transport.complete(
                {**body, **_response_format(FORMATS[level], schema)}, self.ledger
            )
            refusal = answer.get("error")
            if not refusal:
                # remembered only once another format has worked: some endpoints refuse a text, not a format
                with self._lock:
                    self._format = max(self._format, level)
                self._meter(answer.get("usage"))
                return answer
            kind = str(refusal.get("type", "")) if isinstance(refusal, dict) else ""
            if "context" in kind or level == len(FORMATS) - 1:
                break
            self.ledger.add(refused=1)
        why = f" ({kind})" if kind else ""
        advice = "Give the model a longer context, or lower window, per_request or max_tokens"
        raise InputError(f"{self.endpoint.model} refused the request{why}. {advice}")

    def _meter(self, usage: Any) -> None:
        known = usage if isinstance(usage, dict) else {}
        sent, given = known.get("prompt_tokens"), known.get("completion_tokens")
        if type(sent) is int and type(given) is int and min(sent, given) >= 0 and max(sent, given) < 10**9:
            self.ledger.add(prompt_tokens=sent, completion_tokens=given)
        else:
            self.ledger.add(unmetered=1)


def _response_format(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if name == "none":
        return {}
    if name == "json_object":
        return {"response_format": {"type": name}}
    described = {"name": "findings", "strict": True, "schema": schema}
    return {"response_format": {"type": name, "json_schema": described}}
