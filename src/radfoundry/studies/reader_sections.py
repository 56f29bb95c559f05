"""What the page of a reader study shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.evaluate.compare import Comparison, format_p, p_words
from radfoundry.evaluate.kappa import ReaderKappa
from radfoundry.evaluate.readers.automation_bias import AI, RIGHT, WRONG, AutomationBias
from radfoundry.evaluate.readers.reading_time import Ratio, ReadingTime, by_order
from radfoundry.evaluate.readers.reads import Reads
from radfoundry.evaluate.readers.result import ReaderStudy, titled
from radfoundry.report import reader_figures
from radfoundry.report.build import label
from radfoundry.studies.draft_sections import difference, words
from radfoundry.studies.evidence import paragraph
from radfoundry.studies.run import Run
from radfoundry.types import Estimate

KAPPAS = {
    "kappa_truth": "with the truth, mean of readers", "kappa_pairwise": "between readers, mean of pairs",
    "kappa_fleiss": "between readers, Fleiss",
    "kappa_ratings": "between readers, of ratings, quadratic weights",
}  # fmt: skip
SHARES = {
    ("accuracy", RIGHT): "right where the AI is right", ("accuracy", WRONG): "right where the AI is wrong",
    ("agreement_with_ai", None): "decides as the AI does",
    ("commission_error", "AI falsely positive"): "wrong where the AI is falsely positive",
    ("omission_error", "AI falsely negative"): "wrong where the AI is falsely negative",
}  # fmt: skip
CHANGES = {
    "positive_flips": "wrong alone, AI right, then right",
    "negative_flips": "right alone, AI wrong, then wrong",
    "over_reliance": "of reads right alone where the AI is wrong: changed to wrong",
    "changed_to_wrong_unprompted": "of reads right alone where the AI is right: changed to wrong",
    "under_reliance": "of reads wrong alone where the AI is right: stayed wrong",
    "changed_to_right_unprompted": "of reads wrong alone where the AI is wrong: changed to right",
}


FIXED = 0.9
"""From this share of cases on that were read first in one modality the order is called fixed."""


@dataclass(frozen=True)
class Found:
    """All that was analysed. decided: sensitivity, specificity, accuracy. otherwise: the main question by
    other ways, or why there is no answer. ai: the AI alone by figure of merit, where it said anything."""

    reads: Reads
    main: ReaderStudy
    decided: tuple[ReaderStudy, ...]
    otherwise: tuple[tuple[str, ReaderStudy | str], ...]
    kappa: ReaderKappa | None = None
    time: ReadingTime | None = None
    bias: AutomationBias | None = None
    ai: Mapping[str, Estimate] = field(default_factory=dict)


def write(run: Run, found: Found, planted: Mapping[str, float] | None, doc: str | None) -> None:
    """All sections, figures, tables and estimates of the run."""
    for study in (found.main, *found.decided):
        run.add_estimates(study.estimates())
    run.section("The question", key="question", text=f"{paragraph(doc, 'Question')} {_sample(found.reads)}")
    _verdict(run, found)
    run.section("In words", key="in_words", text=journal(found))
    _averages(run, found)
    if len(np.unique(found.reads.y)) == 2 and np.isfinite(found.reads.rating).any():
        figure, data = reader_figures.reader_roc(
            found.reads.y, found.reads.rating, modalities=found.reads.modalities, readers=found.reads.readers,
            estimates={str(one.model): one for one in found.main.averages if one.name == "auroc"},
        )  # fmt: skip
        run.save_figure(
            "roc", figure, data, title="Average of the readers, and each of them",
            caption="Thick: mean sensitivity of the readers at each specificity. Thin: each reader.",
        )  # fmt: skip
    if found.main.differences:
        one = found.main.differences[0]
        own = [
            c for c in found.main.reader_differences if (c.model_a, c.model_b) == (one.model_a, one.model_b)
        ]
        figure, data = reader_figures.reader_forest(
            {str(c.subgroup): c.estimate() for c in own}, one.estimate(), metric=one.name,
            better=f"higher {one.model_a}", worse=f"higher {one.model_b}",
        )  # fmt: skip
        run.save_figure(
            "comparison", figure, data, title=f"{one.model_a} minus {one.model_b}, reader by reader",
            caption="Of each reader over cases, and (diamond) of the average over readers and cases.",
        )  # fmt: skip
    _otherwise(run, found)
    if found.kappa is not None:
        _kappa(run, found.kappa, found.reads)
    if found.time is not None:
        _time(run, found.time, found.reads)
    if found.bias is not None:
        _bias(run, found.bias)
    if planted is not None:
        _planted(run, found, planted)
    told = {
        "Methods": found.main,
        "Agreement": found.kappa,
        "Time": found.time,
        "Automation bias": found.bias,
    }
    text = " ".join(paragraph(doc, start) for start, part in told.items() if part is not None)
    run.section("Methods", key="methods", text=text)


# -- who read what ----------------------------------------------------------------------------------


def _sample(reads: Reads) -> str:
    there = np.isfinite(reads.rating) | np.isfinite(reads.decision)
    positive, n = int(reads.y.sum()), len(reads.y)
    text = (
        f"{_count(len(reads.readers), 'reader')} judged {_count(n, 'case')}, {positive} of them positive, in "
        f"{_count(len(reads.modalities), 'modality', 'modalities')} ({', '.join(reads.modalities)}): "
        f"{int(there.sum()):,} reads"
    )
    lacking = int((~there).sum())
    return text + (f"; {lacking:,} of {there.size:,} possible ones were not made." if lacking else ".")


def fixed_order(reads: Reads) -> str | None:
    """The warning where nearly all cases were read first in one modality: learning looks like its effect."""
    rows = reads.rows
    known = [c for c in ("session", "order") if c in rows and rows[c].notna().all()]
    if not known or len(reads.modalities) < 2:
        return None
    first = rows.sort_values(known, kind="stable").drop_duplicates(["reader", "case_id"])
    both = rows.groupby(["reader", "case_id"])["modality"].nunique() > 1
    first = first.set_index(["reader", "case_id"])["modality"][both]
    if first.empty:
        return None
    share, name = first.value_counts(normalize=True).iloc[0], first.value_counts().index[0]
    if share < FIXED:
        return None
    how = "Every case was read" if share == 1 else f"{share:.0%} of the cases were read"
    return (
        f"{how} first with {name}: what readers learned before the other reading cannot be told from the "
        "modality, nor can their times be compared. A crossover can do both (radfoundry readers design)."
    )


# -- accuracy ---------------------------------------------------------------------------------------


def _verdict(run: Run, found: Found) -> None:
    main, name = found.main, label(found.main.merit)
    beside = found.ai.get(main.merit) or _chance(main, found.reads)
    items: list[tuple[str, Estimate, Estimate | None]] = [
        (f"{name}, {one.model}", one, beside) for one in main.averages
    ]
    items += [
        (f"{name}, {one.model_a} minus {one.model_b}", one.estimate(), None) for one in main.differences
    ]
    if found.time is not None and found.time.ratios and fixed_order(found.reads) is None:
        one = found.time.ratios[0]
        items.append((f"Reading time, {one.modality_a} over {one.modality_b}", one.estimate(), None))
    against = "the AI alone" if main.merit in found.ai else "chance"
    run.verdict(" ".join(conclusion(found)), items, against=against)


def conclusion(found: Found) -> list[str]:
    """A sentence for each comparison with the reference: shown or not, and nothing beyond that."""
    said = []
    several = len(found.main.differences) > 1
    alone = f", for {titled(found.reads.readers[0])} alone" if len(found.reads.readers) == 1 else ""
    for one in found.main.differences:
        name, a, b = label(one.name), _called(one.model_a), _called(one.model_b)
        tested = f"Holm {p_words(one.p_holm)}" if several else p_words(one.p)
        told = f"{difference(one)}, {tested}{alone}"
        if not math.isfinite(one.low):
            said.append(f"No interval can be given for {a} against {b}: {one.note}.")
        elif one.p_holm < 1 - one.level if several else one.low > 0 or one.high < 0:
            way = "higher" if one.difference > 0 else "lower"
            said.append(f"{name} is {way} for {a} than for {b}: {told}.")
        else:
            said.append(
                f"A difference in {name} between {a} and {b} is not shown: {told}. The interval says how "
                "large it could be."
            )
    for one in found.main.noninferiority:
        note = str(one.note)
        said.append(f"{note[:1].upper()}{note[1:]} ({_holm(one)}).")
    return said or ["One modality: there is nothing to compare it with."]


def journal(found: Found) -> str:
    """The results in the form of a paper, every number from the estimates of the run."""
    reads, main = found.reads, found.main
    text = [_sample(reads)]
    own = _listed([f"{words(one)} for {_called(one.model)}" for one in main.averages])
    whose = "Averaged over readers, " if len(reads.readers) > 1 else f"Of {titled(reads.readers[0])}, "
    text.append(f"{whose}{label(main.merit)} was {own}.")
    if main.merit in found.ai:
        text.append(f"The AI alone reached {words(found.ai[main.merit])}.")
    for one in main.differences:
        pair = f"{_called(one.model_a)} minus {_called(one.model_b)}"
        text.append(f"The difference ({pair}) was {difference(one)}, {_holm(one)} ({one.method}).")
    for study in found.decided:
        own = _listed([f"{one.value:.3f} for {_called(one.model)}" for one in study.averages])
        told = [f"difference{_which(one, main)} {difference(one)}, Holm {p_words(one.p_holm)}"
                for one in study.differences]  # fmt: skip
        text.append(f"{label(study.merit)} was {own}{''.join(f'; {one}' for one in told)}.")
    text += _kappa_in_words(found)
    if found.time is not None:
        own = _listed([f"{one.value:.1f} s for {_called(one.model)}" for one in found.time.means])
        ratios = [f"; {r.modality_a} over {r.modality_b} {_ratio(r)}" for r in found.time.ratios]
        text.append(f"The geometric mean of a reading was {own}{''.join(ratios)}.")
    if warning := fixed_order(reads):
        text.append(warning)
    return " ".join(text)


def _which(one: Comparison, main: ReaderStudy) -> str:
    """Of several pairs, the one meant."""
    return f" {one.model_a} minus {one.model_b}" if len(main.differences) > 1 else ""


def _holm(one: Comparison | Ratio) -> str:
    """p, and Holm's where it is another."""
    other = math.isfinite(one.p_holm) and one.p_holm != one.p
    return p_words(one.p) + (f", Holm {p_words(one.p_holm)}" if other else "")


def _kappa_in_words(found: Found) -> list[str]:
    """Values from all reads of a modality; differences from the cases read in both."""
    if found.kappa is None:
        return []
    text = []
    for name in ("kappa_truth", "kappa_fleiss"):
        own = [e for e in found.kappa.estimates if e.name == name and e.subgroup is None]
        if not own or not all(math.isfinite(e.value) for e in own):
            continue
        values = _listed([f"{e.value:.3f} for {_called(e.model)}" for e in own])
        told = [f"; difference{_which(c, found.main)} {difference(c)}" for c in found.kappa.differences
                if c.name == name and c.model_b == found.reads.modalities[0]]  # fmt: skip
        text.append(f"Kappa {KAPPAS[name]} was {values}{''.join(told)}.")
    return text


def _called(modality: str | None) -> str:
    """The name of a modality in a sentence: a mere number or letter needs the word."""
    return f"modality {modality}" if modality is not None and len(modality) < 3 else str(modality)


def _averages(run: Run, found: Found) -> None:
    studies = [found.main, *found.decided]
    body = []
    for i, modality in enumerate(found.reads.modalities):
        body.append([modality, *(words(study.averages[i]) for study in studies)])
    body.append(["more frequent class, or chance", *(_trivial(study, found.reads) for study in studies)])
    if found.ai:
        body.append(["the AI alone", *(words(found.ai.get(study.merit)) for study in studies)])
    run.section(
        "Accuracy, averaged over readers", kind="table", key="performance",
        columns=["modality", *(label(study.merit) for study in studies)], rows=body,
        caption=f"{label(found.main.merit)}: {found.main.method}."
        + (f" Of decisions: {found.decided[0].method}." if found.decided else ""),
    )  # fmt: skip
    rows = [
        [label(one.name), f"{one.model_a} - {one.model_b}", difference(one), _plain_p(one.p),
         _plain_p(one.p_holm)]
        for study in studies for one in study.differences
    ]  # fmt: skip
    if rows:
        run.section(
            "Differences", kind="table", key="comparison_table",
            columns=["", "", "difference (95 % CI)" if found.main.level == 0.95 else "difference (CI)", "p",
                     "p, Holm"],
            rows=rows,
            caption="Holm: sensitivity, specificity and accuracy together; the main figure apart.",
        )  # fmt: skip
    table = pd.DataFrame([e.as_dict() for study in studies for e in study.readers])
    run.save_table("readers", table)
    run.save_table("reader_differences",
                   pd.DataFrame([c.as_dict() for s in studies for c in s.reader_differences]))  # fmt: skip


def _trivial(study: ReaderStudy, reads: Reads) -> str:
    """What costs nothing: chance for an area, the more frequent class for accuracy."""
    beside = _chance(study, reads)
    return "–" if beside is None else f"{beside.value:.3f}"


def _chance(study: ReaderStudy, reads: Reads) -> Estimate | None:
    share = float(max(reads.y.mean(), 1 - reads.y.mean()))
    trivial = {"auroc": (0.5, "chance"), "auroc_binormal": (0.5, "chance"),
               "accuracy": (share, "the more frequent class")}  # fmt: skip
    if study.merit not in trivial:
        return None
    value, method = trivial[study.merit]
    return Estimate(f"{study.merit}_trivial", value, method=method, n=len(reads.y))


def _otherwise(run: Run, found: Found) -> None:
    body: list[list[Any]] = []
    for name, study in (("main analysis", found.main), *found.otherwise):
        if isinstance(study, str):
            body.append([name, 0, "–", "", study])
            continue
        several = len(study.differences) > 1
        body += [
            [f"{name}: {one.model_a} - {one.model_b}" if several else name, one.n, difference(one),
             _plain_p(one.p), one.method]
            for one in study.differences
        ]  # fmt: skip
    if found.main.differences:
        run.section(
            "The same question, answered otherwise", kind="table", key="otherwise",
            columns=["", "cases", "difference", "p", "method"], rows=body,
            caption="Not corrected for each other: they answer one question. Where they disagree on the same "
            "cases the result rests on a choice; on fewer cases it may be those.",
        )  # fmt: skip


# -- agreement, time, automation bias ---------------------------------------------------------------


def _kappa(run: Run, found: ReaderKappa, reads: Reads) -> None:
    run.add_estimates(found.estimates)
    run.add_estimates(one.estimate() for one in found.differences)
    body = []
    for name, what in KAPPAS.items():
        own = {e.model: e for e in found.estimates if e.name == name and e.subgroup is None}
        if not own:
            continue
        compared = [c for c in found.differences if c.name == name and c.model_b == reads.modalities[0]]
        changes = [f"{difference(c)}, {_holm(c)}" if math.isfinite(c.p) else "–" for c in compared]
        body.append([what, *(words(own.get(m)) for m in reads.modalities), *changes])
    names = [f"{m} - {reads.modalities[0]}" for m in reads.modalities[1:]]
    run.section(
        "Agreement: kappa", kind="table", key="kappa", columns=["", *reads.modalities, *names],
        rows=body,
        caption="Of decisions unless it says ratings; 0 is chance. Bootstrap of readers and cases.",
    )  # fmt: skip


def _time(run: Run, found: ReadingTime, reads: Reads) -> None:
    for kind in (found.means, found.terms, found.crossover):
        run.add_estimates(kind)
    run.add_estimates(one.estimate() for one in (*found.ratios, *found.by_reader))
    for note in found.notes:
        run.note(f"Reading time: {note}")
    order = by_order(reads.rows) if "order" in reads.rows else None
    figure, data = reader_figures.reading_times(
        found.readers, order, modalities=reads.modalities, means=found.means
    )
    run.save_figure(
        "reading_time", figure, data, title="Reading time",
        caption="Left: geometric mean of each reader, thick: of all. Right: along the list.",
    )  # fmt: skip
    body = [[f"geometric mean, {one.model}, s", words(one), one.method] for one in found.means]
    body += [[f"ratio {r.modality_a} / {r.modality_b}", _ratio(r), r.method]
             for r in (*found.ratios, *found.by_reader)]  # fmt: skip
    for e in (*found.terms, *found.crossover):
        which = f", {e.subgroup}" if e.subgroup else ""
        which += f": {e.model}" if e.name == "carry_over" and e.model else ""
        which += ", by crossover" if e in found.crossover and e.name == "session_ratio" else ""
        body.append([TERMS.get(e.name, e.name) + which, words(e), e.note or e.method])
    run.section("Reading time in numbers", kind="table", key="time", columns=["", "estimate", "method"],
                rows=body, caption="Ratios below 1 are faster.")  # fmt: skip


def _bias(run: Run, found: AutomationBias) -> None:
    run.add_estimates(found.estimates)
    run.add_estimates(one.estimate() for one in found.differences)
    for note in found.notes:
        run.note(f"Automation bias: {note}")
    models = list(dict.fromkeys(str(e.model) for e in found.estimates if e.name == "agreement_with_ai"))
    figure, data = reader_figures.automation_bias(
        found.estimates, found.switches, found.readers, unaided=models[0], aided=models[1]
    )
    run.save_figure("automation_bias", figure, data, title="Where the AI is right, and where it is wrong",
                    caption="Accuracy without and with the AI, mean of readers.")  # fmt: skip
    by = {(e.name, e.subgroup, e.model): e for e in found.estimates}
    compared = {(c.name, c.subgroup): c for c in found.differences if c.model_b != AI}
    body = []
    for (name, subgroup), what in SHARES.items():
        own = [by.get((name, subgroup, m)) for m in models]
        change = compared.get((name, subgroup))
        body.append([what, own[0].n if own[0] else 0, *(words(e) for e in own),
                     difference(change) if change is not None else "–"])  # fmt: skip
    for name, what in CHANGES.items():
        one = next((e for e in found.estimates if e.name == name), None)
        body.append([what, one.n if one else 0, "", words(one), ""])
    run.section(
        "Do readers follow the AI when it errs?", kind="table", key="bias",
        columns=["share of reads", "reads", *map(str, models), "change"], rows=body,
        caption="Reads of the same case by the same reader in both modalities. Who reads twice changes some "
        "decisions without any advice: the changes that the AI did not suggest stand beside the others.",
    )  # fmt: skip
    run.save_table("switches", found.switches)
    run.save_table("automation_bias_by_reader", found.readers)


# -- phantoms ---------------------------------------------------------------------------------------


def _planted(run: Run, found: Found, planted: Mapping[str, float]) -> None:
    """What was planted beside what was found."""
    own = {f"auc_{one.model}": one for one in found.main.averages}
    if found.main.differences:
        own["auc_difference"] = found.main.differences[0].estimate()
    if "auroc" in found.ai:
        own["auc_ai"] = found.ai["auroc"]
    if found.time is not None and found.time.ratios:
        own["time_ratio"] = found.time.ratios[0].estimate()
        own |= {e.name: e for e in found.time.terms if e.name == "session_ratio"}
    names = {
        "auc_unaided": "AUC unaided", "auc_aided": "AUC aided", "auc_difference": "difference of the AUCs",
        "auc_ai": "AUC of the AI", "time_ratio": "ratio of reading times",
        "session_ratio": "ratio of the sessions",
    }  # fmt: skip
    body = [[what, f"{planted[key]:.3f}", words(own[key]), _inside(planted[key], own[key])]
            for key, what in names.items() if key in planted and key in own]  # fmt: skip
    run.section(
        "Planted and found", kind="table", key="planted", columns=["", "planted", "found", "inside"],
        rows=body,
        caption="Of 95 % intervals one in twenty misses what was planted. The planted figures are "
        "expectations over readers and cases.",
    )  # fmt: skip


def _inside(value: float, e: Estimate) -> str:
    return "yes" if e.low <= value <= e.high else "no"


# -- words ------------------------------------------------------------------------------------------


def _plain_p(p: float) -> str:
    return format_p(p) if math.isfinite(p) else "–"


def _ratio(one: Ratio) -> str:
    span = f" ({one.low:.3f} to {one.high:.3f})" if math.isfinite(one.low) else ""
    return f"{one.value:.3f}{span}" + (f", {_holm(one)}" if math.isfinite(one.p) else "")


TERMS = {
    "learning_percent_per_10_cases": "learning, % per 10 cases", "carry_over": "carry-over",
    "session_ratio": "ratio to session 1", "time_ratio": "ratio by crossover",
    "sd_reader": "SD of readers", "sd_case": "SD of cases",
    "sd_reader_by_modality": "SD of reader x modality", "sd_residual": "SD of the rest",
}  # fmt: skip


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
