"""What `radfoundry reports` does: read, judge, compare, chart, and print it."""

from __future__ import annotations

import json as jsonlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.draft_comparison import compare_drafts
from radfoundry.evaluate.finding_cells import Cells
from radfoundry.evaluate.findings import validate as judge
from radfoundry.studies import drafts
from radfoundry.studies.draft_sections import chart_name, pick
from radfoundry.studies.draft_sections import words as spelled
from radfoundry.studies.drafts import counted
from radfoundry.table_files import check_endings, whole_folder, write
from radfoundry.text import extractors, mentions
from radfoundry.text.ensemble import Ballot, Ensemble, review
from radfoundry.text.extractors import Reading
from radfoundry.text.mentions import Extraction
from radfoundry.text.reading import Reports
from radfoundry.types import Estimate

if TYPE_CHECKING:
    from radfoundry.cli.reports import Chart, Compare, Extract, Validate

JUDGED = ("micro_sensitivity", "micro_specificity", "micro_ppv", "micro_f1", "macro_f1", "micro_accuracy",
          "exact_match", "any_critical_miss", "mean_jaccard")  # fmt: skip
COMPARED = ("omission_rate", "invention_rate", "any_critical_miss", "mean_jaccard")


def extract(asked: Extract) -> int:
    """Findings of reports; exit code 1 when some could not be read."""
    check_endings(asked.out, asked.review)
    if asked.review is not None and asked.extractor != "ensemble":
        raise InputError("--review needs --extractor ensemble: one extractor disagrees with nobody")
    reports = _reports(asked, asked.reports)
    extractor = extractors.make(asked, seed=asked.seed)
    start = time.perf_counter()
    ballots: list[Ballot] = []
    if isinstance(extractor, Ensemble):
        ballots = list(extractors.watched(extractor.ballots(reports.reports), len(reports.reports)))
        found = [extractor.decide(one) for one in ballots]
    else:
        found = extractors.read_all(extractor, reports.reports)
    spent = time.perf_counter() - start
    table = mentions.table(found, extractor.name, extractor.version)
    flagged = getattr(extractor, "flagged", {})
    if asked.out is not None:
        write(table, asked.out)
    if asked.review is not None:
        write(review(ballots, extractor.dictionary, flagged=flagged), asked.review)
    failed = [one for one in found if one.error]
    dropped = sum((Counter(one.dropped) for one in found), Counter())
    told = {
        "reports": len(found), "findings": len(table), "extractor": extractor.name,
        "version": extractor.version, "dictionary": extractor.dictionary.name,
        "status": table["status"].value_counts().to_dict(), "failed": len(failed), "dropped": dict(dropped),
        "flagged": len(flagged), "reports_per_second": round(len(found) / max(spent, 1e-9), 1),
        "unreadable": len(reports.failed), "ledger": extractors.ledgers(extractor),
    }  # fmt: skip
    if asked.json:
        print(jsonlib.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print_extract(told, table, failed)
        for model in extractors.models(extractor):
            print(f"{model.name}: {model.ledger}")
    if asked.out is not None:
        print(f"findings: {asked.out}", file=sys.stderr)
    return 1 if failed or reports.failed else 0


def _print_extract(told: dict[str, Any], table: pd.DataFrame, failed: Sequence[Extraction]) -> None:
    reports, found = counted(told["reports"], "report|s"), counted(told["findings"], "finding|s")
    print(f"{reports} read by {told['extractor']} with {told['dictionary']}: {found}, "
          f"{told['reports_per_second']:.0f} reports/s")  # fmt: skip
    if told["status"]:
        print("  " + ", ".join(f"{n} {status}" for status, n in told["status"].items()))
    positive = table[table["status"] == "present"]
    for name, n in positive["finding"].value_counts().head(15).items():
        print(f"  {name:36} {n:6}  {n / told['reports']:.1%}")
    for reason, n in told["dropped"].items():
        print(f"dropped: {n} x {reason}")
    if told["flagged"]:
        print(counted(told["flagged"], "report|s with instruction-like text"))
    if failed:
        print(f"failed: {counted(len(failed), 'report|s')}; the first: {failed[0].error}")


def validate(asked: Validate) -> int:
    """An extractor against annotations."""
    drafts.check_settings(asked)
    if (asked.reports is None) == (asked.findings is None):
        raise InputError(
            "give either --reports (texts to read) or --findings (a table that was made already)"
        )
    dictionary = extractors.dictionary_of(asked)
    truth = drafts.annotated(asked.annotations, dictionary)
    if asked.reports is not None:
        reports = _reports(asked, asked.reports)
        extractor = extractors.make(asked, seed=asked.seed)
        read = extractors.read_all(extractor, reports.reports)
        bad = {one.report_id for one in read if one.error}
        ids = [one.report_id for one in reports.reports if one.report_id not in bad]
        call, name = mentions.table(read, extractor.name, extractor.version), extractor.name
        if bad:
            print(f"left out: {counted(len(bad), 'report|s that could not be read')}", file=sys.stderr)
        own, known = set(truth["report_id"]), set(ids)
    else:
        call, name = drafts.annotated(asked.findings, dictionary), str(asked.findings)
        own, known = set(truth["report_id"]), set(call["report_id"])
        ids = sorted(own | known)
        print("reports without any finding in either table are not counted", file=sys.stderr)
    if not own & known:
        raise NotEnoughData(f"{asked.annotations} annotates none of these reports. Compare the report_id")
    truth = truth[truth["report_id"].isin(ids)]
    for n, words in (
        (len(own - set(ids)), "report|s with annotations that nobody read: left out"),
        (len(set(ids) - own), "report|s without annotation, taken as without findings"),
    ):
        if n:
            print(counted(n, words), file=sys.stderr)
    made = drafts.cells(truth, call, ids, dictionary, uncertain=asked.uncertain, match=asked.match)
    rng = np.random.default_rng(asked.seed)
    rows = drafts.spoken(drafts.with_baseline(judge, made, rng=rng, draws=asked.n_boot, model=name), made)
    if asked.json:
        return _as_json(rows)
    _print_cells(made, name)
    _print_rows(rows, JUDGED, "absent")
    return 0


def compare(asked: Compare) -> int:
    """Drafts against reports."""
    drafts.check_settings(asked)
    check_endings(asked.out)
    pairs = drafts.pair(_reports(asked, asked.reports), _reports(asked, asked.drafts))
    if asked.monitor and not pairs.dated.any():
        raise InputError("--monitor needs the dates of the reports. Add a column `date` (YYYY-MM-DD)")
    extractor = extractors.make(asked, seed=asked.seed)
    pairs, read, drafted = drafts.readable(
        pairs, extractors.read_all(extractor, pairs.reports), extractors.read_all(extractor, pairs.drafts)
    )
    for note in pairs.notes:
        print(note, file=sys.stderr)
    a, b = (mentions.table(found, extractor.name, extractor.version) for found in (read, drafted))
    made = drafts.cells(a, b, [r.report_id for r in pairs.reports], extractor.dictionary,
                        uncertain=asked.uncertain, match=asked.match)  # fmt: skip
    rng = np.random.default_rng(asked.seed)
    rows = drafts.spoken(
        drafts.with_baseline(
            compare_drafts, made, rng=rng, draws=asked.n_boot, strata=drafts.strata(pairs.meta)
        ),
        made,
    )
    if asked.out is not None:
        write(differences(made), asked.out)
    if asked.monitor:
        _ingest(asked, pairs, made)
    if asked.json:
        return _as_json(rows)
    _print_cells(made, "drafts")
    _print_rows(rows, COMPARED, "empty draft")
    return 0


def _ingest(asked: Compare, pairs: drafts.Pairs, made: Cells) -> None:
    from radfoundry.monitor.store import open_store

    dated = pairs.dated
    if not dated.all():
        lacking = counted(int((~dated).sum()), "pair|s without a date")
        print(f"not in the monitor: {lacking}", file=sys.stderr)
    events = drafts.events(pairs.take(dated), made.take(dated))
    with open_store(asked.monitor) as store:
        done = store.ingest(asked.stream, events, source=asked.drafts.name, replace=asked.replace)
    print(f"monitor: {done.new} new, {done.unchanged} unchanged, {done.replaced} replaced", file=sys.stderr)


def differences(made: Cells) -> pd.DataFrame:
    """report_id, finding, criticality, difference (omitted, invented): a row each."""
    rows = []
    for word, cells in (("omitted", made.cells(True, False)), ("invented", made.cells(False, True))):
        for i, j in zip(*np.nonzero(cells), strict=True):
            rows.append((made.report_id[i], made.findings[j], made.level[j], word))
    return pd.DataFrame(rows, columns=["report_id", "finding", "criticality", "difference"])


def chart(asked: Chart) -> int:
    """Charts of a stream."""
    from radfoundry.monitor.store import open_store

    drafts.check_settings(asked)
    rng = np.random.default_rng(asked.seed)
    with open_store(asked.monitor, create=False) as store:
        outcomes = store.outcomes(asked.stream)
        known = list(store.streams()["stream"])
    if not len(outcomes):
        raise InputError(f"no stream {asked.stream!r} there. It has: {', '.join(known) or 'none'}")
    drawn: dict[str, dict[str, Any]] = {}
    for watch in drafts.WATCHES:
        try:
            if asked.by:
                found = drafts.charts_by(outcomes, watch, asked.by, baseline_weeks=asked.baseline_weeks,
                                         arl0=asked.arl0, rng=rng)  # fmt: skip
                drawn[watch.name] = found.charts
                for stratum, why in found.left_out.items():
                    print(f"{watch.name}, {stratum}: no chart: {why}", file=sys.stderr)
            else:
                drawn[watch.name] = drafts.charts(outcomes, watch, baseline_weeks=asked.baseline_weeks,
                                                  arl0=asked.arl0, alpha=asked.alpha, rng=rng)  # fmt: skip
        except NotEnoughData as error:
            print(f"{watch.name}: {error}", file=sys.stderr)
    if not any(drawn.values()):
        raise NotEnoughData("nothing could be charted; the reasons stand above")
    if asked.out is not None:
        _draw(asked.out, drawn)
    told = {watch: {k: c.summary() for k, c in kinds.items()} for watch, kinds in drawn.items()}
    if asked.json:
        print(jsonlib.dumps(told, indent=2, ensure_ascii=False))
        return 0
    for name, kinds in drawn.items():
        print(name)
        for kind, one in kinds.items():
            first = "no alarm" if one.first_alarm is None else f"first alarm in the week of {one.first_alarm}"
            since = "" if one.change_point is None else f", change since {one.change_point}"
            false = f"one false alarm in {one.arl0:.0f} {one.unit}"
            print(f"  {kind:14} in control {one.rate:.3f}; {first}{since}; {false}")
    return 0


def _draw(folder: Path, drawn: dict[str, dict[str, Any]]) -> None:
    from radfoundry.monitor.figures import chart_panels
    from radfoundry.report.figures import save

    with whole_folder(folder) as part:
        for name, kinds in drawn.items():
            if kinds:
                figure, data = chart_panels({chart_name(kind): one for kind, one in kinds.items()})
                stem = part / "_".join(name.replace(",", "").split())
                save(figure, stem)
                data.to_csv(stem.with_suffix(".csv"), index=False)
    print(f"drawings: {folder}", file=sys.stderr)


def _reports(asked: Reading, path: Path) -> Reports:
    found = extractors.texts(asked, path)
    for note in found.notes:
        print(f"{path.name}: {note}", file=sys.stderr)
    if found.failed:
        first = next(iter(found.failed.values()))
        failed = counted(len(found.failed), "report|s that could not be read")
        print(f"{path.name}: {failed}; the first: {first}", file=sys.stderr)
    return found


def _as_json(rows: Iterable[Estimate]) -> int:
    print(jsonlib.dumps([one.as_dict() for one in rows], indent=2, ensure_ascii=False))
    return 0


def _print_cells(made: Cells, name: str) -> None:
    positive, size = int(made.counts[1].sum()), max(int(made.counts.sum()), 1)
    print(f"{name}: {counted(len(made), 'report|s')} x {len(made.findings)} findings, {positive} positive "
          f"({positive / size:.2%} of the cells). Calling everything absent would agree in "
          f"{1 - positive / size:.2%}")  # fmt: skip


def _print_rows(rows: Sequence[Estimate], names: Sequence[str], baseline: str) -> None:
    """A line a figure and group, with what the all-negative baseline reaches in the last column."""
    print(f"  {'':20} {'':34} {'value (95% CI)':26} {'n':>8}  {baseline}")
    for name in names:
        groups = dict.fromkeys(one.subgroup for one in rows if one.name == name and not one.target)
        for group in groups:
            own, trivial = pick(rows, name, group), pick(rows, name, group, baseline=True)
            if own is not None:
                beside = "–" if trivial is None or np.isnan(trivial.value) else f"{trivial.value:.3f}"
                print(f"  {name:20} {group or 'all':34} {spelled(own):26} {own.n:8}  {beside}")
