"""Open-i reports, their manual MeSH codes as observations, and the halves for tuning and judging."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

SECTIONS = ("findings", "impression")

# observation: (pattern of a MeSH entry "Heading/qualifier/...", findings, with their children)
OBSERVATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cardiomegaly": (r"Cardiomegaly|Cardiac Shadow/enlarged|Heart.*/enlarged", ("cardiomegaly",)),
    "atelectasis": (r"Pulmonary Atelectasis", ("atelectasis",)),
    "pleural effusion": (r"Pleural Effusion|Hydropneumothorax|Hemopneumothorax", ("pleural_effusion",)),
    "pneumothorax": (r"Pneumothorax|Hydropneumothorax|Hemopneumothorax", ("pneumothorax",)),
    "airspace disease": (
        r"Airspace Disease|Consolidation|Infiltrate|Pneumonia$|Pneumonia/",
        ("airspace_disease", "consolidation", "infiltrate", "pneumonia"),
    ),
    "oedema or congestion": (
        r"Pulmonary Edema|Pulmonary Congestion|Heart Failure",
        ("pulmonary_edema", "pulmonary_vascular_congestion", "heart_failure"),
    ),
    "emphysema or COPD": (
        r"Emphysema|Pulmonary Emphysema|Bullous Emphysema|Pulmonary Disease, Chronic Obstructive",
        ("emphysema", "copd"),
    ),
    "hyperinflation": (r"Lung.*/hyperdistention", ("hyperinflation",)),
    "low lung volumes": (r"Lung.*/hypoinflation", ("low_lung_volumes",)),
    "scar": (r"Cicatrix", ("lung_scarring",)),
    "granuloma": (
        r"Calcified Granuloma|Granuloma|Granulomatous Disease",
        ("granuloma", "calcified_granuloma", "granulomatous_disease"),
    ),
    "nodule": (r"Nodule", ("nodule",)),
    "pleural thickening": (r"Thickening/pleura", ("pleural_thickening",)),
    "tortuous aorta": (r"Aorta.*/tortuous", ("aortic_tortuosity", "aortic_ectasia")),
    "aortic calcification": (r"Atherosclerosis/aorta|Calcinosis/aorta", ("aortic_atherosclerosis",)),
    "spine degeneration": (
        r"((Thoracic|Lumbar|Cervical) Vertebrae|Spine).*/degenerative|Spondylosis|Osteophyte",
        ("spine_degeneration", "osteophytes"),
    ),
    "scoliosis": (r"Scoliosis", ("scoliosis",)),
    "kyphosis": (r"Kyphosis", ("kyphosis",)),
    "osteopenia": (r"Bone Diseases, Metabolic|Osteoporosis", ("osteopenia", "osteoporosis")),
    "fracture": (r"Fractures, Bone", ("fracture", "vertebral_fracture")),
    "hiatal hernia": (r"Hernia, Hiatal", ("hiatal_hernia",)),
    "raised diaphragm": (r"Diaphragm.*/elevated", ("diaphragm_elevation",)),
    "catheter": (r"Catheters, Indwelling", ("central_venous_catheter",)),
}  # fmt: skip


def rows(half: str = "all") -> Iterator[Mapping[str, str]]:
    """Rows of the table. half: tuning, held-out (not read while the rules were written) or all."""
    root = Path(os.environ.get("RADFOUNDRY_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    path = root / "openi_reports" / "openi_reports_with_labels.csv.gz"
    if not path.is_file():
        raise SystemExit(f"{path} not found. Set RADFOUNDRY_DATA to the data folder")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            odd = int(hashlib.sha256(row["uid"].encode()).hexdigest(), 16) % 2
            if half == "all" or half == ("held-out" if odd else "tuning"):
                yield row


def coded(row: Mapping[str, str]) -> set[str] | None:
    """Observations of the manual codes; None where a report was not coded."""
    entries = [entry.strip() for entry in row["mesh_major"].split("|") if entry.strip()]
    if not entries or entries == ["No Indexing"]:
        return None
    return {
        name
        for name, (pattern, _) in OBSERVATIONS.items()
        if any(re.match(pattern, entry) for entry in entries)
    }


def text(row: Mapping[str, str]) -> str:
    """Findings and impression under their headers."""
    return "\n".join(f"{s.upper()}: {row[s]}" for s in SECTIONS if row[s].strip())
