"""Signal of tissues by the equation of the sequence.

Relaxation times at 1.5 and 3 T are rounded from Stanisz et al. 2005 (doi:10.1002/mrm.20605), de Bazelaire et
al. 2004 (doi:10.1148/radiol.2303021331) and Gold et al. 2004 (doi:10.2214/ajr.183.2.1830343); between and
beyond, T1 goes with a power of the field. Equations: Bernstein, King, Zhou, Handbook of MRI Pulse Sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from radfoundry.datasets.phantom_series_anatomy import Tissue
from radfoundry.datasets.phantom_series_protocols import Protocol


class Values(NamedTuple):
    """t1_low, t1_high: ms at 1.5 and 3 T; t2, t2_star: ms; d: 1e-3 mm²/s; pd, uptake of agent: 0 to 1."""

    t1_low: float
    t1_high: float
    t2: float
    t2_star: float
    pd: float
    d: float
    uptake: float = 0.0


T = Tissue
TABLE: dict[Tissue, Values] = {
    T.AIR: Values(1000, 1000, 10, 1, 0.0, 0), T.FAT: Values(290, 370, 75, 40, 0.95, 0.05),
    T.MUSCLE: Values(980, 1350, 40, 28, 0.8, 1.4, 0.08), T.CORTICAL: Values(500, 500, 1, 0.6, 0.04, 0.1),
    T.MARROW: Values(360, 450, 62, 18, 0.85, 0.35, 0.03),
    T.CARTILAGE: Values(1050, 1220, 40, 24, 0.75, 1.3), T.FLUID: Values(3200, 3600, 750, 300, 1.0, 2.6),
    T.CSF: Values(4000, 4300, 1800, 700, 1.0, 3.0), T.GREY: Values(1050, 1450, 98, 62, 0.83, 0.85, 0.02),
    T.WHITE: Values(660, 860, 76, 52, 0.7, 0.75, 0.01),
    T.CORD: Values(760, 960, 82, 50, 0.76, 0.95), T.DISC: Values(1150, 1300, 105, 50, 0.86, 1.7),
    T.LIGAMENT: Values(600, 700, 6, 3, 0.3, 0.5), T.SKIN: Values(850, 1000, 32, 20, 0.7, 0.8, 0.1),
    T.ARTERY: Values(1450, 1650, 190, 60, 0.92, 1.8, 1.0),
    T.VEIN: Values(1450, 1650, 130, 14, 0.92, 1.6, 0.9), T.LIVER: Values(590, 810, 46, 25, 0.8, 1.15, 0.35),
    T.KIDNEY: Values(960, 1150, 85, 50, 0.86, 2.0, 0.6), T.SPLEEN: Values(1050, 1320, 78, 40, 0.86, 0.85,
    0.45), T.BOWEL: Values(900, 1100, 70, 25, 0.8, 1.8, 0.25),
    T.LUNG: Values(1100, 1200, 30, 1.5, 0.12, 0.5), T.GLAND: Values(1200, 1450, 62, 35, 0.85, 1.8, 0.15),
    T.TUMOUR: Values(1250, 1600, 110, 60, 0.88, 1.0, 0.55), T.LESION: Values(1250, 1500, 170, 90, 0.9, 1.3),
    T.STROKE: Values(1200, 1550, 125, 75, 0.88, 0.42),
    T.IRON: Values(820, 1050, 58, 20, 0.76, 0.75), T.MUCOSA: Values(1100, 1400, 95, 40, 0.85, 1.6, 0.5),
    T.DRY_DISC: Values(950, 1100, 48, 20, 0.7, 1.2),
}  # fmt: skip
FATTY = (T.FAT, T.MARROW)
SHOT_MS = 2000.0
"""Time from inversion to inversion where the header gives the TR of the readout."""
_columns = np.array([TABLE[tissue] for tissue in Tissue], dtype=float)


@dataclass(frozen=True)
class Physics:
    """Tissue values at one field: arrays over Tissue; times in ms, d in mm²/s."""

    t1: np.ndarray
    t2: np.ndarray
    t2_star: np.ndarray
    pd: np.ndarray
    d: np.ndarray


def physics(tesla: float, agent: float = 0.0) -> Physics:
    """Values at `tesla`; agent: 0 none, 1 the usual dose at equilibrium."""
    low, high, t2, star, pd, d, uptake = _columns.T
    t1 = low * (tesla / 1.5) ** (np.log(high / low) / np.log(2))
    rate = 1 / t1 + agent * uptake * 3.0 / 1000
    star = star * (1.9 / (1 + 0.3 * tesla)) if tesla < 8 else star * 0.5
    return Physics(1 / rate, t2, np.minimum(star, t2), pd, d * 1e-3)


def spin_echo(v: Physics, tr: float, te: float, *, turbo: bool = False) -> np.ndarray:
    """PD (1 - exp(-TR/T1)) exp(-TE/T2); in a turbo train fat decays slower (J-coupling is broken)."""
    t2 = v.t2.copy()
    if turbo:
        t2[list(FATTY)] *= 1.8
    return v.pd * (1 - np.exp(-tr / v.t1)) * np.exp(-te / t2)


def inversion(v: Physics, tr: float, te: float, ti: float, *, turbo: bool = True) -> np.ndarray:
    """PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)."""
    t2 = v.t2.copy()
    if turbo:
        t2[list(FATTY)] *= 1.8
    return v.pd * np.abs(1 - 2 * np.exp(-ti / v.t1) + np.exp(-tr / v.t1)) * np.exp(-te / t2)


def spoiled(v: Physics, tr: float, te: float, flip: float) -> np.ndarray:
    """PD sin a (1 - E1) / (1 - cos a E1) exp(-TE/T2*)."""
    a, e1 = np.radians(flip), np.exp(-tr / v.t1)
    return v.pd * np.sin(a) * (1 - e1) / (1 - np.cos(a) * e1) * np.exp(-te / v.t2_star)


def balanced(v: Physics, tr: float, te: float, flip: float) -> np.ndarray:
    """PD sin a (1 - E1) / (1 - (E1 - E2) cos a - E1 E2) exp(-TE/T2)."""
    a, e1, e2 = np.radians(flip), np.exp(-tr / v.t1), np.exp(-tr / v.t2)
    return v.pd * np.sin(a) * (1 - e1) / (1 - (e1 - e2) * np.cos(a) - e1 * e2) * np.exp(-te / v.t2)


def prepared(v: Physics, ti: float, shot: float, te: float) -> np.ndarray:
    """Inversion-prepared gradient echo in its steady state, near the centre of k-space.

    PD |1 - (1 + 0.55 R) exp(-TI/T1)| exp(-TE/T2*), R = 1 - exp(-(shot - TI)/T1): what is inverted has
    recovered since the last readout, which left it part saturated.
    """
    recovered = 0.55 * (1 - np.exp(-max(shot - ti, 1.0) / v.t1))
    return v.pd * np.abs(1 - (1 + recovered) * np.exp(-ti / v.t1)) * np.exp(-te / v.t2_star)


FLOWING = (T.ARTERY, T.VEIN)


def tissue_signal(
    p: Protocol, tesla: float, *, echo: int = 0, b: float = 0.0, dose: float | None = None
) -> np.ndarray:
    """Signal of each Tissue before noise; blood is dark in spin echoes, fresh in thin gradient echoes.

    dose: of contrast agent, by the protocol when None.
    """
    given = (1.0 if p.agent else 0.0) if dose is None else dose
    v = physics(tesla, given * (8.0 if p.sequence == "ce-mra" else 1.0))  # the first pass is far stronger
    te = p.tes[min(echo, len(p.tes) - 1)] if p.tes else 5.0
    kind = p.sequence
    if kind in ("space", "ir-space"):  # variable flip angles: the contrast of a shorter TE, Busse 2006
        te = min(te, 90 + 0.1 * te)  # doi:10.1002/mrm.20863
    if kind in ("se", "tse", "space", "haste", "haste-loc"):
        s = spin_echo(v, p.tr if p.tr > 0 else 4000, te, turbo=kind != "se")
        s[list(FLOWING)] *= 0.5 if p.agent and kind != "space" else 0.12
    elif kind in ("ir-tse", "ir-space"):
        s = inversion(v, p.tr, te, p.ti or 2400)
        if p.modality == "T2-FLAIR":
            s[T.CSF] *= 0.4  # the long train and its own recovery null fluid better than the equation says
        s[list(FLOWING)] *= 0.2
    elif kind == "mprage":
        ti = p.ti if p.ti and p.ti > 600 else 880.0
        s = prepared(v, ti, p.tr if p.tr > 1000 else SHOT_MS, te)
    elif kind in ("bssfp", "bssfp3d", "ciss", "bssfp-loc"):
        s = balanced(v, min(p.tr, 12), min(te, 6), min(p.flip, 80))
        s[list(FLOWING)] *= 1.6
    elif kind in ("epi-dwi", "rs-epi", "epi-se"):
        s = spin_echo(v, p.tr, te) * np.exp(-b * v.d)
        s[list(FLOWING)] *= 0.15
    elif kind in ("epi-gre", "asl2d"):
        s = spoiled(v, p.tr, te, p.flip)
    elif kind == "asl3d":
        s = spin_echo(v, p.tr, te, turbo=True)
    else:
        s = spoiled(v, p.tr, te, p.flip)
    if kind == "swi" and p.image in ("swi", "minip"):
        s[[T.VEIN, T.IRON]] *= 0.35, 0.6  # the phase mask
    if kind in ("tof", "tof2d"):
        s *= 0.55
        s[T.ARTERY], s[T.VEIN] = 0.9 * np.sin(np.radians(p.flip)), 0.15 * np.sin(np.radians(p.flip))
        s[list(FATTY)] *= 0.5
    elif kind == "pc":
        s *= 0.12
        s[T.ARTERY], s[T.VEIN] = 0.4, 0.25
    elif kind == "ce-mra":
        s[T.VEIN] *= 0.45
        s[[T.KIDNEY, T.LIVER, T.SPLEEN, T.MUSCLE, T.TUMOUR, T.MUCOSA, T.GLAND, T.BOWEL, T.SKIN]] *= 0.4
        if p.image == "subtraction":
            s -= spoiled(physics(tesla), p.tr, te, p.flip)
            s = np.clip(s, 0, None)
    return _fat(s, p)


def _fat(s: np.ndarray, p: Protocol) -> np.ndarray:
    fatty = list(FATTY)
    if p.fat in ("fatsat", "spair", "we"):
        s[fatty] *= 0.03 if "epi" in p.sequence else 0.1
    elif p.fat == "water":
        s[fatty] *= 0.05
    elif p.fat == "fat":
        kept = s[fatty].copy()
        s *= 0.04
        s[fatty] = kept
    elif p.fat == "opp":
        s[T.FAT] *= -0.9  # against the water beside it: the edge turns black once voxels mix
        s[T.MARROW] *= 0.5
    return s


MAPS: dict[str, dict[Tissue, float]] = {
    "fa": {T.WHITE: 0.55, T.GREY: 0.16, T.CSF: 0.06, T.IRON: 0.3, T.LESION: 0.2, T.CORD: 0.5, T.MUSCLE: 0.25,
    T.TUMOUR: 0.15, T.STROKE: 0.3, T.VEIN: 0.1, T.ARTERY: 0.1}, "cbf": {T.GREY: 65, T.WHITE: 22, T.IRON: 45,
    T.ARTERY: 120, T.VEIN: 90, T.LESION: 12, T.TUMOUR: 90, T.STROKE: 8, T.CSF: 3},
    "cbv": {T.GREY: 4.2, T.WHITE: 1.9, T.IRON: 3.5, T.ARTERY: 14, T.VEIN: 14, T.LESION: 1.2, T.TUMOUR: 9,
    T.STROKE: 1.2, T.CSF: 0.4}, "mtt": {T.GREY: 4.1, T.WHITE: 5.2, T.IRON: 4.5, T.ARTERY: 2.5, T.VEIN: 4,
    T.LESION: 6, T.TUMOUR: 5, T.STROKE: 9, T.CSF: 1},
    "ttp": {T.GREY: 22, T.WHITE: 24, T.IRON: 23, T.ARTERY: 18, T.VEIN: 27, T.LESION: 25, T.TUMOUR: 23,
    T.STROKE: 31, T.CSF: 3}, "tmax": {T.GREY: 1.2, T.WHITE: 2.0, T.IRON: 1.6, T.ARTERY: 0.2, T.VEIN: 4,
    T.LESION: 3, T.TUMOUR: 2, T.STROKE: 7, T.CSF: 0.1},
    "ct": {T.AIR: -1000, T.FAT: -95, T.MUSCLE: 55, T.CORTICAL: 1100, T.MARROW: 350, T.CARTILAGE: 90,
    T.FLUID: 8, T.CSF: 6, T.GREY: 38, T.WHITE: 29, T.CORD: 35, T.DISC: 85, T.DRY_DISC: 95, T.LIGAMENT: 90,
    T.SKIN: 30, T.ARTERY: 45, T.VEIN: 45, T.LIVER: 60, T.KIDNEY: 32, T.SPLEEN: 50, T.BOWEL: 20, T.LUNG: -820,
    T.GLAND: 40, T.TUMOUR: 45, T.LESION: 22, T.STROKE: 24, T.IRON: 40, T.MUCOSA: 40},
}  # fmt: skip


def map_values(image: str, tesla: float, b: float) -> np.ndarray:
    """Values over Tissue of a computed map: ADC in 1e-6 mm²/s, perfusion in its own units, CT in HU."""
    v = physics(tesla)
    seen = (v.pd > 0.2) & (v.t2 > 10)
    if image == "adc":
        return np.where(seen, v.d * 1e6, 0)
    if image == "expadc":
        return np.where(seen, np.exp(-max(b, 800) * v.d) * 1000, 0)
    if image in ("tensor-trace", "md"):
        return np.where(seen, v.d * (3e6 if image == "tensor-trace" else 1e6), 0)
    table = MAPS["fa" if image == "colfa" else image]
    return np.array([table.get(tissue, 0.0) for tissue in Tissue]) * (1000 if image in ("fa", "colfa") else 1)
