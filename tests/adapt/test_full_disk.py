"""Fitted heads and trainings on a full disk: no part of a file is left, and the message says where."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from radfoundry.adapt import checkpoint
from radfoundry.adapt.mlp import BalancedEpochMLP
from radfoundry.adapt.persist import save_head
from radfoundry.errors import RunError

from ._made import embeddings

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
safetensors_torch = pytest.importorskip("safetensors.torch")


def head(path: Path) -> None:
    pytest.importorskip("skops", reason="the skops package is not installed")
    save_head(_fitted(), path)


def mlp(path: Path) -> None:
    _fitted().save(path)


def training(path: Path) -> None:
    checkpoint.write(path, {"net": {"weight": torch.zeros(3)}}, {"epoch": 1})


def _fitted() -> BalancedEpochMLP:
    x, y, _ = embeddings(40, 5)
    return BalancedEpochMLP(epochs=1, seeds=1).fit(x, y)


@pytest.mark.parametrize("save", [head, mlp, training])
def test_a_full_disk_leaves_no_part_of_a_file(
    tmp_path: Path, save: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tensors(_: Any, path: str, **__: Any) -> None:
        Path(path).write_text("half")
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    def plain(self: Path, _: bytes) -> None:
        self.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safetensors_torch, "save_file", tensors)
    monkeypatch.setattr(safetensors.numpy, "save_file", tensors)
    monkeypatch.setattr(Path, "write_bytes", plain)
    with pytest.raises(RunError, match=r"cannot write .*/new/kept: .*No space left on device"):
        save(tmp_path / "new" / "kept")
    assert not list(tmp_path.iterdir())


def test_what_was_saved_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training(tmp_path / "kept")
    before = (tmp_path / "kept").read_bytes()
    with pytest.raises(RunError):
        checkpoint.write(tmp_path / "kept" / "below", {}, {})
    assert (tmp_path / "kept").read_bytes() == before
    assert np.array_equal(checkpoint.read(tmp_path / "kept")[0]["net"]["weight"], np.zeros(3))
