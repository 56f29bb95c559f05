"""Files of labels: what they must know of what rules and models may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from radfoundry.errors import InputError
from radfoundry.series.labels import PACKAGED, load
from radfoundry.series.rules import RULES


def short(tmp_path: Path, *without: str) -> Path:
    path = tmp_path / "labels.yaml"
    lines = PACKAGED.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if line.strip().split(":")[0] not in without))
    return path


def test_the_packaged_labels_know_all_that_rules_say() -> None:
    load().require((rule.verdict for rule in RULES), ())


def test_a_file_that_lacks_what_may_be_said_is_told_what(tmp_path: Path) -> None:
    path = short(tmp_path, "MRA", "BOLD", "PD", "Hip")
    with pytest.raises(InputError) as told:
        load(path).require(["T1", "MRA", "other:BOLD", "other:PD"], ["Knee", "Hip"], path)
    assert "lacks modalities MRA; kinds BOLD, PD; anatomies Hip, which the rules or the model" in str(
        told.value
    )
    assert str(PACKAGED) in str(told.value)


def test_a_model_with_labels_of_its_own_asks_for_their_file() -> None:
    with pytest.raises(InputError, match="packaged labels lack modalities T9, which the model says"):
        load().require(["T1", "T9"], ["Knee"])


def test_a_label_that_is_unknown_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lack the modality 'MRA'"):
        load(short(tmp_path, "MRA")).of("MRA")
    assert load().of("other", "BOLD").bids == ("func", "bold")
