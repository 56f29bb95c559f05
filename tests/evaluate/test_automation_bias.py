"""Automation bias against a table counted by hand, simulated readers of known reliance, and bad tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from radfoundry.errors import NotEnoughData, TableError
from radfoundry.evaluate.readers.automation_bias import AI, automation_bias, paired_reads
from radfoundry.evaluate.readers.reads import arrange

# case: truth, AI; reader a alone and aided; reader b alone and aided.
BY_HAND = {
    "c1": (1, 1, 0, 1, 1, 1),  # a: positive flip
    "c2": (1, 0, 1, 0, 1, 1),  # a: negative flip, an omission; b withstands
    "c3": (0, 1, 0, 1, 0, 1),  # both: negative flips, commissions
    "c4": (0, 0, 1, 1, 1, 0),  # a: right advice not taken; b: positive flip
    "c5": (0, 0, 0, 0, 0, 1),  # b: to wrong against the AI
}


def by_hand() -> pd.DataFrame:
    rows = []
    for case, (truth, ai, *decisions) in BY_HAND.items():
        for at, decision in enumerate(decisions):
            modality = ("unaided", "aided")[at % 2]
            rows.append({
                "case_id": case, "y_true": truth, "reader": "ab"[at // 2], "modality": modality,
                "decision": decision, "ai_decision": ai if modality == "aided" else np.nan,
            })  # fmt: skip
    return pd.DataFrame(rows)


def simulate(
    rng: np.random.Generator, *, readers: int = 10, n: int = 200, skill: float = 0.7, ai: float = 0.8,
    follow: float = 0.5,
) -> pd.DataFrame:  # fmt: skip
    """Aided, a reader takes the AI's decision in a share `follow` of the reads, else decides as alone."""
    y = rng.integers(0, 2, n)
    says = np.where(rng.random(n) < ai, y, 1 - y)
    alone = np.where(rng.random((readers, n)) < skill, y, 1 - y)
    aided = np.where(rng.random((readers, n)) < follow, says, alone)
    frames = []
    for modality, decision in (("unaided", alone), ("aided", aided)):
        for j in range(readers):
            frames.append(pd.DataFrame({
                "case_id": [f"c{i}" for i in range(n)], "y_true": y, "reader": f"r{j}", "modality": modality,
                "decision": decision[j], "ai_decision": says,
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def of(found, name: str, model: str = "aided", subgroup: str | None = None):
    return next(e for e in found.estimates if (e.name, e.model, e.subgroup) == (name, model, subgroup))


def test_reads_counted_by_hand() -> None:
    found = automation_bias(by_hand(), rng=np.random.default_rng(0), draws=200)
    # The AI is right in c1, c4, c5 and wrong in c2, c3.
    values = {
        ("accuracy", "unaided", "AI right"): ((1 / 3 + 2 / 3) / 2, 6),
        ("accuracy", "aided", "AI right"): ((2 / 3 + 2 / 3) / 2, 6),
        ("accuracy", "unaided", "AI wrong"): (1.0, 4),
        ("accuracy", "aided", "AI wrong"): ((0 + 1 / 2) / 2, 4),
        ("accuracy", "unaided", None): ((3 / 5 + 4 / 5) / 2, 10),
        ("accuracy", "aided", None): ((2 / 5 + 3 / 5) / 2, 10),
        ("accuracy", AI, None): (3 / 5, 5),
        ("agreement_with_ai", "unaided", None): ((1 / 5 + 2 / 5) / 2, 10),
        ("agreement_with_ai", "aided", None): ((4 / 5 + 3 / 5) / 2, 10),
        ("commission_error", "aided", "AI falsely positive"): (1.0, 2),
        ("omission_error", "aided", "AI falsely negative"): (1 / 2, 2),
        ("positive_flips", "aided", None): (2 / 10, 10),
        ("negative_flips", "aided", None): (3 / 10, 10),
        ("over_reliance", "aided", "reader alone right, AI wrong"): (3 / 4, 4),
        ("under_reliance", "aided", "reader alone wrong, AI right"): (1 / 3, 3),
    }
    for (name, model, subgroup), (value, n) in values.items():
        one = of(found, name, model, subgroup)
        assert (one.value, one.n) == (pytest.approx(value), n), (name, model, subgroup)
    kinds = found.switches.set_index("what")["reads"]
    assert kinds.to_dict() == {
        "positive flip": 2, "negative flip": 3, "to right against the AI": 0, "to wrong against the AI": 1,
        "right advice not taken": 1, "wrong advice withstood": 1, "all right": 2, "all wrong": 0,
    }  # fmt: skip
    assert found.readers["positive_flips"].tolist() == [1, 1]
    assert found.readers["negative_flips"].tolist() == [2, 1]
    assert found.notes == ()


def test_known_reliance_lies_in_the_intervals() -> None:
    """Alone 0.7 right; following half of the time adds 0.1 where the AI is right, takes 0.35 where wrong."""
    rng = np.random.default_rng(1)
    hits = np.zeros(4)
    for _ in range(25):
        found = automation_bias(simulate(rng, n=120), rng=rng, draws=300)
        for at, (name, subgroup, truth) in enumerate((
            ("accuracy", "AI right", 0.85), ("accuracy", "AI wrong", 0.35),
            ("over_reliance", "reader alone right, AI wrong", 0.5),
            ("under_reliance", "reader alone wrong, AI right", 0.5),
        )):  # fmt: skip
            one = of(found, name, subgroup=subgroup)
            hits[at] += one.low <= truth <= one.high
    assert (hits >= 22).all()


def test_differences_are_aided_minus_unaided_and_minus_the_ai_alone() -> None:
    rng = np.random.default_rng(2)
    found = automation_bias(simulate(rng), rng=rng, draws=400)
    by = {(d.name, d.subgroup, d.model_b): d for d in found.differences}
    right, wrong = by["accuracy", "AI right", "unaided"], by["accuracy", "AI wrong", "unaided"]
    assert right.low > 0 > wrong.high and right.p < 0.02 and wrong.p < 0.02
    for d in (right, wrong):
        aided, alone = (of(found, "accuracy", m, d.subgroup) for m in ("aided", "unaided"))
        assert d.difference == pytest.approx(aided.value - alone.value) and d.n == aided.n
    behind = by["accuracy", None, AI]
    assert behind.difference == pytest.approx(of(found, "accuracy").value - of(found, "accuracy", AI).value)
    assert "readers and cases resampled" in behind.method


def test_flips_make_the_whole_gain_when_readers_change_only_with_the_ai() -> None:
    rng = np.random.default_rng(3)
    found = automation_bias(simulate(rng), rng=rng, draws=50)
    gain = of(found, "accuracy").value - of(found, "accuracy", "unaided").value
    flips = of(found, "positive_flips").value - of(found, "negative_flips").value
    assert gain == pytest.approx(flips)
    kinds = found.switches.set_index("what")["reads"]
    assert kinds[["to right against the AI", "to wrong against the AI"]].sum() == 0
    assert found.switches["reads"].sum() == found.readers["pairs"].sum() == 2000


def test_drawing_readers_too_widens_the_interval_when_they_differ() -> None:
    rng = np.random.default_rng(4)
    table = simulate(rng, n=300, follow=0.0)
    trusting = (table["modality"] == "aided") & table["reader"].isin(["r0", "r1", "r2"])
    table.loc[trusting, "decision"] = table.loc[trusting, "ai_decision"]
    both = of(automation_bias(table, rng=rng, draws=400), "agreement_with_ai")
    cases = of(automation_bias(table, rng=rng, draws=400, readers_random=False), "agreement_with_ai")
    assert both.value == cases.value and both.high - both.low > 1.5 * (cases.high - cases.low)


def test_patients_with_several_cases_are_drawn_whole() -> None:
    rng = np.random.default_rng(5)
    table = simulate(rng, readers=4, n=60)
    copies = pd.concat([
        table.assign(patient_id=table["case_id"], case_id=table["case_id"] + f"_{i}") for i in range(6)
    ])  # fmt: skip
    one, many = (of(automation_bias(t, rng=rng, draws=600), "accuracy", "unaided") for t in (table, copies))
    assert many.n_clusters == 60 and many.cluster == "patient" and many.value == pytest.approx(one.value)
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.2)


def test_reads_without_their_pair_are_left_out_and_said() -> None:
    table = by_hand()
    table.loc[(table["reader"] == "b") & (table["case_id"] == "c5") & (table["modality"] == "aided"),
              "decision"] = np.nan  # fmt: skip
    extra = {"case_id": "c6", "y_true": 1, "reader": "a", "modality": "unaided", "decision": 1}
    found = automation_bias(pd.concat([table, pd.DataFrame([extra])]), rng=np.random.default_rng(0), draws=50)
    assert found.notes == (
        "1 cases without a decision of the AI were left out",
        "1 reads without their pair in the other modality were left out",
    )
    assert of(found, "accuracy").n == 9


def test_an_ai_that_is_never_wrong_leaves_its_errors_undefined() -> None:
    rng = np.random.default_rng(6)
    found = automation_bias(simulate(rng, ai=1.0, n=40), rng=rng, draws=50)
    wrong = of(found, "accuracy", subgroup="AI wrong")
    assert math.isnan(wrong.value) and math.isnan(wrong.low) and "no such read" in str(wrong.note)
    lone = of(found, "accuracy", AI)
    assert lone.value == 1 and math.isnan(lone.low)


def test_two_readers_are_kept_and_cases_alone_drawn() -> None:
    rng = np.random.default_rng(7)
    found = automation_bias(simulate(rng, readers=2, n=50), rng=rng, draws=50)
    assert "readers and" not in of(found, "accuracy").method


def spoil(**columns) -> pd.DataFrame:
    table = by_hand().astype(object)
    for column, value in columns.items():
        table.loc[3, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        (by_hand().drop(columns="ai_decision"), TableError, "no column 'ai_decision'"),
        (
            by_hand().replace({"modality": {"aided": "with ai"}}),
            TableError,
            "'aided'. Modalities: unaided, with",
        ),
        (spoil(decision=2), TableError, "row 5, column 'decision': 2 is neither 0 nor 1"),
        (spoil(y_true=0), TableError, "row 5, column 'y_true': another value"),
        (spoil(ai_decision=0), TableError, "row 5, column 'ai_decision': another value"),
        (pd.concat([by_hand(), by_hand()[:1]]), TableError, "row 22: the reader read this case twice"),
        (by_hand()[lambda t: (t["modality"] == "aided") == (t["reader"] == "a")], NotEnoughData, "no reader"),
    ],
)
def test_tables_that_cannot_show_what_the_ai_changed_are_refused(table, error, words: str) -> None:
    with pytest.raises(error, match=words):
        automation_bias(table, rng=np.random.default_rng(0))


def test_rows_of_an_arranged_reader_table_give_the_same() -> None:
    table = by_hand()
    one, other = (
        automation_bias(t, rng=np.random.default_rng(0), draws=50) for t in (table, arrange(table).rows)
    )
    assert [e.as_dict() for e in one.estimates] == [e.as_dict() for e in other.estimates]
    assert one.switches.equals(other.switches)


def test_pairs_are_arranged_by_reader_and_case() -> None:
    pairs = paired_reads(by_hand())
    assert pairs.readers == ("a", "b") and pairs.ai.tolist() == [1, 0, 1, 0, 0]
    assert pairs.aided[0].tolist() == [1, 0, 1, 1, 0] and pairs.unaided[1].tolist() == [1, 1, 0, 1, 0]


def test_a_difference_that_no_draw_changes_has_no_interval_and_no_p() -> None:
    rows = [(f"c{i}", i % 2, "a", m, i % 2, i % 2) for i in range(5) for m in ("unaided", "aided")]
    columns = ["case_id", "y_true", "reader", "modality", "decision", "ai_decision"]
    found = automation_bias(pd.DataFrame(rows, columns=columns), rng=np.random.default_rng(0), draws=100)
    whole = next(d for d in found.differences if (d.name, d.subgroup) == ("accuracy", None))
    assert whole.difference == 0 and math.isnan(whole.low) and math.isnan(whole.high) and math.isnan(whole.p)
    assert whole.note == "no interval: every draw gave the same difference"


def test_rows_are_named_as_in_the_file_after_a_row_was_dropped() -> None:
    table = by_hand()
    table.loc[0, "decision"] = np.nan  # no read
    table.loc[7, "ai_decision"] = 0
    table.loc[5, "ai_decision"] = 1
    with pytest.raises(TableError, match="row 9, column 'ai_decision': another value"):
        automation_bias(arrange(table).rows, rng=np.random.default_rng(0))
