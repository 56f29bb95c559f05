"""What the page of draft monitoring shows: validation, comparison, recovered rates, texts, charts."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.compare import Comparison
from radfoundry.evaluate.draft_comparison import invention_rate, omission_rate
from radfoundry.evaluate.finding_cells import CRITICAL, Cells
from radfoundry.evaluate.findings import ALL_NEGATIVE
from radfoundry.report import draft_figures, figures
from radfoundry.studies.drafts import Pairs
from radfoundry.studies.run import Run
from radfoundry.text.findings import CRITICALITIES, Dictionary
from radfoundry.text.mentions import Extraction, Extractor, Mention, Report
from radfoundry.types import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from radfoundry.monitor.chart import Chart
    from radfoundry.monitor.charts import Stratified

SHOWN_PAIRS = 12
SHOWN_STRATA = 8
SHOWN_CHARACTERS = 4000
EMPTY_DRAFT = "an empty draft"
BY_TEXT: dict[str, tuple[str, str | None]] = {
    "share without any difference": ("exact_match", None),
    "share with a critical miss": ("any_critical_miss", CRITICAL),
    "the same, of those with a critical finding": ("any_critical_miss_where_present", CRITICAL),
    "mean Jaccard index": ("mean_jaccard", None),
    "mean F1": ("mean_report_f1", None),
}
BY_DRAFT: dict[str, tuple[str, str | None]] = {
    **BY_TEXT,
    "mean number of omissions": ("omissions_per_report", None),
    "mean number of inventions": ("inventions_per_report", None),
    "share with an invention": ("any_invention", None),
}
"""Figures of one text at a time: the name of a row and the criticality that it is of."""
CORRECTED = (
    "Corrected: for its sensitivity and specificity on annotated texts, with their uncertainty, its errors "
    "on the two texts taken as independent. "
)


def pick(
    rows: Sequence[Estimate], name: str, subgroup: str | None = None, baseline: bool = False
) -> Estimate | None:
    """The row of all findings with a name and a subgroup; of two intervals that by bootstrap.

    baseline: that of the all-negative baseline instead.
    """
    found = [
        r for r in rows
        if r.name == name and r.subgroup == subgroup and not r.target
        and (r.model == ALL_NEGATIVE) == baseline
    ]  # fmt: skip
    return max(found, key=lambda r: "bootstrap" in r.method, default=None)


def words(e: Estimate | None) -> str:
    """0.123 (0.100 to 0.150), or a dash."""
    if e is None or not np.isfinite(e.value):
        return "–"
    return f"{e.value:.3f}" + (f" ({e.low:.3f} to {e.high:.3f})" if np.isfinite(e.low) else "")


# -- the extractor ----------------------------------------------------------------------------------


def validation(
    run: Run, rows: Mapping[str, Sequence[Estimate]], chosen: str, cells: Cells, *, of: int
) -> None:
    """Tables by criticality and by text with the all-negative baseline, forest of findings."""
    for found in rows.values():
        run.add_estimates(found)
    readers = [*((name, found, False) for name, found in rows.items()), ("all-negative", rows[chosen], True)]
    body: list[list[Any]] = []
    for name, found, trivial in readers:
        for level in cells.groups:
            get = [
                pick(found, f"micro_{m}", level, trivial)
                for m in ("sensitivity", "ppv", "f1", "specificity", "accuracy")
            ]
            body.append([name, level or "all", get[0].n if get[0] else 0, *(words(e) for e in get[:4]),
                         "–" if get[4] is None else f"{get[4].value:.4f}"])  # fmt: skip
    judged = len(cells)
    half = "" if judged == of else f" The extractor was chosen on the other {of - judged} of {of} texts."
    run.section(
        "Is the extractor good enough?", kind="table", key="validation",
        columns=["extractor", "criticality", "positives", "sensitivity", "PPV", "F1", "specificity",
                 "accuracy"],
        rows=body,
        caption=f"{judged} annotated texts x {len(cells.findings)} findings; intervals by bootstrap of texts."
        f"{half} Nearly all cells are negative, so calling everything absent (all-negative) is as accurate: "
        "accuracy says nothing here.",
    )  # fmt: skip
    run.section(
        "Text by text", kind="table", key="validation_by_text",
        columns=["", *(name for name, _, _ in readers)],
        rows=[[label, *(words(pick(found, *which, trivial)) for _, found, trivial in readers)]
              for label, which in BY_TEXT.items()],
        caption=f"Of {judged} annotated texts. Saying nothing agrees with a text without findings.",
    )  # fmt: skip
    _weakest(run, rows[chosen], cells)


def _weakest(run: Run, rows: Sequence[Estimate], cells: Cells) -> None:
    """Forest of the findings that were read worst."""
    per = [r for r in rows if r.name == "f1" and r.target and r.model != ALL_NEGATIVE]
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
            "were not read perfectly; at most 30. Calling everything absent has an F1 of 0 for each.",
        )  # fmt: skip


def extractors(run: Run, tests: Sequence[Comparison]) -> None:
    """Differences between extractors, and of each from the baseline; all of them go to a CSV."""
    import pandas as pd

    run.save_table("extractor_comparisons", pd.DataFrame([asdict(one) for one in tests]))
    by = {(one.model_a, one.model_b, one.name, one.subgroup): one for one in tests}
    body = []
    for a, b in dict.fromkeys((one.model_a, one.model_b) for one in tests):
        for level in (None, *([] if b == ALL_NEGATIVE else CRITICALITIES[:2])):
            found = [by.get((a, b, f"micro_{name}", level)) for name in ("sensitivity", "specificity", "f1")]
            cells = [[difference(one), one.p_holm] for one in found if one is not None]
            if cells:
                body.append([f"{a} against {b}", level or "all", *(cell for two in cells for cell in two)])
    run.section(
        "Comparison of extractors", kind="table", key="extractors",
        columns=["comparison", "criticality", "sensitivity", "p, Holm", "specificity", "p, Holm ", "F1",
                 "p, Holm  "],
        rows=body,
        caption="Differences on the same entries of the dictionary. Sensitivity and specificity by McNemar's "
        "test clustered by text (Obuchowski), F1 by paired bootstrap of texts. Holm: over all pairs of "
        "extractors, among criticalities over pairs and criticalities; the baseline apart. Accuracy, texts "
        "without any error and p before Holm: tables/extractor_comparisons.csv.",
    )  # fmt: skip


def difference(one: Comparison) -> str:
    """+0.123 (+0.100 to +0.150)"""
    span = f" ({one.low:+.3f} to {one.high:+.3f})" if np.isfinite(one.low) else ""
    return f"{one.difference:+.3f}{span}" if np.isfinite(one.difference) else "–"


# -- drafts -----------------------------------------------------------------------------------------


def comparison(
    run: Run, pairs: Pairs, cells: Cells, rows: Sequence[Estimate], corrected: Sequence[Estimate] | None,
    strata: Mapping[str, np.ndarray], dictionary: Dictionary,
) -> None:  # fmt: skip
    """Verdict, table by criticality as read and corrected, strata, heat map."""
    run.add_estimates(rows)
    run.add_estimates(corrected or [])
    run.section("The question", key="question", text=_question(pairs, cells))
    run.verdict(*_verdict(rows, corrected), against=EMPTY_DRAFT)
    body = []
    for level in cells.groups:
        line: list[Any] = [level or "all"]
        for name in ("omission_rate", "invention_rate"):
            raw = pick(rows, name, level)
            line += [raw.n if raw else 0, words(raw)]
            if corrected:
                line.append(words(pick(corrected, f"{name}_corrected", level)))
        body.append(line)
    everything = pick(rows, "omission_rate", None, True)
    gone = [words(everything), "–"] if corrected else [words(everything)]
    body.append([EMPTY_DRAFT, everything.n if everything else 0, *gone, 0, *["–"] * len(gone)])
    both = ["corrected"] if corrected else []
    run.section(
        "Omissions and inventions", kind="table", key="drafts",
        columns=["criticality", "in reports", "omission, as read", *both, "in drafts", "invention, as read",
                 *(f"{word} " for word in both)],
        rows=body,
        caption="As read: with the extractor's own errors in both texts. " + (CORRECTED if corrected else "")
        + "Intervals by bootstrap of reports. Omission rate is 1 - sensitivity of the draft, invention rate "
        "1 - PPV. An empty draft, the all-negative baseline, omits all and invents none.",
    )  # fmt: skip
    _by_report(run, rows, len(pairs))
    _by_stratum(run, rows, ["normal reports", "abnormal reports", *strata], len(pairs))
    names = {one.id: one.name for one in dictionary}
    rates = draft_figures.rate_table(cells, names, strata)
    run.save_table("rates_by_finding", rates)
    with contextlib.suppress(NotEnoughData):  # no finding is frequent enough for a row
        figure, shown = draft_figures.heat_map(rates, CRITICALITIES, list(strata)[:SHOWN_STRATA])
        _narrow(figure.axes[0])
        more = ", ".join(list(strata)[SHOWN_STRATA:])
        run.save_figure(
            "heat_map", figure, shown,
            title="What drafts omit and invent, by finding",
            caption="Counts: omitted of those in reports, invented of those in drafts; as read. Findings "
            f"with at least {draft_figures.LEAST} mentions in either, by criticality, the most omitted "
            f"first; at most {draft_figures.MOST_ROWS}."
            + (f" Without a column, but in tables/rates_by_finding.csv: {more}." if more else ""),
        )  # fmt: skip


def _narrow(axes: Axes) -> None:
    """Break the names of columns, which otherwise run into each other (model version 1.0, 2.0)."""
    names = [label.get_text().splitlines() for label in axes.get_xticklabels()]
    axes.set_xticklabels(["\n".join(textwrap.fill(line, 12) for line in lines) for lines in names])


def _by_report(run: Run, rows: Sequence[Estimate], n: int) -> None:
    run.section(
        "Report by report", kind="table", key="by_report",
        columns=["", "drafts", EMPTY_DRAFT],
        rows=[[label, *(words(pick(rows, *which, trivial)) for trivial in (False, True))]
              for label, which in BY_DRAFT.items()],
        caption=f"Of {n:,} pairs. An empty draft agrees with a report without findings.",
    )  # fmt: skip


def _by_stratum(run: Run, rows: Sequence[Estimate], groups: Sequence[str], n: int) -> None:
    table = []
    for group in groups:
        found = [pick(rows, name, group) for name in ("omission_rate", "invention_rate", "mean_jaccard")]
        size = next((e.n_clusters or e.n for e in found[:2] if e is not None), 0)
        if size:
            empty = pick(rows, "mean_jaccard", group, True)
            table.append([group, size, *(words(e) for e in found), words(empty)])
    if not table:
        return
    all_of_it = words(pick(rows, "mean_jaccard", None, True))
    table.append([EMPTY_DRAFT, n, words(pick(rows, "omission_rate", None, True)), "–", all_of_it, all_of_it])
    run.section(
        "Normal and abnormal reports, views, sites, versions", kind="table", key="strata",
        columns=["reports", "n", "omission rate", "invention rate", "Jaccard per report",
                 f"Jaccard of {EMPTY_DRAFT}"],
        rows=table, caption="An empty draft omits all findings of every group and invents none.",
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
        (label, e, trivial if trivial is not None and np.isfinite(trivial.value) else None)
        for label, e in (
            ("Omission rate, critical findings", critical),
            ("Omission rate, all", omitted),
            ("Invention rate, all", invented),
            ("Drafts with a critical miss", missed),
        )
        if e is not None and np.isfinite(e.value)
        for trivial in [pick(rows, e.name, e.subgroup, True)]
    ]
    return " ".join(sentences) or "No finding stands in reports or drafts.", items


def planted(
    run: Run, true: Cells, rows: Sequence[Estimate], corrected: Sequence[Estimate] | None, *, week: int
) -> None:
    """What was planted in the phantoms, beside what was found.

    true: cells of what the generator wrote. week: from which on it omitted more.
    """
    body = []
    for name, rate in (("omission", omission_rate), ("invention", invention_rate)):
        for level, mask in true.groups.items():
            counts = true.counts[:, :, mask].sum(axis=2)
            among = int((counts[1] if name == "omission" else counts[:, 1]).sum())
            if level is None or not among:
                continue
            truth, raw = float(rate(counts)), pick(rows, f"{name}_rate", level)
            fixed = pick(corrected or [], f"{name}_rate_corrected", level)
            inside = raw is not None and raw.low <= truth <= raw.high
            body.append([f"{name}s", level, among, f"{truth:.3f}", words(raw), words(fixed),
                         "yes" if inside else "no"])  # fmt: skip
    held = sum(row[-1] == "yes" for row in body)
    run.section(
        "Phantoms: were the planted omissions and inventions found?", kind="table", key="planted",
        columns=["errors", "criticality", "findings", "rate of the generator", "found, as read", "corrected",
                 "within the interval"],
        rows=body,
        caption=f"{held} of {len(body)} intervals, as read, hold the rate that the generator wrote; of "
        "several 95 % intervals some may miss. Omissions: of findings in reports, planted by criticality and "
        f"more of them from week {week} on. Inventions: of findings in drafts. An empty draft would omit all "
        "and invent nothing. Doubted findings are counted as everywhere on this page. The sentences use "
        "wordings of the dictionary, so the rules read them nearly perfectly: how they read real reports is "
        "another matter (docs/studies/draft_report_monitoring.md).",
    )  # fmt: skip


# -- texts ------------------------------------------------------------------------------------------


def side_by_side(
    run: Run, pairs: Pairs, cells: Cells, read: tuple[Sequence[Extraction], Sequence[Extraction]],
    extractor: Extractor,
) -> None:  # fmt: skip
    """The worst omissions with both texts, the evidence marked: every mention, where the extractor tells."""
    dictionary = extractor.dictionary
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
        written = _pieces(
            pairs.reports[i].text, _mentions(extractor, pairs.reports[i], read[0][i]), gone, "lost"
        )
        drafted = _pieces(
            pairs.drafts[i].text, _mentions(extractor, pairs.drafts[i], read[1][i]), added, "added"
        )
        items.append({
            "tag": dictionary[worst].criticality, "title": f"Not in the draft: {names}",
            "sides": [{"name": "Radiologist", "pieces": written}, {"name": "Draft", "pieces": drafted}],
        })  # fmt: skip
    if items:
        run.section(
            "The worst omissions", kind="texts", key="texts", items=items,
            caption="Marked: what the draft leaves out (orange), invents (violet) and has in common (blue).",
        )  # fmt: skip


def _mentions(extractor: Extractor, report: Report, found: Extraction) -> Sequence[Mention]:
    """All mentions of what was found, by the rules; of other extractors the one that they give."""
    read: Callable[[str], Sequence[Mention]] | None = getattr(extractor, "read", None)
    stated = found.ids("present", "uncertain")
    return [m for m in read(report.text) if m.finding in stated] if read else found.findings


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
                caption=_of_strata(word, list(found.left_out)),
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


def _of_strata(word: str, left_out: Sequence[str]) -> str:
    """What a stratum is held against, and which have no chart, such as a version that began later."""
    said = f"CUSUM only; each {word} is held against its own rate in the weeks of the baseline."
    if left_out:
        said += (
            f" Not charted, for the reasons in the notes: {word} {', '.join(left_out)}. The charts of all "
            "drafts above hold these cases too, and the table of views, sites and versions their rates."
        )
    return said


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
    keys = ("asked", "cached", "requests", "retries", "failures", "cut", "prompt_tokens", "completion_tokens",
            "seconds", "cost")  # fmt: skip
    run.section(
        "Requests, tokens and cost", kind="table", key="ledger", columns=["model", *keys],
        rows=[[name, *(one.get(key) for key in keys)] for name, one in found.items()],
    )  # fmt: skip
