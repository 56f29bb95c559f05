"""Reports read by the rules against one compiled regular expression a finding, in the same run.

    python benchmarks/bench_reports.py [--reports 600] [--repeats 3]

Plain: what one writes by hand, an alternation of the finding's wordings, compiled once, searched in the
lower-cased text, one finding after the other. It knows no sections, no denial, no doubt and gives no
evidence, so sensitivity and PPV against the known truth of these phantom reports stand beside the times.
Ours: `Rules` with the same dictionary, all of that included. Both are timed by CPU time, alternating; the
fastest repeat counts. A quarter of the dictionary shows what more findings cost. Target: 500 reports/s with
the whole.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from radfoundry.datasets import phantom_reports
from radfoundry.text import findings
from radfoundry.text.findings import Dictionary, Finding
from radfoundry.text.mentions import Report
from radfoundry.text.phrases import GAP
from radfoundry.text.rules import GAP_WORDS, Rules

TARGET = 500.0

Found = list[set[str]]
"""Findings that are there, by report."""


def main() -> int:
    """Print reports/s and ratios; exit 1 when the target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    whole = findings.load(phantom_reports.DICTIONARY)
    made = phantom_reports.make(asked.reports)
    texts = list(made.reports)
    present = made.truth[made.truth["status"] != "absent"].groupby("report_id")["finding"].agg(set)
    truth = [present.get(one.report_id, set()) for one in texts]
    characters = sum(len(one.text) for one in texts) / len(texts)
    print(f"{len(texts)} phantom reports of {characters:.0f} characters on average, CPU time of one core")
    speed = 0.0
    for dictionary in (part(whole, 4), whole):
        ours, plain = ways(dictionary)
        mine, other = fastest([ours, plain], texts, asked.repeats)
        speed = len(texts) / mine
        size = f"{len(dictionary)} findings"
        print(f"{size}: rules {speed:.0f} reports/s, one re each {len(texts) / other:.0f}, "
              f"ratio {other / mine:.1f}")  # fmt: skip
    print(f"rules:        {worth(ours(texts), truth, whole)}")
    print(f"one re each:  {worth(plain(texts), truth, whole)} (counts what is denied, and the indication)")
    verdict = "met" if speed >= TARGET else "missed"
    print(f"target {TARGET:.0f} reports/s with {len(whole)} findings: {verdict}")
    return 0 if speed >= TARGET else 1


def part(whole: Dictionary, step: int) -> Dictionary:
    """Every so many findings of a dictionary, each on its own."""
    kept = {one.id: replace(one, parent="") for one in list(whole)[::step]}
    return replace(whole, findings=kept, normals=())


def ways(dictionary: Dictionary) -> list[Callable[[Sequence[Report]], Found]]:
    """Rules, and one expression a finding; both compiled already."""
    reader = Rules(dictionary)
    patterns = {one.id: re.compile(expression(one)) for one in dictionary}

    def ours(texts: Sequence[Report]) -> Found:
        return [one.ids("present", "uncertain") for one in reader.extract(texts)]

    def plain(texts: Sequence[Report]) -> Found:
        lower = [f"{one.text.lower()} " for one in texts]
        return [{key for key, pattern in patterns.items() if pattern.search(text)} for text in lower]

    return [ours, plain]


def expression(finding: Finding) -> str:
    r"""The phrases of a finding as one alternation, plural by `s`, gaps as in the rules.

    >>> expression(Finding("x", "X", "lung", "minor", synonyms=("small? effusion|pleural_fluid",)))
    '\\b(?:(?:(?:smalls?)\\W+)?(?:effusions?|pleural\\W+fluids?)\\W+)'
    """
    return rf"\b(?:{'|'.join(phrase(one) for one in finding.phrases)})"


def phrase(text: str) -> str:
    """One phrase; each word takes what separates it from the next."""
    made = ""
    for word in text.lower().split():
        if word == GAP:
            made += rf"(?:\w+\W+){{0,{GAP_WORDS}}}?"
            continue
        choices = [r"\W+".join(map(re.escape, one.split("_"))) for one in word.removesuffix("?").split("|")]
        one = rf"(?:{'|'.join(f'{choice}s?' for choice in choices)})\W+"
        made += f"(?:{one})?" if word.endswith("?") else one
    return made


def fastest(
    ways: Sequence[Callable[[Sequence[Report]], Found]], texts: Sequence[Report], repeats: int
) -> list[float]:
    """Seconds of each way, the fastest of the repeats; the ways alternate."""
    best = [float("inf")] * len(ways)
    for _ in range(repeats):
        for i, way in enumerate(ways):
            start = time.process_time()
            way(texts)
            best[i] = min(best[i], time.process_time() - start)
    return best


def worth(found: Found, truth: Found, dictionary: Dictionary) -> str:
    """Sensitivity and PPV over all findings; a finding named more or less exactly counts as the same."""
    hits = wanted = right = said = 0
    for call, own in zip(found, truth, strict=True):
        own = own & set(dictionary.findings)
        wanted += len(own)
        hits += len(own & with_ancestors(dictionary, call))
        said += len(call)
        right += sum(bool(own & {key, *dictionary.ancestors(key)}) or key in with_ancestors(dictionary, own)
                     for key in call)  # fmt: skip
    return f"sensitivity {hits / max(wanted, 1):.3f}, PPV {right / max(said, 1):.3f}"


def with_ancestors(dictionary: Dictionary, keys: Iterable[str]) -> set[str]:
    """Findings and all that they imply upwards."""
    return {one for key in keys for one in (key, *dictionary.ancestors(key))}


if __name__ == "__main__":
    raise SystemExit(main())
