"""The study of draft reports end to end: phantoms with planted errors, and files with a language model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.datasets import phantom_reports
from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.compare import holm
from radfoundry.evaluate.finding_cells import Cells
from radfoundry.monitor.store import open_store
from radfoundry.report import draft_figures
from radfoundry.studies import draft_report_monitoring as study
from radfoundry.studies import draft_sections, drafts
from radfoundry.studies.run import Run
from radfoundry.text import findings
from radfoundry.text.findings import CRITICALITIES
from radfoundry.text.mentions import Mention, Report
from radfoundry.text.rules import Rules
from radfoundry.types import Estimate
from tests.text.fake_endpoint import Fake, running, simple_model, status

pytestmark = pytest.mark.usefixtures("short_simulations")

MARK = "Zebrafish9431"
"""Stands in reports; no log and no error may repeat it."""
SCRIPT = "&lt;script&gt;alert(1)&lt;/script&gt;"


@pytest.fixture
def no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of one line, where the test is about something else."""

    def save(figure: Any, stem: Path) -> None:
        stem.with_suffix(".svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
        stem.with_suffix(".png").write_bytes(b"")

    monkeypatch.setattr("radfoundry.report.figures.save", save)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drafts")
    return study.run(phantom(root, "run"))


def phantom(root: Path, name: str, **more: Any) -> study.Config:
    return study.Config(
        pairs=120, n_boot=200, arl0=100, out=root / name, monitor=str(root / "monitor.sqlite"), **more
    )


def sections(run: Path) -> dict[str, dict[str, Any]]:
    return {one["key"]: one for one in json.loads((run / "sections.json").read_text())["sections"]}


def notes(run: Path) -> str:
    return "\n".join(json.loads((run / "sections.json").read_text())["notes"])


# -- phantoms ----------------------------------------------------------------------------------------------


def test_the_run_folder_is_whole(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"manifest.json", "metrics.json", "report.html", "figures", "tables", "log.txt"} <= names
    tables = {path.name for path in (finished / "tables").iterdir()}
    assert tables == {"findings.csv", "findings.jsonl", "rates_by_finding.csv"}
    assert (finished / "figures" / "heat_map.svg").is_file()
    assert (finished / "figures" / "chart_omissions_minor.csv").is_file()
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["data"][0]["n"] == 120 and len(manifest["data"][0]["digest"]) == 64
    found = set(sections(finished))
    assert {"validation", "question", "verdict", "drafts", "strata", "heat_map", "planted", "alarms", "texts",
            "methods", "chart_by_view", "chart_by_site"} <= found  # fmt: skip


def test_records_are_those_of_reports_and_drafts(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "tables" / "findings.jsonl").read_text().splitlines()]
    assert {line["text"] for line in lines} == {"report", "draft"}
    made = phantom_reports.make(120, seed=0, weeks=study.WEEKS, shift=study.WORSE)
    texts = {("report", one.report_id): one.text for one in made.reports}
    texts |= {("draft", one.report_id): one.text for one in made.drafts}
    for line in lines:
        assert texts[line["text"], line["report_id"]][line["start"] : line["end"]] == line["evidence"]
    assert len(pd.read_csv(finished / "tables" / "findings.csv")) == len(lines)


def test_planted_errors_are_within_the_intervals_and_counts_are_those_of_the_generator(
    finished: Path,
) -> None:
    table = sections(finished)["planted"]
    levels = ["critical", "significant", "minor", "normal variant"]
    assert [row[:2] for row in table["rows"]] == [
        [what, level] for what in ("omissions", "inventions") for level in levels
    ]
    assert [row[-1] for row in table["rows"]] == ["yes"] * 8
    assert table["caption"].startswith("8 of 8 intervals")
    made = phantom_reports.make(120, seed=0, weeks=study.WEEKS, shift=study.WORSE)
    counts = made.counts().groupby("criticality")[["present", "omitted", "invented"]].sum()
    for what, level, n, rate, *_ in table["rows"]:
        own = counts.loc[level]
        # doubted findings are counted too, and are never omitted
        assert n >= own["present"] - (0 if what == "omissions" else own["omitted"] - own["invented"])
        planted = own["omitted" if what == "omissions" else "invented"]
        assert planted > 0 and float(rate) * n == pytest.approx(planted, abs=3)


def test_a_rate_outside_its_interval_is_told(tmp_path: Path) -> None:
    true = np.array([[True, False], [True, False]])
    cells = Cells(true, np.zeros_like(true), ("a", "b"), dict.fromkeys("ab", "minor"), np.array(["1", "2"]))
    row = Estimate("omission_rate", 0.5, 0.4, 0.6, n=2, subgroup="minor", method="report bootstrap")
    with Run(tmp_path / "run", command="", config={}, seed=0, title="t") as run:
        draft_sections.planted(run, cells, [row], None, week=20)
    table = sections(tmp_path / "run")["planted"]
    assert table["rows"] == [["omissions", "minor", 2, "1.000", "0.500 (0.400 to 0.600)", "–", "no"]]
    assert table["caption"].startswith("0 of 1 intervals")


def test_the_baseline_stands_in_every_table_and_in_the_verdict(finished: Path) -> None:
    found = sections(finished)
    empty = found["drafts"]["rows"][-1]
    assert empty[:3] == ["an empty draft", found["drafts"]["rows"][0][1], "1.000"]
    assert empty[4:] == [0, "–", "–"]
    groups = {row[0]: row for row in found["strata"]["rows"]}
    assert groups["an empty draft"][2] == "1.000" and groups["abnormal reports"][-1] == "0.000"
    assert float(groups["normal reports"][-1]) > 0.8, "an empty draft of a normal report is right"
    texts = {row[0]: row[1:] for row in found["validation_by_text"]["rows"]}
    assert found["validation_by_text"]["columns"] == ["", "rules", "all-negative"]
    assert texts["the same, of those with a critical finding"][1] == "1.000"
    by_report = {row[0]: row[1:] for row in found["by_report"]["rows"]}
    assert by_report["mean number of inventions"][1] == by_report["share with an invention"][1] == "0.000"
    assert by_report["mean Jaccard index"][1] == by_report["share without any difference"][1]
    n, mean = found["drafts"]["rows"][0][1], float(by_report["mean number of omissions"][1])
    assert mean == pytest.approx(n / 120, abs=0.001)
    baselines = {item["label"]: item["baseline"] for item in found["verdict"]["items"]}
    assert baselines["Omission rate, critical findings"]["value"] == 1
    assert 0 < baselines["Drafts with a critical miss"]["value"] < 1
    assert baselines["Invention rate, all"] is None, "nothing of nothing"
    assert "an empty draft" in (finished / "report.html").read_text()


def test_metrics_hold_what_the_page_says_and_every_accuracy_has_its_baseline(finished: Path) -> None:
    rows = json.loads((finished / "metrics.json").read_text())
    names = {row["name"] for row in rows}
    assert {"omission_rate", "invention_rate", "any_critical_miss", "mean_jaccard", "omission_rate_corrected",
            "micro_f1", "macro_f1"} <= names  # fmt: skip
    for row in rows:
        if row["value"] is not None and row["low"] is not None:
            assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9
    clustered = [row for row in rows if row["n_clusters"] is not None]
    assert clustered and {row["cluster"] for row in clustered} == {"report"}
    page = (finished / "report.html").read_text()
    assert "(120 reports)" in page and "(120 patients)" not in page
    body = sections(finished)["validation"]["rows"]
    baseline = [row for row in body if row[0] == "all-negative"]
    assert [row[1:3] for row in baseline] == [row[1:3] for row in body if row[0] == "rules"]
    assert all(row[3:7] == ["0.000", "–", "0.000", "1.000"] and float(row[-1]) > 0.99 for row in baseline)
    own = next(r for r in rows if r["name"] == "micro_f1" and not r["subgroup"] and r["model"] == "rules"
               and "bootstrap" in r["method"])  # fmt: skip
    assert body[0][:2] == ["rules", "all"] and body[0][5].startswith(f"{own['value']:.3f}")


def test_the_page_marks_evidence_and_the_log_names_nobody(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert '<mark class="lost">' in page and '<mark class="same">' in page
    items = sections(finished)["texts"]["items"]
    assert 0 < len(items) <= draft_sections.SHOWN_PAIRS
    ranks = [("critical", "significant", "minor", "normal variant").index(item["tag"]) for item in items]
    assert ranks == sorted(ranks)
    assert all(any(p["mark"] == "lost" for p in item["sides"][0]["pieces"]) for item in items)
    assert not any(p["mark"] == "lost" for item in items for p in item["sides"][1]["pieces"])
    log = (finished / "log.txt").read_text()
    assert "monitor: " in log and "P00" not in log


def test_every_note_of_a_chart_stands_on_the_page_beside_what_is_watched(finished: Path) -> None:
    found = sections(finished)["chart_notes"]
    assert {row[0] for row in found["rows"]} >= {watch.name for watch in drafts.WATCHES}
    for watch in drafts.WATCHES:
        own = {row[2]: row[1] for row in found["rows"] if row[0] == watch.name}
        estimated = [charts for note, charts in own.items() if note.startswith("the rate was estimated")]
        assert {"p-chart", "EWMA", "CUSUM"} == {one for charts in estimated for one in charts.split(", ")}
        assert own["short baseline: 12 weeks with cases; 20 or more are advised"] == "p-chart, EWMA, CUSUM"
    assert "the rate was estimated" in (finished / "report.html").read_text()


def test_every_stratum_has_a_column_of_the_heat_map_and_names_do_not_touch(finished: Path) -> None:
    drawn = (finished / "figures" / "heat_map.svg").read_text()
    for name in ("view PA", "portable", "site A", "site B", "version 1.0", "version 2.0"):
        assert f"<!-- {name} -->" in drawn
    assert "Without a column" not in sections(finished)["heat_map"]["caption"]
    rates = pd.read_csv(finished / "tables" / "rates_by_finding.csv")
    versions = ["model version 1.0", "model version 2.0"]
    figure, _ = draft_figures.heat_map(rates, CRITICALITIES, versions)
    axes = figure.axes[0]

    def overlap() -> bool:
        figure.canvas.draw()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        return any(a.x1 >= b.x0 for a, b in pairwise(boxes))

    assert overlap()  # as they come
    draft_sections._narrow(axes)
    assert not overlap()
    told = [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]
    assert told == ["omitted, all", *(f"omitted, {one}" for one in versions), "invented"]


def test_a_version_that_began_after_the_baseline_is_said_to_have_no_chart(finished: Path) -> None:
    found = sections(finished)
    caption = found["chart_by_model_version"]["caption"]
    assert caption.startswith("CUSUM only")
    assert "Not charted, for the reasons in the notes: model version 2.0." in caption
    assert "model version 2.0 has no chart" in notes(finished)
    assert "model version 2.0" in [row[0] for row in found["strata"]["rows"]]
    assert "Not charted" not in found["chart_by_view"]["caption"]


@pytest.mark.usefixtures("no_drawings")
def test_the_monitor_holds_the_pairs_and_a_second_run_adds_nothing(finished: Path, tmp_path: Path) -> None:
    place = str(finished.parent / "monitor.sqlite")
    with open_store(place) as store:
        before, streams = store.outcomes("phantom-120-0"), store.streams()
    assert before["event_id"].nunique() == 120 and streams["stream"].tolist() == ["phantom-120-0"]
    omitted = before[(before["expected"] == 1) & (before["observed"] == 0)]
    rows = json.loads((finished / "metrics.json").read_text())
    rate = next(r for r in rows if r["name"] == "omission_rate" and not r["subgroup"] and not r["target"])
    assert len(omitted) == round(rate["value"] * rate["n"])
    config = phantom(finished.parent, "again", texts=False)
    again = study.run(config)
    assert "new=0, unchanged=120, replaced=0" in (again / "log.txt").read_text()
    assert "texts" not in sections(again)
    with open_store(place) as store:
        pd.testing.assert_frame_equal(store.outcomes("phantom-120-0"), before)
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (finished, again))
    assert first == second, "the same seed gives the same numbers"


# -- files and a language model --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """reports.csv and drafts.csv of 60 pairs, a script in each text; annotated texts in annotated/."""
    root = tmp_path_factory.mktemp("files")
    made = phantom_reports.make(60, seed=5, weeks=20, omission={"critical": 0.4}).write(root)
    for name in ("reports", "drafts"):
        table = pd.read_csv(made / f"{name}.csv", dtype=str)
        table["text"] = f"{SCRIPT} {MARK}\n" + table["text"]
        table.to_csv(made / f"{name}.csv", index=False)
    phantom_reports.make(12, seed=6, weeks=20).write(root / "annotated")
    return root


def given(files: Path, out: Path, **more: Any) -> study.Config:
    return study.Config(
        reports=files / "reports.csv", drafts=files / "drafts.csv", out=out / "run", n_boot=50, arl0=50,
        baseline_weeks=8, monitor=str(out / "m.sqlite"), **more,
    )  # fmt: skip


def annotated(files: Path) -> dict[str, Path]:
    return {
        "annotated": files / "annotated" / "reports.csv",
        "annotations": files / "annotated" / "truth.csv",
    }


@pytest.fixture
def fake() -> Iterator[Fake]:
    pytest.importorskip("httpx", reason="the extra `llm` is not installed")
    with running() as server:
        yield server


@pytest.mark.usefixtures("no_drawings")
def test_the_better_of_rules_and_a_model_is_chosen_on_half_and_judged_on_the_other(
    files: Path, tmp_path: Path, fake: Fake
) -> None:
    config = given(
        files, tmp_path, **annotated(files), candidates=("zero-shot", "rules"), base_url=fake.url, llm="m",
        cache=tmp_path / "answers",
    )  # fmt: skip
    run = study.run(config)
    found = sections(run)
    # the fake model takes every name in a text for a finding that is there, denied ones too
    assert "chosen on 6 annotated texts: rules" in (run / "log.txt").read_text()
    assert "The extractor was chosen on the other 6 of 12 texts" in found["validation"]["caption"]
    assert {row[0] for row in found["validation"]["rows"]} >= {"rules", "llm-zero-shot"}
    assert [row[:2] for row in found["extractors"]["rows"]] == [
        ["rules against llm-zero-shot", "all"], ["rules against llm-zero-shot", "critical"],
        ["rules against llm-zero-shot", "significant"], ["rules against all-negative baseline", "all"],
        ["llm-zero-shot against all-negative baseline", "all"],
    ]  # fmt: skip
    assert "Extractor: rules (" in found["methods"]["text"] and "planted" not in found
    (spent,) = found["ledger"]["rows"]
    assert spent[0] == "llm-zero-shot" and spent[found["ledger"]["columns"].index("requests")] == len(
        fake.bodies
    )
    assert fake.bodies and not any(MARK in json.dumps(body) for body in fake.bodies), (
        "drafts are read by rules"
    )
    with open_store(config.monitor) as store:
        assert store.streams()[["stream", "events"]].to_numpy().tolist() == [["reports", 60]]
    page = (run / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<script>alert(1)" not in page
    assert MARK in page and MARK not in (run / "log.txt").read_text()


@pytest.mark.usefixtures("no_drawings")
def test_both_prompts_are_compared_where_the_rules_win_and_holm_is_over_all_pairs(
    files: Path, tmp_path: Path, fake: Fake
) -> None:
    def model(body: dict[str, Any]) -> list[dict[str, str]]:
        one_shot = len(body["messages"]) > 2
        return simple_model(body)[: 1 if one_shot else None]

    fake.model = model
    config = given(
        files, tmp_path, **annotated(files), candidates=("zero-shot", "one-shot", "rules"), base_url=fake.url,
        llm="m", cache=tmp_path / "answers",
    )  # fmt: skip
    run = study.run(config)
    assert "annotated texts: rules" in (run / "log.txt").read_text()
    zero, one = "llm-zero-shot", "llm-one-shot"
    pairs = [f"rules against {zero}", f"rules against {one}", f"{zero} against {one}"]
    rows = sections(run)["extractors"]["rows"]
    assert [row[0] for row in rows if row[1] == "all"][:3] == pairs
    tests = pd.read_csv(run / "tables" / "extractor_comparisons.csv")
    own = tests[(tests["name"] == "micro_sensitivity") & tests["subgroup"].isna()]
    family = own[own["model_b"] != "all-negative baseline"]
    assert len(family) == 3 and len(own) == 6
    np.testing.assert_allclose(family["p_holm"], holm(family["p"].tolist()))
    assert family["p_holm"].max() > family["p"].min()
    prompts = family[family["model_a"] == "llm-zero-shot"].iloc[0]
    assert prompts["difference"] > 0, "the one-shot model here names one finding of a request at most"
    trivial = own[own["model_b"] == "all-negative baseline"]
    np.testing.assert_allclose(trivial["difference"], trivial["value_a"])
    exact = tests[(tests["name"] == "exact_match") & (tests["model_b"] != "all-negative baseline")]
    np.testing.assert_allclose(exact["p_holm"], holm(exact["p"].tolist()))


@pytest.mark.usefixtures("no_drawings")
def test_without_annotations_and_dates_the_page_says_what_is_lacking(files: Path, tmp_path: Path) -> None:
    for name in ("reports", "drafts"):
        table = pd.read_csv(files / f"{name}.csv", dtype=str)
        table.drop(columns="date").to_csv(tmp_path / f"{name}.csv", index=False)
    extra = table.tail(1).assign(report_id=MARK)
    pd.concat([pd.read_csv(tmp_path / "drafts.csv", dtype=str), extra]).to_csv(
        tmp_path / "drafts.csv", index=False
    )
    pd.read_csv(tmp_path / "reports.csv", dtype=str).assign(date="").to_csv(
        tmp_path / "reports.csv", index=False
    )
    run = study.run(given(tmp_path, tmp_path, texts=False))
    said = notes(run)
    assert "the extractor was not validated here" in said and "could be followed over time" in said
    assert "Left out: 1 draft without a radiologist's report." in said
    assert not (tmp_path / "m.sqlite").exists() and "alarms" not in sections(run)
    assert not [e for e in json.loads((run / "metrics.json").read_text()) if "corrected" in e["name"]]
    assert "corrected" not in sections(run)["drafts"]["columns"]
    assert MARK not in (run / "report.html").read_text() + json.dumps(sections(run))


@pytest.mark.usefixtures("no_drawings")
def test_some_pairs_without_a_date_and_a_text_that_cannot_be_read_are_counted(
    files: Path, tmp_path: Path
) -> None:
    for name in ("reports", "drafts"):
        table = pd.read_csv(files / f"{name}.csv", dtype=str)
        table.loc[:3, "date"] = ""
        if name == "drafts":
            table.loc[5, "text"] = "x" * 2_000_001
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    config = given(tmp_path, tmp_path, texts=False)
    run = study.run(config)
    said = notes(run)
    assert "drafts.csv: 1 text could not be read; the first has 2,000,001 characters" in said
    assert "Left out: 1 report without a draft." in said
    assert "Not followed over time: 4 pairs without a date." in said
    with open_store(config.monitor) as store:
        assert store.streams()["events"].tolist() == [55]


@pytest.mark.usefixtures("no_drawings")
def test_texts_that_a_model_cannot_read_are_left_out_not_counted_as_normal(
    files: Path, tmp_path: Path, fake: Fake
) -> None:
    table = pd.read_csv(annotated(files)["annotated"], dtype=str)
    table.loc[3, "text"] += " Study 77."
    table.to_csv(tmp_path / "annotated.csv", index=False)
    small = {**annotated(files), "annotated": tmp_path / "annotated.csv", "base_url": fake.url, "llm": "m",
             "candidates": ("rules", "zero-shot"), "cache": tmp_path / "answers"}  # fmt: skip
    honest = fake.model
    fake.model = lambda body: "prose" if "Study 77" in json.dumps(body) else honest(body)  # type: ignore[return-value]
    run = study.run(given(files, tmp_path, texts=False, **small))
    found = sections(run)
    assert "llm-zero-shot could not read 1 of 12 annotated texts" in notes(run)
    assert "of 11 texts" in found["validation"]["caption"]


def test_an_endpoint_that_refuses_all_ends_the_study_without_a_word_of_the_reports(
    files: Path, tmp_path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.script = [status(400, {"error": {"message": MARK}})] * 5000  # the endpoint repeats what it was sent
    for name in ("reports", "drafts"):
        pd.read_csv(files / f"{name}.csv", dtype=str).head(2).to_csv(tmp_path / f"{name}.csv", index=False)
    paths = {
        "reports": "reports.csv",
        "drafts": "drafts.csv",
        "out": "run",
        "monitor": "m.db",
        "cache": "kept",
    }
    given = [word for name, path in paths.items() for word in (f"--{name}", str(tmp_path / path))]
    model = ["--extractor", "llm", "--base-url", fake.url, "--llm", "m", "--retries", "0"]
    words = ["study", "run", "draft_report_monitoring", *given, *model]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert "no pair of texts could be read; the first: " in captured.err
    assert MARK not in captured.out + captured.err and "P00" not in captured.err
    assert not (tmp_path / "run").exists() and not (tmp_path / "m.db").exists()


def test_a_second_candidate_needs_annotations(files: Path, tmp_path: Path) -> None:
    options = {"candidates": ("rules", "zero-shot"), "base_url": "http://127.0.0.1:9/v1", "llm": "m"}
    with pytest.raises(InputError, match="chosen on annotated texts"):
        study.run(given(files, tmp_path, **options))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--drafts", "d.csv"], "belong to --reports"),
        (["--reports", "r.csv"], "--reports needs --drafts"),
        (["--reports", "r.csv", "--drafts", "d.csv", "--annotated", "a.csv"], "belong together"),
        (["--reports", "r.csv", "--drafts", "d.csv"], "no such file or folder"),
        (["--candidates", "rule"], "no extractor 'rule'"),
        (["--dictionary", "knee"], "generated reports speak of the dictionary chest-radiograph"),
        (["--pairs", "3"], "--pairs must be at least 20"),
        (["--n-boot", "0"], "--n-boot must be at least 1"),
        (["--arl0", "inf"], "--arl0 must be at least 2 and finite"),
        (["--baseline-weeks", "0"], "--baseline-weeks must be at least 2"),
        (["--alpha", "1"], "--alpha must lie between 0 and 1"),
        (["--monitor", "mysql://me:s3cret@host/db"], "SQLite or PostgreSQL"),
    ],
    ids=lambda v: v[-2] + v[-1] if isinstance(v, list) else "",
)
def test_bad_input_leaves_nothing(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["study", "run", "draft_report_monitoring", "--out", "run", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and "s3cret" not in error
    assert not list(tmp_path.iterdir())


def test_annotations_of_a_report_that_was_not_annotated_are_refused(files: Path, tmp_path: Path) -> None:
    table = pd.read_csv(files / "annotated" / "truth.csv", dtype=str)
    table.loc[0, "report_id"] = MARK
    table.to_csv(tmp_path / "truth.csv", index=False)
    own = {**annotated(files), "annotations": tmp_path / "truth.csv"}
    with pytest.raises(InputError, match=r"1 row of .* with a report that .* lacks") as caught:
        study.run(given(files, tmp_path, **own))
    assert MARK not in str(caught.value)


@pytest.mark.usefixtures("no_drawings")
def test_the_password_of_a_monitor_is_nowhere_in_the_run(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://me:s3cret's@host/db"  # a shell quotes the apostrophe, and the command is shown quoted
    monkeypatch.setattr(
        sys, "argv", ["radfoundry", "study", "run", "draft_report_monitoring", f"--monitor={url}"]
    )
    monkeypatch.setattr(
        "radfoundry.monitor.store.open_store", lambda where: open_store(tmp_path / "m.sqlite")
    )
    config = study.Config(
        reports=files / "reports.csv", drafts=files / "drafts.csv", out=tmp_path / "run", n_boot=20, arl0=50,
        baseline_weeks=8, monitor=url, texts=False,
    )  # fmt: skip
    run = study.run(config)
    manifest = (run / "manifest.json").read_text()
    assert "me:***@host/db" in manifest
    for path in run.rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes()


# -- pieces of the page ------------------------------------------------------------------------------------


def test_a_text_is_cut_where_marks_begin_and_end_and_loses_no_letter() -> None:
    text = "Large effusion. Small nodule. Clear."
    found = [
        Mention("nodule", "present", "nodule", 22, 28),
        Mention("effusion", "present", "effusion", 6, 14),
        Mention("wide", "uncertain", "Small nodule", 16, 28),
        Mention("gone", "absent", "Clear", 30, 35),
    ]
    pieces = draft_sections._pieces(text, found, {"nodule"}, "lost")
    assert "".join(piece["text"] for piece in pieces) == text
    assert [(p["text"], p["mark"]) for p in pieces if p["mark"]] == [("effusion", "same"), ("nodule", "lost")]
    twice = [Mention("nodule", "present", "nodule", 22, 28), Mention("nodule", "present", "Clear", 30, 35)]
    pieces = draft_sections._pieces(text, twice, {"nodule"}, "lost")
    assert [p["text"] for p in pieces if p["mark"] == "lost"] == ["nodule", "Clear"]
    long = draft_sections._pieces("a" * 9000, [], set(), "lost")
    assert [len(piece["text"]) for piece in long] == [draft_sections.SHOWN_CHARACTERS, len(" [...]")]


def test_every_mention_of_a_finding_is_marked_and_one_that_is_denied_is_not() -> None:
    rules = Rules(findings.load("chest-radiograph"))
    text = "FINDINGS: Small left pneumothorax. No effusion.\nIMPRESSION: Pneumothorax, as above."
    report = Report("1", text)
    (found,) = rules.extract([report])
    assert len([m for m in found.findings if m.finding == "pneumothorax"]) == 1
    told = draft_sections._mentions(rules, report, found)
    pieces = draft_sections._pieces(text, told, {"pneumothorax"}, "lost")
    assert [p["text"].lower() for p in pieces if p["mark"]] == ["pneumothorax"] * 2
    model = SimpleNamespace(name="llm")  # it gives one mention a finding
    assert draft_sections._mentions(model, report, found) == found.findings  # type: ignore[arg-type]


def test_a_study_of_texts_without_findings_ends_in_words(tmp_path: Path) -> None:
    for name in ("reports", "drafts"):
        table = pd.DataFrame({"report_id": ["1", "2"], "report": ["", "Thank you."], "date": "2025-01-06"})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    run = study.run(given(tmp_path, tmp_path))
    found = sections(run)
    assert found["verdict"]["text"] == "No finding stands in reports or drafts."
    assert "heat_map" not in found and "texts" not in found and "could not be charted" in notes(run)


def test_a_study_of_texts_in_another_language_says_so_on_its_page(tmp_path: Path) -> None:
    text = "Sin derrame. La silueta es normal y no se observan n\u00f3dulos en el pulm\u00f3n."
    for name in ("reports", "drafts"):
        table = pd.DataFrame({"report_id": ["1", "2"], "report": text, "date": "2025-01-06"})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    told = notes(study.run(given(tmp_path, tmp_path)))
    assert "reports: most of these reports seem to be in 'es'" in told and "drafts: most of" in told


def test_texts_that_nobody_can_read_are_not_enough(files: Path, tmp_path: Path, fake: Fake) -> None:
    fake.script = [status(400)] * 5000
    own = {**annotated(files), "extractor": "llm", "base_url": fake.url, "llm": "m", "retries": 0}
    with pytest.raises(NotEnoughData, match="no annotated text could be read"):
        study.run(given(files, tmp_path, cache=tmp_path / "answers", **own))
