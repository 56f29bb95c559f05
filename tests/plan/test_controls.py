"""Negative controls of a grid: one that is not at chance is never passed over."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from radfoundry.plan import verdicts
from radfoundry.plan.ablation import Cases, ablate
from radfoundry.plan.grid import FeatureSpec, Grid
from radfoundry.plan.verdicts import Control, Selected, against_original
from radfoundry.studies import ablation as study

N = 120
SIGNAL = {"blind": 0.0, "its scramble": 1.2, "strong": 1.8, "its twin": 0.7, "its noise": 0.0, "size": 0.8}
"""How far the class means lie apart in each feature, in standard deviations."""

SETS = {
    "blind": FeatureSpec(),
    "its scramble": FeatureSpec(role="control", of="blind"),
    "strong": FeatureSpec(),
    "its twin": FeatureSpec(role="control", of="strong"),
    "its noise": FeatureSpec(role="control", of="strong"),
    "size": FeatureSpec(role="volume"),
}


@pytest.fixture(scope="module")
def found() -> tuple[Cases, dict[str, Selected], list[Control]]:
    """Two image sets, one of which knows nothing, their controls, and the volume."""
    rng = np.random.default_rng(0)
    y, who = (np.arange(N) % 3 == 0).astype(int), np.arange(N).astype(str)
    matrices = {k: (rng.normal(size=(N, 5)) + s * y[:, None]).astype(np.float32) for k, s in SIGNAL.items()}
    grid = Grid(SETS, {"classifier": ("lda",)}, repeats=2, folds=4, inner=2, shuffled_labels=False)
    cases = Cases(y, who, who, matrices)
    result = ablate(cases, grid, log=lambda _: None)
    chosen = verdicts.chosen_sets(result, grid)
    return cases, chosen, verdicts.controls(grid, chosen, result, cases)


@pytest.fixture
def judged(found: tuple) -> dict[str, Control]:
    return {c.name: c for c in found[2] if c.kind != "volume only"}


def test_a_control_above_chance_does_not_hold_for_a_set_that_is_not(judged: dict[str, Control]) -> None:
    one = judged["its scramble"]
    assert one.result == "did not hold" and not one.at_chance
    assert "its scramble: above chance (AUC 0." in one.sentence and "blind" in one.sentence


def test_a_control_that_its_set_beats_holds_and_says_that_it_is_above_chance(
    judged: dict[str, Control],
) -> None:
    twin, noise = judged["its twin"], judged["its noise"]
    assert twin.held and not twin.at_chance and "its twin is itself above chance (AUC 0." in twin.sentence
    assert noise.held and noise.at_chance and "chance" not in noise.sentence


def test_controls_of_one_set_are_judged_jointly(judged: dict[str, Control]) -> None:
    """As those of shuffled labels are: else one page in ten would warn of nothing."""
    levels = {name: c.estimate.level for name, c in judged.items()}
    assert levels == pytest.approx({"its scramble": 0.95, "its twin": 0.975, "its noise": 0.975})
    assert "joint over 2 such controls" in judged["its twin"].sentence


def test_volume_is_held_against_every_image_set(found: tuple) -> None:
    volume = {c.result: c for c in found[2] if c.kind == "volume only"}
    assert set(volume) == {"held", "did not hold"}
    assert "size is itself above chance" in volume["held"].sentence
    assert "size: above chance" in volume["did not hold"].sentence


def test_a_control_below_chance_is_said_to_be(found: tuple) -> None:
    cases, chosen, _ = found
    noise = chosen["its noise"]
    below = replace(noise, folds=noise.folds.assign(auroc=0.2 + noise.folds["auroc"] / 100))
    for original, result in (("strong", "held"), ("blind", "says nothing")):
        control = against_original(chosen[original], below, cases, "x")
        assert control.result == result and not control.at_chance
        assert "its noise is itself below chance (AUC 0.2" in control.sentence
    quiet = against_original(chosen["blind"], noise, cases, "x")
    assert quiet.result == "says nothing" and "itself" not in quiet.sentence.split("so its noise")[1]


def test_the_page_warns_of_every_control_that_is_not_at_chance(found: tuple) -> None:
    controls = found[2]
    notes: list[str] = []
    rows: list[list] = []
    page = SimpleNamespace(
        add_estimates=lambda _: None,
        note=notes.append,
        section=lambda *_, **kinds: rows.extend(kinds["rows"]),
    )
    study._show_controls(page, controls)  # type: ignore[arg-type]
    assert len(rows) == len(controls) == 5
    assert set(notes) == {c.sentence for c in controls if c.name != "its noise"} and len(notes) == 4
    headline, _ = study._verdict(Grid({"blind": FeatureSpec()}), {}, [], controls)
    assert "1 of 3 negative controls did not hold: its scramble." in headline
    assert "Its twin held, but is not itself at chance." in headline and "noise" not in headline
