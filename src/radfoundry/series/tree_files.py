"""What a BIDS tree has beside its images: its description, its subjects, what validators pass over."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from radfoundry.series.bids import BIDS_VERSION, TEMPLATES

IGNORED = ("index.csv", "index.parquet", "*.html", "thumbnails/", "corrections*", ".radfoundry/")


def write_tree_files(out: Path, subjects: Iterable[str], *, name: str = "MRI series") -> None:
    """dataset_description.json, participants.tsv, README (kept if there is one) and .bidsignore."""
    import radfoundry

    converter = {"Name": "dcm2niix", "CodeURL": "https://github.com/rordenlab/dcm2niix"}
    description = {
        "Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw",
        "GeneratedBy": [{"Name": "radfoundry", "Version": radfoundry.__version__}, converter],
    }  # fmt: skip
    people = "\n".join(["participant_id", *(f"sub-{subject}" for subject in sorted(set(subjects)))])
    texts = {
        "dataset_description.json": json.dumps(description, indent=1) + "\n",
        "participants.tsv": people + "\n",
        ".bidsignore": "\n".join(IGNORED) + "\n",
    }
    if not (out / "README").exists():
        texts["README"] = (TEMPLATES / "bids_readme.txt").read_text(encoding="utf-8")
    for file, text in texts.items():
        partial = out / f".{file}.partial"
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(out / file)
