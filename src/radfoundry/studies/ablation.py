"""Run a grid of pipelines on a cohort and show what can be believed of it: `radfoundry ablate`.

Methods. Each cell of the grid is one pipeline (normalisation, selection, sampling, classifier) on one
feature set. Repeated cross-validation, grouped by patient, tests each case once a repeat; inner folds of the
training patients choose a classifier's settings, and all that learns is fitted on training patients alone.
The headline of a feature set is the pipeline chosen inside: in each outer fold the cell that did best on the
inner folds; that of any set is the same choice among the cells of all image sets that compete. Intervals
over folds carry the correction of Nadeau and Bengio; differences are judged over folds, by the Bayesian
correlated t-test with a region of practical equivalence of 0.02, and by DeLong's test on the pooled
out-of-fold scores; families of tests by Holm, screens over the grid by Benjamini and Hochberg.

Controls. Labels dealt out anew within each outer fold must give an AUC of one half. A set made from scrambled
images must do worse than the set it was made from, or what that set is said to see does not matter; where
that set is at chance, so must the control be. Volume, age and stage are what an image model has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry import engines
from radfoundry.adapt.fits import processes
from radfoundry.adapt.pooling import patient_labels
from radfoundry.cohort import Cohort, read_cohort
from radfoundry.encoders.store import Store
from radfoundry.errors import InputError, NotEnoughData
from radfoundry.plan import tables, verdicts
from radfoundry.plan.ablation import Ablation, Cases, ablate
from radfoundry.plan.grid import ANY, Cell, Grid, as_plain, matching, read_grid
from radfoundry.plan.lesions import by_patient
from radfoundry.plan.verdicts import Contrast, Control, Selected
from radfoundry.report import ablation_figures, figures
from radfoundry.studies import evidence, inputs
from radfoundry.studies.inputs import Labelled
from radfoundry.studies.run import Run, command_line
from radfoundry.types import Estimate

TITLE = "Which pipeline to trust"
STEPS = ("normalisation", "selector", "k", "imbalance", "classifier")
ROLES = {
    "main": "",
    "any": "chosen inside",
    "clinical": "clinical",
    "volume": "volume only",
    "control": "control",
}


@dataclass(frozen=True)
class AblateConfig:
    """Options of `radfoundry ablate`."""

    grid: Path
    """Grid file (YAML)."""
    cohort: Path | None = None
    """Cohort (CSV or Parquet) instead of the grid's."""
    target: str | None = None
    """Label column instead of the grid's."""
    only: str = ""
    """Run these cells alone: FACTOR=LEVEL, separated by commas."""
    out: Path = Path("runs/ablate")
    """Run folder to make."""
    force: bool = False
    """Replace an existing run folder."""
    store: Path = Path("stores/embeddings")
    """Where finished cells are kept; an interrupted run goes on from there."""
    engine: engines.Engine = "local"
    """local (processes of this machine) or ray."""
    ray_address: str | None = None
    """Ray cluster: auto or HOST:PORT; without it a cluster of this machine."""
    jobs: int = 0
    """Processes; 0 uses every CPU."""
    seed: int | None = None
    """Seed instead of the grid's."""


def load(config: AblateConfig) -> tuple[Grid, list[Cell], list[str]]:
    """The grid of a configuration, its cells after `--only`, and what was left out."""
    grid = read_grid(config.grid)
    grid = grid if config.seed is None else replace(grid, seed=config.seed)
    cells, notes = grid.cells()
    engines.check(config.engine, config.ray_address, config.jobs)
    return grid, matching(cells, config.only) if config.only else cells, notes


def run(config: AblateConfig) -> Path:
    """Run the grid and write the run folder; returns it."""
    grid, cells, _ = load(config)
    if all(cell.labels == "shuffled" for cell in cells):
        raise InputError(
            f"--only {config.only}: shuffled labels are a control of true ones. Leave labels= out of --only"
        )
    source = config.cohort or grid.cohort
    if source is None:
        raise InputError(f"{config.grid} names no cohort. Add `cohort: FILE` to it, or give --cohort")
    with Run(
        config.out, command=command_line(), config={**plain_options(config), "grid": as_plain(grid)},
        seed=grid.seed, title=TITLE, force=config.force,
    ) as run:  # fmt: skip
        run_grid(
            run, read_cohort(source, check_files=False, need_images=False), grid, cells=cells,
            target=config.target, store=config.store, engine=config.engine, address=config.ray_address,
            jobs=config.jobs,
        )  # fmt: skip
    return run.out


def plain_options(config: AblateConfig) -> dict[str, Any]:
    """What was asked for, without the grid's content."""
    return {name: getattr(config, name) for name in ("only", "engine", "jobs", "seed", "target")}


def run_grid(
    run: Run,
    cohort: Cohort,
    grid: Grid,
    *,
    cells: Sequence[Cell] | None = None,
    target: str | None = None,
    store: Path,
    engine: engines.Engine = "local",
    address: str | None = None,
    jobs: int = 0,
) -> Ablation:
    """Everything between an open run and its page. The options of the engine were checked before the run."""
    data = inputs.labelled(cohort, target or grid.target)
    found = tables.read(grid, data.cohort, data.target, data.y)
    data = data.keep(found.complete, "not in every feature table")
    run.add_data(cohort.name, cohort.digest(), len(cohort))
    run.hide([*data.patient, *data.case_id])
    Store(store).mark()  # kept cells lie beside vectors, in whichever order the two are made
    matrices = {name: matrix[found.complete] for name, matrix in found.matrices.items()}
    if grid.pool != "none":
        data, matrices = _pooled(run, data, matrices, grid)
    cases = Cases(data.y, data.patient, data.case_id, matrices)
    result = ablate(
        cases,
        grid,
        cells=cells,
        store=store,
        engine=engine,
        jobs=processes(jobs),
        address=address,
        log=run.log,
    )
    for note in (*found.notes, *result.notes):
        run.note(note)
    if (size := verdicts.main_size(result)) < 1:
        run.note(
            f"No pipeline was trained on all training patients: the headline is that of {size:.0%} of them "
            "(sample_size), and more may do better."
        )
    _say_failed(run, result)
    show(run, data, cases, grid, result, len(cohort))
    return result


def _pooled(
    run: Run, data: Labelled, matrices: Mapping[str, np.ndarray], grid: Grid
) -> tuple[Labelled, dict[str, np.ndarray]]:
    """One case a patient, called by the patient's id."""
    patient_labels(data.y, data.patient)  # refuses a patient with both
    pooled, rows = by_patient(matrices, grid, data.patient)
    several = len(data.y) - len(rows)
    run.note(
        f"{len(data.y)} lesions of {len(rows)} patients, made one case a patient (pool: {grid.pool})."
        if several
        else "Every patient has one lesion: pooling changes nothing."
    )
    first = np.isin(np.arange(len(data.y)), rows)
    one = data.keep(first, "further lesions of a patient, pooled")
    table = one.cohort.table.assign(case_id=one.patient)
    return replace(one, cohort=replace(one.cohort, table=table)), pooled


def _say_failed(run: Run, result: Ablation) -> None:
    reasons: dict[str, list[str]] = {}
    for address, reason in result.failed.items():
        reasons.setdefault(reason, []).append(address)
    for reason, addresses in reasons.items():
        run.note(f"{len(addresses)} cells gave no result ({reason}). The first: {addresses[0]}")


def show(run: Run, data: Labelled, cases: Cases, grid: Grid, result: Ablation, read: int) -> None:
    """The page: verdict, chosen pipelines, comparisons, controls, what mattered, every cell."""
    run.section("The question", key="question", text=_question(data, grid))
    evidence.table_one(run, data)
    evidence.flow(run, read, data, [("tested in every repeat", len(data.y))])
    chosen = _chosen(result, grid)
    either = verdicts.chosen_of_any(result, grid)
    shown = chosen if either is None else {**chosen, ANY: either}
    every = _estimates(cases, shown, data.target)
    estimates = {name: every[name] for name in chosen}
    run.add_estimates(every.values())
    run.write_predictions(_predictions(data, shown))
    contrasts = verdicts.contrasts(grid, chosen, cases)
    controls = verdicts.controls(grid, chosen, result, cases)
    run.verdict(*_verdict(grid, every, contrasts, controls))
    _show_sets(run, grid, every, shown)
    _show_contrasts(run, contrasts)
    _show_controls(run, controls)
    _show_factors(run, grid, result)
    _show_cells(run, grid, result, chosen, estimates)
    words = [evidence.paragraph(__doc__, start) for start in ("Methods", "Controls")]
    design = f"{grid.repeats} x {grid.folds} outer and {grid.inner} inner folds; {len(result.cells)} cells"
    run.section("Methods", key="methods", text=f"{' '.join(words)} Here: {design}.")


def _question(data: Labelled, grid: Grid) -> str:
    return (
        f"Which of {len(grid.features)} feature sets tells {data.positive} from {data.negative}, with which "
        "pipeline, and does any of them know more than the trivial ones?"
    )


def _chosen(result: Ablation, grid: Grid) -> dict[str, Selected]:
    """The choice made inside, for each feature set that has a result."""
    found = verdicts.chosen_sets(result, grid)
    if not found:  # they were asked for, so each of them failed
        raise NotEnoughData(
            "no cell with true labels gave a result, and the controls mean nothing without one. The first: "
            f"{next(iter(result.failed.values()), 'none was run')}"
        )
    return found


def _estimates(cases: Cases, chosen: Mapping[str, Selected], target: str) -> dict[str, Estimate]:
    n, patients = len(cases.y), len(np.unique(cases.patient))
    return {
        name: replace(verdicts.mean_auc(one, n=n, patients=patients), target=target)
        for name, one in chosen.items()
    }


def _predictions(data: Labelled, chosen: Mapping[str, Selected]) -> pd.DataFrame:
    carried = inputs.covariates(data.cohort)
    made = []
    for name, one in chosen.items():
        rows = one.scores["row"].to_numpy()
        made.append(pd.DataFrame({
            "case_id": data.case_id[rows], "patient_id": data.patient[rows], "target": data.target,
            "y_true": data.y[rows], "score": one.scores["score"].to_numpy(), "model": name, "split": "test",
            "repeat": one.scores["repeat"].to_numpy(), "fold": one.scores["fold"].to_numpy(),
            **{column: np.asarray(values)[rows] for column, values in carried.items()},
        }))  # fmt: skip
    return pd.concat(made, ignore_index=True)


def _verdict(
    grid: Grid, estimates: Mapping[str, Estimate], contrasts: Sequence[Contrast], controls: Sequence[Control]
) -> tuple[str, list[tuple[str, Estimate, Estimate | None]]]:
    mains = [n for n in estimates if n != ANY and grid.features[n].role == "main"]
    plain = [n for n in estimates if n != ANY and grid.features[n].role in ("clinical", "volume")]
    sentences = []
    for name in mains:
        beaten = [c.b for c in contrasts if c.a == name and c.b in plain and _wins(c)]
        open_ = [c.b for c in contrasts if c.a == name and c.b in plain and not _wins(c)]
        if plain and not beaten:
            sentences.append(f"Nothing here shows that {name} knows more than {_listed(open_)}.")
        elif beaten:
            rest = f", not better than {_listed(open_)}" if open_ else ""
            sentences.append(f"{name} did better than {_listed(beaten)}{rest}.")
    broken = [c for c in controls if not c.held and c.kind != "volume only"]
    if broken:
        asked = sum(c.kind != "volume only" and c.result != "says nothing" for c in controls)
        sentences.append(
            f"{len(broken)} of {asked} negative controls did not hold: "
            f"{_listed([c.name for c in broken], 'and')}."
        )
    held = [c for c in controls if c.result == verdicts.HELD and c.kind != "volume only"]
    if above := [c.name for c in held if not c.at_chance]:
        be = "are not themselves" if len(above) > 1 else "is not itself"
        sentences.append(f"{_listed(above, 'and')} held, but {be} at chance.")
    if not mains:
        sentences.append("Only feature sets without the image were run.")
    if not sentences:
        sentences = ["No trivial feature set was given to hold these AUCs against: add age, stage or volume."]
    best = max((estimates[n] for n in plain), key=lambda e: e.value, default=None)
    items: list[tuple[str, Estimate, Estimate | None]] = [
        (f"AUC, {name}", estimates[name], best or evidence.chance(estimates[name]))
        for name in [*mains, ANY]
        if name in estimates
    ]
    return " ".join(text[0].upper() + text[1:] for text in sentences), items


def _wins(c: Contrast) -> bool:
    """Better by both tests: over folds after Holm, and on the pooled scores."""
    return c.corrected.difference > 0 and c.corrected.p_holm < 0.05 and c.paired is not None and (
        c.paired.verdict == "better"
    )  # fmt: skip


def _listed(names: Sequence[str], word: str = "or") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _show_sets(
    run: Run, grid: Grid, estimates: Mapping[str, Estimate], chosen: Mapping[str, Selected]
) -> None:
    """The choice of each set, and of any set, last but for the controls."""
    role = {n: "any" if n == ANY else grid.features[n].role for n in estimates}
    order = sorted(estimates, key=lambda n: (role[n] == "control", role[n] == "any", -estimates[n].value))
    words = [f"{n} ({w})" if (w := ROLES[role[n]]) and w not in n else n for n in order]
    rows = [estimates[n] for n in order]
    floor = Estimate("auroc", 0.5, method="any constant score", n=rows[0].n, model="chance")
    drawn = figures.dots(rows, baseline=floor, names=words)
    run.save_figure("comparison", *drawn, title="Feature sets, each with the pipeline chosen inside")
    picks = []
    for name in order:
        for address, share in list(chosen[name].picks.items())[:3]:
            factors = address.split(",")
            used = factors[2:] if name != ANY else [factors[0], *factors[2:]]
            own = ", ".join(w.partition("=")[2] for w in used if not w.endswith("=none"))
            picks.append([name, own, share])
    run.section(
        "Which pipelines were chosen", kind="table", key="picks",
        columns=["feature set", "pipeline", "share of outer folds"], rows=picks,
        caption="The three taken most often. Many different choices mean that the data do not tell the "
        "pipelines apart."
        + (f" {ANY.capitalize()}: the choice of the set is made inside as well." if ANY in chosen else ""),
    )  # fmt: skip


def _show_contrasts(run: Run, contrasts: Sequence[Contrast]) -> None:
    rows: list[list[Any]] = []
    for c in contrasts:
        t, q = c.corrected, c.posterior
        paired = c.paired.difference if c.paired is not None else None
        rows.append([
            f"{c.a} against {c.b}", f"{t.difference:+.3f} ({t.low:+.3f} to {t.high:+.3f})", t.p_holm,
            f"{q.better:.2f} / {q.same:.2f} / {q.worse:.2f}",
            "–" if paired is None else f"{paired.value:+.3f} ({paired.low:+.3f} to {paired.high:+.3f})",
        ])  # fmt: skip
        if c.paired is not None:
            run.add_estimates([c.paired.difference])
    if rows:
        run.section(
            "Comparisons", kind="table", key="contrasts",
            columns=["comparison", "difference over folds", "p (Holm)", "better / same / worse",
                     "difference of pooled scores"],
            rows=rows,
            caption="Over folds: corrected resampled t-test (Nadeau and Bengio), Holm over this table. "
            "Better / same / worse: posterior probabilities, AUCs within "
            f"{verdicts.ROPE:g} counting as the same. Pooled: out-of-fold scores of the same cases, the "
            "AUC averaged over repeats.",
        )  # fmt: skip


def _show_controls(run: Run, controls: Sequence[Control]) -> None:
    if not controls:
        return
    run.add_estimates([replace(c.estimate, model=f"{c.name} ({c.kind})") for c in controls])
    rows = [[c.kind, c.name, c.estimate.value, f"{c.estimate.low:.3f} to {c.estimate.high:.3f}",
             c.result, c.sentence] for c in controls]  # fmt: skip
    run.section(
        "Negative controls", kind="table", key="controls",
        columns=["kind", "control", "AUC", "interval", "result", "what it says"], rows=rows,
        caption="A control that does not hold means that the score of the feature set is explained by "
        "something else than what it is said to see, or that there is a leak. One that holds and is above "
        "chance itself did worse than the set, but not badly enough to know nothing.",
    )  # fmt: skip
    for c in controls:
        if not c.held or not c.at_chance:
            run.note(c.sentence)


def _show_factors(run: Run, grid: Grid, result: Ablation) -> None:
    cells = verdicts.main_cells(result, grid)
    names = grid.of_role("main")
    sizes = [c for c in result.cells if c.labels == "true" and c.features in names]
    cells = sizes if len({c.sample_size for c in sizes}) > 1 else cells
    if len(cells) < 2:
        return
    shares = verdicts.what_mattered(result, cells, seed=grid.seed)
    reference = grid.reference_cell(cells[0].features) if grid.design == "one-at-a-time" else None
    means = _means(result, grid, cells, reference)
    drawn = ablation_figures.what_mattered(shares, means)
    first = max((s for s in shares if s.levels), key=lambda s: s.share, default=None)
    chance = next(s for s in shares if s.source == "split")
    by_luck = f"beside {chance.share:.0%} by which cases were tested"
    if first is None:
        said = ""
    elif first.share < 0.01:
        said = f"No varied factor explains 1 % of the variance of fold AUCs, {by_luck}."
    else:
        word = ablation_figures.WORDS.get(first.source, first.source)
        said = (
            f"Of the varied factors, {word} explains most: {first.share:.0%} of the variance of fold "
            f"AUCs, {by_luck}."
        )
    run.save_figure(
        "what_mattered", *drawn, title="What mattered",
        caption=f"{said} Type II sums of squares corrected for noise; lines are 95 % bootstrap intervals "
        "over repeats. At the right, intervals of the difference from the mean of the levels.",
    )  # fmt: skip


def _means(result: Ablation, grid: Grid, cells: Sequence[Cell], reference: Cell | None) -> pd.DataFrame:
    if reference is None:
        return verdicts.marginal_means(result, cells)
    own = [c for c in cells if c.features == reference.features]
    per_set = verdicts.marginal_means(result, own, reference)
    sets = [grid.reference_cell(name) for name in grid.of_role("main") if grid.reference_cell(name) in cells]
    between = verdicts.marginal_means(result, sets)
    return pd.concat([t for t in (between, per_set) if len(t)] or [per_set], ignore_index=True)


def _show_cells(
    run: Run, grid: Grid, result: Ablation, chosen: Mapping[str, Selected], estimates: Mapping[str, Estimate]
) -> None:
    """Every cell with its interval and its test against the reference; the promise of the best beside it."""
    cells = [c for c in result.cells if c.labels == "true"]
    made = {cell: verdicts.one_cell(result, cell) for cell in cells}
    n = max(e.n for e in estimates.values())  # the same for all
    rows: list[tuple[Cell, Estimate, Contrast | None]] = []
    tests: list[Contrast] = []
    for cell, one in made.items():
        reference = grid.reference_cell(cell.features)
        base = made.get(reference)
        if base is not None and cell != reference:
            tests.append(verdicts.contrast(one, base))
        e = verdicts.mean_auc(one, n=n)
        rows.append((cell, e, tests[-1] if base is not None and cell != reference else None))
    corrected = {c.a: c.corrected for c in verdicts.family(tests)} if tests else {}
    rows.sort(key=lambda r: -r[1].value)
    table = pd.DataFrame({"features": [r[0].features for r in rows], "auroc": [r[1].value for r in rows]})
    picked = pd.DataFrame([
        {"features": n, "value": e.value, "low": e.low, "high": e.high} for n, e in estimates.items()
    ])  # fmt: skip
    optimism = [
        (n, float(table.loc[table["features"] == n, "auroc"].max()) - estimates[n].value)
        for n in chosen
        if (table["features"] == n).sum() > 1
    ]
    worst = max(optimism, key=lambda pair: pair[1], default=None)
    said = (
        "" if worst is None or worst[1] <= 0
        else f" Picking the best cell of {worst[0]} afterwards would have promised {worst[1]:.3f} too much."
    )  # fmt: skip
    run.save_figure(
        "all_cells", *ablation_figures.all_cells(table, picked),
        title="Every pipeline, and the honest choice",
        caption=f"A dot is one cell of the grid.{said}",
    )  # fmt: skip
    lines: list[list[Any]] = []
    for cell, e, test in rows:
        t = corrected.get(test.a) if test is not None else None
        lines.append([
            cell.features, *(cell.level(f) for f in STEPS),
            f"{cell.sample_size:.0%}", e.value, f"{e.low:.3f} to {e.high:.3f}",
            None if t is None else t.difference, None if t is None else t.p_bh,
        ])  # fmt: skip
    run.section(
        "All cells", kind="table", key="cells",
        columns=["feature set", "normalisation", "selector", "k", "imbalance", "classifier", "cases", "AUC",
                 "95 % interval", "against reference", "q (BH)"],
        rows=lines,
        caption="Sorted by AUC, which is why the first rows flatter. Against the reference pipeline of the "
        "same feature set; q is the Benjamini-Hochberg adjusted p over this table.",
    )  # fmt: skip
