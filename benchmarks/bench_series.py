"""Seconds a series of the sorter beside `dcm2niix -b o`, on the same folder, in the same run.

    python benchmarks/bench_series.py [--series 200] [--folder DIR] [--model FOLDER] [--repeats 3]

The folder is drawn (phantom studies of seven vendors, with pixels) unless --folder names one. Ours reads
every header, and slices where the header leaves doubt (auto), never (header alone) or of every series
(always). Cold: a new process that imports, loads the model and sorts the folder once. Warm: this process
again, with the files in the system's cache, dozens of series at a time as the command does; each series is
timed alone too, from its files to its verdict, which costs more: a network is called for one series.
dcm2niix writes sidecars only, no image; it names series by rules of its own and gives no probability, so only
the times compare. The default model is trained first where stores/series has none (minutes).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from radfoundry.datasets import phantom_series
from radfoundry.series import bids
from radfoundry.series.classify import Classifier, ReadPixels, in_batches
from radfoundry.series.default import Recipe, make
from radfoundry.series.find import Series, find
from radfoundry.series.model import SeriesModel, load
from radfoundry.series.tags import load_tags, read_header

WITH_PIXELS, BY_HEADER = 0.2, 0.02
"""Seconds a series, warm, over the whole folder: the targets."""
WAYS: tuple[ReadPixels, ...] = ("never", "auto", "always")


def main() -> int:
    """Print seconds a series and ratios; exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--model", type=Path, help="model folder; the default model in stores/series")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    folder = asked.model or make(Recipe(), Path("stores/series"), log=print)
    with tempfile.TemporaryDirectory() as made:
        root = asked.folder or drawn(Path(made), asked.series)
        return 0 if compared(root, folder, asked.repeats) else 1


def drawn(root: Path, series: int) -> Path:
    """Phantom studies until there are at least so many series."""
    for studies in range(12, 1000, 4):
        if len(phantom_series.make(root, n=studies, seed=11, workers=os.cpu_count() or 1)) >= series:
            break
    return root


def compared(root: Path, folder: Path, repeats: int) -> bool:
    """Whether the targets are met; all times are printed."""
    paths = [path for path in root.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    n = len(find(root))
    print(f"{n} series, {len(paths)} files, {megabytes:.0f} MB, {os.cpu_count()} CPUs")
    other = min(seconds(sidecars, root) for _ in range(repeats))
    print(f"dcm2niix -b o: {other / n:.4f} s a series")
    met = True
    model = load(folder)
    for way in WAYS:
        cold = seconds(process, root, folder, way)
        whole = min(seconds(sort, root, model, way) for _ in range(repeats))
        median = float(np.median(one_by_one(root, model, way)))
        target = BY_HEADER if way == "never" else WITH_PIXELS
        met &= whole / n <= target
        print(
            f"pixels {way:<6}: cold {cold / n:.4f} s a series (all {cold:.1f} s), warm {whole / n:.4f} "
            f"(target {target}: {'met' if whole / n <= target else 'missed'}), "
            f"median one by one {median:.4f}; dcm2niix takes {other / whole:.2f} of the warm time"
        )
    return met


def sidecars(root: Path) -> None:
    """dcm2niix over the folder, to sidecars without images."""
    with tempfile.TemporaryDirectory() as out:
        command = [bids.executable(), "-b", "o", "-d", "9", "-f", "%j", "-o", out, str(root)]
        # it exits above 0 where one series of many cannot be converted, which is no failure of the timing
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def process(root: Path, folder: Path, way: str) -> None:
    """The command, as a user starts it."""
    command = [sys.executable, "-m", "radfoundry.cli.main", "series", "classify", str(root),
               "--model", str(folder), "--pixels", way]  # fmt: skip
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def sort(root: Path, model: SeriesModel, way: ReadPixels) -> None:
    """The whole folder in this process."""
    tags = load_tags()
    in_batches(find(root, tags=tags), partial(read_header, tags=tags), Classifier(model, way))


def one_by_one(root: Path, model: SeriesModel, way: ReadPixels) -> list[float]:
    """Seconds of each series alone: reading its header again, and its slices where they are wanted."""
    tags = load_tags()
    classifier = Classifier(model, way)

    def one(series: Series) -> None:
        classifier([series], [read_header(series, tags=tags)])

    found = find(root, tags=tags)
    reading = seconds(find, root) / len(found)
    one(found[0])
    return [seconds(one, series) + reading for series in found]


def seconds(work: object, *what: object) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work(*what)  # type: ignore[operator]
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
