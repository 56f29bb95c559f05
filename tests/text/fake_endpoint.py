"""A chat endpoint for tests: a real HTTP server on a free loopback port that can be told to misbehave."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Step = Callable[["_Handler", Body], None]
USAGE = {"prompt_tokens": 100, "completion_tokens": 20}


def report_of(body: Body) -> str:
    """The text between the fence of the last message but repairs."""
    users = [m["content"] for m in body["messages"] if m["role"] == "user" and "<report>" in m["content"]]
    return users[-1].split("<report>\n", 1)[1].rsplit("\n</report>", 1)[0]


def asked_ids(body: Body) -> list[str]:
    """Ids of the listing in the last user message with a report."""
    users = [m["content"] for m in body["messages"] if m["role"] == "user" and "<report>" in m["content"]]
    return re.findall(r"^- ([a-z0-9_]+):", users[-1], re.MULTILINE)


def item(name: str, evidence: str, status: str = "present", **more: str) -> dict[str, str]:
    return {"id": name, "status": status, "evidence": evidence, "laterality": "", "severity": "", **more}


def simple_model(body: Body) -> list[dict[str, str]]:
    """What a docile model does: an asked finding is present where its name is in the text."""
    text = report_of(body)
    found = []
    for name in asked_ids(body):
        hit = re.search(rf"\b{name.replace('_', ' ')}\b", text, re.IGNORECASE)
        if hit:
            found.append(item(name, hit[0]))
    return found


def answers(findings: list[dict[str, str]]) -> Step:
    return says(json.dumps({"findings": findings}))


def says(text: Any, finish: str = "stop") -> Step:
    """A chat completion with that content."""

    def step(handler: _Handler, _: Body) -> None:
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
        handler.reply(200, {"object": "chat.completion", "choices": [choice], "usage": USAGE})

    return step


def status(code: int, error: Any = None, **headers: str) -> Step:
    def step(handler: _Handler, _: Body) -> None:
        handler.reply(code, error or {"error": {"message": "refused"}}, headers)

    return step


def raw(content: bytes, declared: int | None = None) -> Step:
    """These bytes with status 200; a larger declared length breaks off in the middle."""

    def step(handler: _Handler, _: Body) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(declared or len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return step


def drips(seconds: float) -> Step:
    """A byte every now and then, so that no single wait is long."""

    def step(handler: _Handler, _: Body) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)

    return step


def slow(seconds: float, then: Step) -> Step:
    def step(handler: _Handler, body: Body) -> None:
        time.sleep(seconds)
        then(handler, body)

    return step


@dataclass
class Fake:
    """script: steps for the first requests. refuses: formats answered with 400. model: for the rest."""

    url: str = ""
    model: Callable[[Body], list[dict[str, str]]] = simple_model
    script: list[Step] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    delay: Callable[[Body], float] = lambda body: 0.0
    bodies: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake = self.fake
        with fake.lock:
            fake.bodies.append(body)
            fake.headers.append(dict(self.headers))
            fake.paths.append(self.path)
            fake.busy += 1
            fake.busiest = max(fake.busiest, fake.busy)
            step = fake.script.pop(0) if fake.script else None
        try:
            time.sleep(fake.delay(body))
            if step is None and body.get("response_format", {}).get("type", "none") in fake.refuses:
                error = {
                    "error": {"type": "invalid_request_error", "message": body["messages"][-1]["content"]}
                }
                step = status(400, error)
            (step or answers(fake.model(body)))(self, body)
        except (BrokenPipeError, ConnectionResetError):  # the client gave up, as some tests want
            pass
        finally:
            with fake.lock:
                fake.busy -= 1

    def reply(self, code: int, loaded: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(loaded).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # with the default of 5, a sixth client at once waits seconds for its connection

    def handle_error(self, *args: Any) -> None:
        """Clients that hang up are no news."""


@contextmanager
def running() -> Iterator[Fake]:
    """A fake endpoint that answers until the block is left."""
    fake = Fake()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
