"""Protocols of diffusion, vessels, perfusion and function, and of what is run before the scan proper.

Ranges are those of clinical and research protocols in print and in public headers; each draw varies what
sites vary. Units as in `phantom_series_protocols`.
"""

from __future__ import annotations

from dataclasses import replace

from radfoundry.datasets.phantom_series_protocols import AGENTS, Draw, Protocol
from radfoundry.datasets.phantom_series_weighted import vibe

# --- diffusion ------------------------------------------------------------------------------------------


def dwi(d: Draw) -> Protocol:
    """Raw multi-b images, one b-value, b0 alone, or the trace."""
    body = d.anatomy not in ("Brain",)
    top = (
        d.pick((600, 700, 800, 800, 1000, 1000, 1400))
        if body
        else d.pick((900, 1000, 1000, 1000, 1200, 1500, 2000, 3000))
    )
    image, bs, directions = d.pick((
        ("magnitude", (0, top), 3), ("trace", (0, top), 0), ("trace", (top,), 0), ("magnitude", (0, top),
        d.pick((6, 12, 20, 30, 64))),
        ("magnitude", (0,), 0), ("trace", (0, 500, top) if not body else (50, 400, top), 0),
        ("magnitude", (0, top / 2, top), 30),
        ("magnitude", (0, top), 1),
    ))  # fmt: skip
    volumes = sum(1 if b == 0 else max(directions, 1) for b in bs)
    rows = d.pick((128, 128, 192, 256, 256, 224, 160, 96, 112, 104))
    base = rows if rows <= 128 else d.n(96, 160)
    return d.protocol(
        "DWI", "epi-dwi" if d.chance(0.93) else "rs-epi",
        tr=d.round_ms(d.u(2800, 12500) if d.chance(0.8) else d.u(1000, 4000)),
        te=d.round_ms(d.u(52, 124)), flip=d.pick((90, 90, 90, 180, 78)),
        thickness=(1.5, 6) if not body else (3, 7),
        gap=(0, 0.25), rows=rows, matrix=(base, base), train=d.pick((1, base // 2, base * 3 // 4, base)),
        fat=d.fatsat(1.0),
        bandwidth=(900, 3700), image=image, b_values=tuple(float(b) for b in bs), directions=int(directions),
        volumes=volumes,
        plane="axial" if d.chance(0.93) else d.plane(), averages=d.pick((1, 1, 2, 4)), name="dwi",
    )  # fmt: skip


def adc(d: Draw, parent: Protocol) -> Protocol:
    """Apparent diffusion coefficients computed from a diffusion series."""
    return replace(
        parent, label="ADC", image="adc", b_values=parent.b_values, volumes=1, directions=0, name="adc"
    )


def diffusion_map(d: Draw, parent: Protocol) -> Protocol:
    """Anisotropy, exponential, colour or mean-diffusivity map of a diffusion series."""
    kind = d.pick(("fa", "fa", "fa", "expadc", "colfa", "tensor-trace", "md"))
    return replace(parent, label="other:DIFFUSION-MAP", image=kind, volumes=1, directions=0, name=kind)


# --- vessels --------------------------------------------------------------------------------------------


def mra(d: Draw) -> Protocol:
    """Time of flight, phase contrast or contrast-enhanced angiography."""
    roll = d.rng.random()
    if (d.anatomy == "Brain" and roll < 0.72) or (d.anatomy == "Neck" and roll < 0.35):
        flat = d.chance(0.12)
        return d.protocol(
            "MRA", "tof2d" if flat else "tof", plane="axial", dimension="2D" if flat else "3D",
            tr=d.u(17, 34), te=d.u(2.3, 7.2),
            flip=d.pick((15, 18, 18, 20, 20, 25)) if not flat else d.n(40, 70),
            thickness=(1.5, 3) if flat else (0.4, 1.4),
            gap=(0, 0), rows=d.pick((256, 320, 384, 512, 512, 560, 768)), slices=(60, 180),
            bandwidth=(80, 260), name="tof",
            averages=1,
        )  # fmt: skip
    if d.anatomy == "Brain" and roll < 0.88:
        return d.protocol(
            "MRA", "pc", dimension=d.pick(("3D", "3D", "2D")), tr=d.u(14, 60), te=d.u(3.5, 9.5),
            flip=d.n(8, 25), thickness=(0.8, 3),
            rows=d.pick((256, 320, 512)), slices=(40, 150), name="pc angio",
            plane=d.pick(("sagittal", "axial", "coronal")),
        )  # fmt: skip
    return d.protocol(
        "MRA", "ce-mra", plane="coronal" if d.chance(0.85) else "sagittal", dimension="3D", tr=d.u(2.4, 5.6),
        te=d.u(0.9, 2.1),
        flip=d.pick((16, 20, 25, 25, 28, 30, 40)), thickness=(0.7, 2.0), rows=d.pick((320, 384, 448, 512)),
        slices=(60, 130),
        agent=d.agent or d.pick(AGENTS), bandwidth=(350, 900), name="ce angio", volumes=d.pick((1, 1, 1, 2)),
        fov=d.u(280, 420, 0), image="subtraction" if d.chance(0.15) else "magnitude",
    )  # fmt: skip


def projection(d: Draw, parent: Protocol) -> Protocol:
    """Projection of vessels, minimum over susceptibility images, or a reformat of a 3D series."""
    parent = replace(parent, volumes=1)
    if parent.label == "SWI":
        return replace(
            parent,
            label="other:MIP",
            image="minip",
            thickness=parent.thickness * 8,
            slices=max(parent.slices - 7, 8),
            name="minip",
        )
    if parent.label == "MRA":
        if d.chance(0.5):  # a turn about the long axis of the body: every image has its own plane
            return replace(parent, label="other:MIP", image="turning-mip", planes=("coronal",),
                slices=d.n(9, 36), step=0.0,
                           thickness=round(parent.thickness * parent.slices, 1),
                           name="mip radial")  # fmt: skip
        return replace(
            parent, label="other:MIP", image="mip", planes=(d.pick(("axial", "coronal", "sagittal")),),
            thickness=d.u(5, 80), slices=d.n(1, 40), step=d.u(2, 6), name="mip",
        )  # fmt: skip
    thick = d.u(1, 5)
    return replace(
        parent, label="other:MIP", image="mpr", planes=(d.pick([p for p in ("axial", "coronal",
        "sagittal") if p != parent.planes[0]]),),
        thickness=thick, step=thick, slices=d.n(20, 60), name="mpr",
    )  # fmt: skip


# --- perfusion and function -----------------------------------------------------------------------------


def asl(d: Draw) -> Protocol:
    """Spin labelling, spiral or EPI, in slices or 3D."""
    spatial = d.chance(0.6) or d.vendor == "ge"
    rows = d.pick((64, 64, 72, 80, 96, 128))
    pairs = d.n(1, 8) if spatial else d.n(20, 60)
    return d.protocol(
        "ASL", "asl3d" if spatial else "asl2d", plane="axial", dimension="3D" if spatial else "2D",
        tr=d.round_ms(d.u(2500, 6500)),
        te=d.u(9.5, 42) if spatial else d.u(9, 26), flip=d.pick((90, 111, 120, 180)) if spatial else 90,
        thickness=(2.5, 6), gap=(0, 0.2), rows=rows, matrix=(rows, rows), train=d.n(12, 60),
        bandwidth=(600, 3200),
        fat=d.fatsat(0.8), volumes=pairs * 2, ti=d.round_ms(d.u(1500, 2600)) if d.chance(0.35) else None,
        name="asl",
        slices=(14, 40), image=d.pick(("asl", "asl", "asl", "asl", "m0")),
    )  # fmt: skip


def bold(d: Draw) -> Protocol:
    """Functional gradient-echo EPI: one echo or several, or the single-band reference."""
    rows = d.pick((64, 64, 64, 72, 80, 84, 90, 96, 104, 110, 128))
    band = d.chance(0.4)
    te = d.u(28, 38) if d.high else d.u(35, 55)
    if d.tesla > 4:
        te = d.u(18, 27)
    echoes = tuple(round(12 + i * d.u(14, 19), 2) for i in range(3)) if d.chance(0.12) else (te,)
    return d.protocol(
        "other:BOLD", "epi-gre", plane="axial" if d.chance(0.95) else "coronal",
        tr=d.round_ms(d.u(700, 1600) if band else d.u(1500, 3200)),
        te=tuple(d.round_ms(t) for t in echoes), flip=d.pick((52, 60, 70, 75, 77, 80, 84, 90, 90)),
        thickness=(1.8, 4), gap=(0, 0.2), rows=rows, matrix=(rows, rows), train=d.n(rows // 3, rows),
        bandwidth=(1200, 3200),
        fat=d.fatsat(1.0), volumes=1 if d.chance(0.12) else d.n(60, 420), name="bold", slices=(24, 72),
        averages=1,
    )  # fmt: skip


def spin_epi(d: Draw) -> Protocol:
    """Spin-echo EPI of few volumes with the phase encoding reversed."""
    rows = d.pick((64, 80, 90, 104, 110, 128))
    return d.protocol(
        "other:EPI", "epi-se", plane="axial", tr=d.round_ms(d.u(2800, 9000)), te=d.round_ms(d.u(30, 95)),
        flip=90, thickness=(1.8, 4),
        gap=(0, 0.2), rows=rows, matrix=(rows, rows), train=d.n(rows // 3, rows), bandwidth=(1200, 3000),
        fat=d.fatsat(1.0),
        volumes=d.n(1, 4), name="spinechofieldmap " + d.pick(("ap", "pa")), slices=(24, 72), averages=1,
    )  # fmt: skip


def field_map(d: Draw) -> list[Protocol]:
    """Magnitudes of two echoes with the phase difference, a map in Hz, or real and imaginary images."""
    rows = d.pick((64, 64, 72, 80, 84, 96, 128))
    first = d.u(2.4, 5.6)
    second = round(first + (2.46 if d.high else 4.6) * d.u(0.85, 1.1), 2)
    both = d.protocol(
        "other:FIELDMAP", "fm", plane="axial", dimension="3D" if d.vendor == "philips" and d.chance(0.6)
        else "2D",
        tr=d.round_ms(d.u(380, 1100)), te=(first, second), flip=d.pick((10, 20, 40, 45, 55, 60, 60)),
        thickness=(2, 4), gap=(0, 0.2),
        rows=rows, matrix=(rows, rows), bandwidth=(200, 900), name="gre field mapping", slices=(28, 60),
    )  # fmt: skip
    if both.dimension == "3D" or (d.vendor == "ge" and d.chance(0.5)):
        one = replace(both, tes=(first,), tr=d.u(4, 30) if both.dimension == "3D" else both.tr)
        return [replace(one, image="b0map")]
    if d.vendor == "ge" and d.chance(0.5):
        return [replace(both, image="real-imaginary")]
    return [both, replace(both, tes=(second,), image="phasediff", name="gre field mapping phase")]


def dsc(d: Draw) -> Protocol:
    """Gradient-echo EPI over the first pass of an agent."""
    rows = d.pick((64, 96, 128, 128, 128, 256))
    base = min(rows, 128)
    return d.protocol(
        "other:DSC", "epi-gre", plane="axial", tr=d.round_ms(d.u(1100, 2400)), te=d.round_ms(d.u(20, 54)),
        flip=d.pick((30, 35, 60, 60, 70, 75, 90)),
        thickness=(3, 6), gap=(0, 0.3), rows=rows, matrix=(base, base), train=d.n(base // 3, base),
        bandwidth=(900, 2400),
        fat=d.fatsat(1.0), volumes=d.n(40, 120), agent=d.agent or d.pick(AGENTS), name="perfusion",
        slices=(14, 28), averages=1,
    )  # fmt: skip


def perfusion_map(d: Draw, parent: Protocol) -> Protocol:
    """Map of flow, volume or time computed from a perfusion series."""
    image = d.pick(("cbf", "cbv", "mtt", "ttp", "tmax") if parent.label == "other:DSC" else ("cbf",))
    return replace(parent, label="other:PERFUSION-MAP", image=image, volumes=1, name=image)


def dce(d: Draw) -> Protocol:
    """Spoiled 3D gradient echo repeated while the agent arrives."""
    found = vibe(d, "other:DCE")
    fat = found.fat if found.fat in ("fatsat", "spair", "") else "fatsat"
    return replace(
        found, fat=fat, agent=d.agent or d.pick(AGENTS), volumes=d.n(4, 40), tes=(d.u(0.9, 2.6),),
        tr=d.u(2.6, 6.5),
        slices=min(found.slices, 120), name="dce vibe dynamic",
    )  # fmt: skip


# --- before the scan proper -----------------------------------------------------------------------------


def localiser(d: Draw) -> Protocol:
    """Three planes in one series, one plane alone, single-shot spin echoes, or a fast 3D scout."""
    fov = min(d.u(1.1, 1.9) * d.region.fov[1], 500)
    style = d.rng.random()
    planes = ("axial", "sagittal", "coronal")
    if style < 0.68:
        stacks: tuple[str, ...] = tuple(planes[i] for i in d.rng.permutation(3))
    else:
        stacks = (d.pick(planes),)
    if d.anatomy == "Brain" and d.vendor == "siemens" and d.chance(0.2):
        return d.protocol(
            "LOC", "scout3d", planes=("sagittal",), dimension="3D", tr=d.u(3.0, 3.6), te=d.u(1.2, 1.6),
            flip=8, thickness=(1.6, 1.6), rows=160,
            matrix=(160, 160), fov=260.0, slices=(120, 128), bandwidth=(500, 560), name="aahscout",
        )  # fmt: skip
    spin = d.vendor in ("ge", "siemens", "philips") and d.chance(0.22)
    balanced = not spin and d.chance(0.15)
    return d.protocol(
        "LOC", "haste-loc" if spin else "bssfp-loc" if balanced else "loc", planes=stacks,
        tr=d.u(400, 1500) if spin else d.u(3.0, 25),
        te=d.u(40, 90) if spin else d.u(1.2, 7.5), flip=90 if spin else d.pick((15, 20, 20, 30, 40, 45, 60)),
        thickness=(5, 10),
        gap=(0.0, 1.2), slices=(1, 9) if len(stacks) > 1 else (3, 15), rows=d.pick((128, 256, 256, 256, 320,
        512)),
        fov=round(fov), bandwidth=(150, 900), name="localizer", train=d.n(60, 160) if spin else 1,
    )  # fmt: skip


def calibration(d: Draw) -> Protocol:
    """Reference of coil sensitivities: a coarse, fast gradient echo over all that the coil sees."""
    fov = d.u(380, 530, 0) if d.chance(0.6) else d.u(1.1, 1.6) * d.region.fov[1]
    base = d.pick((32, 32, 48, 64, 64, 96))
    return d.protocol(
        "CAL", "cal", plane=d.pick(("axial", "axial", "coronal", "sagittal")),
        dimension=d.pick(("3D", "3D", "2D")), tr=d.u(1.4, 8.5) if d.chance(0.8) else d.u(50, 150),
        te=d.u(0.5, 2.3), flip=d.pick((1, 2, 3, 5, 7, 7, 10, 20, 30)), thickness=(3, 15), gap=(0, 0),
        rows=d.pick((32, 64, 64, 96, 128, 256)),
        matrix=(base, base), slices=(16, 72), fov=round(min(fov, 530)), bandwidth=(300, 2000),
        name="calibration",
        volumes=d.pick((1, 1, 1, 2)),
    )  # fmt: skip


def screen(d: Draw) -> Protocol:
    """Secondary capture: a page of text or of curves."""
    rows = d.pick((512, 768, 1024))
    found = d.protocol(
        "other:SCREEN",
        "screen",
        tr=0,
        te=0,
        flip=0,
        thickness=(1, 1),
        rows=rows,
        slices=(1, 3),
        name="screen save",
        plane="axial",
    )
    return replace(found, tes=(), columns=rows, image="screen", dimension="")


def computed_tomography(d: Draw) -> Protocol:
    """A CT series that strayed into the study."""
    found = d.protocol(
        "other:NOT-MR", "ct", plane=d.pick(("axial", "axial", "axial", "coronal")), tr=0, te=0, flip=0,
        thickness=(0.6, 5), rows=512, gap=(0, 0),
        fov=d.u(220, 420, 0), name=d.pick(("head wo", "abdomen pv", "neck", "topogram")),
    )  # fmt: skip
    return replace(found, tes=(), image="ct", dimension="", columns=found.rows)
