"""Rules against the manual MeSH codes of Open-i, simulated drafts of real reports, a small local model.

    python benchmarks/measure_openi.py rules [--half tuning]      micro and macro F1 with intervals
    python benchmarks/measure_openi.py silver                     what the machine labels are worth
    python benchmarks/measure_openi.py drafts --work DIR          planted errors in real reports, recovered?
    python benchmarks/measure_openi.py smollm2 [--reports 50]     the packaged model as it is

The half "held-out" was not read while rules and dictionary were written. An uncertain finding counts as not
present: on the tuning half MeSH codes mostly leave "may represent" uncoded.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import openi
from radfoundry.evaluate.finding_cells import Cells
from radfoundry.evaluate.findings import validate
from radfoundry.text import findings
from radfoundry.text.findings import Dictionary
from radfoundry.text.mentions import Extraction, Report
from radfoundry.text.rules import Rules
from radfoundry.types import Estimate

SILVER = {
    "Atelectasis": "atelectasis", "Cardiomegaly": "cardiomegaly", "Pleural Effusion": "pleural effusion",
    "Pneumothorax": "pneumothorax", "Fracture": "fracture", "Edema": "oedema or congestion",
}  # fmt: skip


def members(dictionary: Dictionary) -> dict[str, set[str]]:
    """Observation to findings: those named in `openi.OBSERVATIONS` and all below them."""
    return {
        name: {f.id for f in dictionary if {f.id, *dictionary.ancestors(f.id)} & set(ids)}
        for name, (_, ids) in openi.OBSERVATIONS.items()
    }


def cells(
    truth: list[set[str]],
    said: list[set[str]],
    ids: list[str],
    names: Sequence[str] = tuple(openi.OBSERVATIONS),
) -> Cells:
    """Reports x observations."""
    reference, call = (np.array([[n in one for n in names] for one in sets]) for sets in (truth, said))
    return Cells(reference, call, tuple(names), dict.fromkeys(names, "significant"), np.array(ids, object))


def observed(one: Extraction, groups: dict[str, set[str]]) -> set[str]:
    """Observations of a report that are present."""
    return {name for name, ids in groups.items() if one.ids("present") & ids}


def of_all(estimates: list[Estimate], *names: str) -> list[Estimate]:
    """The rows of all observations together by these names; the all-negative baseline is left out."""
    return [e for e in estimates if e.name in names and not (e.target or e.subgroup or e.model)]


def interval(e: Estimate) -> str:
    """0.952 (0.945 to 0.959)"""
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def rules(half: str) -> None:
    """The table of the docs."""
    dictionary = findings.load("chest-radiograph")
    reader, groups = Rules(dictionary), members(dictionary)
    rows = [(row, truth) for row in openi.rows(half) if (truth := openi.coded(row)) is not None]
    reports = [Report(row["uid"], openi.text(row)) for row, _ in rows]
    start = time.process_time()
    found = list(reader.extract(reports))
    spent = time.process_time() - start
    made = cells([t for _, t in rows], [observed(e, groups) for e in found], [r.report_id for r in reports])
    estimates = validate(made, rng=np.random.default_rng(0))
    print(
        f"{half}: {len(rows)} coded reports, {len(made.findings)} observations, "
        f"{len(dictionary)} findings read"
    )
    print(f"{len(rows) / spent:.0f} reports/s of CPU time")
    for e in estimates:
        if e.target and e.name == "f1" and e.model is None:
            k = made.findings.index(e.target)
            t, c = made.reference[:, k], made.call[:, k]
            counts = f"tp={(t & c).sum():4} fp={(c & ~t).sum():3} fn={(t & ~c).sum():3}"
            print(f"{e.target:22} n={t.sum():4}  {counts}  F1 {interval(e)}")
    for e in of_all(estimates, "micro_f1", "macro_f1", "micro_sensitivity", "micro_ppv"):
        print(f"{e.name:22} {interval(e)}  {e.method}")
    print(f"all-negative baseline: sensitivity 0, F1 0, accuracy {1 - made.reference.mean():.3f}; "
          f"accuracy of the rules {(made.reference == made.call).mean():.3f}")  # fmt: skip
    wrong = Counter()
    for k, name in enumerate(made.findings):
        wrong[name, "not coded"] = int((made.call & ~made.reference)[:, k].sum())
        wrong[name, "not found"] = int((made.reference & ~made.call)[:, k].sum())
    print("most frequent disagreements:", wrong.most_common(10))


def silver(half: str) -> None:
    """The machine labels against the manual codes, on the observations that both have."""
    rows = [(r, t) for r in openi.rows(half) if (t := openi.coded(r)) is not None and r["silver_Edema"] != ""]
    said = [{name for label, name in SILVER.items() if float(r[f"silver_{label}"]) > 0} for r, _ in rows]
    made = cells([t for _, t in rows], said, [r["uid"] for r, _ in rows], tuple(SILVER.values()))
    estimates = validate(made, rng=np.random.default_rng(0))
    for e in [e for e in estimates if e.name == "f1"] + of_all(estimates, "micro_f1", "macro_f1"):
        print(f"{e.target or e.name:22} F1 {interval(e)}  n = {len(rows)}")


def drafts(half: str, work: Path) -> None:
    """Errors planted in real reports at known rates; the study must find the realised ones."""
    from radfoundry.datasets.simulated_drafts import simulate_drafts
    from radfoundry.evaluate.draft_comparison import compare_drafts
    from radfoundry.studies import drafts as parts
    from radfoundry.text.mentions import table

    dictionary = findings.load("chest-radiograph")
    reader = Rules(dictionary)
    reports = [Report(r["uid"], openi.text(r)) for r in openi.rows(half) if openi.text(r)]
    read = list(reader.extract(reports))
    made = simulate_drafts(reports, read, dictionary, seed=0, extractor=reader)
    ids = [r.report_id for r in reports]
    found = parts.cells(
        table(read, "rules", ""), table(list(reader.extract(made.drafts)), "rules", ""), ids, dictionary,
        match="exact",
    )  # fmt: skip
    level = pd.Series(
        [dictionary[m.finding].criticality for e in read for m in e.findings if m.status != "absent"]
    )
    rows = compare_drafts(found, rng=np.random.default_rng(0))
    print(f"{half}: {len(reports)} reports; an empty draft omits all and invents none")
    for what in ("omission", "invention"):
        for one in findings.CRITICALITIES:
            changed = made.changes[made.changes["criticality"] == one]["change"].value_counts()
            omitted, invented = (int(changed.get(name, 0)) for name in ("omitted", "invented"))
            stood = int((level == one).sum())
            n, k = (stood, omitted) if what == "omission" else (stood - omitted + invented, invented)
            (e,) = (e for e in rows if e.name == f"{what}_rate" and e.subgroup == one and not e.target
                    and "bootstrap" in e.method)  # fmt: skip
            # an invention is planted with that probability in a report, and counted among findings in drafts
            print(f"{what} {one:16} planted {made.settings[what][one]:.2f}  realised {k}/{n} = {k / n:.3f}  "
                  f"found {interval(e)}  {'inside' if e.low <= k / n <= e.high else 'OUTSIDE'}")  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)
    for name, texts in (("reports", reports), ("drafts", made.drafts)):
        pd.DataFrame([(t.report_id, t.text) for t in texts], columns=["report_id", "report"]).to_csv(
            work / f"{name}.csv", index=False
        )


def smollm2(half: str, n: int, work: Path | None) -> None:
    """SmolLM2-135M on twelve observations, against MeSH, beside the rules on the same reports.

    Answers are kept in `work`, so that a run that was broken off goes on; times are then of the rest.
    """
    from radfoundry.text.llm import LLM
    from radfoundry.text.local_llm import LocalModel, packaged

    whole = findings.load("chest-radiograph")
    keep = [f for name in list(openi.OBSERVATIONS)[:12] for f in openi.OBSERVATIONS[name][1][:1]]
    small = replace(whole, findings={k: replace(whole[k], parent="") for k in keep}, normals=())
    groups = {name: {openi.OBSERVATIONS[name][1][0]} for name in list(openi.OBSERVATIONS)[:12]}
    rows = [(r, t) for r in openi.rows(half) if (t := openi.coded(r)) is not None and openi.text(r)][:n]
    reports = [Report(r["uid"], openi.text(r)) for r, _ in rows]
    truth = [t & set(groups) for _, t in rows]
    reader = LLM(
        LocalModel(packaged()),
        small,
        prompt="one-shot",
        per_request=12,
        window=2500,
        overlap=300,
        cache=work and work / "answers",
    )
    by_rules = [observed(e, members(whole)) & set(groups) for e in Rules(whole).extract(reports)]
    start, cpu = time.perf_counter(), time.process_time()
    found = list(reader.extract(reports))
    spent, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{n} reports, 12 observations, {spent:.0f} s, {cpu:.0f} s of CPU time; {reader.ledger}")
    print(f"{reader.ledger.completion_tokens / cpu:.1f} tokens/s of CPU time written, prompts included; "
          f"{sum(bool(e.error) for e in found)} reports without a usable answer; "
          f"dropped {sum(map(Counter, (e.dropped for e in found)), Counter())}")  # fmt: skip
    for name, said in (
        ("SmolLM2", [observed(e, groups) for e in found]),
        ("rules", by_rules),
    ):
        made = cells(truth, said, [r.report_id for r in reports], tuple(groups))
        estimates = validate(made, rng=np.random.default_rng(0))
        for e in of_all(estimates, "micro_f1", "micro_sensitivity", "micro_ppv", "micro_accuracy"):
            print(f"{name:8} {e.name:18} {interval(e)} {e.method}")
    print(f"all-negative accuracy {1 - made.reference.mean():.3f} of {made.reference.size} cells")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", choices=["rules", "silver", "drafts", "smollm2"])
    parser.add_argument("--half", choices=["held-out", "tuning", "all"], default="held-out")
    parser.add_argument("--work", type=Path, help="folder for texts and answers")
    parser.add_argument("--reports", type=int, default=50)
    asked = parser.parse_args()
    if asked.which == "drafts":
        drafts(asked.half, asked.work or Path("openi"))
    elif asked.which == "smollm2":
        smollm2(asked.half, asked.reports, asked.work)
    else:
        {"rules": rules, "silver": silver}[asked.which](asked.half)
