"""An OpenAI-compatible endpoint over HTTP: one request out, one JSON object back, whatever happens between.

vLLM, Ollama, the llama.cpp server and hospital gateways all answer `POST {base_url}/chat/completions`.
"""

from __future__ import annotations

import json
import math
import os
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from radfoundry.errors import InputError, RadfoundryError
from radfoundry.optional import require
from radfoundry.text.llm_ledger import Ledger

IN_PROCESS = "in-process"
"""The base_url of a model that needs no network."""

MOST_ANSWER_BYTES = 8_000_000
LONGEST_WAIT_S = 300.0
"""An endpoint that asks for a longer pause is not waited for."""
GIVEN_UP_AFTER = 10
"""After so many failures in a row nothing is retried until a request succeeds: the endpoint is dead."""

_REFUSED = (400, 413, 422)
_RETRIED = (0, 408, 425, 429, 500, 502, 503, 504, 529)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ADVICE = {
    401: "Set the API key: api_key_env names the environment variable that holds it",
    403: "The key may not use this model",
    404: "Check base_url (it mostly ends in /v1) and the name of the model",
    429: "Lower requests_per_minute or concurrency",
}


@dataclass(frozen=True)
class Endpoint:
    """A model and how to ask it. No secret: the key stays in the environment variable that is named here.

    base_url: up to and without /chat/completions. timeout_s: of one request. retries: after the first
    attempt. requests_per_minute: None when unlimited. price_in, price_out: of a million tokens, in any
    currency. max_tokens: of an answer. Raises InputError for values that cannot be meant.
    """

    base_url: str
    model: str
    api_key_env: str = ""
    timeout_s: float = 120.0
    retries: int = 4
    concurrency: int = 4
    requests_per_minute: float | None = None
    price_in: float | None = None
    price_out: float | None = None
    max_tokens: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        if self.base_url != IN_PROCESS:
            _check_url(self.base_url)
        if not self.model.strip():
            raise InputError("model is empty. Name one that the endpoint serves")
        if self.api_key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise InputError("api_key_env is no name of an environment variable. Put the key there, not here")
        for name, low, high in (
            ("timeout_s", 0.01, 3600), ("retries", 0, 20), ("concurrency", 1, 256), ("max_tokens", 1, 1e6),
            ("requests_per_minute", 0.01, 1e6), ("price_in", 0, 1e6), ("price_out", 0, 1e6),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise InputError(f"{name} is {value}. It must lie between {low:g} and {high:g}")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port or an address that is none
        good = False
    if not good or re.search(r"[\s\x00-\x1f]", url):
        raise InputError("base_url is no http(s) address. Such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            "base_url holds a user, password, query or fragment. Put a key into an environment variable and "
            "name that as api_key_env"
        )


class Transport(Protocol):
    """What carries a request to a model."""

    @property
    def endpoint(self) -> Endpoint:
        """The model, its limits and prices."""
        ...

    def complete(self, body: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
        """The chat completion for a request body, counted in the ledger.

        A request that was refused as it stands gives `{"error": {"code": 400, "type": ...}}`. RadfoundryError
        for all else, without a word of what was sent or answered.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Reply:
    """status: 0 when there was no whole answer; fault then says why."""

    status: int
    content: bytes = b""
    retry_after: float | None = None
    fault: str = ""


class HttpTransport:
    """Requests over HTTP with timeouts, retries, a rate limit and bounds on what comes back.

    Redirects are not followed: report text goes to the address that was configured and nowhere else.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: random.Random | None = None,
    ) -> None:
        """InputError when the environment variable of the key is not set, or its value is no key.

        MissingExtra without httpx.
        """
        require("httpx", extra="llm")
        if endpoint.base_url == IN_PROCESS:
            raise InputError(f"base_url is {IN_PROCESS!r}, which is no address. Use local_llm.LocalModel")
        self.endpoint = endpoint
        self._headers = {"Content-Type": "application/json", "Accept": "application/json",
                         "Accept-Encoding": "identity", **_key(endpoint)}  # fmt: skip
        self._sleep, self._clock = sleep, clock
        self._jitter = jitter or random.Random()  # decides when, never what; clients should differ
        self._pace = _Pace(endpoint.requests_per_minute, clock, sleep)
        self._failed_in_a_row = 0
        self._clients: queue.LifoQueue[Any] = queue.LifoQueue()  # the last used first: few are ever opened
        for _ in range(endpoint.concurrency):
            self._clients.put(None)

    def complete(self, body: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
        """As in `Transport`."""
        sent = json.dumps(body).encode("ascii")
        attempts = 1 if self._failed_in_a_row >= GIVEN_UP_AFTER else 1 + self.endpoint.retries
        reply, tried = _Reply(0), 0
        for attempt in range(attempts):
            with self._client() as client:
                self._pace.wait()
                began = self._clock()
                reply = self._send(client, sent)
                seconds = self._clock() - began
            tried = attempt + 1
            ledger.add(requests=1, retries=int(attempt > 0), seconds=seconds)
            if reply.status == 200:
                self._failed_in_a_row = 0
                return self._object(reply.content)
            if reply.status in _REFUSED:
                return {"error": {"code": reply.status, "type": _kind(reply.content)}}
            if reply.status not in _RETRIED or (reply.retry_after or 0) > LONGEST_WAIT_S:
                break
            if tried < attempts:
                self._wait(attempt, reply.retry_after)
        self._failed_in_a_row += 1
        raise RadfoundryError(self._why(reply, tried))

    def _wait(self, attempt: int, retry_after: float | None) -> None:
        """Full pause as asked for, by all threads; else 0.5, 1, 2 ... 60 s, a random half of it."""
        if retry_after is not None:
            self._pace.hold(retry_after)
        else:
            self._sleep(min(60.0, 0.5 * 2**attempt) * self._jitter.uniform(0.5, 1))

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A client that no other thread uses until the block is left; waits while all are in use.

        Not one client for all: in a pool of connections shared by threads, one thread may take another's
        connection, just answered, for one that the server has closed, and close it.
        """
        client = self._clients.get()
        try:
            client = client or self._open()
            yield client
        finally:
            self._clients.put(client)

    def _open(self) -> Any:
        httpx = require("httpx", extra="llm")
        host = urlsplit(self.endpoint.base_url).hostname
        return httpx.Client(
            headers=self._headers,
            timeout=self.endpoint.timeout_s,
            follow_redirects=False,
            # proxies and certificates of the hospital, but not for this machine
            trust_env=host not in _LOOPBACK,
            limits=httpx.Limits(max_connections=1),
        )

    def _send(self, client: Any, sent: bytes) -> _Reply:
        httpx = require("httpx", extra="llm")
        url = self.endpoint.base_url.rstrip("/") + "/chat/completions"
        until = self._clock() + self.endpoint.timeout_s
        content = bytearray()
        try:
            with client.stream("POST", url, content=sent) as response:
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > MOST_ANSWER_BYTES:
                        return _Reply(-1, fault=f"answered more than {MOST_ANSWER_BYTES // 1_000_000} MB")
                    if self._clock() > until:  # drop by drop: httpx limits the wait for each piece only
                        return _Reply(0, fault=f"gave no whole answer within {self.endpoint.timeout_s:g} s")
                wait = _seconds(response.headers.get("retry-after", ""))
                return _Reply(response.status_code, bytes(content), wait)
        except httpx.TimeoutException:
            return _Reply(0, fault=f"gave no answer within {self.endpoint.timeout_s:g} s")
        except httpx.ConnectError as cause:
            return _Reply(0, fault=f"cannot be reached ({str(cause)[:200]})")
        except httpx.HTTPError as cause:  # broken in the middle, or not HTTP: the class says which
            return _Reply(0, fault=f"broke off ({type(cause).__name__})")

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            loaded = json.loads(content)
        except (ValueError, RecursionError):  # a login page, a proxy's greeting
            loaded = None
        if not isinstance(loaded, dict):
            raise RadfoundryError(
                f"{self.endpoint.base_url} answered something else than a JSON object. Check base_url"
            )
        return loaded

    def _why(self, reply: _Reply, tried: int) -> str:
        where = self.endpoint.base_url
        after = f" after {tried} attempts" if tried > 1 else ""
        if reply.status <= 0:
            return f"{where} {reply.fault}{after}. Check that the endpoint runs"
        if 300 <= reply.status < 400:
            return f"{where} redirects elsewhere, which is not followed. Give the final address as base_url"
        advice = _ADVICE.get(reply.status, "Look into the log of the endpoint")
        return f"{where} answered HTTP {reply.status}{after}. {advice}"


class _Pace:
    """When the next request may leave, for all threads together."""

    def __init__(
        self, per_minute: float | None, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = -math.inf
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = self._clock()
            at = max(now, self._next)
            self._next = at + self._gap
        if at > now:
            self._sleep(at - now)

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


def _key(endpoint: Endpoint) -> dict[str, str]:
    if not endpoint.api_key_env:
        return {}
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise InputError(f"the environment variable {endpoint.api_key_env} is not set. Put the API key there")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"the environment variable {endpoint.api_key_env} holds no API key, but other text")
    return {"Authorization": f"Bearer {key}"}


def _kind(content: bytes) -> str:
    """The kind of a refusal. Its message is left out: it may repeat the request."""
    try:
        error = json.loads(content)["error"]
        kind = error.get("type") or error.get("code")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return ""
    return kind if isinstance(kind, str) and re.fullmatch(r"[A-Za-z_]{1,60}", kind) else ""


def _seconds(header: str) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110, 10.2.3).

    >>> _seconds("2"), _seconds("soon"), _seconds("Wed, 21 Oct 2015 07:28:00 GMT")
    (2.0, None, 0.0)
    """
    header = header.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", header):
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
