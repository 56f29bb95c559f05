"""The wordings of phantom reports: what each finding may be called, and the sentences it stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# id | rate in per cent of abnormal reports | side | scale | nouns | sentences of its own
# side: pre (left pleural effusion), one (the same, never both), in (in the left lower lobe, at the left lung
# base), lobe (the same without bases, which are findings of their own), slot (where {side} stands).
# scale: size (small, large) or degree (mild, severe). Nouns: the first is the one denied, and "!" is never
# denied; "a " marks what can be counted, "+" a plural.
TABLE = """
lungs
consolidation | 8 | in | | consolidation; focal consolidation; airspace consolidation
lung_opacity | 9 | lobe | | a opacity; a hazy opacity
pneumonia | 6 | in | | pneumonia | Pneumonia is present{place}.
pulmonary_edema | 7 | | degree | pulmonary edema | The picture is one of {size} pulmonary edema.
atelectasis | 16 | lobe | degree | atelectasis; atelectatic change
nodule | 7 | in | | a pulmonary nodule; a nodule | There is a 7 mm nodule{place}.
lung_mass | 2 | in | | a lung mass; a mass | A 4 cm mass is seen{place}.
calcified_granuloma | 8 | in | | a calcified granuloma
emphysema | 6 | | degree | emphysema; emphysematous change
hyperinflation | 8 | | degree | !hyperinflation | The lungs are {adverb} hyperinflated.; The lungs are {adverb} hyperexpanded.
low_lung_volumes | 9 | | | !+low lung volumes | Lung volumes are low.
lung_scarring | 7 | in | degree | scarring
azygos_lobe | 4 | | | !a azygos lobe; a azygos fissure
pleura
pleural_effusion | 20 | pre | size | a pleural effusion; a effusion
pneumothorax | 6 | pre | size | a pneumothorax | A {size} pneumothorax is seen on the {side}.
tension_pneumothorax | 1.5 | one | | a tension pneumothorax
pleural_thickening | 4 | pre | degree | pleural thickening
heart
cardiomegaly | 21 | | degree | cardiomegaly | The heart is {adverb} enlarged.; The cardiac silhouette is {adverb} enlarged.
pulmonary_vascular_congestion | 8 | | degree | pulmonary vascular congestion; vascular congestion
epicardial_fat_pad | 4 | | | !a epicardial fat pad; a pericardial fat pad
mediastinum
mediastinal_widening | 2 | | degree | mediastinal widening | The mediastinum is {adverb} widened.
aortic_atherosclerosis | 9 | | degree | !atherosclerotic calcification of the aorta | The aorta is {adverb} calcified.
aortic_tortuosity | 7 | | degree | !tortuosity of the thoracic aorta | The thoracic aorta is {adverb} tortuous.
lymphadenopathy | 2 | | degree | lymphadenopathy; adenopathy
calcified_lymph_nodes | 4 | | | +calcified lymph nodes | Several lymph nodes are calcified.
hiatal_hernia | 4 | | size | a hiatal hernia; a hiatus hernia
abdomen
diaphragm_elevation | 4 | slot | degree | !elevation of the {side} hemidiaphragm | The {side} hemidiaphragm is {adverb} elevated.
diaphragm_eventration | 3 | slot | | !eventration of the {side} hemidiaphragm
free_air | 2 | | | free intraperitoneal air; pneumoperitoneum | There is free air beneath the diaphragm.
bones
rib_fracture | 4 | pre | | a rib fracture; a displaced rib fracture | There is a fracture of the {side} seventh rib.
scoliosis | 4 | | degree | scoliosis; scoliosis of the thoracic spine
spine_degeneration | 13 | | degree | !+degenerative changes of the thoracic spine; +degenerative changes in the spine
osteopenia | 5 | | degree | osteopenia | The bones are {adverb} osteopenic.
costochondral_calcification | 5 | | | !costochondral calcification; calcification of the costal cartilage
devices
central_venous_catheter | 6 | one | | !a central venous catheter; a central line | A {side} internal jugular central line is in place.
endotracheal_tube_malposition | 2 | | | !a malpositioned endotracheal tube | The endotracheal tube ends too low, near the carina.
pacemaker | 5 | one | | !a pacemaker; a cardiac pacemaker
surgical_clips | 5 | | | !+surgical clips | Several surgical clips are in place.
sternotomy_wires | 6 | | | !+median sternotomy wires; +sternotomy wires
"""  # noqa: E501
NORMALS: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]] = {
    "lungs": [("The lungs are clear.", ("consolidation", "lung_opacity", "pneumonia", "nodule", "lung_mass")),
              ("Both lungs are well expanded and clear.", ("consolidation", "lung_opacity"))],
    "pleura": [("The pleural spaces are clear.", ("pleural_effusion", "pneumothorax"))],
    "heart": [("Heart size is normal.", ("cardiomegaly",)),
              ("The cardiac silhouette is within normal limits.", ("cardiomegaly",))],
    "mediastinum": [("The mediastinal contours are normal.", ("mediastinal_widening",)),
                    ("The mediastinum is unremarkable.", ("mediastinal_widening",))],
    "bones": [("The osseous structures are intact.", ("rib_fracture",)),
              ("No acute osseous abnormality.", ())],
}  # fmt: skip
DENIED = {"pneumothorax": 0.7, "pleural_effusion": 0.7, "consolidation": 0.6, "pulmonary_edema": 0.3,
          "rib_fracture": 0.3, "free_air": 0.1}  # fmt: skip
"""How often a report denies a finding that it does not have; other findings in one report of a hundred."""
APART = ({"tension_pneumothorax", "pneumothorax"}, {"hyperinflation", "low_lung_volumes"},
         {"diaphragm_elevation", "diaphragm_eventration"})  # fmt: skip
"""What does not occur together."""
KIN = (*APART, {"consolidation", "lung_opacity", "pneumonia", "pulmonary_edema", "atelectasis"},
       {"nodule", "lung_mass"}, {"calcified_lymph_nodes", "lymphadenopathy"},
       {"pulmonary_edema", "pulmonary_vascular_congestion"})  # fmt: skip
"""What is not denied, and not invented, beside the other; the ancestors of the dictionary come to these."""

WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("size", "mild"): ("small", "tiny"), ("size", "moderate"): ("moderate",), ("size", "severe"): ("large",),
    ("degree", "mild"): ("mild", "minimal"), ("degree", "moderate"): ("moderate",),
    ("degree", "severe"): ("severe", "marked"),
}  # fmt: skip
PLACES = {"left": ("in the left lower lobe", "in the left upper lobe", "at the left lung base"),
          "right": ("in the right lower lobe", "in the right middle lobe", "at the right lung base"),
          "bilateral": ("in both lower lobes", "in both lungs")}  # fmt: skip
PRESENT = (
    ("There {is} {a}{place}.", "{A}{place} {is} present.", "{A} {is} seen{place}.", "{A}{place}."),
    ("{N}{place}.", "{N}{place} {is} noted.", "{N} {is} seen{place}."),
    (
        "{N}{place} {is} identified.",
        "The radiograph demonstrates {a}{place}.",
        "Findings include {a}{place}.",
    ),
)
SAME = ("Unchanged {n}{place}.", "Stable {n}{place}.", "{N}{place} {is} unchanged.", "Persistent {n}{place}.")
DOUBTED = ("Possible {n}{place}.", "{A}{place} cannot be excluded.", "Questionable {n}{place}.",
           "Findings may represent {a}{place}.", "Suspected {n}{place}.")  # fmt: skip
GONE = ("Interval resolution of {n}.", "The previously seen {n} {has} resolved.", "{N} {is} no longer seen.")
DENY = (("No {n}.", "There is no {n}.", "No evidence of {n}."), ("No {n}.", "Negative for {n}."),
        ("No {n} is identified.", "No radiographic evidence of {n}."))  # fmt: skip
FINE = ("No acute cardiopulmonary abnormality.", "No acute cardiopulmonary process.", "No active disease.")
ASKED = ("Chest pain, rule out {n}.", "Shortness of breath. Evaluate for {n}.", "History of {n}.", "Cough.",
         "Preoperative examination.", "Follow up of {n}.")  # fmt: skip
