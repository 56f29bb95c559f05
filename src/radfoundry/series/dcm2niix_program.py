"""dcm2niix, the program that writes NIfTI: where it is, what it says, and why it fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydicom.pixels import get_decoder
from pydicom.uid import UID

from radfoundry import optional
from radfoundry.errors import MissingExtra, ReadError
from radfoundry.io.dicom import NATIVE
from radfoundry.series.element import UIDS

if TYPE_CHECKING:
    from radfoundry.series.find import Series


def executable() -> str:
    """Path of dcm2niix: the one of its Python package, or one on PATH. Raises MissingExtra without either."""
    if optional.available("dcm2niix"):
        found = getattr(optional.require("dcm2niix", extra="bids"), "bin", "")
        if found and os.access(found, os.X_OK):
            return str(found)
    found = shutil.which("dcm2niix")
    if not found:
        raise MissingExtra(
            "NIfTI is written by dcm2niix, which is not installed. Install it: "
            "pip install 'radfoundry[series]'; or organise with the layout dicom"
        )
    return found


def run(command: list[str], timeout_s: float, one: Series) -> str:
    """What dcm2niix says of a series. Raises ReadError where it fails or takes longer than timeout_s."""
    where = one.where
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout_s, check=False)  # fmt: skip
    except subprocess.TimeoutExpired as cause:
        raise ReadError(f"{where}: dcm2niix ran longer than {timeout_s:g} s. Allow it more time") from cause
    except OSError as cause:
        raise ReadError(f"{where}: dcm2niix could not be run: {cause.strerror}. Install it again") from cause
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        lines = sorted(warnings_of(said), key=lambda line: not line.startswith("Error"))
        why = "; ".join(line.rstrip(".") for line in lines) or "no reason given"
        advice = _advice([file.syntax for file in one.files])
        raise ReadError(f"{where}: dcm2niix failed (exit {done.returncode}): {why}. {advice}")
    return said


def _advice(syntaxes: Sequence[str]) -> str:
    """What may help where dcm2niix failed, by how the pixels are coded (transfer syntaxes of the files)."""
    coded = next((syntax for syntax in syntaxes if syntax and syntax not in NATIVE), "")
    if not coded:
        return "Check for missing slices"
    name = f"{UID(coded).name} ({coded})" if UID(coded).name != coded else coded
    try:
        get_decoder(UID(coded))
    except NotImplementedError:
        how = "no decoder of dcm2niix or pydicom reads it. Export the series again, uncompressed"
    else:
        how = (
            "pip install 'radfoundry[compressed]', save copies decompressed by pydicom "
            "(Dataset.decompress), and organise those"
        )
    return f"Its transfer syntax is {name}: {how}; the layout dicom copies files as they are"


def warnings_of(said: str) -> list[str]:
    """Its warnings and errors, without paths, without UIDs but those of DICOM itself, without repeats."""
    lines = [line.strip() for line in said.splitlines() if re.match(r"\s*(Warning|Error)", line)]
    plain = (UIDS.sub("…", re.sub(r"\S*/\S*", "…", line))[:200] for line in lines)
    return list(dict.fromkeys(plain))[:5]
