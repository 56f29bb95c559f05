"""One frame of a file alone: the same values as the whole file gives, under the same limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from radfoundry.errors import ReadError
from radfoundry.io.dicom import open_dicom, stored, stored_frame
from tests.io.synthetic import dicom, save

FRAMES = np.random.default_rng(0).integers(0, 4000, (5, 6, 7)).astype(np.uint16)


def _frames(
    tmp_path: Path, frames: np.ndarray = FRAMES, *, compress: bool = False, **elements: object
) -> Path:
    data = dicom(frames[0], NumberOfFrames=len(frames), **elements)
    data.PixelData = frames.tobytes()
    if compress:
        data.compress(RLELossless)
    return save(data, tmp_path / "frames.dcm")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("frame", [0, 2, 4])
def test_a_frame_is_that_of_the_whole_file(tmp_path, compress, frame):
    file = open_dicom(_frames(tmp_path, compress=compress))
    np.testing.assert_array_equal(stored_frame(file, frame), FRAMES[frame])
    np.testing.assert_array_equal(stored(file)[frame], FRAMES[frame])


def test_bits_above_those_stored_are_cleared(tmp_path):
    """Old scanners keep overlays there."""
    file = open_dicom(_frames(tmp_path, FRAMES | 0xF000, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(stored_frame(file, 3), FRAMES[3] & 0x0FFF)


def test_a_data_set_in_memory_is_read_and_left_as_it_was(tmp_path):
    path = _frames(tmp_path)
    held = pydicom.dcmread(path)
    before = held.to_json()
    np.testing.assert_array_equal(stored_frame(open_dicom(path), 1, held), FRAMES[1])
    assert held.to_json() == before


def test_a_data_set_in_memory_must_say_how_its_pixels_are_coded(tmp_path):
    path = _frames(tmp_path)
    held = pydicom.dcmread(path)
    del held.file_meta.TransferSyntaxUID
    with pytest.raises(ReadError, match="how its pixels are coded"):
        stored_frame(open_dicom(path), 1, held)


def test_a_missing_frame_is_an_error(tmp_path):
    path = _frames(tmp_path)
    file = open_dicom(path)
    path.write_bytes(path.read_bytes()[: -FRAMES[0].nbytes - 4])
    with pytest.raises(ReadError):
        stored_frame(file, 4)


def test_a_stream_larger_than_announced_is_not_decoded(tmp_path):
    pytest.importorskip("openjpeg")
    large = np.zeros((2, 64, 64), np.uint16)
    data = dicom(large[0], NumberOfFrames=2)
    data.PixelData = large.tobytes()
    data.compress(JPEG2000Lossless)
    data.Rows, data.Columns = 2, 2
    file = open_dicom(save(data, tmp_path / "bomb.dcm"))
    with pytest.raises(ReadError, match="decompression bomb"):
        stored_frame(file, 1)
