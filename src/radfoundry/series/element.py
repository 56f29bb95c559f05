"""Single elements of a header, as text or number, and digests that stand in place of names."""

from __future__ import annotations

import hashlib
import re

from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue

from radfoundry.io.dicom import DicomFile
from radfoundry.io.header import NUMBERS, decode
from radfoundry.series.images import number

LARGEST = 2**31 - 1
"""The largest whole number that DICOM can say (an IS)."""
DIGITS = 12
"""Hexadecimal digits of a digest: 48 bits, so that a million of them meet once in five hundred archives."""
UIDS = re.compile(r"(?<!\d)(?<!\d\.)(?!1\.2\.840\.10008\.)\d+(?:\.\d+){5,}(?!\d|\.\d)")
"""Six numbers or more with dots between them, but not the UIDs that DICOM registers.

Words may stand before and behind, parted from it or not: "MR1.2.3.4.5.6.dcm".
"""


def text(file: DicomFile, name: str) -> str:
    """An element as text, several values joined by a backslash; "" where it is absent."""
    element = file.header.get_item(number(name))
    value = element.value if element is not None else None
    if value is None:
        return ""
    if isinstance(value, bytes):
        vr = element.VR or dictionary_VR(element.tag)
        if vr in NUMBERS:
            try:
                value = decode(element, vr)
            except ValueError:  # not as long as its VR says
                return ""
        else:
            return value.decode("latin-1").strip(" \0")
    if isinstance(value, list | tuple | MultiValue):
        return "\\".join(str(part) for part in value)
    return str(value).strip(" \0")


def whole(file: DicomFile, name: str) -> int | None:
    """An element as a whole number; None where it is absent, no number, or larger than DICOM can say."""
    try:
        value = int(float(text(file, name)))
    except (ValueError, OverflowError):  # absent, or no number
        return None
    return value if -LARGEST - 1 <= value <= LARGEST else None  # a damaged "1e25"


def digest(name: str, digits: int = DIGITS) -> str:
    """Hexadecimal digits that stand for a name, the same for the same name."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
