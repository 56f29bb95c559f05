"""Rules on what people typed: Series Description and Protocol Name, only where these were switched on.

They stand last, so that every rule on the rest of the header outranks them. Descriptions are copied from
protocol to protocol, so what they alone say is never sure. A trace repeats the word that was known, and no
more of the text. It is sought in the description first: a derived series keeps the protocol of its source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from radfoundry.series.rules_facts import Facts, Rule, Rulebook, Test

SOURCES = ("SeriesDescription", "ProtocolName")
DESCRIBED = "described-"
"""How the names of these rules begin."""
WORDS = "words of descriptions: Gauriau et al. 2020, doi:10.1007/s10278-019-00308-x"
NAMES = "names of sequences: MRI Questions, Commercial acronyms; IMAIOS e-MRI, Sequences acronyms"
T1, T2, PD = r"t1w?|t1 weighted", r"t2w?|t2 weighted", r"pdw?|proton density"
AFTER = r"post|gd|gad|gado|gadolinium|ce|km|with contrast|c \+|\+ (?:c|gd|km)"
BEFORE = r"pre|w ?o|without|non?|native?|nativ|ohne|unenhanced"
MADE = r"maps?|mapping|rho|sub|subtraction|mask|seg|segmentation|overlay|fused|fusion"
"""What was made of images, none of which has their contrast."""


@dataclass(frozen=True, slots=True)
class Words:
    """What one rule knows. said: in plain words. pattern, also, never: what a text must hold, what too, and
    what not, over lower case words and signs with a blank between them."""

    name: str
    verdict: str
    said: str
    pattern: str
    reference: str = WORDS
    also: str = ""
    never: str = ""


KNOWN = (
    Words("calibration", "CAL", "cal, calibration, ref scan, reference scan or coil survey",
          r"(?:asset )?cal|calibration|ref ?scan|reference scan|coil survey"),
    Words("localizer", "LOC", "localizer, loc, scout, survey, 3-plane or plan scan",
          r"locali[sz]er|loc|scout|survey|(?:3|three|tri) ?(?:plane|pl)|plan ?scan"),
    Words("projection", "other:MIP", "MIP, MinIP, MPR, reformat, collapse or projection",
          r"mip|mnip|minip|mpr|reformat(?:s|ted)?|collapse|projection"),
    Words("perfusion-map", "other:PERFUSION-MAP", "CBF, CBV, MTT, TTP, Tmax, Ktrans or perfusion map",
          r"(?:r|rel ?)?(?:cbf|cbv|mtt|ttp)|tmax|ktrans|perfusion maps?"),
    Words("diffusion-map", "other:DIFFUSION-MAP", "eADC, exponential ADC, colour FA or FA map",
          r"eadc|exponential adc|col ?fa|fa maps?"),
    Words("adc", "ADC", "ADC or apparent diffusion", r"adc|apparent diffusion"),
    Words("field-map", "other:FIELDMAP", "field map, fmap or B0 map", r"field ?map(?:ping)?|fmap|b0 ?map"),
    Words("phase", "other:PHASE", "phase image, pha images or phase map",
          r"(?:pha|phase) images?|phase map", never="contrast"),
    Words("asl", "ASL", "ASL, PASL, pCASL or arterial spin", r"(?:3d ?)?(?:p|c|pc|e)?asl|arterial spin"),
    Words("bolus-perfusion", "other:DSC", "DSC or ep2d perf", r"dsc|ep2d perf"),
    Words("dynamic-contrast", "other:DCE", "DCE", r"dce"),
    Words("bold", "other:BOLD", "BOLD, fMRI or resting state", r"bold|(?:rs ?)?f ?mri|resting state"),
    Words("diffusion", "DWI", "DWI, DTI, diff, diffusion, trace, HARDI or NODDI",
          r"dwi|dti|diff|diffusion|tracew?|hardi|noddi"),
    Words("angiography", "MRA", "MRA, MRV, TOF, time of flight, angio or TRICKS",
          r"(?:ce ?)?mra|mrv|(?:2d ?|3d ?)?tof|time of flight|angio(?:graphy|graphie)?|tricks", NAMES),
    Words("susceptibility", "SWI", "SWI, SWAN, SWIp, VenoBOLD or susceptibility",
          r"swi|swan|swip|venobold|susceptibility", NAMES),
    Words("balanced", "SSFP", "CISS, FIESTA, TrueFISP, bFFE, bTFE or SSFP",
          r"ciss|fiesta(?: c)?|true ?fisp|trufi|b ?(?:ffe|tfe)|b?ssfp", NAMES),
    Words("flair", "T2-FLAIR", "FLAIR or dark fluid; not beside T1",
          r"(?:t2w? ?)?(?:2d ?|3d ?)?flair|dark fluid", never=rf"{T1}|t1 ?flair|{MADE}"),
    Words("t2-star", "T2*", "T2*, T2 star, MEDIC, MERGE, m-FFE or hemo",
          r"t2 \*(?: w)?|t2 ?star|medic|merge|m ?ffe|hemo", NAMES, never=MADE),
    Words("t1-after-agent", "T1c", "T1 or MPRAGE with post, Gd, CE, KM or +C; not with pre, non or without",
          rf"{T1}|mp ?rage|t1 ?flair", also=AFTER, never=rf"{BEFORE}|{T2}|{MADE}"),
    Words("proton-density", "other:PD", "PD or proton density; not beside T2", PD, never=rf"{T2}|{MADE}"),
    Words("t1", "T1", "T1, MPRAGE, BRAVO or IR-FSPGR; not beside T2",
          rf"{T1}|t1 ?flair|mp ?rage|bravo|ir ?fspgr", NAMES, never=rf"{T2}|{MADE}"),
    Words("t2", "T2", "T2, STIR, HASTE or SSFSE; not beside T1 or PD",
          rf"{T2}|stir|haste|ssfse", NAMES, never=rf"{T1}|{PD}|{MADE}"),
)  # fmt: skip
"""In order: what was derived from images before the images, special acquisitions before plain contrasts."""


def _found(pattern: str, text: str) -> str:
    """What of a text matches as whole words, "" for no pattern."""
    hit = re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])", text) if pattern else None
    return hit[0] if hit else ""


@lru_cache(maxsize=4096)
def _said(texts: tuple[str, ...], known: tuple[Words, ...]) -> tuple[str, str, int]:
    """(source, word, place in `known`) of the first text that has a word; ("", "", -1) where none has.

    >>> _said(("AX_T2-FLAIR", ""), KNOWN)[:2], _said(("flairs", "Ax T1 +C"), KNOWN)[:2]
    (('SeriesDescription', 't2 flair'), ('ProtocolName', 't1 + c'))
    """
    for source, text in zip(SOURCES, texts):
        plain = " ".join(re.findall(r"[a-z0-9]+|[*+]", text.casefold()))
        for place, words in enumerate(known):
            hit, more = _found(words.pattern, plain), _found(words.also, plain)
            if hit and bool(more) == bool(words.also) and not _found(words.never, plain):
                return source, f"{hit} {more}".strip(), place
    return "", "", -1


def _test(place: int, words: Words) -> Test:
    def test(f: Facts) -> str:
        texts = tuple(" ".join(map(str, f.header.values.get(name, ()))) for name in SOURCES)
        source, hit, first = _said(texts, KNOWN) if any(texts) else ("", "", -1)
        return f"{source} says {hit.upper()}" if first == place else ""

    test.__doc__ = f"A description that was switched on says {words.said}."
    return test


BOOK = Rulebook(
    Rule(f"{DESCRIBED}{words.name}", "any", words.verdict, words.reference, _test(place, words))
    for place, words in enumerate(KNOWN)
)
