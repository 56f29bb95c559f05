"""Twenty short Spanish reports with known truth, for the observations of CheXpert."""

from __future__ import annotations

import pandas as pd

from radfoundry.text.mentions import Report

OBSERVATIONS = (
    "enlarged_cardiomediastinum", "cardiomegaly", "lung_lesion", "lung_opacity", "pulmonary_edema",
    "consolidation", "pneumonia", "atelectasis", "pneumothorax", "pleural_effusion", "pleural_other",
    "fracture", "support_device",
)  # fmt: skip
"""The observations of CheXpert (Irvin et al. 2019, arXiv:1901.07031); "no finding" is none of them."""

# findings that are present, "-" absent, "?" uncertain | text
SPANISH = """
-pleural_effusion -pneumothorax -cardiomegaly | Silueta cardiaca de tamaño normal. No se observa derrame pleural ni neumotórax.
cardiomegaly -pleural_effusion | Cardiomegalia. Sin derrame pleural.
cardiomegaly pulmonary_edema pleural_effusion | Aumento de la silueta cardíaca con edema pulmonar intersticial. Derrame pleural bilateral leve.
consolidation ?pneumonia | Consolidación en lóbulo inferior derecho, posible neumonía.
pneumonia -pleural_effusion | INDICACIÓN: Descartar neumotórax. HALLAZGOS: Neumonía en lóbulo medio. No hay derrame pleural.
pneumothorax support_device | Neumotórax izquierdo pequeño. Tubo de tórax izquierdo.
atelectasis support_device | Atelectasia laminar en base izquierda. Catéter venoso central derecho.
lung_opacity | Opacidad en el lóbulo superior izquierdo.
lung_lesion | Lesión pulmonar en el lóbulo superior derecho.
fracture -pneumothorax | Fractura del séptimo arco costal izquierdo. Sin evidencia de neumotórax.
enlarged_cardiomediastinum | Ensanchamiento mediastínico.
pleural_other | Cambios pleurales apicales. Sin otros hallazgos.
?pleural_effusion | No se puede descartar derrame pleural derecho.
-consolidation -pneumothorax | No se aprecian consolidaciones ni neumotórax.
support_device cardiomegaly | Marcapasos con electrodo en ventrículo derecho. Cardiomegalia leve.
atelectasis pleural_effusion | Derrame pleural izquierdo moderado con atelectasia asociada.
-fracture | No se observan fracturas.
pulmonary_edema -consolidation | Edema agudo de pulmón. No hay consolidaciones.
-pleural_effusion -consolidation | Senos costofrénicos libres, sin derrame. Sin condensaciones.
?pneumonia lung_opacity | Opacidad basal derecha que podría corresponder a neumonía.
"""  # noqa: E501


def spanish() -> tuple[tuple[Report, ...], pd.DataFrame]:
    """Twenty short reports and what they say of OBSERVATIONS: report_id, finding, status."""
    reports, rows = [], []
    for number, line in enumerate(SPANISH.strip().splitlines(), 1):
        keys, _, text = line.partition(" | ")
        reports.append(Report(f"ES{number:02d}", text))
        for key in keys.split():
            status = {"-": "absent", "?": "uncertain"}.get(key[0], "present")
            rows.append((f"ES{number:02d}", key.lstrip("-?"), status))
    return tuple(reports), pd.DataFrame(rows, columns=["report_id", "finding", "status"])
