"""Series reading against a plain pydicom loop, header scan, grey PNG. Run: python benchmarks/bench_io.py

Each pair alternates in one process; the minimum of the repeats is compared.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image as Pillow
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from radfoundry.io import read, read_image, scan

SLICES, SIZE, REPEATS = 192, 512, 3


def write_series(folder: Path) -> None:
    """A CT series with as many header elements as a scanner writes (about 150)."""
    rng = np.random.default_rng(0)
    series = generate_uid()
    for k in range(SLICES):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.Modality, data.InstanceNumber = series, "CT", k + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 1.25 * k], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.7, 0.7], 1.25
        data.Rows = data.Columns = SIZE
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        block = data.private_block(0x0051, "BENCHMARK", create=True)
        for number in range(120):
            block.add_new(number, "DS", str(number * 0.25))
        data.PixelData = rng.integers(0, 4096, (SIZE, SIZE)).astype(np.uint16).tobytes()
        data["PixelData"].VR = "OW"
        data.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def plain_loop(folder: Path) -> np.ndarray:
    """What most scripts do: read each file whole, sort by position, rescale, stack."""
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    slices.sort(key=lambda data: float(data.ImagePositionPatient[2]))
    stack = np.stack([data.pixel_array for data in slices]).astype(np.float32)
    return stack * np.float32(slices[0].RescaleSlope) + np.float32(slices[0].RescaleIntercept)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best(*works: Callable[[], object]) -> list[float]:
    """Minimum time of each, alternating, after one warm-up."""
    for work in works:
        work()
    times = [[seconds(work) for work in works] for _ in range(REPEATS)]
    return [min(column) for column in zip(*times, strict=True)]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        series = Path(name, "series")
        series.mkdir()
        write_series(series)
        np.testing.assert_array_equal(read(series).array.T, plain_loop(series))
        ours, plain = best(lambda: read(series), lambda: plain_loop(series))
        print(f"series of {SLICES}: read {ours:.3f} s, pydicom loop {plain:.3f} s, ratio {plain / ours:.2f}")
        (header,) = best(lambda: scan(series))
        print(f"header scan: {SLICES / header:.0f} files/s")
        picture = Path(name, "a.png")
        noise = np.random.default_rng(0).normal(120, 20, (1024, 1024)).clip(0, 255).astype(np.uint8)
        Pillow.fromarray(noise).save(picture)
        grey, colour = best(
            lambda: read_image(picture), lambda: np.asarray(Pillow.open(picture).convert("RGB"))
        )
        print(f"PNG 1024 x 1024: read_image {1000 * grey:.1f} ms, decoded as RGB {1000 * colour:.1f} ms")


if __name__ == "__main__":
    main()
