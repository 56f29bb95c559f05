"""What a person says about series: checked on reading, laid over verdicts, kept for training."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from radfoundry.errors import InputError, RunError, TableError
from radfoundry.series import corrections as module
from radfoundry.series.corrections import (
    Correction,
    append,
    apply,
    hide_uids,
    in_force,
    merge_into_training,
    read_corrections,
)
from radfoundry.series.examples import labelled
from radfoundry.series.find import Series
from radfoundry.series.origin import hidden_uid
from radfoundry.series.verdict import Verdict

ENTRY = {"uid": "1.2.3", "modality": "other", "kind": "BOLD", "anatomy": "Brain", "note": "shim?", "when": ""}


def export(path: Path, *entries: Any) -> Path:
    path.write_text(json.dumps({"format": 1, "corrections": list(entries)}), encoding="utf-8")
    return path


def test_an_export_is_read(tmp_path: Path) -> None:
    path = export(
        tmp_path / "c.json",
        ENTRY | {"was": {"modality": "T2"}},
        ENTRY | {"uid": "9", "modality": "T1", "kind": ""},
    )
    found = read_corrections(path)
    assert found == {
        "1.2.3": Correction("1.2.3", "other", "BOLD", "Brain", "shim?"),
        "9": Correction("9", "T1", "", "Brain", "shim?"),
    }
    assert found["1.2.3"].label == "other:BOLD"


def test_of_several_corrections_the_later_wins(tmp_path: Path) -> None:
    path = export(tmp_path / "c.json", ENTRY, ENTRY | {"modality": "T2", "kind": ""})
    assert read_corrections(path)["1.2.3"].modality == "T2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "T9"}, r"row 2: modality 'T9' is unknown. Known: T1, T1c"),
        ({"kind": "NOPE"}, "row 2: kind 'NOPE' is unknown"),
        ({"anatomy": "Tail"}, "row 2: anatomy 'Tail' is unknown"),
        ({"modality": "T1"}, "row 2: `other` needs a kind"),
        ({"kind": ""}, "row 2: `other` needs a kind"),
        ({"modality": ""}, "row 2: modality '' is unknown"),
        ({"uid": "../x"}, "row 2: uid"),
        ({"uid": ""}, "row 2: uid"),
        ({"uid": 5}, "row 2: uid is no text"),
        ({"uid": "1" * 200}, "row 2: uid is no text of at most 128"),
        ({"note": "x" * 3000}, "row 2: note is no text of at most 2000"),
        ({"modality": {"$x": 1}}, "row 2: modality is no text"),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_wrong_row_is_named(suffix: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    if suffix == ".json":
        export(path, ENTRY, ENTRY | change)
    else:
        path.write_text("\n".join(map(json.dumps, (ENTRY, ENTRY | change))))
    with pytest.raises(InputError, match=message):
        read_corrections(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 2, "corrections": []}',
        b'{"format": 1, "corrections": {}}',
        b"\xff\xfe\x00",
        b'{"format": 1, "corrections": [7]}',
        b"[" * 200_000,
    ],
)
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(InputError):
        read_corrections(tmp_path / "c.json")


def test_a_missing_or_oversized_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="could not be read"):
        read_corrections(tmp_path / "none.json")
    path = export(tmp_path / "c.json", ENTRY)
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="above the limit of 10"):
        read_corrections(path)


def test_a_correction_replaces_the_verdict_and_claims_no_probability() -> None:
    before = Verdict(
        "1.2.3",
        "T2",
        anatomy="Neck",
        confidence=0.6,
        anatomy_confidence=0.8,
        unsure=True,
        source="tags",
        trace=("TE 80",),
        candidates=("T2", "DWI"),
    )
    after, other = apply([before, Verdict("7", "T1")], {"1.2.3": Correction("1.2.3", "other", "BOLD")})
    assert (after.label, after.anatomy, after.source, after.unsure) == ("other:BOLD", "Neck", "person", False)
    assert (after.confidence, after.anatomy_confidence) == (None, 0.8)
    assert after.trace == ("TE 80", "a person: T2 → other:BOLD")
    assert after.candidates == ("other:BOLD",)
    assert other == Verdict("7", "T1")


def test_a_confirmed_label_is_sure() -> None:
    after = apply([Verdict("1", "T1", unsure=True)], {"1": Correction("1", "T1", anatomy="Knee")})[0]
    assert (after.unsure, after.anatomy, after.trace) == (False, "Knee", ("a person confirms T1",))


def test_the_log_is_only_added_to_and_says_nothing_twice(tmp_path: Path) -> None:
    path, one = tmp_path / "corrections.jsonl", Correction("1", "T1")
    assert append(path, [one, Correction("2", "T2")]) == 2
    first = path.read_bytes()
    assert append(path, [one]) == 0
    assert append(path, [Correction("1", "T1c")]) == 1
    assert path.read_bytes().startswith(first)
    assert len(path.read_text().splitlines()) == 3
    assert read_corrections(path)["1"].modality == "T1c"


def test_a_log_without_its_last_line_break_is_added_to_rightly(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    path.write_text(json.dumps(ENTRY))
    append(path, [Correction("2", "T2")])
    assert set(read_corrections(path)) == {"1.2.3", "2"}


def test_a_log_that_a_full_disk_cut_short_is_read_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corrections.jsonl"
    append(path, [Correction("1.2.3", "T1")])
    whole = path.read_text()
    path.write_text(whole + whole[:20])  # as a killed call leaves it
    assert set(in_force(path, {})) == {"1.2.3"}
    with pytest.raises(InputError, match="row 2 is no JSON"):
        read_corrections(path)  # what a person passes may have lost its end on the way
    append(path, [Correction("1.2.4", "T2")])
    assert set(read_corrections(path)) == {"1.2.3", "1.2.4"} and len(path.read_text().splitlines()) == 2
    before = path.read_bytes()

    class Full(io.FileIO):
        def write(self, data: object) -> int:
            super().write(bytes(data)[:30])  # type: ignore[call-overload]
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as during, pytest.raises(RunError, match="No space left"):
        during.setattr(module, "open", lambda p, mode: Full(p, mode), raising=False)
        append(path, [Correction("1.2.5", "T2")])
    assert path.read_bytes() == before


def test_a_damaged_log_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    path.write_text("{\n")
    with pytest.raises(InputError, match="row 1 is no JSON"):
        append(path, [Correction("2", "T2")])
    assert path.read_text() == "{\n"
    with pytest.raises(RunError, match="cannot be written"):
        append(path / "corrections.jsonl", [Correction("2", "T2")])


def test_corrections_win_in_the_training_table_and_new_series_are_added() -> None:
    table = pd.DataFrame(
        {
            "series_uid": ["1", "2"],
            "modality": ["T1", "T2"],
            "kind": ["", ""],
            "anatomy": ["Brain", "Knee"],
            "site": [1, 2],
        }
    )
    merged = merge_into_training(
        table,
        {
            "2": Correction("2", "other", "PD"),
            "3": Correction("3", "DWI", "", "Hip"),
        },
    )
    assert merged[["series_uid", "modality", "kind", "anatomy"]].to_numpy().tolist() == [
        ["1", "T1", "", "Brain"],
        ["2", "other", "PD", "Knee"],
        ["3", "DWI", "", "Hip"],
    ]
    assert merged["site"].tolist()[:2] == [1, 2]
    assert math.isnan(merged["site"][2])
    assert table["modality"].tolist() == ["T1", "T2"]


def test_a_table_without_kinds_gets_them_and_without_uids_is_refused() -> None:
    table = pd.DataFrame({"series_uid": ["1"], "modality": ["T1"]})
    merged = merge_into_training(table, {"1": Correction("1", "other", "PD", "Knee")})
    assert merged.to_dict("records") == [
        {"series_uid": "1", "modality": "other", "kind": "PD", "anatomy": "Knee"}
    ]
    with pytest.raises(TableError, match="lacks series_uid"):
        merge_into_training(pd.DataFrame({"modality": []}), {})


def test_corrections_of_a_tree_stay_in_force_and_new_ones_win(tmp_path: Path) -> None:
    log = tmp_path / "corrections.jsonl"
    new = {"2": Correction("2", "T2")}
    assert in_force(log, new) == new
    append(log, [Correction("1", "T1"), Correction("2", "T1c")])
    assert {uid: one.modality for uid, one in in_force(log, new).items()} == {"1": "T1", "2": "T2"}
    assert in_force(log, {})["2"].modality == "T1c"


def test_a_digest_names_a_series_as_its_uid_does(tmp_path: Path) -> None:
    log, verdicts = tmp_path / "corrections.jsonl", [Verdict("1.2.3", "T1"), Verdict("1.2.4", "T1")]
    append(log, [Correction("1.2.3", "T2"), Correction(hidden_uid("1.2.4"), "DWI")])
    assert [one.modality for one in apply(verdicts, read_corrections(log))] == ["T2", "DWI"]
    append(log, [Correction(hidden_uid("1.2.3"), "SWI")])
    assert apply(verdicts, in_force(log, {}))[0].modality == "SWI"
    append(log, [Correction("1.2.3", "ASL")])  # whichever name it has, the later wins
    assert apply(verdicts, in_force(log, {}))[0].modality == "ASL"
    hide_uids(log)
    first = log.read_bytes()
    assert b"1.2.3" not in first and first.count(b"uid-") == 4
    assert [one.modality for one in apply(verdicts, read_corrections(log))] == ["ASL", "DWI"]
    hide_uids(log)
    assert log.read_bytes() == first


def test_uid_and_digest_of_a_series_are_one_series_whose_later_correction_wins(tmp_path: Path) -> None:
    log, hidden = tmp_path / "corrections.jsonl", hidden_uid("1.2.3")
    one = Series("1.2.3", "9", "p", "", 1, "a", ())
    append(log, [Correction("1.2.3", "T1"), Correction(hidden, "T2")])
    read = read_corrections(log)
    assert [correction.modality for correction in read.values()] == ["T2"]
    assert [read[key].modality for _, key in labelled([one], read)] == ["T2"]
    merged = merge_into_training(pd.DataFrame({"series_uid": ["5"], "modality": ["T1"]}), read)
    assert merged["modality"].tolist() == ["T1", "T2"]
    assert append(log, [Correction("1.2.3", "T2")]) == 0  # it is said already, under the other name
    assert append(log, [Correction("1.2.3", "DWI")]) == 1
    assert {key: found.modality for key, found in in_force(log, {}).items()} == {"1.2.3": "DWI"}


def test_a_digest_corrects_a_row_of_the_training_table() -> None:
    table = pd.DataFrame({"series_uid": ["1.2.3"], "modality": ["T1"]})
    merged = merge_into_training(table, {hidden_uid("1.2.3"): Correction(hidden_uid("1.2.3"), "T2")})
    assert merged["modality"].tolist() == ["T2"]


def test_of_two_series_with_one_uid_the_one_that_is_meant_is_corrected() -> None:
    verdicts = [Verdict("1", "T1"), Verdict("1", "T1")]
    after = apply(verdicts, {"1-b": Correction("1-b", "T2")}, ["1-a", "1-b"])
    assert [verdict.modality for verdict in after] == ["T1", "T2"]
    assert apply(verdicts, {"1": Correction("1", "T2")}, ["1-a", "1-b"]) == verdicts
