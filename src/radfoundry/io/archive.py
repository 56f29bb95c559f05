"""A zip of DICOM files, unpacked to a temporary folder under limits."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from radfoundry.errors import ReadError
from radfoundry.io.source import MALFORMED

MAX_FILES = 20_000
MAX_BYTES = 8 * 2**30
MAX_RATIO = 200
"""A member that unpacks to more than this many times its size is no image: noise does not compress."""

T = TypeVar("T")


def with_unpacked(path: Path, work: Callable[[list[Path]], T]) -> T:
    """Unpack, call `work(files)`, clean up. Members are numbered: no name from the archive becomes a path."""
    with tempfile.TemporaryDirectory(prefix="radfoundry-") as folder:
        try:
            return work(_unpack(path, Path(folder)))
        except ReadError as error:
            raise ReadError(str(error).replace(f"{folder}/", f"{path}:")) from error


def _unpack(path: Path, folder: Path) -> list[Path]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
            _check(members, path)
            return [_copy(archive, member, folder, i) for i, member in enumerate(members)]
    except ReadError:
        raise
    except (*MALFORMED, zipfile.BadZipFile) as cause:
        raise ReadError(
            f"{path} is a damaged or encrypted zip: {cause}. Unpack it and pass the folder"
        ) from cause


def _check(members: list[zipfile.ZipInfo], path: Path) -> None:
    total = sum(member.file_size for member in members)
    if len(members) > MAX_FILES or total > MAX_BYTES:
        raise ReadError(
            f"{path} would unpack to {len(members):,} files and {total:,} bytes, above the limits of "
            f"{MAX_FILES:,} and {MAX_BYTES:,}. Unpack it and pass the folder of one series"
        )
    for member in members:
        if member.file_size > 2**20 and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise ReadError(
                f"{path}: {member.filename!r} unpacks to {member.file_size:,} bytes "
                f"from {member.compress_size:,}: a decompression bomb. It is not read"
            )


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, number: int) -> Path:
    target = folder / f"{number:05d}-{Path(member.filename).name}"
    left = member.file_size  # the announced size is a limit, whatever the stream holds
    with archive.open(member) as source, open(target, "wb") as sink:
        while chunk := source.read(min(1 << 20, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise ReadError(f"{member.filename!r} unpacks to more than it announces. It is not read")
            sink.write(chunk)
    return target
