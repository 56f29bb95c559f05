"""Classify series: rules and tag model first, pixels only where those are unsure, one veto at the end.

`classify` walks a folder; `classify_study` takes a study that is already in memory, as a server behind a
PACS has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from radfoundry.errors import ReadError
from radfoundry.series import calibrate, rules
from radfoundry.series.attributes import anatomy_of, read_attributes
from radfoundry.series.find import Series, find, from_datasets
from radfoundry.series.header import SeriesHeader
from radfoundry.series.labels import OTHER, joined, parted
from radfoundry.series.model import Logits, Look, SeriesModel
from radfoundry.series.pixels import Pixels, read_pixels
from radfoundry.series.tags import TagList, load_tags, read_header
from radfoundry.series.towers import ImageTower, build
from radfoundry.series.verdict import RuleVerdict, Verdict

if TYPE_CHECKING:
    import pydicom

ReadPixels = Literal["auto", "always", "never"]
EARLY = 0.97
"""A verdict by header alone, at least so probable and with nothing against it, reads no pixels."""
SURE = 0.9
"""Below this a verdict is unsure."""
KNOWN = 0.5
"""Unlike all training series, and no label so probable to the network: of unknown kind."""
THREADS = 2
BATCH = 64
# fmt: off
OTHER_MODALITIES = frozenset((
    "AR", "BI", "BMD", "CR", "CT", "DG", "DMS", "DX", "ECG", "EPS", "ES", "GM", "HD", "IO", "IVOCT", "IVUS",
    "KER", "LEN", "LS", "MG", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPV", "OSS", "PA", "PT", "PX", "RF",
    "RG", "RTDOSE", "RTIMAGE", "SM", "SRF", "TG", "US", "VA", "XA", "XC",
))
# fmt: on
"""Modalities other than MR that are of a scanner or camera (DICOM PS3.3 C.7.3.1.1.1)."""


@dataclass(frozen=True, slots=True)
class Classified:
    """One series and the verdict on it. thumbnail: (rows, columns) uint8, None where no pixels were read."""

    series: Series
    header: SeriesHeader
    verdict: Verdict
    thumbnail: np.ndarray | None = None


@dataclass(frozen=True)
class Classifier:
    """Rules, and a model where there is one; called on any number of series, the model is loaded once.

    pixels: auto reads them where the header leaves doubt. use_rules, use_tags: False takes that evidence
    away, for measuring the rest. thumbnails: read pixels of every series, for a contact sheet; a sure
    verdict is not changed by them.
    """

    model: SeriesModel | None = None
    pixels: ReadPixels = "auto"
    use_rules: bool = True
    use_tags: bool = True
    thumbnails: bool = False
    tower: ImageTower | None = None
    reader: Callable[[Series], Pixels] = read_pixels

    def __call__(self, series: Sequence[Series], headers: Sequence[SeriesHeader]) -> list[Classified]:
        """Verdicts in the order of the series, which should hold whole studies: pairs are compared."""
        said = [rules.decide(header, described=not self._learnt_descriptions) if self.use_rules else None
                for header in headers]  # fmt: skip
        if self.model is None:
            verdicts = [_by_rules(h, v) for h, v in zip(headers, said)]
        else:
            verdicts = self._judge(headers, said, None, "tags" if self.use_tags else "pixels")
        wanted = [i for i, verdict in enumerate(verdicts) if self._wants_pixels(verdict)]
        found = dict(zip(wanted, _read([series[i] for i in wanted], self.reader)))
        if self._sees_pixels:
            again = [i for i in wanted if self._decides(verdicts[i]) and isinstance(found[i], Pixels)]
            verdicts = self._with_pixels(verdicts, headers, said, found, again)
        unread = {i: str(p) for i, p in found.items() if not isinstance(p, Pixels)}
        verdicts = [_with_problem(v, s.problem, unread.get(i, ""))
                    for i, (v, s) in enumerate(zip(verdicts, series))]  # fmt: skip
        verdicts = _doubt_pairs(series, headers, verdicts)
        pictures = {i: p.thumbnail for i, p in found.items() if isinstance(p, Pixels)}
        return [Classified(s, h, v, pictures.get(i))
                for i, (s, h, v) in enumerate(zip(series, headers, verdicts))]  # fmt: skip

    @property
    def _learnt_descriptions(self) -> bool:
        """Whether the model reads descriptions itself: rules that read them too would count them twice."""
        return self.model is not None and self.model.reads_descriptions

    def _decides(self, verdict: Verdict) -> bool:
        """Whether pixels may change a verdict that was made without them."""
        if self.pixels == "always" or not self.use_tags:
            return True
        return verdict.unsure or (verdict.confidence is not None and verdict.confidence < EARLY)

    def _wants_pixels(self, verdict: Verdict) -> bool:
        if self.thumbnails:
            return True
        return self._sees_pixels and self._decides(verdict)

    @property
    def _sees_pixels(self) -> bool:
        """Whether slices may speak: a model that was trained without any has no calibration for them."""
        look = "both" if self.use_tags else "pixels"
        return self.model is not None and self.pixels != "never" and look in self.model.calibration

    def _with_pixels(
        self, verdicts: list[Verdict], headers: Sequence[SeriesHeader], said: Sequence[RuleVerdict | None],
        found: dict[int, Pixels | str], again: list[int],
    ) -> list[Verdict]:  # fmt: skip
        if not again:
            return verdicts
        tower = self.tower or _tower(self.model.image_tower)  # type: ignore[union-attr]
        tokens = [tower.tokens(found[i]) for i in again]  # type: ignore[arg-type]
        look: Look = "both" if self.use_tags else "pixels"
        new = self._judge([headers[i] for i in again], [said[i] for i in again], tokens, look)
        verdicts = list(verdicts)
        for i, verdict in zip(again, new):
            verdicts[i] = verdict
        return verdicts

    def _judge(
        self, headers: Sequence[SeriesHeader], said: Sequence[RuleVerdict | None],
        images: Sequence[np.ndarray] | None, look: Look,
    ) -> list[Verdict]:  # fmt: skip
        model = self.model
        assert model is not None
        seen = headers if self.use_tags else [None] * len(headers)
        logits = model.logits(model.tokens(seen, images))
        return [_verdict(model, h, v, logits, i, look, veto=self.use_rules)
                for i, (h, v) in enumerate(zip(headers, said))]  # fmt: skip


_towers: dict[str, ImageTower] = {}


def _tower(name: str) -> ImageTower:
    """The tower of that name, built once in this process."""
    if name not in _towers:
        _towers[name] = build(name)
    return _towers[name]


def _verdict(
    model: SeriesModel, header: SeriesHeader, said: RuleVerdict | None, logits: Logits, row: int, look: Look,
    *, veto: bool,
) -> Verdict:  # fmt: skip
    """Network and rules joined by Bayes; then the veto."""
    fitted = model.calibration.get(look) or model.calibration["tags"]
    own = fitted["modality"]
    log_p = calibrate.log_probabilities(logits.modality[row : row + 1], own.temperature)[0]
    label = said.label if said else ""
    anatomy, sure_of, why = _anatomy(model, header, logits, row, look, use_tags=veto or look != "pixels")
    if said and _is_fact(header, said):
        return replace(_by_rules(header, said), anatomy=anatomy, anatomy_confidence=sure_of)
    if label and label not in model.modalities:  # the model never learnt it: only the rule can know
        return replace(_by_rules(header, said), source=f"rules+{_seen(look)}")
    unlike = calibrate.energy(logits.modality[row : row + 1], own.temperature)[0] > own.energy
    described = said is not None and rules.is_described(said)
    likelihood = None
    if described:
        likelihood = calibrate.described_likelihood(label, model.modalities)
    elif label:
        likelihood = model.rules["modality"][label]
    p = calibrate.combine(log_p, likelihood, _errors(model, look, "modality"))
    alone = described and bool(unlike or np.exp(log_p.max()) < SURE)  # the network does not know
    best = model.modalities.index(label) if alone else int(p.argmax())
    candidates = [model.modalities[i] for i in calibrate.sets(np.exp(log_p)[None], own.threshold)[0]]
    trace = [said.trace] if said else []
    top = int(log_p.argmax())
    trace.append(f"{_seen(look)}: {model.modalities[top]} {np.exp(log_p[top]):.2f}")
    modality, kind = parted(model.modalities[best])
    sure_of_other = top != best and float(np.exp(log_p[top])) >= SURE
    contradicted = bool(label) and (model.modalities[best] != label or sure_of_other)
    unsure = bool(p[best] < SURE) or contradicted or alone
    if unlike and (described or not label):
        trace.append("unlike all series that the model was trained on")
        unsure = True
        if not label and np.exp(log_p[top]) < KNOWN:
            modality, kind = OTHER, "UNKNOWN"
    overruled = rules.veto(header, modality, kind) if veto else None
    if overruled is not None:
        trace.append(overruled.trace)
        unsure = True
        if overruled.modality:
            modality, kind = overruled.modality, overruled.kind
    final = joined(modality, kind)
    confidence = float(p[model.modalities.index(final)]) if final in model.modalities else 0.0
    return Verdict(
        header.uid, modality, kind, anatomy, confidence, sure_of, unsure,
        f"rules+{_seen(look)}" if label else _seen(look), (*trace, *([why] if why else [])),
        tuple(dict.fromkeys([final, *candidates])) if final not in candidates else tuple(candidates),
        read_attributes(header),
    )  # fmt: skip


def _is_fact(header: SeriesHeader, said: RuleVerdict) -> bool:
    """Whether a header states its verdict, so that no model may doubt it: the modality of another scanner.

    A modality that DICOM does not know is no such statement.
    """
    if said.rule != "not-mr":
        return False
    return header.words("Modality") <= OTHER_MODALITIES  # none at all: the SOP class says so


def _errors(model: SeriesModel, look: Look, head: str) -> float:
    """Share of the network's verdicts to be taken as wrong."""
    return model.errors.get(look, {}).get(head, calibrate.UNSEEN_ERRORS)


def _anatomy(
    model: SeriesModel, header: SeriesHeader, logits: Logits, row: int, look: Look, *, use_tags: bool
) -> tuple[str, float | None, str]:
    """(anatomy, its probability, what the header says of it)."""
    told, why = anatomy_of(header) if use_tags else ("", "")
    fitted = (model.calibration.get(look) or model.calibration["tags"]).get("anatomy")
    if fitted is None:
        return told or OTHER, None, why
    log_p = calibrate.log_probabilities(logits.anatomy[row : row + 1], fitted.temperature)[0]
    p = calibrate.combine(log_p, model.rules["anatomy"].get(told), _errors(model, look, "anatomy"))
    return model.anatomies[int(p.argmax())], float(p.max()), why


def _by_rules(header: SeriesHeader, said: RuleVerdict | None) -> Verdict:
    """What rules alone know; without a verdict of theirs a series is of unknown kind, and unsure.

    So is one that a description alone names.
    """
    anatomy, why = anatomy_of(header)
    traces = tuple(part for part in (said.trace if said else "no rule speaks", why) if part)
    return Verdict(
        header.uid, said.modality if said else OTHER, said.kind if said else "UNKNOWN", anatomy or OTHER,
        unsure=said is None or rules.is_described(said), source="rules", trace=traces,
        candidates=(said.label,) if said else (), attributes=read_attributes(header),
    )  # fmt: skip


def _seen(look: Look) -> str:
    return "tags+pixels" if look == "both" else look


def _read(series: Sequence[Series], reader: Callable[[Series], Pixels]) -> list[Pixels | str]:
    """Slices of each series, or why there are none; files are read by several threads."""

    def one(item: Series) -> Pixels | str:
        try:
            return reader(item)
        except ReadError as error:
            return str(error)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, series))


def _with_problem(verdict: Verdict, problem: str, unread: str) -> Verdict:
    """What kept a series from being read whole makes its verdict unsure, and is said."""
    if unread:
        verdict = replace(verdict, trace=(*verdict.trace, f"pixels not read: {unread}"))
    if problem:
        verdict = replace(verdict, trace=(*verdict.trace, problem), unsure=True)
    return verdict


def _doubt_pairs(
    series: Sequence[Series], headers: Sequence[SeriesHeader], verdicts: list[Verdict]
) -> list[Verdict]:
    """Repeats of one T1 protocol in a study may be before and after contrast: both become unsure."""
    studies: dict[tuple[str, str], list[int]] = {}
    for i, item in enumerate(series):
        if item.study or item.study_date:
            studies.setdefault((item.subject, item.visit), []).append(i)
    out = list(verdicts)
    for rows in studies.values():
        rows.sort(key=lambda i: (series[i].number is None, series[i].number or 0))
        for pair in rules.contrast_pairs([(headers[i], out[i].modality) for i in rows]):
            for place in (pair.earlier, pair.later):
                i = rows[place]
                traces = (*out[i].trace, pair.trace) if place == pair.later else out[i].trace
                out[i] = replace(out[i], unsure=True, trace=traces)
    return out


def classify(
    root: Path | str, model: SeriesModel | None = None, *, pixels: ReadPixels = "auto",
    tags: TagList | None = None, thumbnails: bool = False, progress: Callable[[int, int], None] | None = None,
    threads: int = 1,
) -> list[Classified]:  # fmt: skip
    """Verdicts on all series below a folder, in order of study and series number.

    Raises ReadError when the folder does not exist or holds no DICOM. progress(done, of) counts series.
    threads: read headers, see `survey`; one is best but on slow file systems. `survey` and `classify_found`
    do the same and also tell what was passed over.
    """
    wanted = tags or load_tags()
    series = find(Path(root), tags=wanted, threads=threads)
    return classify_found(series, model, pixels=pixels, tags=wanted, thumbnails=thumbnails, progress=progress)


def classify_found(
    series: Sequence[Series], model: SeriesModel | None = None, *, pixels: ReadPixels = "auto",
    tags: TagList | None = None, thumbnails: bool = False, progress: Callable[[int, int], None] | None = None,
) -> list[Classified]:  # fmt: skip
    """Verdicts on series that `survey` or `find` found, in order of study and series number.

    tags: those that the series were found with.
    """
    classifier = Classifier(model, pixels, thumbnails=thumbnails)
    return in_batches(series, partial(read_header, tags=tags or load_tags()), classifier, progress)


def in_batches(
    series: Sequence[Series], read: Callable[[Series], SeriesHeader], classifier: Classifier,
    progress: Callable[[int, int], None] | None = None,
) -> list[Classified]:  # fmt: skip
    """Classify some dozens of series at a time, a study never parted, so that memory stays bounded.

    read: makes the header of a series. Verdicts come in order of subject, study and series number.
    """
    order = sorted(series, key=_place)
    out: list[Classified] = []
    batch: list[Series] = []
    for i, item in enumerate(order):
        batch.append(item)
        last = i + 1 == len(order)
        if last or (len(batch) >= BATCH and not _together(item, order[i + 1])):
            out += classifier(batch, [read(one) for one in batch])
            batch = []
            if progress is not None:
                progress(len(out), len(order))
    return out


def _together(one: Series, other: Series) -> bool:
    known = bool(one.study or one.study_date)
    return known and (one.subject, one.visit) == (other.subject, other.visit)


def _place(series: Series) -> tuple:
    return (
        series.subject,
        series.study_date,
        series.study,
        series.number is None,
        series.number or 0,
        series.uid,
    )


def classify_study(
    datasets: Sequence[pydicom.Dataset], model: SeriesModel | None = None, *, pixels: ReadPixels = "auto",
    tags: TagList | None = None,
) -> list[Classified]:  # fmt: skip
    """Verdicts on the series of a study in memory: data sets as received, with or without pixels.

    Nothing is written, and no patient attribute leaves the data sets but a pseudonym.
    """
    wanted = tags or load_tags()
    series = from_datasets(datasets, tags=wanted)
    return in_batches(series, partial(read_header, tags=wanted), Classifier(model, pixels))
