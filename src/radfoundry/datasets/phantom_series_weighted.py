"""Protocols of weighted images: T1, T2, FLAIR, proton density, T2*, susceptibility, balanced steady state.

Ranges are those of clinical and research protocols in print and in public headers; each draw varies what
sites vary. Units as in `phantom_series_protocols`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from radfoundry.datasets.phantom_series_protocols import JOINTS, SPINES, Draw, Protocol


def t1(d: Draw, agent: str = "") -> Protocol:
    """T1 as it is taken in the region, before an agent or (agent given) after it."""
    label = "T1c" if agent else "T1"
    if d.anatomy in ("Abdomen", "Breast", "Chest"):
        return replace(vibe(d, label), agent=agent)
    if d.anatomy in SPINES or d.anatomy in JOINTS or d.anatomy == "Neck":
        roll = d.rng.random()
        found = _t1_spin(d, label) if roll < 0.82 else vibe(d, label) if roll < 0.95 else _flash(d, label)
        fat = d.fatsat(0.75 if agent else 0.12)
        return replace(found, agent=agent, fat=found.fat or fat)
    makers = (_mprage, _mprage, _t1_spin, _t1_spin, vibe, _flash, _t1_flair, _t1_space)
    found = d.pick(makers)(d, label)
    return replace(found, agent=agent, fat=found.fat or (d.fatsat(0.2 if agent else 0.03)))


def _t1_spin(d: Draw, label: str) -> Protocol:
    turbo = d.chance(0.65)
    train = d.n(2, 7) if turbo else 1
    low, high = (380, 850) if not d.high else (450, 1100)
    return d.protocol(
        label, "tse" if turbo else "se", tr=d.round_ms(d.u(low, high)), te=d.round_ms(d.u(6.5, 22)),
        train=train,
        flip=d.pick((90, 90, 70, 80, 150, 180, 160, 120, 111, 140)), thickness=(2, 5) if d.small() else (3,
        6),
        averages=d.pick((1, 1, 2, 2, 3, 4)), bandwidth=(90, 350), name="t1",
    )  # fmt: skip


def _t1_flair(d: Draw, label: str) -> Protocol:
    return d.protocol(
        label, "ir-tse", tr=d.round_ms(d.u(1500, 3300)), te=d.round_ms(d.u(6, 28)),
        ti=d.round_ms(d.u(600, 1100)),
        train=d.n(4, 12), flip=d.pick((90, 111, 120, 150, 160)), thickness=(3, 6), name="t1 flair",
    )  # fmt: skip


def _mprage(d: Draw, label: str) -> Protocol:
    """Inversion-prepared 3D gradient echo. GE and Philips give the TR of the readout, Siemens of the shot."""
    iso = d.u(0.7, 1.3) if d.chance(0.8) else d.u(1.0, 2.0)
    shot = d.vendor in ("siemens", "canon") or (d.vendor == "ge" and d.chance(0.3))
    low = d.tesla < 1
    tr = d.u(1400, 2700) if shot else d.u(5.2, 11) if not low else d.u(9, 25)
    ti: float | None = d.u(400, 500) if d.vendor == "ge" and not shot else d.u(700, 1150)
    if d.vendor == "philips" and d.chance(0.75):
        ti = None  # Philips leaves the prepulse delay out of the standard element
    return d.protocol(
        label, "mprage", plane=d.pick(("sagittal", "sagittal", "sagittal", "axial", "coronal")),
        dimension="3D",
        tr=d.round_ms(tr), te=d.u(1.7, 4.7), ti=None if ti is None else d.round_ms(ti),
        flip=d.pick((7, 8, 8, 9, 9, 10, 11, 12, 15)), thickness=(iso, iso), train=d.pick((1, 1, 1, 200, 240)),
        rows=d.pick((192, 240, 256, 256, 256, 288, 320, 512)), bandwidth=(120, 280), name="t1 mprage",
        fat="we" if d.chance(0.05) else "",
    )  # fmt: skip


def vibe(d: Draw, label: str) -> Protocol:
    """Spoiled 3D gradient echo, with Dixon in the trunk."""
    thick = (
        (0.7, 1.6) if d.anatomy == "Brain" else (1.0, 2.0) if d.small() or d.anatomy == "Breast" else (2, 5)
    )
    fat = d.pick(("", "", "fatsat", "water")) if d.anatomy in ("Brain", *JOINTS) else d.pick(("fatsat",
        "spair", "water", "fatsat", "", "opp", "in", "fat"))  # fmt: skip
    te: Any = d.u(1.0, 4.8)
    if fat in ("opp", "in"):
        te = round((1.15 if fat == "opp" else 2.3) * 3.0 / max(d.tesla, 1.0) * d.u(0.95, 1.05), 2)
    return d.protocol(
        label, "vibe", dimension="3D", tr=d.u(3.2, 12) if d.anatomy != "Brain" else d.u(4.5, 25), te=te,
        flip=d.pick((8, 9, 10, 10, 12, 12, 15, 18, 20, 25)), thickness=thick, fat=fat,
        plane=d.pick(("axial", "axial", "axial", "coronal", "sagittal")),
        rows=d.pick((256, 320, 320, 384, 448, 512)),
        bandwidth=(200, 800), name="t1 vibe",
    )  # fmt: skip


def _flash(d: Draw, label: str) -> Protocol:
    return d.protocol(
        label, "flash", tr=d.round_ms(d.u(120, 320)), te=d.u(2.0, 7.5), flip=d.pick((50, 60, 65, 70, 70, 75,
        80, 90)),
        thickness=(3, 6), bandwidth=(120, 400), name="t1 fl2d",
    )  # fmt: skip


def _t1_space(d: Draw, label: str) -> Protocol:
    iso = d.u(0.6, 1.2)
    return d.protocol(
        label, "space", dimension="3D", tr=d.round_ms(d.u(500, 900)), te=d.round_ms(d.u(7, 29)),
        flip=d.pick((120, 90, 150)),
        thickness=(iso, iso), train=d.n(18, 60), fat=d.fatsat(0.3), name="t1 space", bandwidth=(400, 800),
        plane=d.pick(("sagittal", "axial", "coronal")),
    )  # fmt: skip


def t2(d: Draw) -> Protocol:
    """T2: turbo spin echo in slices or 3D, single shot in the trunk, or STIR."""
    if d.anatomy in ("Abdomen", "Chest") and d.chance(0.55):
        return d.protocol(
            "T2", "haste", tr=d.round_ms(d.u(600, 3000)), te=d.round_ms(d.u(62, 130)),
            flip=d.pick((90, 120, 150, 160, 180)),
            train=d.n(60, 256), thickness=(4, 7), fat=d.fatsat(0.35), bandwidth=(400, 800), name="t2 haste",
        )  # fmt: skip
    if d.chance(0.18 if d.anatomy != "Brain" else 0.03):
        return _stir(d)
    if d.chance(0.22):
        iso = d.u(0.6, 1.4)
        return d.protocol(
            "T2", "space", dimension="3D", tr=d.round_ms(d.u(1000, 3600)),
            te=d.round_ms(d.pick((d.u(70, 140), d.u(190, 420)))),
            flip=d.pick((90, 100, 120, 135, 150)), train=d.n(40, 280), thickness=(iso, iso),
            bandwidth=(350, 900),
            fat=d.fatsat(0.15), name="t2 space", plane=d.pick(("sagittal", "axial", "coronal")),
        )  # fmt: skip
    te = d.u(76, 125) if d.anatomy in ("Brain", *SPINES, "Neck") else d.u(60, 108)
    return d.protocol(
        "T2", "tse", tr=d.round_ms(d.u(2200, 8500)), te=d.round_ms(te), train=d.n(7, 34),
        flip=d.pick((90, 90, 111, 120, 140, 150, 150, 160, 180)), thickness=(2, 4) if d.small() else (2, 6),
        fat=d.fatsat(0.12 if d.anatomy == "Brain" else 0.4), averages=d.pick((1, 1, 2, 2, 3, 4)),
        bandwidth=(80, 320),
        name="t2 tse",
    )  # fmt: skip


def _stir(d: Draw) -> Protocol:
    ti = d.u(85, 130) if d.tesla < 1 else d.u(140, 175) if d.tesla < 2 else d.u(170, 240)
    return d.protocol(
        "T2", "ir-tse", tr=d.round_ms(d.u(2500, 7500)), te=d.round_ms(d.u(28, 95)), ti=d.round_ms(ti),
        train=d.n(6, 22),
        flip=d.pick((90, 111, 120, 150, 160)), thickness=(2.5, 5), fat="stir", name="stir",
    )  # fmt: skip


def flair(d: Draw) -> Protocol:
    """Fluid-attenuated T2, in slices or 3D; TI grows with TR and field."""
    deep = d.chance(0.4)
    tr = d.u(4200, 9500) if deep else d.u(6000, 11500)
    ti = (1600 + 0.09 * tr if tr < 7000 else 1950 + 0.055 * tr) * d.u(0.94, 1.06)
    if d.tesla < 1:
        tr, ti = d.u(3700, 7000), d.u(1250, 1900)
    if deep:
        iso = d.u(0.8, 1.6)
        return d.protocol(
            "T2-FLAIR", "ir-space", dimension="3D", tr=d.round_ms(tr), te=d.round_ms(d.u(90, 440)),
            ti=d.round_ms(ti),
            flip=d.pick((90, 120, 120, 40)), train=d.n(120, 290), thickness=(iso, iso), fat=d.fatsat(0.5),
            plane=d.pick(("sagittal", "sagittal", "axial")), rows=d.pick((240, 256, 256, 320, 512)),
            name="t2 flair 3d",
            bandwidth=(500, 900),
        )  # fmt: skip
    return d.protocol(
        "T2-FLAIR", "ir-tse", tr=d.round_ms(tr), te=d.round_ms(d.u(76, 148)), ti=d.round_ms(ti),
        train=d.n(9, 36),
        flip=d.pick((90, 111, 120, 150, 150, 160, 180)), thickness=(3, 6), fat=d.fatsat(0.35),
        name="t2 flair",
        plane=d.pick(("axial", "axial", "axial", "coronal", "sagittal")),
    )  # fmt: skip


def pd(d: Draw) -> Protocol:
    """Proton density, with or without fat suppression."""
    return d.protocol(
        "other:PD", "space" if d.chance(0.12) else "tse", tr=d.round_ms(d.u(2000, 5200)),
        te=d.round_ms(d.u(9, 39)),
        train=d.n(3, 11), flip=d.pick((90, 111, 120, 150, 160, 180)), thickness=(2, 4), fat=d.fatsat(0.6),
        name="pd tse",
        averages=d.pick((1, 1, 2)), bandwidth=(120, 350),
    ) if d.anatomy != "Brain" else d.protocol(
        "other:PD", "tse", tr=d.round_ms(d.u(2200, 4500)), te=d.round_ms(d.u(8, 30)), train=d.n(3, 8),
        flip=150,
        thickness=(3, 5), name="pd tse",
    )  # fmt: skip


def mixed(d: Draw) -> Protocol:
    """Proton density and T2 as two echoes of one series."""
    first = d.u(8, 24)
    return d.protocol(
        "other:MIXED", "tse", tr=d.round_ms(d.u(2300, 6000)), te=(d.round_ms(first),
        d.round_ms(d.u(78, 115))),
        train=d.n(4, 14), flip=d.pick((90, 150, 160, 180)), thickness=(2, 5), name="pd+t2 tse",
    )  # fmt: skip


def t2_star(d: Draw) -> Protocol:
    """T2*: gradient echo in slices, averaged echoes in joints and spine, or several echoes in 3D."""
    roll = d.rng.random()
    if d.anatomy != "Brain" and roll < 0.6:
        return d.protocol(
            "T2*", "medic", tr=d.round_ms(d.u(350, 900)), te=d.u(11, 27),
            flip=d.pick((20, 25, 30, 30, 35, 40)),
            thickness=(2, 4), bandwidth=(150, 400), name="t2 me2d",
            plane=d.pick(("axial", "axial", d.plane())),
            fat="we" if d.chance(0.2) else "",
        )  # fmt: skip
    if roll < 0.75:
        return d.protocol(
            "T2*", "gre", tr=d.round_ms(d.u(380, 1100)), te=d.u(14, 28), flip=d.pick((10, 15, 18, 20, 20, 25,
            30)),
            thickness=(3, 6), bandwidth=(80, 300), name="t2 fl2d hemo",
        )  # fmt: skip
    first, spacing = d.u(3, 7), d.u(3.5, 6.5)
    echoes = tuple(round(first + i * spacing, 2) for i in range(d.n(4, 8)))
    return d.protocol(
        "T2*", "megre", dimension="3D" if d.chance(0.7) else "2D", tr=d.u(echoes[-1] + 5, echoes[-1] + 25),
        te=echoes,
        flip=d.n(9, 25), thickness=(1, 2.5), bandwidth=(150, 500), name="gre multiecho", slices=(20, 96),
        rows=d.pick((192, 224, 256)),
    )  # fmt: skip


def swi(d: Draw) -> Protocol:
    """Susceptibility-weighted 3D gradient echo."""
    te = d.u(17, 28) if d.high else d.u(32, 44)
    several = d.vendor in ("ge", "philips") and d.chance(0.25)
    return d.protocol(
        "SWI", "swi", plane="axial" if d.chance(0.95) else "coronal", dimension="3D",
        tr=d.round_ms(te + d.u(6, 24)), te=te,
        flip=d.pick((10, 12, 15, 15, 15, 17, 20)), thickness=(1, 3), rows=d.pick((224, 256, 256, 320, 384,
        512)), slices=(40, 100),
        bandwidth=(80, 330), image="swi" if d.chance(0.6) else "magnitude", name="swi",
        train=4 if several else 1,
    )  # fmt: skip


def phase(d: Draw, parent: Protocol) -> Protocol:
    """The phase images of another series."""
    return replace(parent, label="other:PHASE", image="phase", name="phase", volumes=1)


def ssfp(d: Draw) -> Protocol:
    """Balanced steady state; CISS and FIESTA-C sum two of them."""
    thin = d.anatomy in ("Brain", *SPINES, "Neck") or d.chance(0.2)
    if thin:
        double = d.chance(0.6)
        tr = d.u(4.2, 11.5)
        return d.protocol(
            "SSFP", "ciss" if double else "bssfp3d", plane=d.pick(("axial", "axial", "sagittal", "coronal")),
            dimension="3D",
            tr=tr, te=round(tr * d.u(0.4, 0.52), 2), flip=d.pick((35, 40, 45, 50, 55, 60, 70)),
            thickness=(0.4, 1.2),
            rows=d.pick((256, 320, 384, 512)), slices=(28, 96), fov=d.u(150, 230, 0), bandwidth=(200, 600),
            name="ciss",
        )  # fmt: skip
    tr = d.u(2.8, 5.4)
    return d.protocol(
        "SSFP", "bssfp", tr=tr if d.chance(0.8) else d.u(250, 900), te=round(d.u(2.8, 5.0) * d.u(0.38, 0.52),
        2),
        flip=d.pick((40, 45, 50, 55, 60, 65, 70, 80)), thickness=(4, 8), bandwidth=(500, 1200),
        volumes=d.pick((1, 1, 1, 20, 25)),
        fat=d.fatsat(0.2), name="trufi", slices=(8, 40),
    ) if d.chance(0.7) else d.protocol(
        "SSFP", "bssfp3d", dimension="3D", tr=tr, te=round(tr * 0.47, 2), flip=d.pick((30, 40, 50, 60, 70)),
        thickness=(0.8, 3),
        bandwidth=(300, 1000), fat=d.fatsat(0.3), name="trufi 3d",
    )  # fmt: skip
