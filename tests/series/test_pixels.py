"""Which slices are read, how they are scaled, and that one frame of a large file is read without the rest."""

from __future__ import annotations

import numpy as np
import pytest

from radfoundry.errors import ReadError
from radfoundry.series import pixels
from radfoundry.series.find import find, from_datasets
from tests.io.synthetic import uid
from tests.series.made import enhanced, mr, put


def _slice(value: int) -> np.ndarray:
    picture = np.zeros((8, 8), np.uint16)
    picture[2:6, 2:6] = value
    return picture


def _stack(n: int, volumes: int = 1) -> list:
    """Slices in random order; slice k of volume v holds 100 k + v + 1."""
    made = [
        mr(
            k,
            pixels=_slice(100 * k + v + 1),
            InstanceNumber=v * n + k,
            AcquisitionNumber=v,
            SOPInstanceUID=uid("stack", k, v),
        )
        for v in range(volumes)
        for k in range(1, n + 1)
    ]
    return [made[i] for i in np.random.default_rng(0).permutation(len(made))]


def test_the_ends_of_a_stack_are_left_out():
    assert pixels._spread(100, 5).tolist() == [10, 30, 50, 69, 89]
    assert pixels._spread(3, 9).tolist() == [0, 1, 2]


def test_slices_are_spread_over_the_stack_in_order_of_place(tmp_path):
    (series,) = find(put(tmp_path, *_stack(40)))
    found = [
        int(series.files[place.file].get("ImagePositionPatient")[2] / 2)
        for place in pixels.choose(series.files)
    ]
    assert len(found) == pixels.SLICES
    assert found == sorted(found)
    assert found[0] > 3
    assert found[-1] < 38


def test_where_places_repeat_three_slices_are_of_the_last_volume(tmp_path):
    (series,) = find(put(tmp_path, *_stack(12, volumes=3)))
    places = pixels.choose(series.files)
    late = [place for place in places if place.late]
    assert (len(places), len(late)) == (9, 3)
    assert {int(series.files[p.file].get("AcquisitionNumber", -1)) for p in late} <= {2, -1}
    values = {int(pixels._picture(series.files[p.file], p).max()) % 100 for p in late}
    assert values == {3}
    assert {int(pixels._picture(series.files[p.file], p).max()) % 100 for p in places if not p.late} == {1}


def test_all_slices_share_one_scale(tmp_path):
    """A slice twice as bright stays twice as bright: contrasts between volumes are what tells them apart."""
    (series,) = find(
        put(tmp_path, mr(1, pixels=_slice(50)), mr(2, pixels=_slice(100)), mr(3, pixels=_slice(100)))
    )
    found = pixels.read_pixels(series, size=8)
    assert found.slices.shape == (3, 8, 8)
    peaks = found.slices.max(axis=(1, 2))
    assert peaks[0] / peaks[1] == pytest.approx(0.5, abs=0.02)
    assert found.slices.min() == 0
    np.testing.assert_allclose(found.histogram[0].sum(), 1, rtol=1e-5)
    assert found.histogram[1].sum() == 0


def test_memory_and_files_give_the_same_slices(tmp_path):
    stack = _stack(5)
    (filed,), (held,) = find(put(tmp_path, *stack)), from_datasets(stack)
    np.testing.assert_array_equal(pixels.read_pixels(filed).slices, pixels.read_pixels(held).slices)


def test_one_frame_of_an_enhanced_file_is_read_alone(tmp_path, monkeypatch):
    """The whole object would be read by `stored`; a file of a thousand frames must not be."""
    data = enhanced(8)
    (series,) = find(put(tmp_path, data))
    wanted = data.pixel_array
    asked = []
    read = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda f, dtype, count: asked.append(count) or read(f, dtype, count))
    for frame in (0, 3, 7):
        found = pixels._picture(series.files[0], pixels.Place(0, frame))
        slope = float(series.files[0].get("RescaleSlope", 1) or 1)
        np.testing.assert_allclose(found, wanted[frame] * slope)
    assert asked == [wanted[0].size] * 3


def test_a_damaged_slice_is_left_out_and_none_at_all_is_an_error(tmp_path):
    put(tmp_path, *(mr(k, pixels=_slice(k)) for k in range(1, 4)))
    (series,) = find(tmp_path)
    first = sorted(tmp_path.iterdir())[0]
    first.write_bytes(first.read_bytes()[:-20])
    assert len(pixels.read_pixels(series).slices) == 2
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReadError, match="truncated"):
        pixels.read_pixels(series)


def test_pictures_keep_their_aspect():
    fitted = pixels._fitted(np.ones((10, 20), np.float32), 16)
    assert fitted.shape == (16, 16)
    assert fitted[:3].max() == 0
    assert fitted[4:12].min() == pytest.approx(1)
