"""`radfoundry audit --out`: the manifest says what was typed, which encoders were used, by whose leave."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from radfoundry import encoders
from radfoundry.cli.main import main


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(24):
        Pillow.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        rows.append({"case_id": f"c{i}", "patient_id": f"p{i}", "image": f"{i}.png", "y:ill": i % 2})
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "cohort.yaml").write_text("modality: CR\n")
    scores = pd.DataFrame({"case_id": [r["case_id"] for r in rows], "score": rng.random(24)})
    scores.assign(y_true=[r["y:ill"] for r in rows], target="ill").to_csv(tmp_path / "p.csv", index=False)
    return tmp_path / "cohort.csv"


def manifest_of(words: list[str], out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    words = ["audit", *words, "--permutations", "5", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/radfoundry", *words])
    assert main(words) == 0
    return json.loads((out / "manifest.json").read_text())


def test_the_manifest_tells_command_encoders_and_data(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [str(cohort), "--target", "ill", "--encoder", "raw-pixels", "random-projection"]
    words += ["--predictions", str(tmp_path / "p.csv")]
    told = manifest_of(words, tmp_path / "run", monkeypatch)
    assert told["command"].startswith("radfoundry audit ") and "--target ill" in told["command"]
    assert told["command"].endswith(str(tmp_path / "run"))
    used = {name: encoders.load(name).fingerprint for name in ("raw-pixels", "random-projection")}
    assert {e["name"]: e["fingerprint"] for e in told["encoders"]} == used
    assert told["licences"] == []
    digest = hashlib.sha256((tmp_path / "p.csv").read_bytes()).hexdigest()
    assert [(d["name"], d["n"]) for d in told["data"]] == [(tmp_path.name, 24), ("p.csv", 24)]
    assert told["data"][1]["digest"] == digest


def test_an_accepted_licence_stands_in_the_manifest(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = encoders.load("raw-pixels")
    licence = replace(plain.card.licence, name="CC-BY-NC-4.0", restricted=True)
    monkeypatch.setattr(
        encoders, "load", lambda name, **_: replace(plain, card=replace(plain.card, licence=licence))
    )
    words = [str(cohort), "--target", "ill", "--encoder", "mine", "--accept-licence", "CC-BY-NC-4.0"]
    told = manifest_of(words, tmp_path / "run", monkeypatch)
    assert [(row["item"], row["licence"]) for row in told["licences"]] == [("mine", "CC-BY-NC-4.0")]


def test_without_an_encoder_none_is_claimed(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = manifest_of([str(cohort), "--target", "ill"], tmp_path / "run", monkeypatch)
    assert told["encoders"] == told["licences"] == []
