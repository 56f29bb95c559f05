"""`radfoundry encoders`: what it prints, that it loads nothing heavy, and how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import radfoundry.encoders as encoders
from radfoundry.cli.main import main
from radfoundry.encoders import extractors


def test_list_names_every_encoder_and_stars_restricted_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert set(extractors.names()) <= set(rows)
    for name in encoders.names():
        assert ("*" in rows[name]) == encoders.card(name).licence.restricted


def test_json_round_trips(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "list", "--json"]) == 0
    cards = {c["name"]: c for c in json.loads(capsys.readouterr().out)}
    assert sorted(cards) == sorted([*encoders.names(), *extractors.names()])
    assert cards["rad-dino"]["input"]["size"] == 518
    assert cards["torchxrayvision-densenet121-all"]["input"]["range"] == [-1024.0, 1024.0]


def test_info_needs_a_known_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "info"]) == 2
    assert main(["encoders", "info", "medsigclip"]) == 2
    assert "Did you mean 'medsiglip'" in capsys.readouterr().err


def test_info_of_radiomics_shows_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "info", "radiomics:mr,bin_number=64"]) == 0
    page = capsys.readouterr().out
    assert "64 bins" in page and "143 numbers" in page and "EUPL-1.2" in page and "lesion-size" in page
    assert main(["encoders", "info", "radiomics:mrr"]) == 2
    assert "Did you mean 'mr'" in capsys.readouterr().err


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from radfoundry.cli.main import main; main(['encoders']);"
        "heavy = {'torch', 'transformers', 'pandas', 'sklearn', 'matplotlib', 'onnxruntime', 'openvino'};"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
