"""Rules on real reports of Open-i: against the manual codes of a half that no rule was written on.

No text and no label of that half is printed: a failure shows numbers only.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.text import findings
from radfoundry.text.mentions import Extraction, Report
from radfoundry.text.reading import read_reports
from radfoundry.text.rules import Rules
from tests._data import data_dir

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def openi() -> Iterator[ModuleType]:
    """benchmarks/openi.py, on the data where the other tests find it."""
    folder = data_dir("openi_reports")
    spec = importlib.util.spec_from_file_location("openi_of_tests", ROOT / "benchmarks" / "openi.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADFOUNDRY_DATA", str(folder.parent))
        yield module


def read(openi: ModuleType, half: str) -> tuple[list[Mapping[str, str]], list[Report], list[Extraction]]:
    rows = [row for row in openi.rows(half) if openi.coded(row) is not None]
    reports = [Report(row["uid"], openi.text(row)) for row in rows]
    return rows, reports, list(Rules(findings.load("chest-radiograph")).extract(reports))


def verbatim(reports: list[Report], found: list[Extraction]) -> int:
    """How many pieces of evidence are not the words of their report."""
    return sum(
        report.text[m.start : m.end] != m.evidence or not m.evidence
        for report, one in zip(reports, found, strict=True)
        for m in one.findings
    )


def test_the_halves_share_no_report_and_are_all_of_them(openi: ModuleType) -> None:
    tuning, held_out = ({row["uid"] for row in openi.rows(half)} for half in ("tuning", "held-out"))
    assert not tuning & held_out and len(tuning) + len(held_out) == 3955
    assert 0.45 < len(held_out) / 3955 < 0.55


def test_rules_agree_with_manual_codes_on_reports_that_were_not_looked_at(openi: ModuleType) -> None:
    dictionary = findings.load("chest-radiograph")
    groups = {
        name: {one.id for one in dictionary if {one.id, *dictionary.ancestors(one.id)} & set(ids)}
        for name, (_, ids) in openi.OBSERVATIONS.items()
    }
    rows, reports, found = read(openi, "held-out")
    wrong = sum(bool(one.error) for one in found) + verbatim(reports, found)
    assert wrong == 0
    tp, fp, fn = (np.zeros(len(groups)) for _ in range(3))
    for row, one in zip(rows, found, strict=True):
        truth, present = openi.coded(row), one.ids("present")
        for i, (name, ids) in enumerate(groups.items()):
            said, coded = bool(present & ids), name in truth
            tp[i] += said and coded
            fp[i] += said and not coded
            fn[i] += coded and not said
    assert len(groups) >= 13 and (tp + fn >= 5).all()
    micro = 2 * tp.sum() / (2 * tp.sum() + fp.sum() + fn.sum())
    macro = float(np.mean(2 * tp / (2 * tp + fp + fn)))
    assert micro > 0.90 and macro > 0.88, f"micro F1 {micro:.3f}, macro F1 {macro:.3f}"


def test_the_tuning_half_goes_through_the_command(
    openi: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, reports, found = read(openi, "tuning")
    table = pd.DataFrame([(one.report_id, one.text) for one in reports], columns=["uid", "report"])
    table.to_csv(tmp_path / "reports.csv", index=False)
    out = tmp_path / "findings.parquet"
    assert main(["reports", "extract", str(tmp_path / "reports.csv"), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    written = pd.read_parquet(out)
    assert told["reports"] == len(reports) and told["failed"] == told["unreadable"] == 0
    assert told["findings"] == len(written) > 5 * len(reports)
    assert len(written) == sum(len(one.findings) for one in found)
    # a few of these reports hold entities such as &lt;, which reading takes out
    texts = {one.report_id: one.text for one in read_reports(tmp_path / "reports.csv").reports}
    changed = sum(texts[one.report_id] != one.text.strip() for one in reports)
    assert changed <= 0.01 * len(reports)
    wrong = sum(
        texts[str(key)][start:end] != words
        for key, start, end, words in written[["report_id", "start", "end", "evidence"]].itertuples(
            index=False
        )
    )
    assert wrong == 0
