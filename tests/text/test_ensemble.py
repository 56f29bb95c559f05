"""Votes of several extractors, and the queue of what they disagree about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radfoundry.errors import InputError, RadfoundryError, UnknownName
from radfoundry.text.ensemble import Ensemble, review
from radfoundry.text.findings import Dictionary, Finding
from radfoundry.text.mentions import Extraction, Mention, Report

TEXT = "Left pneumothorax. Possible nodule. Heart large. Bone island."
WORDS = {"pneumothorax": "Left pneumothorax", "nodule": "Possible nodule", "heart": "Heart large",
         "island": "Bone island"}  # fmt: skip
LEVELS = {"pneumothorax": "critical", "nodule": "significant", "heart": "minor", "island": "normal variant"}


def dictionary(heart: str = "minor") -> Dictionary:
    levels: Any = {**LEVELS, "heart": heart}
    return Dictionary("tiny", "1", "en", {k: Finding(k, k.title(), "chest", levels[k]) for k in WORDS})


def mention(finding: str, status: Any = "present", evidence: str = "", **more: Any) -> Mention:
    evidence = evidence or WORDS[finding]
    start = TEXT.index(evidence)
    return Mention(finding, status, evidence, start, start + len(evidence), **more)


class Fixed:
    """An extractor that says what it was told to, by report."""

    def __init__(self, name: str, says: Mapping[str, Any], words: Dictionary | None = None) -> None:
        self.name, self.says = name, says
        self.dictionary = words or dictionary()
        self.version = "1"
        self.flagged: dict[str, tuple[str, ...]] = {}

    def extract(self, reports: Iterable[Report]) -> Iterator[Extraction]:
        for one in reports:
            said = self.says.get(one.report_id, [])
            if isinstance(said, str):
                yield Extraction(one.report_id, error=said)
            else:
                yield Extraction(
                    one.report_id, tuple(said), {"evidence not in the report": 1} if said else {}
                )


def ensemble(*said: Any, **more: Any) -> Ensemble:
    """Members a, b, c ... that say these of report r1."""
    return Ensemble([Fixed(name, {"r1": one}) for name, one in zip("abcdef", said, strict=False)], **more)


def decide(one: Ensemble) -> dict[str, str]:
    (got,) = one.extract([Report("r1", TEXT)])
    return {m.finding: m.status for m in got.findings}


P, U, A = (mention("nodule", status) for status in ("present", "uncertain", "absent"))


@pytest.mark.parametrize(
    ("said", "any_", "majority", "all_"),
    [
        ([[P], [P], [P]], "present", "present", "present"),
        ([[P], [P], []], "present", "present", ""),
        ([[P], [], []], "present", "", ""),
        ([[P], [A], []], "present", "absent", "absent"),
        ([[A], [A], []], "absent", "absent", "absent"),
        ([[P], [U], [U]], "uncertain", "uncertain", "uncertain"),
        ([[P], [P], [U]], "present", "present", "present"),
        ([[P], [U]], "uncertain", "uncertain", "uncertain"),  # in doubt, doubt
        ([[P], [U], [A]], "uncertain", "uncertain", "absent"),
        ([[P], []], "present", "", ""),
        ([[], []], "", "", ""),
    ],
)
def test_votes_are_counted_by_policy(said: Any, any_: str, majority: str, all_: str) -> None:
    for policy, wanted in (("any", any_), ("majority", majority), ("all", all_)):
        got = decide(ensemble(*said, policy=policy))
        assert got == ({"nodule": wanted} if wanted else {}), policy


def test_evidence_comes_from_the_preferred_member_that_gave_the_status() -> None:
    short = mention("nodule", "present", "nodule", laterality="left")
    said = [[P], [short], [mention("nodule", "uncertain", "Possible")]]
    for prefer, wanted in (((), "Possible nodule"), (("b",), "nodule"), (("c", "b"), "nodule")):
        (got,) = ensemble(*said, prefer=prefer).extract([Report("r1", TEXT)])
        assert got.findings[0].evidence == wanted
        assert got.findings[0].evidence == TEXT[got.findings[0].start : got.findings[0].end]
        assert got.findings[0].laterality == "left"  # from whoever knows it


def test_a_member_that_failed_sends_the_report_to_review_instead_of_a_vote() -> None:
    one = ensemble([P], [P], "the endpoint is down")
    (got,) = one.extract([Report("r1", TEXT)])
    assert got.findings == () and "c could not read it (the endpoint is down)" in got.error
    assert got.dropped == {"evidence not in the report": 2}
    queue = review(one.ballots([Report("r1", TEXT)]), one.dictionary)
    assert queue[["report_id", "finding", "reason", "a", "c"]].to_numpy().tolist() == [
        ["r1", "", "c: the endpoint is down", "read", "failed"]
    ]


def test_the_queue_is_sorted_by_criticality_and_then_by_report() -> None:
    reports = [Report(name, TEXT) for name in ("z", "a", "m")]
    rules = Fixed("rules", {
        "z": [mention("island"), mention("heart"), mention("nodule", "absent")],
        "a": [mention("pneumothorax"), mention("nodule", "uncertain")],
        "m": [mention("nodule")],
    })  # fmt: skip
    llm = Fixed("llm", {"z": [mention("heart")], "a": [mention("nodule")], "m": [mention("pneumothorax")]})
    one = Ensemble([rules, llm])
    queue = review(one.ballots(reports), one.dictionary)
    assert queue[["report_id", "finding", "criticality", "rules", "llm"]].to_numpy().tolist() == [
        ["a", "pneumothorax", "critical", "present", "not mentioned"],
        ["m", "pneumothorax", "critical", "not mentioned", "present"],
        ["a", "nodule", "significant", "uncertain", "present"],
        ["m", "nodule", "significant", "present", "not mentioned"],
        ["z", "island", "normal variant", "present", "not mentioned"],
    ]  # z: heart is agreed; nodule absent and not mentioned are the same
    assert (
        queue["rules:evidence"].tolist()[0] == "Left pneumothorax" and queue["llm:evidence"].tolist()[0] == ""
    )


def test_reports_with_instruction_like_text_come_first() -> None:
    one = ensemble([mention("pneumothorax")], [])
    one.members[0].flagged = {"r1": ("new instructions",)}  # type: ignore[attr-defined]  # as LLM has it
    queue = review(one.ballots([Report("r1", TEXT)]), one.dictionary, flagged=one.flagged)
    assert queue["reason"].tolist() == ["instruction-like text: new instructions", "the extractors differ"]


def test_an_empty_queue_has_its_columns() -> None:
    one = ensemble([P], [P])
    queue = review(one.ballots([Report("r1", TEXT)]), one.dictionary)
    assert len(queue) == 0
    assert queue.columns.tolist() == ["report_id", "finding", "criticality", "reason", "a", "a:evidence", "b",
                                      "b:evidence"]  # fmt: skip


def test_members_that_cannot_vote_together_are_refused() -> None:
    with pytest.raises(InputError, match="two or more"):
        ensemble([P])
    with pytest.raises(InputError, match="different names"):
        Ensemble([Fixed("a", {}), Fixed("a", {})])
    with pytest.raises(InputError, match="different dictionaries"):
        Ensemble([Fixed("a", {}), Fixed("b", {}, dictionary("critical"))])
    with pytest.raises(UnknownName, match="'majority'"):
        ensemble([P], [P], policy="majorty")
    with pytest.raises(UnknownName, match="no extractor 'x'"):
        ensemble([P], [P], prefer=["x"])


def test_the_version_is_that_of_policy_members_and_preference() -> None:
    versions = {
        ensemble([], []).version,
        ensemble([], [], policy="any").version,
        ensemble([], [], prefer="b").version,
        ensemble([], [], []).version,
    }
    assert len(versions) == 4


class Unruly(Fixed):
    def extract(self, reports: Iterable[Report]) -> Iterator[Extraction]:
        return reversed(list(super().extract(reports)))  # type: ignore[return-value]


def test_a_member_that_loses_its_place_is_an_error() -> None:
    one = Ensemble([Fixed("a", {}), Unruly("b", {})])
    with pytest.raises(RadfoundryError, match="b gave its reports in another order"):
        list(one.extract([Report("1", ""), Report("2", "")]))


def test_reports_stream_through() -> None:
    one = Ensemble([Fixed("a", {}), Fixed("b", {})])
    endless = (Report(str(i), "") for i in count())
    assert [e.report_id for e in islice(one.extract(endless), 3)] == ["0", "1", "2"]


STATUS = st.sampled_from(["present", "uncertain", "absent", ""])


@given(st.lists(STATUS, min_size=2, max_size=6))
def test_a_stricter_policy_never_finds_more(words: list[str]) -> None:
    said = [[mention("nodule", word)] if word else [] for word in words]
    got = [decide(ensemble(*said, policy=policy)).get("nodule", "") for policy in ("any", "majority", "all")]
    positive = [status in ("present", "uncertain") for status in got]
    assert positive == sorted(positive, reverse=True)
    votes = sum(word in ("present", "uncertain") for word in words)
    assert positive == [votes >= 1, votes > len(words) / 2, votes == len(words)]
