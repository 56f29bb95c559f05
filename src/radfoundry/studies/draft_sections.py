"""What the page of draft monitoring shows: validation, comparison, recovered rates, texts, charts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.compare import Comparison
from radfoundry.evaluate.finding_cells import CRITICAL, Cells
from radfoundry.evaluate.findings import ALL_NEGATIVE
from radfoundry.report import draft_figures, figures
from radfoundry.studies.drafts import Pairs
from radfoundry.studies.run import Run
from radfoundry.text.findings import CRITICALITIES, Dictionary
from radfoundry.text.mentions import Extraction, Mention
from radfoundry.types import Estimate

if TYPE_CHECKING:
    from radfoundry.monitor.chart import Chart
    from radfoundry.monitor.charts import Stratified

SHOWN_PAIRS = 12
SHOWN_CHARACTERS = 4000
CORRECTED = (
    "Corrected: for its sensitivity and specificity on annotated texts, with their uncertainty, its errors "
    "on the two texts taken as independent. "
)


def pick(rows: Sequence[Estimate], name: str, subgroup: str | None = None) -> Estimate | None:
    """The row of all findings with a name and a subgroup; of two intervals that by bootstrap."""
    found = [
        r for r in rows
        if r.name == name and r.subgroup == subgroup and not r.target and r.model != ALL_NEGATIVE
    ]  # fmt: skip
    return max(found, key=lambda r: "bootstrap" in r.method, default=None)


def words(e: Estimate | None) -> str:
    """0.123 (0.100 to 0.150), or a dash."""
    if e is None or not np.isfinite(e.value):
        return "–"
    return f"{e.value:.3f}" + (f" ({e.low:.3f} to {e.high:.3f})" if np.isfinite(e.low) else "")


# -- the extractor ----------------------------------------------------------------------------------


def validation(
    run: Run, rows: Mapping[str, Sequence[Estimate]], chosen: str, cells: Cells, tests: Sequence[Comparison],
    *, of: int,
) -> None:  # fmt: skip
    """Table by criticality with the all-negative line, forest of findings, tests between extractors."""
    for found in rows.values():
        run.add_estimates(found)
    body: list[list[Any]] = []
    for name, found in rows.items():
        for level in cells.groups:
            get = [pick(found, f"micro_{m}", level) for m in ("sensitivity", "ppv", "f1", "specificity")]
            accuracy = pick(found, "micro_accuracy", level)
            body.append([name, level or "all", get[0].n if get[0] else 0, *(words(e) for e in get),
                         "–" if accuracy is None else f"{accuracy.value:.4f}"])  # fmt: skip
    baseline = [r for r in rows[chosen] if r.model == ALL_NEGATIVE and r.name == "micro_accuracy"]
    if baseline:
        body.append([ALL_NEGATIVE, "all", 0, "0.000", "–", "–", "1.000", f"{baseline[0].value:.4f}"])
    judged = len(cells)
    half = "" if judged == of else f" The extractor was chosen on the other {of - judged} of {of} texts."
    run.section(
        "Is the extractor good enough?", kind="table", key="validation",
        columns=["extractor", "criticality", "positives", "sensitivity", "PPV", "F1", "specificity",
                 "accuracy"],
        rows=body,
        caption=f"{judged} annotated texts x {len(cells.findings)} findings; intervals by bootstrap of texts."
        f"{half} Nearly all cells are negative, so calling everything absent is as accurate: accuracy says "
        "nothing here.",
    )  # fmt: skip
    per = [r for r in rows[chosen] if r.name == "f1" and r.target and r.model != ALL_NEGATIVE]
    positives: dict[str | None, int] = dict(zip(cells.findings, cells.counts[1].sum(axis=0).tolist()))
    per = [r for r in per if positives.get(r.target, 0) >= 5 and np.isfinite(r.value)]
    weak = sorted((r for r in per if r.value < 1), key=lambda r: r.value)[:30]
    if weak:
        run.save_figure(
            "extractor_by_finding",
            *figures.dots([replace(r, model=r.target) for r in weak],
                          names=[str(r.target).replace("_", " ") for r in weak]),
            title="F1 by finding, the weakest first",
            caption=f"Of {len(per)} findings with at least 5 positives among the annotated texts, those that "
            "were not read perfectly; at most 30.",
        )  # fmt: skip
    if tests:
        run.section(
            "Comparison of extractors", kind="table", key="extractors",
            columns=["comparison", "measure", "criticality", "difference", "p", "p (Holm)", "how"],
            rows=[[f"{t.model_a} against {t.model_b}", t.name, t.subgroup or "all",
                   f"{t.difference:+.3f} ({t.low:+.3f} to {t.high:+.3f})", t.p, t.p_holm, t.method]
                  for t in tests if t.subgroup in (None, "", "all", "critical", "significant")],
            caption="On the same entries of the dictionary; McNemar's tests clustered by text (Obuchowski).",
        )  # fmt: skip


# -- drafts -----------------------------------------------------------------------------------------


def comparison(
    run: Run, pairs: Pairs, cells: Cells, rows: Sequence[Estimate], corrected: Sequence[Estimate] | None,
    strata: Mapping[str, np.ndarray], dictionary: Dictionary,
) -> None:  # fmt: skip
    """Verdict, table by criticality as read and corrected, strata, heat map."""
    run.add_estimates(rows)
    run.add_estimates(corrected or [])
    run.section("The question", key="question", text=_question(pairs, cells))
    run.verdict(*_verdict(rows, corrected))
    body = []
    for level in cells.groups:
        line: list[Any] = [level or "all"]
        for name in ("omission_rate", "invention_rate"):
            raw = pick(rows, name, level)
            line += [raw.n if raw else 0, words(raw)]
            if corrected:
                line.append(words(pick(corrected, f"{name}_corrected", level)))
        body.append(line)
    both = ["corrected"] if corrected else []
    run.section(
        "Omissions and inventions", kind="table", key="drafts",
        columns=["criticality", "in reports", "omission, as read", *both, "in drafts", "invention, as read",
                 *(f"{word} " for word in both)],
        rows=body,
        caption="As read: with the extractor's own errors in both texts. " + (CORRECTED if corrected else "")
        + "Intervals by bootstrap of reports. Omission rate is 1 - sensitivity of the draft, invention rate "
        "1 - PPV.",
    )  # fmt: skip
    groups = ["normal reports", "abnormal reports", *strata]
    table = []
    for group in groups:
        found = [pick(rows, n, group) for n in ("omission_rate", "invention_rate")]
        jaccard = pick(rows, "mean_jaccard", group)
        n = next((e.n_clusters or e.n for e in found if e is not None), 0)
        if not n:
            continue
        table.append([group, n, *(words(e) for e in found), words(jaccard)])
    if table:
        run.section(
            "Normal and abnormal reports, views, sites, versions", kind="table", key="strata",
            columns=["reports", "n", "omission rate", "invention rate", "Jaccard per report"], rows=table,
        )  # fmt: skip
    names = {one.id: one.name for one in dictionary}
    rates = draft_figures.rate_table(cells, names, strata)
    run.save_table("rates_by_finding", rates)
    with contextlib.suppress(NotEnoughData):  # no finding is frequent enough for a row
        run.save_figure(
            "heat_map", *draft_figures.heat_map(rates, CRITICALITIES, list(strata)[:5]),
            title="What drafts omit and invent, by finding",
            caption="Counts: omitted of those in reports, invented of those in drafts; as read. Findings "
            f"with at least {draft_figures.LEAST} mentions in either, by criticality, the most omitted "
            f"first; at most {draft_figures.MOST_ROWS}.",
        )  # fmt: skip


def _question(pairs: Pairs, cells: Cells) -> str:
    positive, size = int(cells.counts[1].sum()), max(int(cells.counts.sum()), 1)
    return (
        f"{len(pairs):,} drafts are compared with the radiologists' reports of the same examinations, over "
        f"{len(cells.findings)} findings; {positive:,} findings stand in the reports "
        f"({positive / size:.2%} of all cells). A draft that says nothing would agree in "
        f"{1 - positive / size:.1%} of the cells."
    )


def _verdict(
    rows: Sequence[Estimate], corrected: Sequence[Estimate] | None
) -> tuple[str, list[tuple[str, Estimate, Estimate | None]]]:
    omitted, critical = pick(rows, "omission_rate"), pick(rows, "omission_rate", CRITICAL)
    invented, missed = pick(rows, "invention_rate"), pick(rows, "any_critical_miss", CRITICAL)
    sentences = []
    if omitted is not None and np.isfinite(omitted.value):
        sentences.append(f"Drafts leave out {omitted.value:.0%} of the findings that radiologists report")
        if critical is not None and np.isfinite(critical.value):
            sentences[-1] += f", and {critical.value:.0%} of the critical ones"
        sentences[-1] += "."
    if invented is not None and np.isfinite(invented.value):
        sentences.append(f"{invented.value:.0%} of what drafts report stands in no report.")
    if corrected:
        own = pick(corrected, "omission_rate_corrected")
        if own is not None and np.isfinite(own.value):
            sentences.append(f"Corrected for the extractor's errors the omission rate is {own.value:.0%}.")
    items: list[tuple[str, Estimate, Estimate | None]] = [
        (label, e, None)
        for label, e in (
            ("Omission rate, critical findings", critical),
            ("Omission rate, all", omitted),
            ("Invention rate, all", invented),
            ("Drafts with a critical miss", missed),
        )
        if e is not None and np.isfinite(e.value)
    ]
    return " ".join(sentences) or "No finding stands in reports or drafts.", items


def planted(
    run: Run, true: Cells, rows: Sequence[Estimate], corrected: Sequence[Estimate] | None, *, week: int
) -> None:
    """What was planted in the phantoms, beside what was found.

    true: cells of what the generator wrote. week: from which on it omitted more.
    """
    body = []
    for level, mask in true.groups.items():
        counts = true.counts[:, :, mask].sum(axis=2)
        if level is None or not counts[1].sum():
            continue
        truth = counts[1, 0] / counts[1].sum()
        raw = pick(rows, "omission_rate", level)
        fixed = pick(corrected or [], "omission_rate_corrected", level)
        inside = raw is not None and raw.low <= truth <= raw.high
        body.append([level, int(counts[1].sum()), f"{truth:.3f}", words(raw), words(fixed),
                     "yes" if inside else "no"])  # fmt: skip
    run.section(
        "Phantoms: were the planted omissions found?", kind="table", key="planted",
        columns=["criticality", "findings in reports", "omitted by the generator", "found, as read",
                 "corrected", "within the interval"],
        rows=body,
        caption="These reports were generated, with omissions planted by criticality and more of them from "
        f"week {week} on; doubted findings are counted as everywhere on this page. The sentences use "
        "wordings of the dictionary, so the rules read them nearly perfectly: how they read real reports is "
        "another matter (docs/studies/draft_report_monitoring.md).",
    )  # fmt: skip


# -- texts ------------------------------------------------------------------------------------------


def side_by_side(
    run: Run, pairs: Pairs, cells: Cells, read: tuple[Sequence[Extraction], Sequence[Extraction]],
    dictionary: Dictionary,
) -> None:  # fmt: skip
    """The worst omissions with both texts, the evidence marked."""
    rank = {level: i for i, level in enumerate(CRITICALITIES)}
    lost, extra = cells.cells(True, False), cells.cells(False, True)
    scored = []
    for i in np.flatnonzero(lost.any(axis=1)).tolist():
        levels = sorted(rank[cells.level[j]] for j in np.flatnonzero(lost[i]))
        scored.append((levels[0], -len(levels), i))
    items = []
    for _, _, i in sorted(scored)[:SHOWN_PAIRS]:
        gone = {cells.findings[j] for j in np.flatnonzero(lost[i])}
        added = {cells.findings[j] for j in np.flatnonzero(extra[i])}
        worst = min(gone, key=lambda key: rank[dictionary[key].criticality])
        names = ", ".join(sorted((dictionary[k].name for k in gone), key=str.lower))
        written = _pieces(pairs.reports[i].text, read[0][i].findings, gone, "lost")
        drafted = _pieces(pairs.drafts[i].text, read[1][i].findings, added, "added")
        items.append({
            "tag": dictionary[worst].criticality, "title": f"Not in the draft: {names}",
            "sides": [{"name": "Radiologist", "pieces": written}, {"name": "Draft", "pieces": drafted}],
        })  # fmt: skip
    if items:
        run.section(
            "The worst omissions", kind="texts", key="texts", items=items,
            caption="Marked: what the draft leaves out (orange), invents (violet) and has in common (blue).",
        )  # fmt: skip


def _pieces(text: str, found: Sequence[Mention], special: set[str], mark: str) -> list[dict[str, str]]:
    """The text cut where marks begin and end; of overlapping evidence the special, then the first, counts."""
    spans = [
        (m.start, m.end, mark if m.finding in special else "same") for m in found if m.status != "absent"
    ]
    taken: list[tuple[int, int, str]] = []
    for start, end, kind in sorted(spans, key=lambda s: (s[2] == "same", s[0])):
        if all(end <= a or start >= b for a, b, _ in taken):
            taken.append((start, end, kind))
    pieces, at = [], 0
    for start, end, kind in sorted(taken):
        pieces += [{"text": text[at:start], "mark": ""}, {"text": text[start:end], "mark": kind}]
        at = end
    pieces.append({"text": text[at : max(at, SHOWN_CHARACTERS)], "mark": ""})
    if max(at, SHOWN_CHARACTERS) < len(text):
        pieces.append({"text": " [...]", "mark": ""})
    return [piece for piece in pieces if piece["text"]]


# -- charts -----------------------------------------------------------------------------------------


def charts(run: Run, shown: Mapping[str, Mapping[str, Chart]], by: Mapping[str, Stratified]) -> None:
    """Each watch by its three charts, the strata of the first, and what they alarm about."""
    from radfoundry.monitor.figures import chart_panels

    rows: list[list[Any]] = []
    for watch, kinds in shown.items():
        key = "chart_" + "_".join(watch.replace(",", "").split())
        run.save_figure(
            key, *chart_panels({chart_name(k): c for k, c in kinds.items()}), title=f"Weekly: {watch}",
            caption="False alarms: "
            + "; ".join(f"{chart_name(k)} {_false_alarms(c)}" for k, c in kinds.items()) + ".",
        )  # fmt: skip
        rows += [[watch, chart_name(k), *_said(c)] for k, c in kinds.items()]
    for name, found in by.items():
        if found.charts:
            word = name.replace("_", " ")
            run.save_figure(
                f"chart_by_{name}", *chart_panels({f"{word} {k}": c for k, c in found.charts.items()}),
                title=f"CUSUM of critical and significant omissions, by {word}",
            )  # fmt: skip
            rows += [[f"by {word}: {k}", "CUSUM", *_said(c)] for k, c in found.charts.items()]
        for stratum, why in found.left_out.items():
            run.note(f"{name.replace('_', ' ')} {stratum} has no chart: {why}")
    if rows:
        run.section(
            "Alarms", kind="table", key="alarms",
            columns=["watched", "chart", "in-control rate", "first alarm", "change began", "false alarms"],
            rows=rows,
            caption="First alarm after the baseline. Change began: the last week at which the CUSUM was 0, "
            "plus one. Several charts are watched at once: a false alarm in any is likelier than in one.",
        )  # fmt: skip
    _chart_notes(
        run, {**shown, **{f"by {name.replace('_', ' ')}": found.charts for name, found in by.items()}}
    )


def _chart_notes(run: Run, shown: Mapping[str, Mapping[str, Chart]]) -> None:
    """What a reader must know of each chart; what holds for several of one watch stands there once."""
    rows = []
    for watch, kinds in shown.items():
        told: dict[str, list[str]] = {}
        for kind, chart in kinds.items():
            for note in chart.notes:
                told.setdefault(note, []).append(chart_name(kind))
        rows += [[watch, ", ".join(names), note] for note, names in told.items()]
    if rows:
        run.section(
            "How far the charts can be trusted", kind="table", key="chart_notes",
            columns=["watched", "chart", "note"], rows=rows,
        )  # fmt: skip


def chart_name(kind: str) -> str:
    """A kind of chart as it is called."""
    return {"p": "p-chart", "ewma": "EWMA", "cusum": "CUSUM"}.get(kind, kind)


def _said(chart: Chart) -> list[str]:
    first, change = ("none" if day is None else str(day) for day in (chart.first_alarm, chart.change_point))
    return [f"{chart.rate:.3f}", first, change, _false_alarms(chart)]


def _false_alarms(chart: Chart) -> str:
    return f"one in {chart.arl0:.0f} {chart.unit} on average"


def ledger(run: Run, found: Mapping[str, Mapping[str, Any]]) -> None:
    """What language models were asked and what it cost."""
    keys = ("asked", "cached", "requests", "retries", "failures", "prompt_tokens", "completion_tokens",
            "seconds", "cost")  # fmt: skip
    run.section(
        "Requests, tokens and cost", kind="table", key="ledger", columns=["model", *keys],
        rows=[[name, *(one.get(key) for key in keys)] for name, one in found.items()],
    )  # fmt: skip
