"""Radiomics of lesions through the store, in 1 and 2 processes, against a plain loop of mirp's own function.

    python benchmarks/bench_radiomics.py [--copies N]

Plain: `mirp.extract_features(image=..., mask=...)` for one case after the other, with the families and bins
of `radiomics:pyradiomics`. It computes on the whole image, and its morphology includes Moran's I and Geary's
C, which cannot be deselected and which we leave out. Ours: `encoders.extract` into a fresh store; starting
processes, hashing and storing are included. Features that both have are compared.
Cases: brain1, brain2, breast1 and lung1 of pyradiomics, each copied N times with another constant added.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from radfoundry import io
from radfoundry.cohort import Cohort, read_cohort
from radfoundry.encoders import extractors
from radfoundry.encoders.extract import extract
from radfoundry.radiomics.agreement import CASES
from radfoundry.radiomics.names import names_of
from radfoundry.radiomics.settings import PRESETS
from radfoundry.types import Volume

NAME = "radiomics:pyradiomics"


def main() -> int:
    """Print cases per second and the largest difference; exit 1 when numbers differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=2, help="of each of the four cases")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cohort = cases(Path(folder), options.copies)
        features(cohort, folder, 0, "warm")  # imports and page cache, for both sides
        seconds, tables = {}, {}
        for name, processes in {"1 process": 0, "2 processes": 2}.items():
            start = time.perf_counter()
            tables[name] = features(cohort, folder, processes, name.replace(" ", ""))
            seconds[name] = time.perf_counter() - start
        start = time.perf_counter()
        plain = mirps_own(cohort)
        seconds["mirp.extract_features"] = time.perf_counter() - start
    n = len(cohort)
    print(f"{n} cases, {len(names_of(PRESETS['pyradiomics'].families))} features, {os.cpu_count()} cores")
    for name, spent in seconds.items():
        ratio = seconds["mirp.extract_features"] / spent
        print(f"{name:24}{n / spent:8.2f} cases/s {spent:8.1f} s  {ratio:6.1f} times the plain loop")
    worst = max(difference(plain, table) for table in tables.values())
    print(f"largest relative difference: {worst:.1e} (stored as float32)")
    return 0 if worst < 1e-4 else 1  # skewness near 0 loses digits in float32


def cases(folder: Path, copies: int) -> Cohort:
    """A cohort of NIfTI files."""
    import nibabel as nib

    root = Path(os.environ.get("RADFOUNDRY_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    rows = []
    for case in CASES:
        volume, mask = (
            io.read(root / "pyradiomics_cases" / f"{case}_{part}.nrrd") for part in ("image", "label")
        )
        if not isinstance(volume, Volume) or not isinstance(mask, Volume):
            raise SystemExit("pyradiomics_cases not found. Set RADFOUNDRY_DATA to the data folder")
        for copy in range(copies):
            row = {
                "case_id": f"{case}-{copy}",
                "image": f"{case}-{copy}.nii.gz",
                "mask": f"{case}-mask.nii.gz",
            }
            marked = (mask.array == 1).astype(np.uint8)
            nib.save(
                nib.Nifti1Image((volume.array + copy).astype(np.float32), volume.affine),
                folder / row["image"],
            )
            nib.save(nib.Nifti1Image(marked, volume.affine), folder / row["mask"])
            rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return read_cohort(folder / "cohort.csv")


def features(cohort: Cohort, folder: str, processes: int, store: str) -> pd.DataFrame:
    """Ours, (cases, features)."""
    chosen = cohort.subset([0]) if store == "warm" else cohort
    loaded = extractors.load(NAME)
    result = extract(chosen, loaded, Path(folder, store), workers=2, processes=processes, quiet=True)
    if result.failures:
        raise SystemExit(f"failed: {result.failures}")
    return pd.DataFrame(result.embeddings.vectors, columns=list(loaded.features))


def mirps_own(cohort: Cohort) -> pd.DataFrame:
    """mirp's, under our names, of the features that both have."""
    import mirp

    logging.getLogger().addHandler(logging.NullHandler())  # or mirp logs to stdout
    codes = names_of(PRESETS["pyradiomics"].families)
    rows = []
    for i in range(len(cohort)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = mirp.extract_features(
                image=str(cohort.image_path(i)), mask=str(cohort.mask_path(i)), ibsi_compliant=False,
                base_feature_families=["morphology", "stat", "ih", "glcm", "rlm", "szm", "ngldm", "ngtdm"],
                base_discretisation_method="fixed_bin_size_pyradiomics", base_discretisation_bin_width=25.0,
                glcm_spatial_method="3d_average", glrlm_spatial_method="3d_average",
            )[0].iloc[0]  # fmt: skip
        ends = {
            c: [t for t in table.index if t == c or t.startswith((f"{c}_d1", f"{c}_3d", f"{c}_fbsp"))]
            for c in codes
        }
        rows.append({codes[code]: table[found[0]] for code, found in ends.items() if len(found) == 1})
    return pd.DataFrame(rows)


def difference(plain: pd.DataFrame, ours: pd.DataFrame) -> float:
    """Largest relative difference over cases and features."""
    if set(plain) != set(ours):
        print("not compared:", sorted(set(plain) ^ set(ours)), file=sys.stderr)
    both = [name for name in ours if name in plain]
    a, b = plain[both].to_numpy(dtype=float), ours[both].to_numpy(dtype=float)
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-9)))


if __name__ == "__main__":
    raise SystemExit(main())
