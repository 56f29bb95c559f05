"""Phantom reports: the texts say their truth, drafts err as often as planted, and nothing depends on n."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binom

from radfoundry.datasets import phantom_reports_es, phantom_sentences, phantom_writer
from radfoundry.datasets.phantom_reports import PhantomReports, make
from radfoundry.datasets.phantom_writer import entries
from radfoundry.datasets.simulated_drafts import SimulatedDrafts, simulate_drafts
from radfoundry.errors import InputError
from radfoundry.text import findings, mentions
from radfoundry.text.findings import CRITICALITIES, Dictionary, Finding
from radfoundry.text.mentions import Extraction, Mention, Report
from radfoundry.text.reading import read_reports

SHIFT = (13, {"critical": 0.4, "significant": 0.3})


@pytest.fixture(scope="module")
def made() -> PhantomReports:
    return make(900, shift=SHIFT, invention={"critical": 0.05})


@pytest.fixture(scope="module")
def shipped() -> Dictionary:
    return findings.load("chest-radiograph")


def _positive(truth: pd.DataFrame) -> set[tuple[str, str]]:
    rows = truth[truth["status"] == "present"]
    return set(zip(rows["report_id"], rows["finding"], strict=True))


def _likely(count: int, n: int, rate: float) -> bool:
    """Inside the central 99.9 % of the binomial."""
    low, high = binom.ppf([0.0005, 0.9995], n, rate)
    return bool(low <= count <= high)


# -- the reports ------------------------------------------------------------------------------------


def test_every_finding_is_in_the_dictionary_and_every_criticality_occurs(shipped: Dictionary) -> None:
    assert 30 <= len(entries()) <= 45
    assert set(entries()) <= set(shipped.findings)
    assert {shipped[key].criticality for key in entries()} == set(CRITICALITIES)
    named = (
        {key for group in phantom_sentences.KIN for key in group}
        | set(phantom_sentences.DENIED)
        | set(phantom_writer.PORTABLE)
    )
    assert named <= set(entries())


def test_a_report_does_not_depend_on_n_and_does_on_the_seed() -> None:
    small, large = make(5), make(12)
    assert small.reports == large.reports[:5] and small.drafts == large.drafts[:5]
    assert small.meta.equals(large.meta.iloc[:5])
    assert make(5, seed=1).reports != small.reports


def test_truth_is_a_findings_table(made: PhantomReports, shipped: Dictionary) -> None:
    for truth in (made.truth, made.drafts_truth):
        mentions.check(truth, shipped)
        assert set(truth["laterality"]) == {"", "left", "right", "bilateral"}
        assert set(truth["severity"]) == {"", "mild", "moderate", "severe"}
    assert set(made.truth["report_id"]) <= {one.report_id for one in made.reports}


def test_prevalences_are_those_of_the_table(made: PhantomReports) -> None:
    positive = _positive(made.truth)
    abnormal = {report for report, _ in positive}
    assert _likely(len(abnormal), len(made.reports), 1 - phantom_writer.NORMAL)
    assert 0.35 < 1 - len(abnormal) / len(made.reports) < 0.45
    plain = [key for key in entries() if key not in phantom_writer.PORTABLE]
    for key in plain:
        n = sum(finding == key for _, finding in positive)
        assert _likely(n, len(abnormal), entries()[key].rate * 1.06), key  # without those with none at all
    portable = set(made.meta.index[made.meta["view"] == "portable"])
    lines = {report for report, finding in positive if finding == "central_venous_catheter"}
    assert len(lines & portable) > 2 * len(lines - portable) > 0


def test_what_is_present_is_written_and_what_is_not_is_not(made: PhantomReports) -> None:
    """A word that stands for one finding only occurs outside the head exactly where the truth has it."""
    words = {
        "azygos_lobe": "azygos", "emphysema": "emphysem", "scoliosis": "scoliosis", "pacemaker": "pacemaker",
        "osteopenia": "osteopeni", "hiatal_hernia": "hernia", "sternotomy_wires": "sternotomy",
        "diaphragm_eventration": "eventration", "lung_scarring": "scarring",
    }  # fmt: skip
    for texts, truth in ((made.reports, made.truth), (made.drafts, made.drafts_truth)):
        spoken = truth.groupby("report_id")["finding"].agg(set).to_dict()
        for one in texts:
            body = one.text.lower().split("findings:")[1]
            for key, word in words.items():
                assert (word in body) == (key in spoken.get(one.report_id, ())), (one.text, key)


def test_denied_findings_are_denied_in_the_text(made: PhantomReports) -> None:
    rows = made.truth[(made.truth["finding"] == "pneumothorax")]
    texts = {one.report_id: one.text.split("indings:")[-1].split("INDINGS:")[-1] for one in made.reports}
    denial = re.compile(
        r"(no|negative for|resolution of|seen)\b[^.]*pneumothorax|pleural spaces are clear"
        r"|pneumothorax (is no longer|has resolved)",
        re.I,
    )
    for row in rows.itertuples():
        if row.status == "absent":
            assert denial.search(texts[row.report_id]), texts[row.report_id]
    assert {"present", "absent", "uncertain"} == set(made.truth["status"])


def test_sides_and_sizes_are_written(made: PhantomReports) -> None:
    rows = made.truth[(made.truth["finding"] == "pleural_effusion") & (made.truth["status"] == "present")]
    texts = {one.report_id: one.text for one in made.reports}
    for row in rows.itertuples():
        assert re.search(rf"{row.laterality}[a-z ]* effusion", texts[row.report_id], re.I)
        if row.severity:
            words = "|".join(phantom_sentences.WORDS["size", row.severity])
            assert re.search(rf"({words}) {row.laterality}", texts[row.report_id], re.I)


def test_sections_that_do_not_count_name_findings(made: PhantomReports) -> None:
    truth = made.truth.groupby("report_id")["finding"].agg(set).to_dict()
    told = {key: names.split() for key, names in made.meta["named_elsewhere"].items()}
    assert sum(bool(names) for names in told.values()) > 300
    not_there = [name for key, names in told.items() for name in names if name not in truth.get(key, ())]
    assert len(not_there) > 200  # an extractor that reads the head pays for it
    for one in made.reports:
        head = re.split("findings:", one.text, flags=re.I)[0]
        for name in told[one.report_id]:
            assert entries()[name].nouns[0].removeprefix("a ").removeprefix("+") in head


def test_sites_write_differently_and_texts_vary(made: PhantomReports) -> None:
    site = made.meta["site"]
    heads = {one.text.split(":")[0] for one in made.reports if site[one.report_id] == "A"}
    assert heads == {"INDICATION"}
    assert {one.text.split(":")[0] for one in made.reports if site[one.report_id] == "B"} == {
        "Reason for exam"
    }
    assert len({one.text.split("indings:")[-1] for one in made.reports}) > 850
    assert not any("  " in one.text or "{" in one.text for one in (*made.reports, *made.drafts))


# -- the drafts -------------------------------------------------------------------------------------


def test_changes_are_the_difference_of_the_truths(made: PhantomReports) -> None:
    before, after = _positive(made.truth), _positive(made.drafts_truth)
    by = {
        what: set(zip(rows["report_id"], rows["finding"], strict=True))
        for what, rows in made.changes.groupby("change")
    }
    assert by["omitted"] == before - after
    assert by["invented"] == after - before


def test_planted_rates_are_recovered_before_and_after_the_shift(made: PhantomReports) -> None:
    counts = made.counts()
    assert list(counts["model_version"].unique()) == ["1.0", "2.0"]
    for row in counts.itertuples():
        assert _likely(row.omitted, row.present, row.omission_planted), row
        assert _likely(row.invented, row.reports, row.invention_planted), row
    planted = counts.set_index(["model_version", "criticality"])["omission_planted"]
    assert planted["1.0", "critical"] == 0.04 and planted["2.0", "critical"] == 0.4
    assert planted["1.0", "minor"] == planted["2.0", "minor"] == 0.25
    week = made.meta["week"]
    assert set(made.meta["model_version"][week < 13]) == {"1.0"}
    assert set(made.meta["model_version"][week >= 13]) == {"2.0"}
    assert counts["present"].sum() == len(_positive(made.truth))


def test_a_shift_changes_no_report_and_only_adds_omissions() -> None:
    plain, shifted = make(200, weeks=4), make(200, weeks=4, shift=(2, {"minor": 0.9}))
    assert plain.reports == shifted.reports
    early = plain.meta["week"] < 2
    lost = [set(one.changes[one.changes["change"] == "omitted"].itertuples(index=False, name=None))
            for one in (plain, shifted)]  # fmt: skip
    assert lost[0] < lost[1]
    assert {row[:2] for row in lost[0] if early[row[0]]} == {row[:2] for row in lost[1] if early[row[0]]}
    assert {row[2] for row in lost[1] - lost[0]} == {"minor"}


@pytest.mark.parametrize(("rate", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_rates_of_none_and_all(rate: float, share: float) -> None:
    every = dict.fromkeys(CRITICALITIES, rate)
    made = make(60, omission=every, invention=every)
    counts = made.counts()
    assert (counts["omitted"] == share * counts["present"]).all()
    assert (counts["invented"] == share * counts["reports"]).all()
    if not rate:
        assert _positive(made.truth) == _positive(made.drafts_truth)


def test_a_draft_neither_denies_nor_repeats_kin_of_what_it_invents(made: PhantomReports) -> None:
    kin = phantom_writer.kin(findings.load("chest-radiograph"))
    before = made.truth[made.truth["status"] != "absent"].groupby("report_id")["finding"].agg(set).to_dict()
    denied = made.drafts_truth[made.drafts_truth["status"] == "absent"]
    denied = denied.groupby("report_id")["finding"].agg(set).to_dict()
    for row in made.changes[made.changes["change"] == "invented"].itertuples():
        assert not kin[row.finding] & before.get(row.report_id, set())
        assert not kin[row.finding] & denied.get(row.report_id, set())


def test_drafts_are_worded_differently(made: PhantomReports) -> None:
    same = {one.text for one in made.reports} & {one.text for one in made.drafts}
    assert not same
    assert sum("is identified" in one.text or "demonstrates" in one.text for one in made.drafts) > 300
    assert not any("unchanged" in one.text.lower() for one in made.drafts)  # a draft has seen no earlier film


def test_written_folder_reads_back(made: PhantomReports, tmp_path: Path) -> None:
    folder = made.write(tmp_path / "phantom")
    assert {p.name for p in folder.iterdir()} == {
        "reports.csv", "drafts.csv", "truth.csv", "drafts_truth.csv", "changes.csv", "phantom.json",
    }  # fmt: skip
    reports, drafts = (read_reports(folder / f"{name}.csv") for name in ("reports", "drafts"))
    assert tuple(reports.reports) == made.reports and tuple(drafts.reports) == made.drafts
    assert list(drafts.meta["model_version"]) == list(made.meta["model_version"])
    assert (reports.meta["date"] == made.meta["date"]).all()
    truth = pd.read_csv(folder / "truth.csv", keep_default_na=False)
    assert truth.equals(made.truth)
    told = json.loads((folder / "phantom.json").read_text())
    assert told["settings"]["omission_shifted"]["critical"] == 0.4 and told["settings"]["shift_week"] == 13
    assert sum(row["omitted"] for row in told["counts"]) == (made.changes["change"] == "omitted").sum()


@pytest.mark.parametrize(("options", "words"), [
    ({"n": 0}, "n must be"), ({"weeks": 0}, "weeks must be"), ({"seed": -1}, "seed must be"),
    ({"omission": {"critical": 1.5}}, "omission: the rate of critical"),
    ({"invention": {"grave": 0.1}}, "invention: 'grave' is none of"),
    ({"shift": (26, {"critical": 0.1})}, "week from 1 to 25"), ({"sites": ()}, "a name each"),
])  # fmt: skip
def test_impossible_settings_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(**options)


# -- drafts of real reports -------------------------------------------------------------------------

WORDS = {"effusion": "pleural_effusion", "pneumothorax": "pneumothorax", "cardiomegaly": "cardiomegaly",
         "nodule": "nodule", "edema": "pulmonary_edema"}  # fmt: skip
TEXT = (
    "INDICATION: Rule out nodule.\n"
    "FINDINGS: Cardiomegaly with a small left effusion. No pneumothorax. There is a nodule.\n"
    "IMPRESSION:\n1. Left effusion.\n2. Nodule."
)


class Keywords:
    """Finds words; what follows "no" is absent; the indication does not count. every: all mentions."""

    name = "keywords"
    version = "1"

    def __init__(self, dictionary: Dictionary, *, every: bool) -> None:
        self.dictionary = dictionary
        self.every = every

    def extract(self, reports: Iterable[Report]) -> Iterator[Extraction]:
        for report in reports:
            start = max(report.text.find("FINDINGS"), 0)
            found = []
            for match in re.finditer("|".join(WORDS), report.text[start:], re.I):
                a, b = start + match.start(), start + match.end()
                status = "absent" if re.search(r"\bno [^.]*$", report.text[:a], re.I) else "present"
                found.append(Mention(WORDS[match[0].lower()], status, report.text[a:b], a, b))
            yield Extraction(report.report_id, tuple(found) if self.every else mentions.strongest(found))


NONE = dict.fromkeys(CRITICALITIES, 0.0)


def _edit(shipped: Dictionary, *, every: bool, again: bool, **rates: dict) -> SimulatedDrafts:
    tool = Keywords(shipped, every=every)
    reports = [Report("1", TEXT)]
    return simulate_drafts(reports, tool.extract(reports), shipped, extractor=tool if again else None,
                           **({"omission": NONE, "invention": NONE} | rates))  # fmt: skip


@pytest.mark.parametrize(("every", "again"), [(True, False), (False, True), (True, True)])
def test_all_sentences_of_an_omitted_finding_go(shipped: Dictionary, every: bool, again: bool) -> None:
    """Nodule and effusion are significant; cardiomegaly shares the sentence of the effusion."""
    done = _edit(shipped, every=every, again=again, omission={"significant": 1.0})
    words = " ".join(done.drafts[0].text.split())
    assert words == "INDICATION: Rule out nodule. FINDINGS: No pneumothorax. IMPRESSION:"
    rows = done.changes.sort_values("finding")[["finding", "criticality", "change", "drawn"]]
    assert rows.to_numpy().tolist() == [
        ["cardiomegaly", "significant", "omitted", True],
        ["nodule", "significant", "omitted", True],
        ["pleural_effusion", "significant", "omitted", True],
    ]


def test_a_finding_that_falls_with_another_is_told_but_not_drawn(shipped: Dictionary) -> None:
    """Only the minor scoliosis is drawn; the significant nodule of its sentence falls, unless said again."""
    text = "Scoliosis and a nodule. Cardiomegaly."
    spans = {"scoliosis": (0, 9), "nodule": (16, 22), "cardiomegaly": (24, 36)}
    found = [Mention(key, "present", text[a:b], a, b) for key, (a, b) in spans.items()]
    options = {"omission": NONE | {"minor": 1.0}, "invention": NONE}
    done = simulate_drafts([Report("1", text)], [Extraction("1", tuple(found))], shipped, **options)
    assert done.drafts[0].text.strip() == "Cardiomegaly."
    assert set(done.changes[["finding", "drawn"]].itertuples(index=False, name=None)) == {
        ("scoliosis", True), ("nodule", False),
    }  # fmt: skip
    more = text + " Nodule."
    found.append(Mention("nodule", "present", "Nodule", 38, 44))
    done = simulate_drafts([Report("1", more)], [Extraction("1", tuple(found))], shipped, **options)
    assert list(done.changes["finding"]) == ["scoliosis"]


def test_one_mention_a_finding_without_an_extractor_leaves_the_others(shipped: Dictionary) -> None:
    done = _edit(shipped, every=False, again=False, omission={"significant": 1.0})
    assert "1. Left effusion." in done.drafts[0].text


def test_invented_findings_are_put_into_the_findings_and_not_denied(shipped: Dictionary) -> None:
    reports = [Report(str(i), TEXT) for i in range(200)]
    tool = Keywords(shipped, every=True)
    done = simulate_drafts(
        reports, tool.extract(reports), shipped, omission=NONE, invention=NONE | {"critical": 1}
    )
    assert len(done.changes) == 200 and set(done.changes["change"]) == {"invented"}
    assert {shipped[key].criticality for key in done.changes["finding"]} == {"critical"}
    chosen = done.changes.set_index("report_id")["finding"]
    for draft in done.drafts:
        added = draft.text.split("There is a nodule.")[1].split("IMPRESSION")[0].strip()
        assert added.endswith(".") and len(added) > 10
        assert ("No pneumothorax." in draft.text) == (chosen[draft.report_id] != "pneumothorax")
    assert {"pneumothorax", "free_air"} <= set(chosen)


def test_a_denial_that_holds_a_finding_as_well_stays(shipped: Dictionary) -> None:
    text = "There is a nodule but no pneumothorax."
    reports = [Report(str(i), text) for i in range(100)]
    tool = Keywords(shipped, every=True)
    rates = {"omission": NONE, "invention": NONE | {"critical": 1.0}}
    done = simulate_drafts(reports, tool.extract(reports), shipped, **rates)
    assert "pneumothorax" in set(done.changes["finding"])
    assert all(draft.text.startswith(text) for draft in done.drafts)


def test_rates_of_edits_are_recovered(shipped: Dictionary) -> None:
    reports = [Report(str(i), TEXT) for i in range(400)]
    tool = Keywords(shipped, every=True)
    done = simulate_drafts(reports, tool.extract(reports), shipped, omission=NONE | {"significant": 0.2},
                           invention=NONE | {"minor": 0.1}, seed=3)  # fmt: skip
    drawn = done.changes[done.changes["drawn"]]
    assert _likely(int((drawn["change"] == "omitted").sum()), 1200, 0.2)
    assert _likely(int((drawn["change"] == "invented").sum()), 400, 0.1)
    gone = set(zip(done.changes["report_id"], done.changes["finding"], strict=True))
    for draft, extraction in zip(done.drafts, tool.extract(done.drafts), strict=True):
        for key in ("pleural_effusion", "nodule", "cardiomegaly"):
            assert (key in extraction.ids()) == ((draft.report_id, key) not in gone)


def test_a_report_without_findings_or_text_takes_an_invention(shipped: Dictionary) -> None:
    done = simulate_drafts(
        [Report("1", "")], [Extraction("1")], shipped, invention=dict.fromkeys(CRITICALITIES, 1.0)
    )
    assert len(done.changes) == 4 and done.drafts[0].text.count(".") == 4


def test_reports_that_were_not_read_and_foreign_dictionaries_are_refused(shipped: Dictionary) -> None:
    with pytest.raises(InputError, match="2 of 3 reports have no extraction"):
        simulate_drafts([Report("1", ""), Report("2", ""), Report("3", "")],
                        [Extraction("1"), Extraction("2", error="down")], shipped)  # fmt: skip
    spanish = Dictionary("d", "1", "es", {"x": Finding("x", "x", "lung", "minor")})
    with pytest.raises(InputError, match="not English"):
        simulate_drafts([], [], spanish)


# -- Spanish ----------------------------------------------------------------------------------------


def test_spanish_reports_cover_the_observations() -> None:
    reports, truth = phantom_reports_es.spanish()
    assert len(reports) == 20 and {one.report_id for one in reports} == set(truth["report_id"])
    assert set(truth["finding"]) == set(phantom_reports_es.OBSERVATIONS)
    assert set(truth["finding"]) <= set(findings.load("chest-radiograph-es").findings)
    assert set(truth["status"]) == {"present", "absent", "uncertain"}
    mentions.check(truth)
