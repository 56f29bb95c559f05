"""Pairs, related findings, events and charts of drafts; `radfoundry reports validate`, `compare`, `chart`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.cli.main import main
from radfoundry.datasets import phantom_reports
from radfoundry.errors import InputError, NotEnoughData, TableError, UnknownName
from radfoundry.evaluate.finding_cells import Cells
from radfoundry.monitor.store import open_store
from radfoundry.studies import drafts
from radfoundry.text import extractors, findings
from radfoundry.text.extractors import Reading
from radfoundry.text.findings import Dictionary, Finding
from radfoundry.text.mentions import Extraction, Report
from radfoundry.text.reading import Reports

pytestmark = pytest.mark.usefixtures("short_simulations")

MARK = "Zebrafish9431"
"""Stands in reports and ids; no error may repeat it."""
PARENTS = {"opacity": "", "consolidation": "opacity", "pneumonia": "consolidation", "nodule": "opacity",
           "effusion": "", "pneumothorax": ""}  # fmt: skip
LEVELS = {"pneumothorax": "critical", "nodule": "significant", "pneumonia": "significant"}
TINY = Dictionary(
    "tiny", "1", "en",
    {name: Finding(name, name, "chest", LEVELS.get(name, "minor"), parent=parent, synonyms=(name,))  # type: ignore[arg-type]
     for name, parent in PARENTS.items()},
)  # fmt: skip
NAMES = tuple(PARENTS)


def given_reports(ids: Sequence[str], name: str, **meta: Sequence[Any]) -> Reports:
    index = pd.Index(list(ids), name="report_id", dtype=object)
    texts = [Report(key, f"{name} {key}") for key in ids]
    return Reports(texts, pd.DataFrame(meta, index=index), Path(f"{name}.csv"))


def findings_table(rows: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["report_id", "finding", "status"])


def cells_of(reference: np.ndarray, call: np.ndarray, known: np.ndarray | None = None) -> Cells:
    levels = {one.id: str(one.criticality) for one in TINY}
    ids = np.array([f"r{i}" for i in range(len(reference))], dtype=object)
    return Cells(reference, call, NAMES, levels, ids, known)


def pairs_of(n: int, **meta: Sequence[Any]) -> drafts.Pairs:
    ids = [f"r{i}" for i in range(n)]
    return drafts.pair(given_reports(ids, "reports", **meta), given_reports(ids, "drafts"))


# -- pairs -----------------------------------------------------------------------------------------------


def test_drafts_are_matched_by_id_and_what_is_left_out_is_told() -> None:
    reports = given_reports(["a", "b", "c", "d"], "reports", site=["N", "N", "S", "S"])
    written = given_reports(["d", "x", "b"], "drafts", site=["?", "?", "?"], model_version=["1", "2", "3"])
    pairs = drafts.pair(reports, written)
    assert [one.text for one in pairs.reports] == ["reports b", "reports d"]
    assert [one.text for one in pairs.drafts] == ["drafts b", "drafts d"]
    assert pairs.meta["site"].tolist() == ["N", "S"], "the report's own columns come first"
    assert pairs.meta["model_version"].tolist() == ["3", "1"] and pairs.meta.index.tolist() == ["b", "d"]
    assert pairs.notes == (
        "Left out: 1 draft without a radiologist's report.",
        "Left out: 2 reports without a draft.",
    )


def test_drafts_of_other_reports_are_refused_without_naming_one() -> None:
    with pytest.raises(InputError, match=r"no draft of drafts\.csv has the id of a report") as caught:
        drafts.pair(given_reports([MARK], "reports"), given_reports(["y"], "drafts"))
    assert MARK not in str(caught.value)


def test_pairs_of_which_a_text_could_not_be_read_are_left_out() -> None:
    pairs = pairs_of(3, site=["A", "B", "C"])
    read = [Extraction(f"r{i}", error="down" if i == 1 else "") for i in range(3)]
    good = [Extraction(f"r{i}") for i in range(3)]
    kept, first, second = drafts.readable(pairs, read, good)
    assert [one.report_id for one in kept.reports] == ["r0", "r2"] and kept.meta["site"].tolist() == [
        "A",
        "C",
    ]
    assert [one.report_id for one in first] == [one.report_id for one in second] == ["r0", "r2"]
    assert kept.notes == ("Left out: 1 pair that could not be read.",)
    mirrored, *_ = drafts.readable(pairs, good, read)
    assert mirrored.reports == kept.reports, "a draft that could not be read counts as much"
    with pytest.raises(NotEnoughData, match="no pair of texts could be read; the first: down"):
        drafts.readable(pairs, [replace(one, error="down") for one in good], good)


def test_strata_are_the_values_that_occur_blank_ones_among_them() -> None:
    meta = pd.DataFrame({"view": ["PA", "", "PA"], "site": ["A", "A", "A"]})
    found = drafts.strata(meta)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "view PA": [True, False, True], "view unknown": [False, True, False],
    }  # fmt: skip


# -- related findings --------------------------------------------------------------------------------------

grids = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(grids, grids)
def test_matching_of_related_findings_is_symmetric_and_spoils_no_agreement(
    left: list[list[bool]], right: list[list[bool]]
) -> None:
    n = min(len(left), len(right))
    made = cells_of(np.array(left[:n]), np.array(right[:n]))
    found = drafts.related(made, TINY)
    other = drafts.related(replace(made, reference=made.call, call=made.reference), TINY)
    np.testing.assert_array_equal(found.reference, other.call)
    np.testing.assert_array_equal(found.call, other.reference)
    same = made.reference == made.call
    np.testing.assert_array_equal(found.reference[same], made.reference[same])
    np.testing.assert_array_equal(found.call[same], made.call[same])
    assert (found.reference >= made.reference).all() and (found.call >= made.call).all()
    either = (made.reference | made.call) == (found.reference | found.call)
    assert either.all(), "nothing is named that neither text names"


@pytest.mark.parametrize(
    ("report", "draft", "omitted", "invented"),
    [
        ("pneumonia", "opacity", [], []),
        ("opacity", "pneumonia", [], []),
        ("consolidation", "nodule", ["consolidation"], ["nodule"]),
        ("pneumonia", "effusion", ["pneumonia"], ["effusion"]),
    ],
)
def test_an_ancestor_is_the_same_finding_and_a_sibling_is_not(
    report: str, draft: str, omitted: list[str], invented: list[str]
) -> None:
    tables = (findings_table([("r0", report, "present")]), findings_table([("r0", draft, "present")]))
    made = drafts.cells(*tables, ["r0"], TINY)
    assert [NAMES[j] for j in np.flatnonzero(made.cells(True, False)[0])] == omitted
    assert [NAMES[j] for j in np.flatnonzero(made.cells(False, True)[0])] == invented
    exact = drafts.cells(*tables, ["r0"], TINY, match="exact")
    assert exact.reference[0].tolist() == [name == report for name in NAMES]
    assert exact.call[0].tolist() == [name == draft for name in NAMES]


def test_findings_that_nobody_names_have_no_rows() -> None:
    from radfoundry.evaluate.draft_comparison import compare_drafts

    made = drafts.cells(findings_table([("r0", "nodule", "present")]), findings_table([]), ["r0", "r1"], TINY)
    rows = compare_drafts(made, rng=np.random.default_rng(0), draws=10)
    assert {row.target for row in rows if row.target} == set(NAMES)
    assert {row.target for row in drafts.spoken(rows, made) if row.target} == {"nodule"}
    assert len(drafts.spoken(rows, made)) < len(rows)
    assert {row.cluster for row in drafts.spoken(rows, made)} == {"report"}
    by_patient = replace(made, patient_id=np.array(["p", "p"], dtype=object))
    assert {row.cluster for row in drafts.spoken(rows, by_patient)} == {"patient"}


# -- tables by hand ----------------------------------------------------------------------------------------


def test_annotations_are_read_from_every_format_that_extract_writes(tmp_path: Path) -> None:
    from radfoundry.table_files import write

    made = findings_table([("007", "nodule", "present"), ("NA", "effusion", "absent")])
    for ending in ("csv", "parquet", "jsonl"):
        write(made, tmp_path / f"a.{ending}")
        found = drafts.annotated(tmp_path / f"a.{ending}", TINY)
        assert found[["report_id", "finding", "status"]].to_numpy().tolist() == made.to_numpy().tolist()


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("report_id,finding,status\n1,nodul,present\n", UnknownName, "Did you mean 'nodule'"),
        ("report_id,finding,status\n1,nodule,maybe\n", TableError, "row 2: status 'maybe'"),
        ("report_id,finding,status\n1,nodule,present\n1,nodule,absent\n", TableError, "row 3: nodule"),
        ("report_id,finding,status\n,nodule,present\n", TableError, "row 2: report_id is empty"),
        ("report_id,status\n1,present\n", TableError, "no column 'finding'"),
        ("", TableError, "not readable as a table"),
    ],
)
def test_annotations_that_are_wrong_are_refused_by_row(
    content: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(error, match=words):
        drafts.annotated(tmp_path / "a.csv", TINY)
    with pytest.raises(InputError, match="there is no file"):
        drafts.annotated(tmp_path / "nowhere.csv", TINY)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_boot", 0), ("arl0", float("inf")), ("arl0", float("nan")), ("baseline_weeks", 1), ("alpha", 1.0),
     ("alpha", 0.0)],
)  # fmt: skip
def test_numbers_that_cannot_be_meant_are_refused_by_their_option(name: str, value: float) -> None:
    class Asked:
        pass

    asked = Asked()
    drafts.check_settings(asked)
    setattr(asked, name, value)
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} must"):
        drafts.check_settings(asked)


# -- the monitor -------------------------------------------------------------------------------------------


def grid(*marks: str) -> np.ndarray:
    """Rows of x and . in the order of NAMES."""
    return np.array([[mark == "x" for mark in row] for row in marks])


def test_an_event_holds_what_either_text_names_and_a_flag_for_inventions_of_each_criticality() -> None:
    made = cells_of(grid("...x..", ".....x"), grid("....x.", ".....x"))
    days = pd.to_datetime(["2025-01-06", "2025-01-07"])
    pairs = pairs_of(
        2, date=days, view=["PA", ""], model=["drafter", "drafter"], model_version=["1.0", "2.0"]
    )
    first, second = drafts.events(pairs, made)
    assert (first.event_id, first.model, first.model_version, first.view) == ("r0", "drafter", "1.0", "PA")
    assert first.happened_at.isoformat() == "2025-01-06T00:00:00+00:00" and second.view == first.site == ""
    said = {one.item: (one.criticality, one.expected, one.observed) for one in first.outcomes}
    assert said == {
        "nodule": ("significant", 1, 0), "effusion": ("minor", 0, 1),
        "invention:critical": ("critical", 0, 0), "invention:significant": ("significant", 0, 0),
        "invention:minor": ("minor", 0, 1),
    }  # fmt: skip
    said = {one.item: (one.expected, one.observed) for one in second.outcomes}
    assert said.pop("pneumothorax") == (1, 1) and set(said.values()) == {(0, 0)}


def test_cells_that_are_left_out_are_in_no_event() -> None:
    tables = (
        findings_table([("r0", "nodule", "present"), ("r0", "effusion", "uncertain")]),
        findings_table([("r0", "nodule", "uncertain"), ("r0", "effusion", "present")]),
    )
    made = drafts.cells(*tables, ["r0"], TINY, uncertain="left out")
    (event,) = drafts.events(pairs_of(1, date=pd.to_datetime(["2025-01-06"])), made)
    assert {one.item for one in event.outcomes} == {
        "invention:critical", "invention:significant", "invention:minor",
    }  # fmt: skip
    assert not any(one.observed for one in event.outcomes)


def test_pairs_without_a_date_cannot_be_followed() -> None:
    pairs = pairs_of(2, date=pd.to_datetime(["2025-01-06", None]))
    made = cells_of(grid("x.....", "x....."), grid("x.....", "x....."))
    with pytest.raises(InputError, match="every report needs a date"):
        drafts.events(pairs, made)
    assert pairs.dated.tolist() == [True, False] and not pairs_of(2).dated.any()
    (event,) = drafts.events(pairs.take(pairs.dated), made.take(pairs.dated))
    assert event.event_id == "r0"


def phantom_outcomes(seed: int, shift: tuple[int, dict[str, float]] | None, place: Path) -> pd.DataFrame:
    """Twenty pairs a week over thirty weeks, read without an error, through the store."""
    made = phantom_reports.make(600, seed=seed, weeks=30, shift=shift)
    pairs = drafts.Pairs(list(made.reports), list(made.drafts), made.meta)
    found = drafts.cells(
        made.truth,
        made.drafts_truth,
        list(made.meta.index),
        findings.load("chest-radiograph"),
    )
    with open_store(place) as store:
        done = store.ingest("s", drafts.events(pairs, found))
        assert done.new == 600
        outcomes = store.outcomes("s")
    for watch in drafts.WATCHES:
        own = drafts.watched(outcomes, watch)
        of = np.isin(found.level, watch.levels)
        if watch.rate == "omission":
            assert own["hit"].notna().sum() == found.reference[:, of].sum()
            assert own["hit"].sum() == found.cells(True, False)[:, of].sum()
        else:
            assert len(own) == 600 * len(watch.levels) == own["hit"].notna().sum()
            levels = [(found.cells(False, True) & (found.level == one)).any(1) for one in watch.levels]
            assert own["hit"].sum() == np.sum(levels)
    return outcomes


def test_a_planted_worsening_is_found_and_a_steady_stream_hardly_ever_alarms(tmp_path: Path) -> None:
    watch, rng = drafts.WATCHES[0], np.random.default_rng(0)
    made = {}
    for name, shift in (("steady", None), ("worse", (20, {"critical": 0.5, "significant": 0.5}))):
        outcomes = phantom_outcomes(0, shift, tmp_path / name)
        made[name] = drafts.charts(outcomes, watch, baseline_weeks=12, arl0=370, alpha=0.0027, rng=rng)
    assert set(made["worse"]) == {"p", "ewma", "cusum"}
    for chart in made["worse"].values():
        first = np.flatnonzero(chart.alarm & ~chart.baseline)
        assert len(first) and 20 <= first[0] <= 24, "the change of week 20 is seen within a month"
    assert not made["worse"]["cusum"].alarm[:20].any()
    for chart in made["steady"].values():
        assert chart.alarm.mean() <= 0.1


def test_a_watch_is_charted_by_view_and_a_stratum_without_a_baseline_says_why(tmp_path: Path) -> None:
    outcomes = phantom_outcomes(0, (20, {"critical": 0.5}), tmp_path / "m")
    rng = np.random.default_rng(0)
    found = drafts.charts_by(outcomes, drafts.WATCHES[1], "view", baseline_weeks=12, arl0=100, rng=rng)
    assert set(found.charts) == {"PA", "portable"} and not found.left_out
    by = drafts.charts_by(outcomes, drafts.WATCHES[1], "model_version", baseline_weeks=12, arl0=100, rng=rng)
    assert set(by.charts) == {"1.0"} and set(by.left_out) == {"2.0"}
    blank = outcomes.assign(view=outcomes["view"].replace("PA", ""))
    assert set(drafts.weeks(blank, drafts.WATCHES[1], "view").strata) == {"portable", "unknown"}
    nothing = outcomes[outcomes["criticality"] == "critical"]
    with pytest.raises(NotEnoughData, match="omissions, minor: nothing to chart"):
        drafts.weeks(nothing, drafts.WATCHES[1], "view")


# -- validate ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pairs over 30 weeks as CSV files, and the findings as the rules read the reports."""
    folder = phantom_reports.make(300, seed=3, weeks=30).write(tmp_path_factory.mktemp("phantom"))
    assert main(["reports", "extract", str(folder / "reports.csv"), "--out", str(folder / "read.jsonl")]) == 0
    return folder


def test_the_rules_are_validated_on_texts_and_a_findings_table_gives_the_same(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = [str(written / "truth.csv"), "--n-boot", "50"]
    assert main(["reports", "validate", *truth, "--reports", str(written / "reports.csv"), "--json"]) == 0
    read = capsys.readouterr()
    assert main(["reports", "validate", *truth, "--findings", str(written / "read.jsonl"), "--json"]) == 0
    table = capsys.readouterr()

    def counted(out: str) -> dict[str, tuple[float, int]]:
        rows = json.loads(out)
        return {r["name"]: (r["value"], r["n"]) for r in rows if not r["target"] and not r["subgroup"]
                and r["model"] != "all-negative baseline"}  # fmt: skip

    first, second = counted(read.out), counted(table.out)
    for name in ("micro_sensitivity", "micro_ppv", "micro_f1"):
        assert first[name] == second[name] and first[name][0] > 0.97
    assert pd.read_csv(written / "truth.csv")["report_id"].nunique() == 300
    assert "without annotation" not in read.err
    assert main(["reports", "validate", *truth, "--reports", str(written / "reports.csv")]) == 0
    shown = capsys.readouterr().out
    assert "Calling everything absent would agree in 99." in shown and "micro_f1" in shown
    assert "critical" in shown and "macro_f1" in shown
    lines = {tuple(line.split()[:2]): line.split() for line in shown.splitlines()}
    assert lines["value", "(95%"][-1] == "absent", "the last column is the all-negative baseline"
    for name, value in (("micro_sensitivity", "0.000"), ("micro_f1", "0.000"), ("micro_ppv", "–")):
        assert lines[name, "all"][-1] == value
    assert lines["micro_specificity", "all"][-1] == "1.000"
    assert float(lines["micro_accuracy", "all"][-1]) > 0.99
    assert 0 < float(lines["any_critical_miss", "critical"][-1]) < 1


def test_annotated_reports_that_are_not_there_are_counted(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = pd.read_csv(written / "truth.csv", dtype=str)
    some = truth[truth["report_id"].isin(truth["report_id"].unique()[:5])].copy()
    some.loc[some["report_id"] == some["report_id"].iloc[0], "report_id"] = MARK
    some.to_csv(tmp_path / "a.csv", index=False)
    words = ["--reports", str(written / "reports.csv"), "--n-boot", "20"]
    assert main(["reports", "validate", str(tmp_path / "a.csv"), *words]) == 0
    captured = capsys.readouterr()
    assert "1 report with annotations that nobody read: left out" in captured.err
    assert "296 reports without annotation, taken as without findings" in captured.err
    assert MARK not in captured.out + captured.err


@pytest.mark.parametrize("other", [["--reports", "reports.csv"], ["--findings", "read.jsonl"]])
def test_annotations_of_other_reports_are_refused(
    other: list[str], written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text(f"report_id,finding,status\n{MARK},pneumothorax,present\n")
    words = [other[0], str(written / other[1])]
    assert main(["reports", "validate", str(tmp_path / "a.csv"), *words]) == 2
    captured = capsys.readouterr()
    assert "annotates none of these reports" in captured.err and MARK not in captured.err
    assert not captured.out


def test_validation_needs_texts_or_findings_and_not_both(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["--reports", str(written / "reports.csv"), "--findings", str(written / "read.jsonl")]
    for words in ([], both):
        assert main(["reports", "validate", str(written / "truth.csv"), *words]) == 2
        assert "give either --reports" in capsys.readouterr().err
    bad = ["--findings", str(written / "read.jsonl"), "--n-boot", "0"]
    assert main(["reports", "validate", str(written / "truth.csv"), *bad]) == 2
    assert "--n-boot must be at least 1" in capsys.readouterr().err


# -- compare and chart -------------------------------------------------------------------------------------


def comparing(reports: Path, written: Path, monitor: Path, *more: str) -> list[str]:
    return [
        "reports",
        "compare",
        str(reports),
        str(written),
        "--monitor",
        str(monitor),
        "--n-boot",
        "20",
        *more,
    ]


@pytest.fixture(scope="module")
def monitored(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("monitor") / "m.sqlite"
    assert main(comparing(written / "reports.csv", written / "drafts.csv", place)) == 0
    return place


def test_the_same_comparison_again_changes_nothing(
    written: Path, monitored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "differences.csv"
    words = comparing(written / "reports.csv", written / "drafts.csv", monitored, "--out", str(out))
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert "monitor: 0 new, 300 unchanged, 0 replaced" in captured.err
    told = json.loads(captured.out)
    empty = {(r["name"], r["subgroup"]): r for r in told if r["model"] == "all-negative baseline"}
    assert len(empty) == len([r for r in told if r["model"] == "all-negative baseline"])
    assert empty["omission_rate", None]["value"] == empty["omission_rate", "critical"]["value"] == 1
    assert empty["invention_rate", None]["value"] is None
    assert empty["mean_jaccard", "abnormal reports"]["value"] == 0
    assert not [r for r in empty.values() if r["target"]]
    rows = [r for r in told if not r["target"] and not r["subgroup"]]
    rate = next(r for r in rows if r["name"] == "omission_rate")
    found = pd.read_csv(out)
    assert (found["difference"] == "omitted").sum() == round(rate["value"] * rate["n"])
    planted = pd.read_csv(written / "changes.csv").query("change == 'omitted'")
    lost = found[found["difference"] == "omitted"]
    key = ["report_id", "finding"]
    assert len(planted.merge(lost, on=key)) > 0.95 * len(planted)
    shipped, by_report = findings.load("chest-radiograph"), planted.groupby("report_id")["finding"].agg(set)
    kin = [
        any(one in (other, *shipped.ancestors(other)) for other in by_report.get(report, ()))
        for report, one in lost[key].itertuples(index=False)
    ]
    assert np.mean(kin) > 0.95, "what is lost was planted, or is the wider name of it"


def test_the_empty_draft_stands_beside_every_printed_row(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(written / f"{name}.csv") for name in ("reports", "drafts")]
    assert main(["reports", "compare", *files, "--n-boot", "20"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()[1:]
    assert first.split()[-2:] == ["empty", "draft"]
    omitted = [line.split() for line in lines if "omission_rate" in line]
    assert len(omitted) > 10 and all((n == "0") == (value == "–") for *_, n, value in omitted)
    assert {value for *_, value in omitted} <= {"1.000", "–"}
    assert {line.split()[-1] for line in lines if "invention_rate" in line} == {"–"}
    assert len([line for line in lines if "normal reports" in line]) >= 4


@pytest.mark.parametrize("other", ["4711", "4711.0"])
def test_ids_that_became_decimals_are_those_of_the_other_file(
    other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "Small left pleural effusion."
    (tmp_path / "reports.csv").write_text(f"ReportID,report\n4711.0,{text}\n12.0,Clear.\n,lost\n")
    (tmp_path / "drafts.csv").write_text(f"ReportID,report\n{other},{text}\n")
    (tmp_path / "truth.csv").write_text(f"report_id,finding,status\n{other},pleural_effusion,present\n")
    pd.DataFrame({"report_id": [4711.0], "finding": ["pleural_effusion"], "status": ["present"]}).to_parquet(
        tmp_path / "truth.parquet"
    )
    reports = str(tmp_path / "reports.csv")
    assert main(["reports", "compare", reports, str(tmp_path / "drafts.csv"), "--n-boot", "5"]) == 0
    assert "Left out: 1 report without a draft." in capsys.readouterr().err
    for truth in ("truth.csv", "truth.parquet"):
        words = [str(tmp_path / truth), "--reports", reports, "--n-boot", "5", "--json"]
        assert main(["reports", "validate", *words]) == 0
        rows = json.loads(capsys.readouterr().out)
        found = next(r for r in rows if r["name"] == "micro_sensitivity" and not r["target"])
        assert (found["value"], found["n"]) == (1, 1)
    found = extractors.texts(Reading(), tmp_path / "reports.csv")
    assert found.meta.index.tolist() == ["4711", "12"] == [one.report_id for one in found.reports]
    assert list(found.failed) == ["row 4"]


def test_a_changed_draft_is_refused_unless_it_may_replace(
    written: Path, monitored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(written / "drafts.csv", dtype=str)
    table.loc[0, "text"] = f"FINDINGS: Tension pneumothorax. Pneumoperitoneum. {MARK}."
    table.to_csv(tmp_path / "drafts.csv", index=False)
    copy = tmp_path / "m.sqlite"
    with open_store(monitored) as store:
        before = store.outcomes("drafts")
    assert main(comparing(written / "reports.csv", tmp_path / "drafts.csv", monitored)) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert MARK not in captured.out + captured.err and table.loc[0, "report_id"] not in captured.err
    with open_store(monitored) as store:
        pd.testing.assert_frame_equal(store.outcomes("drafts"), before)
    assert main(comparing(written / "reports.csv", written / "drafts.csv", copy)) == 0
    assert "monitor: 300 new" in capsys.readouterr().err
    assert main(comparing(written / "reports.csv", tmp_path / "drafts.csv", copy, "--replace")) == 0
    assert "monitor: 0 new, 299 unchanged, 1 replaced" in capsys.readouterr().err


def test_drafts_without_reports_are_told_and_dates_are_asked_for(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("reports", "drafts"):
        table = pd.read_csv(written / f"{name}.csv", dtype=str).head(20)
        table.drop(columns="date").to_csv(tmp_path / f"{name}.csv", index=False)
        table.loc[3:5, "date"] = ""
        table.to_csv(tmp_path / f"dated-{name}.csv", index=False)
    table.head(18).to_csv(tmp_path / "dated-reports.csv", index=False)
    place = tmp_path / "m.sqlite"
    assert main(comparing(tmp_path / "reports.csv", tmp_path / "drafts.csv", place)) == 2
    assert "--monitor needs the dates" in capsys.readouterr().err and not place.exists()
    assert main(comparing(tmp_path / "dated-reports.csv", tmp_path / "dated-drafts.csv", place)) == 0
    told = capsys.readouterr().err
    assert "Left out: 2 drafts without a radiologist's report." in told
    assert "not in the monitor: 3 pairs without a date" in told and "monitor: 15 new" in told
    table.assign(report_id=[f"{MARK}{i}" for i in range(20)]).to_csv(tmp_path / "drafts.csv", index=False)
    assert main(comparing(tmp_path / "reports.csv", tmp_path / "drafts.csv", place)) == 2
    captured = capsys.readouterr()
    assert "has the id of a report of reports.csv" in captured.err and MARK not in captured.err


def test_charts_are_printed_drawn_and_written(
    monitored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reports", "chart", str(monitored), "--out", str(tmp_path / "drawn"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) <= {watch.name for watch in drafts.WATCHES} and len(told) >= 2
    minor = told["omissions, minor"]
    assert set(minor) == {"p", "ewma", "cusum"} and minor["p"]["periods"] >= 30
    assert {path.suffix for path in (tmp_path / "drawn").iterdir()} == {".png", ".svg", ".csv"}
    assert (tmp_path / "drawn" / "omissions_minor.csv").is_file()
    assert main(["reports", "chart", str(monitored), "--by", "view"]) == 0
    captured = capsys.readouterr()
    assert "omissions, minor\n  PA " in captured.out and "one false alarm in 3" in captured.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stream", "others"], "no stream 'others' there. It has: drafts"),
        (["--baseline-weeks", "1"], "--baseline-weeks must be at least 2"),
        (["--baseline-weeks", "300"], "a baseline of 300 weeks leaves none of"),
        (["--arl0", "0"], "--arl0 must be at least 2"),
        (["--alpha", "2"], "--alpha must lie between 0 and 1"),
    ],
)
def test_charts_that_cannot_be_drawn_say_why(
    words: list[str], said: str, monitored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reports", "chart", str(monitored), *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and not captured.out


def test_charts_need_a_store_and_weeks(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reports", "chart", str(tmp_path / "nowhere.sqlite")]) == 2
    assert "there is no store" in capsys.readouterr().err and not list(tmp_path.iterdir())
    for name in ("reports", "drafts"):
        table = pd.read_csv(written / f"{name}.csv", dtype=str)
        table.head(6).assign(date="2025-01-06").to_csv(tmp_path / f"{name}.csv", index=False)
    few = tmp_path / "few.sqlite"
    assert main(comparing(tmp_path / "reports.csv", tmp_path / "drafts.csv", few)) == 0
    capsys.readouterr()
    code = main(["reports", "chart", str(few)])
    captured = capsys.readouterr()
    assert code == 2 and not captured.out
    assert "nothing could be charted" in captured.err and "weeks" in captured.err
