"""What a file is, by its first bytes, and how much of it may be unpacked."""

from __future__ import annotations

import stat
import struct
import zlib
from pathlib import Path

from radfoundry.errors import ReadError

MAX_VALUES = 2**30
"""Most values (pixels × channels × frames) that one read may produce: 4 GiB as float32."""

# What parsers raise on bytes that are not what they claim to be. AttributeError, KeyError and TypeError
# are here because pydicom and nibabel meet absent or ill-typed header fields as such.
MALFORMED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
)


def kind_of(path: Path) -> str:
    """One of dicom, png, jpeg, nifti, nrrd, zip; ReadError for anything else.

    The content decides; the name only separates a gzipped NIfTI from another gzip file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for ever
            raise ReadError(f"{path} is no ordinary file. Pass an image file")
        with open(path, "rb") as file:
            head = file.read(352)
    except OSError as cause:
        raise ReadError(
            f"{path} cannot be opened: {cause.strerror}. Check the path and permissions"
        ) from cause
    if not head:
        raise ReadError(f"{path} is empty (0 bytes). Copy it again from where it came")
    kind = _by_magic(head) or _by_name(path, head)
    if kind is None:
        raise ReadError(
            f"{path} is not an image in a known format. "
            "Read are DICOM (file, folder, zip), NIfTI, NRRD, PNG, JPEG"
        )
    return kind


def _by_magic(head: bytes) -> str | None:
    if head[128:132] == b"DICM":
        return "dicom"
    starts = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"NRRD": "nrrd", b"PK\x03\x04": "zip"}
    for magic, kind in starts.items():
        if head.startswith(magic):
            return kind
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and head[344:347] in (b"n+1", b"ni1"):
        return "nifti"
    if head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") and head[4:7] in (b"n+2", b"ni2"):
        return "nifti"
    return None


def _by_name(path: Path, head: bytes) -> str | None:
    """Formats without a magic number: gzipped NIfTI, and DICOM that lost its preamble."""
    if head[:2] == b"\x1f\x8b" and path.name.lower().endswith(".nii.gz"):
        return "nifti"
    group, element = struct.unpack("<HH", head[:4]) if len(head) >= 8 else (0, 0xFFFF)
    # Group 2 or 8, little or big endian, with a plausible element: the start of a bare data set.
    if group in (0x0002, 0x0008, 0x0200, 0x0800) and (element < 0x0100 or element & 0xFF == 0):
        return "dicom"
    return None


def check_size(shape: tuple[int, ...], path: Path | str, limit: int = MAX_VALUES) -> None:
    """Refuse a size that a header announces before anything of that size is allocated."""
    total = 1
    for length in shape:
        total *= int(length)
    if total < 1:
        raise ReadError(f"{path} announces {_times(shape)} pixels, which is no image")
    if total > limit:
        raise ReadError(
            f"{path} announces {_times(shape)} = {total:,} values, above the limit of {limit:,}: "
            "damaged or a decompression bomb. If it is real, pass max_values to read()"
        )


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in shape)
