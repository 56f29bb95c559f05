"""S6 · Draft reports by AI: what do they leave out or invent, by how dangerous a miss is, week by week?

Question. Drafts written by a vision-language model reach radiologists. Compared with the report that the
radiologist then wrote, which findings does the draft omit or invent, and does that get worse?

Methods. An extractor reads findings of a dictionary, each with a criticality, in reports and drafts alike. It
is first validated against annotated reports, where there are any: sensitivity, specificity, PPV and F1 by
finding, criticality and report, with Wilson and report-clustered bootstrap intervals, beside the baseline
that calls everything absent. Of several extractors the one with the higher micro F1 on one half of the
annotated reports is taken and judged on the other half. Drafts are then compared with reports: omissions (1 -
sensitivity) and inventions (1 - PPV), normal and abnormal reports apart, as read and, where the extractor was
validated, corrected for its own error.

Over time. Each pair becomes an event of the monitor (SQL). Weekly rates are charted by p-chart, EWMA and
CUSUM with stated false-alarm rates, standardised to the baseline's mix of views; and by view, site and model
version.

Design after the published framework (233 findings, 147 annotated reports, 121 drafts), whose accuracy of 98 %
an empty draft would reach as well: accuracy stands here only beside that baseline.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from radfoundry.datasets import phantom_reports
from radfoundry.errors import InputError, NotEnoughData, Notice, UnknownName
from radfoundry.evaluate.classification import f1
from radfoundry.evaluate.compare import Comparison, holm
from radfoundry.evaluate.draft_comparison import compare_drafts
from radfoundry.evaluate.draft_correction import correct_drafts
from radfoundry.evaluate.finding_cells import Cells, Uncertain
from radfoundry.evaluate.finding_pairs import compare_extractors
from radfoundry.evaluate.findings import ALL_NEGATIVE, validate
from radfoundry.studies import draft_sections as sections
from radfoundry.studies import drafts
from radfoundry.studies.drafts import Match, Pairs
from radfoundry.studies.evidence import paragraph
from radfoundry.studies.run import Run, command_line
from radfoundry.text import extractors, mentions
from radfoundry.text.extractors import Reading
from radfoundry.text.llm_guard import suspicious
from radfoundry.text.mentions import Extraction, Extractor, Report
from radfoundry.text.reading import Reports

TITLE = "Draft reports against radiologists"
CANDIDATES = ("rules", "zero-shot", "one-shot", "ensemble")
WEEKS = 30
"""Of the phantoms."""
WORSE = (20, {"critical": 0.25, "significant": 0.3})
"""From this week of the phantoms on, that share of findings is omitted."""


@dataclass(frozen=True)
class Config(Reading):
    """Options of the study; without --reports it runs on generated reports with planted errors."""

    reports: Path | None = None
    """Radiologists' reports: CSV, Parquet or a folder of texts, with report_id."""
    drafts: Path | None = None
    """Drafts of the same reports, with the same report_id."""
    annotated: Path | None = None
    """Texts that were annotated by hand; without them nothing is validated or corrected."""
    annotations: Path | None = None
    """Their findings: report_id, finding, status (present, absent, uncertain)."""
    candidates: tuple[str, ...] = ()
    """Extractors to choose from on the annotated texts: rules, zero-shot, one-shot, ensemble."""
    out: Path = Path("runs/draft_report_monitoring")
    """Run folder to make."""
    force: bool = False
    """Replace an existing run folder."""
    monitor: str = "stores/monitor.sqlite"
    """Where events are kept: an SQLite file, or a postgresql:// URL."""
    stream: str = ""
    """Name of the stream in the monitor; that of the reports' file when empty."""
    baseline_weeks: int = 12
    """First weeks, in which all is taken to be in control."""
    arl0: float = 370.0
    """Mean weeks to a false alarm of EWMA and CUSUM."""
    alpha: float = 0.0027
    """False alarms a week of the p-chart."""
    uncertain: Uncertain = "present"
    """What an uncertain finding counts as: present, absent, or left out."""
    match: Match = "related"
    """related: a finding worded more or less exactly is the same; exact: the same entry only."""
    texts: bool = True
    """Show the texts of the worst omissions in the page (they are report text: keep the page as such)."""
    pairs: int = 900
    """Phantoms: pairs to draw."""
    n_boot: int = 2000
    """Bootstrap draws."""
    seed: int = 0
    """Seed of phantoms, resampling and simulated limits."""


@dataclass(frozen=True)
class Material:
    """What the study works on. annotated: texts and their findings table, if there are any."""

    pairs: Pairs
    name: str
    texts: list[Report]
    truth: pd.DataFrame | None
    planted: Cells | None = None


def run(config: Config) -> Path:
    """Run the study; returns the run folder."""
    _check(config)
    rng = np.random.default_rng(config.seed)
    address = _shown(config.monitor)
    command = command_line([word.replace(config.monitor, address) for word in sys.argv])
    with Run(
        config.out, command=command, config=replace(config, monitor=address), seed=config.seed, title=TITLE,
        force=config.force,
    ) as run:  # fmt: skip
        data = _phantom(config) if config.reports is None else _given(config)
        run.hide([one.report_id for one in [*data.pairs.reports, *data.texts]])
        for note in data.pairs.notes:
            run.note(note)
        options = _candidates(config)
        extractor, validation = _validated(run, config, options, data, rng)
        pairs, made, read = _compared(run, config, data, extractor, validation, rng)
        _followed(run, config, data, pairs, made, rng)
        if config.texts:
            sections.side_by_side(run, pairs, made, read, extractor)
        ledger = {f"{one.name}: {name}" if name != one.name else name: spent
                  for one in options for name, spent in extractors.ledgers(one).items()}  # fmt: skip
        if ledger:
            sections.ledger(run, ledger)
        words = [paragraph(__doc__, start) for start in ("Methods", "Over time")]
        run.section(
            "Methods", key="methods",
            text=f"{' '.join(words)} Extractor: {extractor.name} ({extractor.version}).",
        )  # fmt: skip
    return run.out


def _check(config: Config) -> None:
    if config.reports is None and (config.drafts or config.annotated or config.annotations):
        raise InputError("--drafts, --annotated and --annotations belong to --reports, which is not given")
    if config.reports is not None and config.drafts is None:
        raise InputError("--reports needs --drafts: the texts that are compared with them")
    if (config.annotated is None) != (config.annotations is None):
        raise InputError("--annotated (texts) and --annotations (their findings) belong together")
    for name in config.candidates:
        if name not in CANDIDATES:
            raise UnknownName(f"--candidates: no extractor {name!r}. Use: {', '.join(CANDIDATES)}")
    if config.reports is None and config.dictionary != phantom_reports.DICTIONARY:
        raise InputError(
            f"generated reports speak of the dictionary {phantom_reports.DICTIONARY}. Leave --dictionary "
            "away, or give --reports and --drafts"
        )
    drafts.check_settings(config)


def _shown(monitor: str) -> str:
    """The address as a manifest may hold it: without its password."""
    if "://" not in monitor:
        return monitor
    from radfoundry.monitor.database import address, shown

    return shown(address(monitor))


def _given(config: Config) -> Material:
    assert config.reports is not None and config.drafts is not None
    reports, drafted = extractors.texts(config, config.reports), extractors.texts(config, config.drafts)
    pairs = drafts.pair(reports, drafted)
    notes = [*pairs.notes, *_notes(reports), *_notes(drafted)]
    texts: list[Report] = []
    truth = None
    if config.annotated is not None:
        found = extractors.texts(config, config.annotated)
        texts = found.reports
        notes += _notes(found)
        truth = drafts.annotated(config.annotations, extractors.dictionary_of(config))
        truth = truth[~truth["report_id"].isin(set(found.failed))]
        strange = int((~truth["report_id"].isin({one.report_id for one in texts})).sum())
        if strange:
            raise InputError(
                f"{drafts.counted(strange, 'row|s')} of {config.annotations} with a report that "
                f"{config.annotated} lacks. Leave them out, or give the texts"
            )
    pairs = replace(pairs, notes=tuple(notes))
    return Material(pairs, config.stream or config.reports.stem, texts, truth)


def _notes(found: Reports) -> list[str]:
    """What a reader must know of a file that was read."""
    told = list(found.notes)
    if found.failed:
        first = next(iter(found.failed.values()))
        told.append(f"{drafts.counted(len(found.failed), 'text|s')} could not be read; the first {first}")
    return [f"{found.source.name}: {note}" for note in told]


def _phantom(config: Config) -> Material:
    """Pairs with planted errors, more of them from WORSE on; other texts to validate."""
    made = phantom_reports.make(config.pairs, seed=config.seed, weeks=WEEKS, shift=WORSE)
    other = phantom_reports.make(150, seed=config.seed + 1000, weeks=WEEKS)
    texts = [*(Report(f"r{r.report_id}", r.text) for r in other.reports),
             *(Report(f"d{r.report_id}", r.text) for r in other.drafts)]  # fmt: skip
    truth = pd.concat(
        [
            part.assign(report_id=letter + part["report_id"])
            for letter, part in (("r", other.truth), ("d", other.drafts_truth))
        ],
        ignore_index=True,
    )
    pairs = Pairs(list(made.reports), list(made.drafts), made.meta, ())
    name = config.stream or f"phantom-{config.pairs}-{config.seed}"
    planted = drafts.cells(
        made.truth, made.drafts_truth, [one.report_id for one in made.reports],
        extractors.dictionary_of(config), uncertain=config.uncertain, match=config.match,
    )  # fmt: skip
    return Material(pairs, name, texts, truth, planted)


# -- the extractor ----------------------------------------------------------------------------------


def _candidates(config: Config) -> list[Extractor]:
    if not config.candidates:
        return [extractors.make(config, seed=config.seed)]
    local: Literal["llm", "local-llm"] = "llm" if config.base_url else "local-llm"
    found = []
    for name in config.candidates:
        if name in ("rules", "ensemble"):
            found.append(extractors.make(replace(config, extractor=name), seed=config.seed))  # type: ignore[arg-type]
        else:
            found.append(extractors.make(replace(config, extractor=local, prompt=name), seed=config.seed))
    return found


def _validated(
    run: Run, config: Config, options: list[Extractor], data: Material, rng: np.random.Generator
) -> tuple[Extractor, Cells | None]:
    """The extractor, chosen where there is a choice, and its cells on annotated texts that all could read."""
    if data.truth is None:
        if len(options) > 1:
            raise InputError("--candidates are chosen on annotated texts. Give --annotated and --annotations")
        run.note(
            "No annotated texts: the extractor was not validated here, and the rates hold its errors as well "
            "as those of the drafts."
        )
        return options[0], None
    read = {one.name: _read(run, one, data.texts, "annotated texts") for one in options}
    failed = {one.report_id: one.error for found in read.values() for one in found if one.error}
    ids = [one.report_id for one in data.texts if one.report_id not in failed]
    if not ids:
        raise NotEnoughData(f"no annotated text could be read; the first: {next(iter(failed.values()))}")
    truth = data.truth[data.truth["report_id"].isin(set(ids))]
    exact, made = {}, {}
    for name, found in read.items():
        table = mentions.table([one for one in found if one.report_id not in failed], name, "")
        exact[name] = drafts.cells(
            truth, table, ids, options[0].dictionary, uncertain=config.uncertain, match="exact"
        )
        made[name] = drafts.matched(exact[name], options[0].dictionary, config.match)
    chosen, half = options[0], np.ones(len(ids), bool)
    if len(options) > 1:
        half = rng.permutation(len(ids)) < len(ids) // 2
        scores = {name: float(f1(one.take(half).counts.sum(axis=2))) for name, one in made.items()}
        chosen = next(one for one in options if one.name == max(scores, key=lambda n: scores[n]))
        run.log(f"chosen on {int(half.sum())} annotated texts: {chosen.name}")
        half = ~half
    judged = {name: one.take(half) for name, one in made.items()}
    rows = {
        name: drafts.spoken(
            drafts.with_baseline(validate, one, rng=rng, draws=config.n_boot, model=name), one
        )
        for name, one in judged.items()
    }
    # Matching of related findings depends on what an extractor says; a paired test needs one reference.
    tests = _tests({name: one.take(half) for name, one in exact.items()}, chosen.name, rng, config.n_boot)
    sections.validation(run, rows, chosen.name, judged[chosen.name], of=len(ids))
    if tests:
        sections.extractors(run, tests)
    return chosen, made[chosen.name]


def _tests(
    judged: Mapping[str, Cells], chosen: str, rng: np.random.Generator, draws: int
) -> list[Comparison]:
    """Every pair of extractors, those with the chosen one first, then each against the baseline.

    p_holm: over the pairs for all findings, over pairs x criticalities for these; of each measure, and apart
    for the baseline. Empty where there is no pair.
    """
    order = sorted(judged, key=lambda name: name != chosen)
    if len(order) < 2:
        return []
    pairs = [
        test for a, b in combinations(order, 2)
        for test in compare_extractors(judged[a], judged[b], rng=rng, draws=draws, model_a=a, model_b=b)
    ]  # fmt: skip
    trivial = [
        test for name in order
        for test in compare_extractors(judged[name], judged[name].all_negative(), rng=rng, draws=draws,
                                       model_a=name, model_b=ALL_NEGATIVE)
    ]  # fmt: skip
    return _corrected(pairs) + _corrected(trivial)


def _corrected(tests: list[Comparison]) -> list[Comparison]:
    families: dict[tuple[str, bool], list[int]] = {}
    for i, test in enumerate(tests):
        families.setdefault((test.name, test.subgroup is None), []).append(i)
    found = list(tests)
    for places in families.values():
        for i, p in zip(places, holm([tests[i].p for i in places]), strict=True):
            found[i] = replace(tests[i], p_holm=float(p))
    return found


def _read(run: Run, extractor: Extractor, texts: list[Report], what: str) -> list[Extraction]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", Notice)
        found = extractors.read_all(extractor, texts, what=what)
    for one in told:
        if issubclass(one.category, Notice):
            run.note(f"{what}: {one.message}.")
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    failed = [one for one in found if one.error]
    dropped = sum(sum(one.dropped.values()) for one in found)
    if failed:
        first = failed[0].error
        run.note(f"{extractor.name} could not read {len(failed)} of {len(texts)} {what}; the first: {first}")
    if dropped:
        run.note(
            f"{extractor.name}: dropped {drafts.counted(dropped, f'finding|s in {what}')}: evidence that the "
            "text lacks, or ids that the dictionary lacks."
        )
    if hasattr(
        extractor, "flagged"
    ):  # a model is behind it; its own count takes a report and its draft as one
        strange = sum(bool(suspicious(one.text)) for one in texts)
        if strange:
            run.note(f"Instruction-like text stands in {strange} of the {what}. A reader should look there.")
    return found


# -- drafts -----------------------------------------------------------------------------------------


def _compared(
    run: Run, config: Config, data: Material, extractor: Extractor, validation: Cells | None,
    rng: np.random.Generator,
) -> tuple[Pairs, Cells, tuple[list[Extraction], list[Extraction]]]:  # fmt: skip
    pairs, read, drafted = drafts.readable(
        data.pairs, _read(run, extractor, data.pairs.reports, "reports"),
        _read(run, extractor, data.pairs.drafts, "drafts"),
    )  # fmt: skip
    for note in pairs.notes:
        run.note(note)
    tables = [mentions.table(found, extractor.name, extractor.version) for found in (read, drafted)]
    ids = [one.report_id for one in pairs.reports]
    made = drafts.cells(
        tables[0], tables[1], ids, extractor.dictionary, uncertain=config.uncertain, match=config.match
    )
    run.add_data(data.name, pairs.digest, len(pairs))
    whole = pd.concat([t.assign(text=w) for w, t in zip(("report", "draft"), tables)], ignore_index=True)
    run.save_table("findings", whole, lines=True)
    parts = drafts.strata(pairs.meta)
    estimates = drafts.spoken(
        drafts.with_baseline(compare_drafts, made, rng=rng, draws=config.n_boot, strata=parts), made
    )
    corrected = None
    if validation is not None:
        same = replace(validation, criticality=made.criticality)
        corrected = drafts.spoken(correct_drafts(made, same, rng=rng, draws=config.n_boot), made)
    sections.comparison(run, pairs, made, estimates, corrected, parts, extractor.dictionary)
    if data.planted is not None:
        sections.planted(run, data.planted, estimates, corrected, week=WORSE[0])
    return pairs, made, (read, drafted)


def _followed(
    run: Run, config: Config, data: Material, pairs: Pairs, made: Cells, rng: np.random.Generator
) -> None:
    """Into the monitor, and out of it as charts."""
    from radfoundry.monitor.store import open_store

    dated = pairs.dated
    if not dated.any():
        run.note("The reports have no dates (column `date`), so nothing could be followed over time.")
        return
    if not dated.all():
        lacking = drafts.counted(int((~dated).sum()), "pair|s without a date")
        run.note(f"Not followed over time: {lacking}.")
    pairs, made = pairs.take(dated), made.take(dated)
    with open_store(config.monitor) as store:
        done = store.ingest(data.name, drafts.events(pairs, made), source=run.out.name, replace=True)
        run.log(f"monitor: {done}")
        outcomes = store.outcomes(data.name)
    shown: dict[str, Any] = {}
    for watch in drafts.WATCHES:
        try:
            shown[watch.name] = drafts.charts(
                outcomes, watch, baseline_weeks=config.baseline_weeks, arl0=config.arl0, alpha=config.alpha,
                rng=rng,
            )  # fmt: skip
        except NotEnoughData as error:
            run.note(f"{watch.name} could not be charted: {error}")
    first = drafts.WATCHES[0]
    by = {}
    for name in drafts.STRATA:
        if name in outcomes and outcomes[name].replace("", "unknown").nunique() > 1:
            try:
                by[name] = drafts.charts_by(
                    outcomes, first, name, baseline_weeks=config.baseline_weeks, arl0=config.arl0, rng=rng
                )
            except NotEnoughData as error:
                run.note(f"{first.name} by {name} could not be charted: {error}")
    sections.charts(run, shown, by)
