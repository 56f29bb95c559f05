"""What tables and pages leave out when they leave the house: where series came from, and legible pictures.

Names of folders and files may be those of patients. UIDs often hold the scanner's number, the date and the
time. Screenshots and films have a name in their pixels. Digests stand in for the first two; whoever has the
names or UIDs can make them again, so they are pseudonyms and no anonymisation.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from radfoundry.series.dcm2niix_program import UIDS
from radfoundry.series.find import hidden, without_paths
from radfoundry.series.labels import OTHER
from radfoundry.series.rules_kind import CAPTURE, DOCUMENTS

if TYPE_CHECKING:
    from radfoundry.series.classify import Classified
    from radfoundry.series.find import Series
    from radfoundry.series.header import SeriesHeader
    from radfoundry.series.verdict import Verdict

LEGIBLE = {"SCREEN": "secondary capture", "NOT-MR": "not MR"}


def hidden_uid(uid: str) -> str:
    """A digest in place of a UID, the same for the same UID; a digest stays as it is.

    >>> hidden_uid("1.2.3"), hidden_uid(hidden_uid("1.2.3")), hidden_uid("")
    ('uid-c47f5b18b8a430e6', 'uid-c47f5b18b8a430e6', '')
    """
    if not uid or re.fullmatch(r"uid-[0-9a-f]{16}", uid):
        return uid
    return f"uid-{hashlib.sha256(uid.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def without_origin(text: str, one: Series) -> str:
    """What was said of a series, with digests in place of its folders, its files and of UIDs."""
    text = without_paths(text, one)
    for uid in (one.uid, one.study):
        if len(uid) > 8 and uid in text:  # a shorter one could be any number
            text = text.replace(uid, hidden_uid(uid))
    return UIDS.sub(lambda match: hidden_uid(match[0]), text)


def without_name(item: Classified, where: str = "") -> Classified:
    """The same verdict on a series whose folders and UIDs are not told; where: in place of its folders."""
    one, verdict = item.series, item.verdict
    return replace(
        item,
        series=replace(
            one, uid=hidden_uid(one.uid), study=hidden_uid(one.study), where=where or hidden(one.where),
            problem=without_origin(one.problem, one),
            notes=tuple(without_origin(note, one) for note in one.notes),
        ),
        verdict=replace(
            verdict, uid=hidden_uid(verdict.uid),
            trace=tuple(without_origin(line, one) for line in verdict.trace),
        ),
    )  # fmt: skip


def unshown(header: SeriesHeader, verdict: Verdict) -> str:
    """Why the picture of a series is not to be shown, "" where it may be: its pixels may name a patient.

    Screenshots and other secondary captures, by verdict or by header; what is not MR, since ultrasound and
    films have text burned in; and whatever says so of itself (Burned In Annotation, DICOM PS3.3 C.7.6.1).
    """
    if "YES" in header.words("BurnedInAnnotation"):
        return "burned-in annotation"
    captured = any(str(uid).startswith(CAPTURE) for uid in header.values.get("SOPClassUID", ()))
    if captured or header.values.get("ConversionType") or header.words("Modality") & DOCUMENTS:
        return LEGIBLE["SCREEN"]
    return LEGIBLE.get(verdict.kind, "") if verdict.modality == OTHER else ""
