"""The engine asked for the encoder of a study is not asked of its controls, which have none but torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radfoundry.cohort import read_cohort
from radfoundry.encoders.nets.mobilenet import MobileNetV2
from radfoundry.errors import InputError, RadfoundryError
from radfoundry.studies import ila_vs_atelectasis, inputs
from radfoundry.studies.run import Run


def test_controls_run_whatever_precision_the_encoder_runs_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "cohort.yaml").write_text("modality: CR\n")
    (tmp_path / "cohort.csv").write_text("case_id,image\na,a.png\nb,b.png\n")
    cohort = read_cohort(tmp_path / "cohort.csv")
    torch.save(MobileNetV2().state_dict(), tmp_path / "own.pt")
    config = ila_vs_atelectasis.Config(
        store=tmp_path / "store", encoder="mobilenet-v2", weights=(str(tmp_path / "own.pt"),),
        precision="openvino",
    )  # fmt: skip
    with Run(tmp_path / "run", command="study", config=config, seed=0, title="controls") as run:
        for name in ("random:mobilenet-v2", "raw-pixels", "random-projection"):
            (found,) = inputs.embed(run, [cohort], name, config)
            assert len(found.vectors) == 2
        with pytest.raises(RadfoundryError, match="runs in torch"):  # what was asked of the encoder stands
            inputs.embed(run, [cohort], "mobilenet-v2", config)


def test_the_twin_of_a_hub_model_is_described_by_the_same_files_as_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(name: str, **how: object) -> None:
        asked.append((name, how["weights"], how["revision"]))
        raise InputError("enough")

    monkeypatch.setattr(inputs.encoders, "load", load)
    (tmp_path / "own").mkdir()
    config = ila_vs_atelectasis.Config(
        store=tmp_path / "store", encoder="hf-hub:foo/bar", weights=(str(tmp_path / "own"),), revision="abc"
    )
    with Run(tmp_path / "run", command="study", config=config, seed=0, title="twin") as run:
        for name in ("hf-hub:foo/bar", "random:hf-hub:foo/bar", "raw-pixels"):
            with pytest.raises(InputError):
                inputs.embed(run, [], name, config)
    own = tmp_path / "own"
    assert [(w, r) for _, w, r in asked] == [(own, "abc"), (own, "abc"), (None, None)]
