"""How a series was taken and of what: plane, 2D or 3D, fat suppression, agent, b-values, echoes; anatomy.

All of it is read from headers; what they do not say stays None or "".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from radfoundry.series.header import SeriesHeader
from radfoundry.series.rules_facts import Facts, within
from radfoundry.series.verdict import Attributes

AXES = ("sagittal", "coronal", "axial")
"""Names of slices whose normal runs along x, y and z of LPS."""
OBLIQUE_DEG = 30.0
"""A normal farther from every axis is called oblique; no normal is farther than 54.7 degrees."""
FAT_OPTIONS = frozenset(
    {"FS", "SFS", "FATSAT", "FAT_SAT", "SPIR", "SPAIR", "CHESS", "WE", "SPECIAL_GEMS", "PROSET"}
)
STIR_MS = ((0.6, 60.0, 140.0), (2.0, 100.0, 200.0), (25.0, 130.0, 280.0))
"""(field below so many tesla, shortest and longest TI in ms): TI nulls fat at ln 2 times its T1, which grows
with the field (Bydder and Young 1985, J Comput Assist Tomogr 9:659)."""

ANATOMY_WORDS = {
    "Brain": "BRAIN HEAD SKULL CRANIUM ORBIT ORBITS EYE IAC EAR PITUITARY SELLA TMJ FACE CEREBRUM SINUS",
    "Neck": "NECK CAROTID LARYNX THYROID PHARYNX SUPRACLAVICULAR SOFTTISSUENECK",
    "C-spine": "CSPINE CERVICALSPINE CERVICAL",
    "T-spine": "TSPINE THORACICSPINE DORSALSPINE THSPINE",
    "L-spine": "LSPINE LUMBARSPINE LUMBAR LSSPINE LUMBOSACRALSPINE LUMBOSACRAL",
    "Wrist": "WRIST HAND FINGER THUMB CARPUS",
    "Hip": "HIP HIPS PELVIS PROSTATE BLADDER UTERUS SIJOINT ACETABULUM",
    "Elbow": "ELBOW",
    "Knee": "KNEE PATELLA",
    "other": "CHEST THORAX ABDOMEN LIVER KIDNEY PANCREAS HEART BREAST SHOULDER ANKLE FOOT TOE CALF THIGH LEG "
    "ARM FOREARM HUMERUS FEMUR TIBIA CLAVICLE EXTREMITY AORTA WHOLEBODY LOWEREXTREMITY UPPEREXTREMITY SACRUM",
}
"""Body Part Examined (DICOM PS3.16 Annex L and what vendors write), blanks and signs taken out."""
COILS = (
    ("Knee", r"KNEE|TXRX.?KN(?:EE)?"),
    ("Wrist", r"WRIST|HAND"),
    ("Elbow", r"ELBOW"),
    ("other", r"SHOULDER|BREAST|FOOT|ANKLE|CARDIAC"),
    ("Brain", r"BRAIN|HEAD(?!.?NECK|.?SPINE)|\bH(?:E|EA|EP)\d|\b\d{1,2}HA?P?\b|HRBRAIN|\bNV.?HEAD"),
)
"""Coils made for one region. Head-neck, spine, body and flexible coils serve many and say nothing."""


def read_attributes(header: SeriesHeader) -> Attributes:
    """Attributes of one series.

    plane: nearest axis of the slice normal (45-degree convention), `oblique` where the normal is more than 30
    degrees from every axis, `mixed` where the stacks of a series have different names. b_values are left out
    where all are 0, as scanners write them without diffusion.

    >>> read_attributes(SeriesHeader(normals=((0.0, 0.17, 0.985),), echo_times=(30.0,))).plane
    'axial'
    """
    facts = Facts(header)
    return Attributes(
        plane=plane_of(header.normals),
        dimension=facts.dimension,
        fat_suppressed=_fat_suppressed(facts),
        contrast_agent=facts.agent,
        b_values=header.b_values if facts.b > 0 else (),
        echo_times=facts.tes,
    )


def plane_of(normals: Iterable[tuple[float, float, float]]) -> str:
    """axial, sagittal, coronal, oblique or mixed; "" without a usable normal. normals: any length, in LPS."""
    names = set()
    for normal in normals:
        length = math.sqrt(sum(part * part for part in normal))
        if not math.isfinite(length) or length < 1e-6:
            continue
        cosines = [abs(part) / length for part in normal]
        best = max(range(3), key=cosines.__getitem__)
        angle = math.degrees(math.acos(min(cosines[best], 1.0)))
        names.add(AXES[best] if angle <= OBLIQUE_DEG else "oblique")
    return names.pop() if len(names) == 1 else "mixed" if names else ""


def _fat_suppressed(f: Facts) -> bool | None:
    """Whether fat is dark by intent. STIR and water images count; in and opposed phase do not."""
    selected = f.header.words("SpectrallySelectedSuppression")
    if selected & {"FAT", "FAT_AND_WATER"}:
        return True
    if f.options & FAT_OPTIONS or f.named(r"spair|\bspir|\bstir|fat_?sat|_fs\b|\bfs_|proset|\bwe_|_we\b"):
        return True
    if is_stir(f):
        return True
    water, fat = (
        f.every(("W", "WATER")),
        f.every(("F", "FAT", "IP", "OP", "IN_PHASE", "OUT_PHASE", "OPP_PHASE")),
    )
    if water or fat:
        return bool(water)
    if f.dixon:
        return None  # several Dixon images in one series: some are, some are not
    return False if f.options or selected else None


def is_stir(f: Facts) -> bool:
    """Spin echo whose inversion time nulls fat at the field strength (any of the three ranges where
    unknown)."""
    if not f.spin or f.ti is None or len(f.tis) != 1:
        return False
    if f.tesla is None:
        return within(f.ti, STIR_MS[0][1], STIR_MS[-1][2])
    return next(
        within(f.ti, low, high) for below, low, high in STIR_MS if f.tesla < below or below == STIR_MS[-1][0]
    )


def anatomy_of(header: SeriesHeader) -> tuple[str, str]:
    """(anatomy, why); anatomy is "" where Body Part Examined and the coil say nothing, or contradict.

    Scanners fill Body Part Examined from a protocol, often wrongly; a coil made for a knee, a hand or a head
    that says otherwise makes it unknown.

    >>> anatomy_of(SeriesHeader(values={"BodyPartExamined": ("LSPINE",)}))
    ('L-spine', 'BodyPartExamined LSPINE → L-spine')
    """
    parts = [str(value) for value in header.values.get("BodyPartExamined", ())]
    told = {name for part in parts if (name := _anatomy_word(part))}
    coils = [str(value) for value in header.values.get("ReceiveCoilName", ())]
    worn = {name for coil in coils if (name := _coil_word(coil)[0])}
    # what is no known part or coil is text that somebody typed: it stays out of the trace
    part = ", ".join(_plain(part) for part in parts if _anatomy_word(part))
    coil = ", ".join(word for coil in coils if (word := _coil_word(coil)[1]))
    if len(told) > 1 or len(worn) > 1:
        return "", f"several body parts: {part or coil}"
    if told and worn and not _agree(*told, *worn):
        return "", f"BodyPartExamined {part}, but coil {coil}"
    if told:
        name = told.pop()
        return name, f"BodyPartExamined {part} → {name}"
    if worn:
        name = worn.pop()
        return name, f"coil {coil} → {name}"
    return "", ""


def _plain(part: str) -> str:
    """A body part as written, or its letters alone where it holds more than words."""
    return part if re.fullmatch(r"[A-Za-z _-]+", part) else re.sub(r"[^A-Z]", "", part.upper())


def _agree(told: str, worn: str) -> bool:
    """Whether a coil may image a body part: small parts are also put into other coils, so only joints
    contradict."""
    if told == worn or "other" in (told, worn):
        return told == worn or worn == "other"
    return worn == "Brain" and told in ("Neck", "C-spine", "Wrist")


def _anatomy_word(part: str) -> str:
    """Anatomy of a body part as written: "C-SPINE", "CERVICAL SPINE", "L_SPINE", "HEAD AND NECK"."""
    whole = re.sub(r"[^A-Z]", "", part.upper())
    for side in ("LEFT", "RIGHT", "BILATERAL"):
        whole = whole.removeprefix(side).removesuffix(side)
    return next((name for name, words in ANATOMY_WORDS.items() if whole in words.split()), "")


def _coil_word(coil: str) -> tuple[str, str]:
    """(anatomy, the word of the coil's name that tells it), both "" where none does."""
    text = re.sub(r"[_/;,]", " ", coil.upper())
    return next((name, hit[0]) for name, pattern in (*COILS, ("", "$")) if (hit := re.search(pattern, text)))
