"""Header rules: a verdict on a series with its reason, or silence where the header does not decide.

Rules stand in order of precedence: what the images are (`rules_kind`), special acquisitions
(`rules_sequence`), contrast by physics (`rules_contrast`), and, where descriptions were switched on, what
they say (`rules_description`); the first that speaks wins. A wrong verdict is
worse than none, so a rule abstains wherever another series could carry the same header. Every rule is listed
with its reference in docs/reference/series-rules.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radfoundry.series import rules_contrast, rules_description, rules_kind, rules_sequence
from radfoundry.series.header import SeriesHeader
from radfoundry.series.labels import OTHER, joined
from radfoundry.series.rules_facts import Facts, Rule, show
from radfoundry.series.verdict import RuleVerdict

CODE_VERSION = 2
HEADER_RULES: tuple[Rule, ...] = (*rules_kind.BOOK, *rules_sequence.BOOK, *rules_contrast.BOOK)
RULES: tuple[Rule, ...] = (*HEADER_RULES, *rules_description.BOOK)
VERIFIED = frozenset({"MRA", "SSFP", "ADC", "DWI"})
"""Modalities that the published system verifies with rules after the model has spoken."""
UNSURE = ""
"""Modality of a veto that takes the model's verdict away and has no better one."""


def decide(header: SeriesHeader, *, described: bool = True) -> RuleVerdict | None:
    """Verdict of the first rule that speaks; None where all abstain.

    described: let descriptions speak, where they were switched on and the header holds nothing against them.

    >>> flair = SeriesHeader(
    ...     values={"ScanningSequence": (("SE", "IR"),), "ImageType": (("ORIGINAL", "PRIMARY", "M"),)},
    ...     echo_times=(120.0,), repetition_times=(9000.0,), inversion_times=(2500.0,),
    ... )
    >>> decide(flair).trace
    'TI 2500 and TR 9000, SE, TE 120 → T2-FLAIR'
    >>> decide(SeriesHeader()) is None
    True
    """
    facts = Facts(header)
    found = next((verdict for rule in HEADER_RULES if (verdict := rule(facts)) is not None), None)
    if found is None and described:
        found = next((v for rule in rules_description.BOOK if (v := rule(facts)) is not None), None)
        if found is not None and found.modality in _AGAINST and _AGAINST[found.modality](facts):
            return None
    return found


def is_described(verdict: RuleVerdict) -> bool:
    """Whether a description alone said it: nobody measured how often that is right, so it is never sure."""
    return verdict.rule.startswith(rules_description.DESCRIBED)


def all_fired(header: SeriesHeader) -> tuple[RuleVerdict, ...]:
    """Verdicts of all rules that speak, in order of precedence, to see where they disagree."""
    facts = Facts(header)
    return tuple(verdict for rule in RULES if (verdict := rule(facts)) is not None)


def veto(header: SeriesHeader, modality: str, kind: str = "") -> RuleVerdict | None:
    """The last word of the header on a model's verdict, for MRA, SSFP, ADC and DWI as published.

    1. None: the header agrees, or has nothing to say. Other modalities than the four are never judged among
       themselves: a model that says T1 where a rule says T2 is not the veto's business.
    2. A verdict with a modality replaces the model's. It comes where the rules name one of the four and the
       model another label (T1, but Angio Flag Y), or where the model names one of the four and the rules
       name anything else (DWI, but Image Type says ADC).
    3. A verdict with modality UNSURE ("") demotes: the model names one of the four, no rule speaks, and the
       header lacks what that label must have. DWI needs echo planar or a b-value or a diffusion word; ADC
       must be derived; SSFP needs an unspoiled gradient echo with TR up to 20 ms; MRA needs a gradient echo
       with TE up to 15 ms. What an emptied header cannot say is never held against a verdict.

    The rule of the result is named "veto: " and the rule or the missing condition.
    """
    found = decide(header, described=False)
    if found is not None:
        same = found.modality == modality and (modality != OTHER or found.kind == kind)
        if same or not {found.modality, modality} & VERIFIED:
            return None
        said = f"model said {joined(modality, kind)}"
        return RuleVerdict(f"veto: {found.rule}", found.modality, found.kind, f"{said}; {found.trace}")
    against = _AGAINST[modality](Facts(header)) if modality in _AGAINST else ""
    if against:
        return RuleVerdict(f"veto: {modality}", UNSURE, "", f"model said {modality}; {against} → unsure")
    return None


def _against_dwi(f: Facts) -> str:
    words = (
        f.tokens & {"DIFFUSION", "TRACEW", "TRACE", "ISOTROPIC"}
        or f.word("AcquisitionContrast") == "DIFFUSION"
    )
    if f.b >= 10 or words or not f.sequence or f.epi:
        return ""
    return f"{'/'.join(sorted(f.sequence))} without EPI, b-value or diffusion word"


def _against_adc(f: Facts) -> str:
    if f.types and all("ORIGINAL" in kind for kind in f.types):
        return f"ImageType {f.image_type} is original, and ADC is derived"
    if f.sequence and not f.epi and f.b < 10 and not f.derived:
        return f"{'/'.join(sorted(f.sequence))} without EPI or b-value, not derived"
    return ""


def _against_ssfp(f: Facts) -> str:
    if f.tr is not None and f.tr > 20:
        return f"TR {show(f.tr)}, and a balanced sequence repeats within 20 ms"
    if f.epi or f.spin:
        return f"{'/'.join(sorted(f.sequence))} is no gradient echo"
    if f.variant and "SS" not in f.variant:
        return f"SequenceVariant {'/'.join(sorted(f.variant))} without SS"
    return ""


def _against_mra(f: Facts) -> str:
    if f.epi or (f.spin and f.dimension == "2D"):
        return f"{'/'.join(sorted(f.sequence))} is no sequence for angiography"
    if f.te is not None and f.te > 15 and not f.spin:
        return f"TE {show(f.te)} is too long for angiography"
    return ""


_AGAINST = {"DWI": _against_dwi, "ADC": _against_adc, "SSFP": _against_ssfp, "MRA": _against_mra}


@dataclass(frozen=True, slots=True)
class ContrastPair:
    """Two T1 series of one study that differ in nothing the header tells; places in the study, and why."""

    earlier: int
    later: int
    trace: str


def contrast_pairs(study: Sequence[tuple[SeriesHeader, str]]) -> tuple[ContrastPair, ...]:
    """Repeated T1 series, the later of which may be after contrast agent.

    study: (header, modality) of every series of one study in the order of acquisition (series number).
    A pair is a reason to be unsure about both, never a verdict: nothing turns T1 into T1c without an agent
    in the header. Series that name an agent, or name none on purpose, take no part, and series that differ
    in Image Type are two versions of one acquisition. A third repeat is paired with the first.
    """
    pairs: list[ContrastPair] = []
    first: dict[tuple[object, ...], int] = {}
    for place, (header, modality) in enumerate(study):
        facts = Facts(header)
        if modality not in ("T1", "T1c") or facts.agent is not None or facts.tr is None or facts.te is None:
            continue
        key = _protocol(facts)
        if key in first:
            why = f"repeat of a T1 series, TR {show(facts.tr)}, TE {show(facts.te)}, no agent named"
            pairs.append(ContrastPair(first[key], place, f"{why} → maybe after contrast"))
        else:
            first[key] = place
    return tuple(pairs)


def _protocol(f: Facts) -> tuple[object, ...]:
    """What two acquisitions of one protocol share; times to two digits, as scanners vary them a little."""
    rounded = [tuple(float(f"{value:.2g}") for value in times) for times in ((f.tr or 0.0,), f.tes, f.tis)]
    tags = ("FlipAngle", "SliceThickness", "Rows", "Columns", "PixelSpacing", "AcquisitionMatrix")
    normals = frozenset(tuple(round(abs(part), 1) for part in normal) for normal in f.header.normals)
    words = (f.sequence, f.variant, f.options, f.dimension, frozenset(f.types))
    return (*rounded, *words, normals, *(str(f.header.values.get(tag)) for tag in tags))


def explain(header: SeriesHeader) -> list[str]:
    """The main facts of a header, short, for a contact sheet.

    >>> explain(SeriesHeader(values={"ScanningSequence": ("SE",)}, echo_times=(90.0,), n_positions=24))
    ['SE', 'TE 90', '24 slices']
    """
    from radfoundry.series.attributes import read_attributes

    f, attributes = Facts(header), read_attributes(header)
    times = (("TR", f.tr), ("TE", f.te), ("TI", f.ti))
    parts = [
        "/".join(word for word in ("EP", "SE", "GR", "IR", "RM") if word in f.sequence),
        attributes.dimension,
        *(f"{name} {show(value)}" for name, value in times if value is not None),
        f"{len(f.tes)} echoes" if len(f.tes) > 1 else "",
        f"flip {show(f.flip)}" if f.flip is not None and "GR" in f.sequence else "",
        "b " + ", ".join(show(b) for b in attributes.b_values[:4]) if attributes.b_values else "",
        f"{show(f.tesla)} T" if f.tesla is not None else "",
        f"{header.n_positions} slice{'s' if header.n_positions > 1 else ''}" if header.n_positions else "",
        f"{show(round(f.volumes))} volumes" if f.volumes >= 2 and header.n_positions else "",
        attributes.plane,
        "fat suppressed" if attributes.fat_suppressed else "",
        f.agent_said if f.agent else "",
    ]
    return [part for part in parts if part]
