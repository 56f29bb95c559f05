"""Real series against the sorter: the figures of docs/studies/mri_series.md.

    python benchmarks/measure_series.py [--model FOLDER] [--half development|held-out|both]

Data: RADFOUNDRY_DATA/dicom_series (development: rules were written with its headers at hand) and
RADFOUNDRY_DATA/dicom_mr (held out). Their manifests hold the labels; series without a
label (`?`, irregular: not decided by the header, pixels scrambled by the publisher) are left out and counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import pandas as pd

from radfoundry.series.assess import assess
from radfoundry.series.classify import classify_found
from radfoundry.series.default import Recipe, make
from radfoundry.series.examples import labelled
from radfoundry.series.find import find
from radfoundry.series.model import load
from radfoundry.studies import mri_series

HALVES = {"development": "dicom_series", "held-out": "dicom_mr"}
NAMES = {
    "MIXED:PD+T2": "other:MIXED",
    "CT": "other:NOT-MR",
    "CT:LOC": "other:NOT-MR",
    "CT_irregular_gantrytilting": "other:NOT-MR",
    "CT_irregular_notavolume": "other:NOT-MR",
    "CT_irregular_sliceincrement": "other:NOT-MR",
}


def truth_of(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """(series_dir, modality, anatomy of each series with a label, labels that are left out)."""
    manifest = pd.read_csv(folder / "manifest.csv", dtype=str).fillna("")
    label = manifest["label_sequence"].replace(NAMES).str.replace("OTHER:", "other:", regex=False)
    known = ~label.str.contains("irregular") & (label != "?")
    anatomy = manifest["label_anatomy"].where(manifest["label_anatomy"].eq("Brain"), "")
    table = pd.DataFrame({"series_dir": manifest["series_dir"], "modality": label, "anatomy": anatomy})
    return table[known], label[~known].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--half", choices=[*HALVES, "both"], default="both")
    parser.add_argument("--out", type=Path, default=Path("runs/mri_series_real"))
    args = parser.parse_args()
    root = Path(os.environ.get("RADFOUNDRY_DATA", "../shared/data"))
    for half in HALVES if args.half == "both" else [args.half]:
        table, out = truth_of(root / HALVES[half])
        print(f"{half}: {len(table)} series, left out: {', '.join(out) or 'none'}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "truth.csv"
            table.to_csv(path, index=False)
            config = mri_series.Config(
                series=root / HALVES[half],
                truth=path,
                model=args.model,
                out=Path(f"{args.out}_{half}"),
                force=True,
            )
            done = mri_series.run(config)
        print((done / "tables" / "arms.csv").read_text())
    if args.half == "both":
        coverage(root, args.model)


def coverage(root: Path, folder: Path | None) -> None:
    """Accuracy against the share that is decided without a person, over both halves, headers as they are."""
    model = load(folder or make(Recipe(), Path("stores/series"), log=print))
    found, truth = [], []
    for name in HALVES.values():
        table, _ = truth_of(root / name)
        pairs = labelled(find(root / name), dict(zip(table["series_dir"], table["modality"], strict=True)))
        said = {id(one.series): one for one in classify_found([one for one, _ in pairs], model)}
        found += [said[id(one)] for one, _ in pairs]
        truth += table.set_index("series_dir")["modality"].loc[[key for _, key in pairs]].tolist()
    result = assess(found, truth)
    sure = [item.verdict.label == label for item, label in zip(found, truth) if not item.verdict.unsure]
    print(f"sure of {len(sure)} of {len(found)}, {sum(sure)} right")
    for share in (0.25, 0.5, 0.75, 1.0):
        row = result.coverage[result.coverage["coverage"] >= share - 1e-9].iloc[0]
        print(f"surest {row['n']:.0f}: {row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f})")


if __name__ == "__main__":
    main()
