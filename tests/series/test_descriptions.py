"""The switch --descriptions: what a description says of a series, alone and beside a model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radfoundry.cli.main import main
from radfoundry.series.calibrate import Calibration
from radfoundry.series.classify import Classifier
from radfoundry.series.encode import TagScheme
from radfoundry.series.find import Series
from radfoundry.series.header import SeriesHeader
from radfoundry.series.model import Logits, SeriesModel
from radfoundry.series.verdict import Verdict
from tests.series.made import mr, put
from tests.series.sorting import TOWER, header, sorter

BARE = dict.fromkeys(("EchoTime", "RepetitionTime", "ScanningSequence", "ImageType"))


@pytest.fixture(scope="module")
def model() -> SeriesModel:
    return sorter()


def judged(model: SeriesModel | None, found: SeriesHeader) -> Verdict:
    one = Series("1", "1", "sub", "", 1, "folder", ())
    return Classifier(model, "never", tower=TOWER)([one], [found])[0].verdict


def described(found: SeriesHeader, text: str) -> SeriesHeader:
    return replace(found, values={**found.values, "SeriesDescription": (text,)})


@pytest.mark.parametrize("empty", [False, True])
def test_the_switch_makes_descriptions_speak(
    empty: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more: dict[str, Any] = {"Manufacturer": None, "Modality": "MR"} if empty else {"ScanningSequence": "SE"}
    named = {"SeriesDescription": "Ax T2 FLAIR DOE^JOHN", "ProtocolName": "T2_FLAIR"}
    put(tmp_path / "in", *(mr(k, **{**BARE, **named, **more}) for k in range(1, 21)))

    def said(*words: str) -> dict[str, Any]:
        main(["series", "classify", str(tmp_path / "in"), "--model", "none", "--json", *words])
        out = capsys.readouterr().out
        assert "DOE" not in out
        return json.loads(out)["series"][0]

    assert said()["label"] == "other:UNKNOWN"
    with_them = said("--descriptions")
    assert (with_them["label"], with_them["unsure"]) == ("T2-FLAIR", True)
    assert with_them["trace"] == ["SeriesDescription says T2 FLAIR → T2-FLAIR"]


def test_a_description_alone_is_never_sure_and_a_rule_on_the_header_is() -> None:
    alone = judged(None, SeriesHeader(values={"SeriesDescription": ("AX T2",)}))
    assert (alone.label, alone.unsure, alone.confidence) == ("T2", True, None)
    physics = {"ScanningSequence": ("SE",), "MRAcquisitionType": ("2D",)}
    both = SeriesHeader(values=physics, echo_times=(95.0,), repetition_times=(4500.0,))
    assert judged(None, both) == judged(None, described(both, "sag t1"))
    assert not judged(None, both).unsure


def test_beside_a_model_a_description_lifts_its_label_and_settles_nothing(model: SeriesModel) -> None:
    seen = header("T2", np.random.default_rng(3), "1")
    seen = replace(seen, values={k: v for k, v in seen.values.items() if k != "ScanningSequence"})
    plain, same, other = (
        judged(model, found) for found in (seen, described(seen, "T2"), described(seen, "T1"))
    )
    assert plain.label == same.label == other.label == "T2"
    assert (same.confidence or 0) > (plain.confidence or 0) > (other.confidence or 0)
    assert other.unsure and "SeriesDescription says T1 → T1" in other.trace


def test_with_an_emptied_header_a_description_gives_a_model_its_label(model: SeriesModel) -> None:
    empty = SeriesHeader("1")
    assert {judged(model, described(empty, text)).label for text in ("T1", "T2 tse", "rs-fMRI")} == {
        "T1", "T2", "other:BOLD",
    }  # fmt: skip
    assert judged(model, described(empty, "T1")).unsure


@pytest.mark.parametrize(
    ("p", "like", "sure"), [(0.95, True, True), (0.95, False, False), (0.8, True, False), (0.8, False, False)]
)
def test_a_description_makes_no_verdict_sure_that_the_model_alone_would_doubt(
    p: float, like: bool, sure: bool, model: SeriesModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """p: what the network gives its label. like: whether the series is like those of training."""
    own = Calibration(1.0, 0.1, math.inf if like else -math.inf, 99)
    found = {"tags": {**model.calibration["tags"], "modality": own}}
    known = replace(model, calibration=found, errors={"tags": {"modality": 0.02}})
    rest = (1 - p) / 2
    monkeypatch.setattr(
        SeriesModel, "logits",
        lambda *_: Logits(np.log([[p, rest, rest]]), np.zeros((1, len(model.anatomies))), np.zeros((1, 2))),
    )  # fmt: skip
    plain = judged(known, SeriesHeader("1"))
    for text in ("T1 tse", "T2"):
        verdict = judged(known, described(SeriesHeader("1"), text))
        assert verdict.unsure == (not sure or text == "T2")
        assert ("unlike all series that the model was trained on" in verdict.trace) == (not like)
        assert verdict.label == (plain.label if sure else text[:2])


def test_a_model_that_learnt_from_descriptions_does_not_hear_them_twice(model: SeriesModel) -> None:
    text = (*model.scheme.text, "SeriesDescription")
    scheme = TagScheme(text, model.scheme.number, model.scheme.edges)
    found = described(SeriesHeader("1"), "T1")
    assert any("says T1" in line for line in judged(model, found).trace)
    learnt = replace(model, scheme=scheme)
    assert Classifier(learnt)._learnt_descriptions and not Classifier(model)._learnt_descriptions
