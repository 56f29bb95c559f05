"""Several extractors vote, and where they differ a reader decides: the review queue.

A member votes for a finding that it calls present or uncertain. Absent and not mentioned are no vote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from typing import TYPE_CHECKING, Literal, get_args

from radfoundry.errors import InputError, RadfoundryError, UnknownName
from radfoundry.registry import nearest
from radfoundry.text.findings import CRITICALITIES, Dictionary
from radfoundry.text.mentions import Extraction, Extractor, Mention, Report, in_text_order

if TYPE_CHECKING:
    import pandas as pd

Policy = Literal["any", "majority", "all"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
VOTES = ("present", "uncertain")
NOT_MENTIONED = "not mentioned"


@dataclass(frozen=True, slots=True)
class Ballot:
    """What each member, by name and in their order, found in one report."""

    report_id: str
    by: Mapping[str, Extraction]

    @property
    def failed(self) -> dict[str, str]:
        """Members that could not read the report, and why."""
        return {name: one.error for name, one in self.by.items() if one.error}

    def says(self, finding: str) -> dict[str, Mention | None]:
        """What each member says of a finding."""
        return {
            name: next((m for m in one.findings if m.finding == finding), None)
            for name, one in self.by.items()
        }

    @property
    def findings(self) -> list[str]:
        """Findings that any member mentions, in the order of the members and the text."""
        return list(dict.fromkeys(m.finding for one in self.by.values() for m in one.findings))


class Ensemble:
    """Two or more extractors as one; an `Extractor`.

    policy: how many must vote for a finding: any, majority (more than half), all. What the votes were is the
    status: present when more call it present than uncertain, else uncertain. evidence comes from the first
    member, in the order of `prefer`, that gave the status. A finding without enough votes that a member calls
    absent is absent.
    """

    def __init__(
        self, members: Sequence[Extractor], *, policy: Policy = "majority", prefer: Sequence[str] = (),
        name: str = "ensemble",
    ) -> None:  # fmt: skip
        """prefer: names of members; the others follow in their order.

        Raises InputError for members that cannot vote together, UnknownName for an unknown policy or member.
        """
        names = [one.name for one in members]
        if len(members) < 2 or len(set(names)) < len(names):
            raise InputError(
                "an ensemble needs two or more extractors with different names, "
                f"not: {', '.join(names) or 'none'}"
            )
        if len({one.dictionary.digest for one in members}) > 1:
            raise InputError("the extractors use different dictionaries. Give all of them the same")
        if policy not in POLICIES:
            raise UnknownName(f"no policy {policy!r}.{nearest(policy, POLICIES)} Use: {', '.join(POLICIES)}")
        for one in prefer:
            if one not in names:
                raise UnknownName(
                    f"prefer: no extractor {one!r}.{nearest(one, names)} Known: {', '.join(names)}"
                )
        self.members = tuple(members)
        self.policy = policy
        self.prefer = (*prefer, *(one for one in names if one not in prefer))
        self.name = name
        self.dictionary: Dictionary = members[0].dictionary

    @property
    def version(self) -> str:
        """Of the policy and of every member, in the order of preference."""
        by = {one.name: one.version for one in self.members}
        return f"{self.policy} of " + "; ".join(f"{name} {by[name]}" for name in self.prefer)

    @property
    def flagged(self) -> dict[str, tuple[str, ...]]:
        """Reports with instruction-like text, as far as the members look for it."""
        found: dict[str, tuple[str, ...]] = {}
        for one in self.members:
            found.update(getattr(one, "flagged", {}))
        return found

    def extract(self, reports: Iterable[Report]) -> Iterator[Extraction]:
        """As in `Extractor`. A report that a member could not read has an error: it goes to review."""
        return map(self.decide, self.ballots(reports))

    def ballots(self, reports: Iterable[Report]) -> Iterator[Ballot]:
        """One ballot a report, in their order; RadfoundryError when a member loses its place."""
        first, *copies = tee(reports, len(self.members) + 1)
        streams = [one.extract(copy) for one, copy in zip(self.members, copies, strict=True)]
        for report, *found in zip(first, *streams, strict=True):
            for member, one in zip(self.members, found, strict=True):
                if one.report_id != report.report_id:
                    raise RadfoundryError(
                        f"{member.name} gave its reports in another order. An extractor must keep their order"
                    )
            yield Ballot(report.report_id, {m.name: one for m, one in zip(self.members, found, strict=True)})

    def decide(self, ballot: Ballot) -> Extraction:
        """What the votes make of a report."""
        dropped: Counter[str] = Counter()
        for one in ballot.by.values():
            dropped.update(one.dropped)
        if ballot.failed:
            why = "; ".join(f"{name} could not read it ({error})" for name, error in ballot.failed.items())
            return Extraction(ballot.report_id, dropped=dict(dropped), error=f"no vote: {why}")
        found = [self._decided(ballot.says(finding)) for finding in ballot.findings]
        kept = in_text_order(m for m in found if m is not None)
        return Extraction(ballot.report_id, kept, dict(dropped))

    def _decided(self, says: Mapping[str, Mention | None]) -> Mention | None:
        ranked = [says[name] for name in self.prefer]
        votes = Counter(one.status for one in ranked if one is not None)
        count = votes["present"] + votes["uncertain"]
        needed = {"any": 1, "majority": len(ranked) // 2 + 1, "all": len(ranked)}[self.policy]
        if count < needed:
            return next((one for one in ranked if one is not None and one.status == "absent"), None)
        status = "present" if votes["present"] > votes["uncertain"] else "uncertain"
        chosen = next(one for one in ranked if one is not None and one.status == status)
        return _filled(chosen, [one for one in ranked if one is not None and one.status in VOTES])


def _filled(chosen: Mention, others: Sequence[Mention]) -> Mention:
    """Side and size from the next member that gives one, where the chosen mention has none."""
    side = chosen.laterality or next((one.laterality for one in others if one.laterality), "")
    size = chosen.severity or next((one.severity for one in others if one.severity), "")
    return replace(chosen, laterality=side, severity=size)


def review(
    ballots: Iterable[Ballot], dictionary: Dictionary, *, flagged: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """The review queue: what a reader should decide, the worst first, then in the order of reports.

    Columns: report_id, finding, criticality, reason, and for each member `<name>` (its status) and
    `<name>:evidence`. A report that a member could not read, or with instruction-like text (`flagged`, report
    ids to kinds), has one row without a finding; it stands before all others, as anything may be in it.
    """
    import pandas as pd

    rows: list[dict[str, str]] = []
    members: dict[str, None] = {}
    for ballot in ballots:
        members.update(dict.fromkeys(ballot.by))
        head = {"report_id": ballot.report_id, "finding": "", "criticality": ""}
        kinds = (flagged or {}).get(ballot.report_id)
        if kinds:
            rows.append({**head, "reason": f"instruction-like text: {', '.join(kinds)}"})
        if ballot.failed:
            states = {name: "failed" if one.error else "read" for name, one in ballot.by.items()}
            why = "; ".join(f"{name}: {error}" for name, error in ballot.failed.items())
            rows.append({**head, "reason": why, **states})
            continue
        rows += _disputes(ballot, dictionary)
    columns = [c for name in members for c in (name, f"{name}:evidence")]
    table = pd.DataFrame(rows, columns=["report_id", "finding", "criticality", "reason", *columns]).fillna("")
    order = {one: rank for rank, one in enumerate(("", *CRITICALITIES))}
    return table.sort_values("criticality", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def _disputes(ballot: Ballot, dictionary: Dictionary) -> Iterator[dict[str, str]]:
    for finding in ballot.findings:
        says = ballot.says(finding)
        words = {name: _word(one) for name, one in says.items()}
        if _same(list(words.values())):
            continue
        evidence = {f"{name}:evidence": one.evidence if one else "" for name, one in says.items()}
        row = {"report_id": ballot.report_id, "finding": finding, "reason": "the extractors differ",
               "criticality": dictionary[finding].criticality}  # fmt: skip
        yield {**row, **words, **evidence}


def _word(mention: Mention | None) -> str:
    return mention.status if mention else NOT_MENTIONED


def _same(words: Sequence[str]) -> bool:
    """Absent and not mentioned are the same: not present."""
    return len({word if word in VOTES else "" for word in words}) == 1
