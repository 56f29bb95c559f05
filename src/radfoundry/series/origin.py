"""What tables and pages leave out when they leave the house: where series came from, and legible pictures.

Names of folders and files may be those of patients. UIDs often hold the scanner's number, the date and the
time. Screenshots and films have a name in their pixels. Digests stand in for the first two; whoever has the
names or UIDs can make them again, so they are pseudonyms and no anonymisation.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from radfoundry.series.element import UIDS, digest
from radfoundry.series.find import SHORT, Series, printable
from radfoundry.series.labels import OTHER
from radfoundry.series.rules_kind import DOCUMENTS, is_capture

if TYPE_CHECKING:
    from radfoundry.series.classify import Classified
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
    return f"uid-{digest(uid, 16)}"


def hidden(where: str) -> str:
    """A digest in place of the name of a folder, the same for the same name."""
    return f"path-{digest(where, SHORT)}"


def without_paths(text: str, one: Series) -> str:
    """What was said of a series, with digests in place of its folders and files.

    A word of the text that happens to be a folder's name, such as T1, stays: messages name a whole path, or
    begin with `where`.

    >>> without_paths("Doe^J: no files; T1 → Doe", Series("1", "", "", "", 1, "Doe^J", ()))
    'path-d6c2115b: no files; T1 → Doe'
    """
    for end in (":", " holds"):
        text = text.replace(f"{one.where}{end}", f"{hidden(one.where)}{end}")
    if os.sep not in text:
        return text
    paths = {path for file in one.files for path in (str(file.path), str(file.path.parent))}
    for name in sorted({*paths, *one.where.split(", ")}, key=len, reverse=True):
        for said in (name, printable(name)) if os.sep in name else ():
            text = text.replace(said, hidden(name))
    return text


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
    captured = any(is_capture(str(uid)) for uid in header.values.get("SOPClassUID", ()))
    if captured or header.values.get("ConversionType") or header.words("Modality") & DOCUMENTS:
        return LEGIBLE["SCREEN"]
    return LEGIBLE.get(verdict.kind, "") if verdict.modality == OTHER else ""
