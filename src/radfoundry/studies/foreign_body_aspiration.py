"""S13 · Foreign-body aspiration in children: transfer learning or frozen embeddings on a small cohort?

Question. A department has a few dozen positive radiographs. Is it worth fine-tuning a network, or do frozen
embeddings with a classical head do as well, and does either beat the majority class?

Methods. Every pipeline sees the same repeated, stratified, patient-grouped 5-fold cross-validation. Heads
on frozen embeddings choose their hyper-parameters by an inner cross-validation of the training patients.
Transfer learning replaces the classifier of an ImageNet network by one unit, trains it on the frozen
network, then trains the last blocks at a low rate. The loss is binary cross-entropy weighted by n/(2 n_c),
or focal loss (gamma 2, alpha .25). No image is flipped, because the side matters. A fifth of the training
patients is kept for the threshold and the inner AUC; of the others a fifth is kept for early stopping, so
that the network was not chosen on the cases that choose among the pipelines. The weights of the loss are
taken back out of its probabilities, which then belong to the prevalence of training, like those of the heads.
Thresholds come from inner out-of-fold or validation scores.

Comparison. The headline is the nested selection: in each outer fold the pipeline with the best inner AUC,
not the pipeline that happened to do best on the test folds. Pipelines that win different folds share no scale
of scores, so an AUC here, of every pipeline, is the mean over the outer folds and no pool of their scores
(Forman and Scholz 2010), with DeLong's interval from placements within the folds. Curves, AUPRC, sensitivity
at a specificity, subgroups and the audit compare ranks within the fold. Fold-wise AUCs are compared by the
corrected resampled t-test (Nadeau and Bengio 2003) with Holm's correction, and by the Bayesian correlated
t-test with a region of practical equivalence of .02; on a single split by the paired DeLong test with Holm's.
The majority class, raw pixels and a random twin of the encoder stand beside, and each encoder, with the head
of the best inner AUC, is compared with them: where it is not better, the page says that it added nothing.

Design after the published comparison on 251 radiographs (51 aspirations, 200 with chronic cough), whose
accuracies of .82 and .79 lie around the .797 that the majority class reaches.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.adapt.backbones import BACKBONES, PUBLISHED, Start, check_weights, starts_of
from radfoundry.adapt.cross import cross_predict
from radfoundry.adapt.finetune import PRESETS, FineTune
from radfoundry.adapt.fits import Fit, processes
from radfoundry.adapt.losses import LOSSES
from radfoundry.adapt.prior import correct
from radfoundry.adapt.thresholds import choose
from radfoundry.audit import audit
from radfoundry.audit.baselines import is_control
from radfoundry.audit.comparison import Comparison
from radfoundry.errors import InputError, NotEnoughData, UnknownName
from radfoundry.evaluate.classification import auroc
from radfoundry.evaluate.compare import correlated_t, delong_paired, holm, nadeau_bengio
from radfoundry.io import read_image
from radfoundry.preprocess.recipe import resize
from radfoundry.registry import nearest
from radfoundry.splits import Fold, three_way
from radfoundry.studies import evidence, inputs
from radfoundry.studies.inputs import Labelled
from radfoundry.studies.options import Design, Options
from radfoundry.studies.run import Run, command_line
from radfoundry.types import Embeddings, Estimate

TITLE = "Foreign-body aspiration: transfer learning against frozen embeddings"
SELECTED = "nested selection"
KEPT = 0.2
"""Share of the training patients kept for threshold and inner AUC; of the others, for early stopping."""
ALPHA = 0.25
"""Weight of a positive in the focal loss of `adapt.losses`; a negative weighs one minus that."""


@dataclass(frozen=True)
class Config(Options):
    """Options of the study; without --cohort it runs on 251 generated phantoms, 51 of them positive."""

    out: Path = Path("runs/foreign_body_aspiration")
    """Run folder to make."""
    encoder: tuple[str, ...] = ("efficientnet-lite0",)
    """Frozen encoders."""
    head: tuple[str, ...] = ("logistic", "svm-rbf", "knn")
    """Heads on every encoder: also xgboost, lightgbm (extra boost; slow on 1,280 dimensions) and mlp."""
    transfer: tuple[str, ...] = ("efficientnet-lite0",)
    """Backbones to fine-tune: efficientnet-lite0 or mobilenet-v2; none to leave it out."""
    transfer_weights: tuple[str, ...] = ()
    """Local weights of the backbone to fine-tune, offline: a file; NAME=FILE for each of several."""
    loss: tuple[str, ...] = ("weighted-bce", "focal")
    """Losses of the fine-tuning."""
    preset: str = "few-cases"
    """Recipe of the fine-tuning: few-cases or small-images."""
    size: int = 128
    """Side of the fine-tuned images in pixels; 0 takes the recipe's (224 for few-cases: minutes a fold)."""
    design: Design = "cv"
    """How cases are split: cv, split (own column), holdout (80:10:10) or auto."""
    repeats: int = 10
    """Repeats of the 5-fold cross-validation for the heads."""
    transfer_repeats: int = 1
    """Repeats in which networks are fine-tuned too (minutes each on a CPU)."""
    positives: int = 0
    """Subsample to so many positives; 0 keeps all."""
    negatives: int = 0
    """Subsample to so many negatives; 0 keeps all."""
    effect: float = 0.6
    """Phantoms: how visible the findings are; 0 is no signal at all."""

    def check(self) -> None:
        """InputError, UnknownName or WeightsError for what would fail only after the heads were fitted."""
        super().check()
        known = {"preset": tuple(PRESETS), "transfer": tuple(BACKBONES), "loss": LOSSES}
        for option, names in known.items():
            asked = getattr(self, option)
            for name in (asked,) if isinstance(asked, str) else asked:
                if name not in names:
                    hint = f"{nearest(name, names)} Known: {', '.join(names)}"
                    raise UnknownName(f"no --{option} named {name!r}.{hint}")
        if self.size < 0 or self.size % 32:
            raise InputError(f"--size must be 0 or a multiple of 32, not {self.size}")
        check_weights(self.transfer, self.transfer_weights)


def run(config: Config) -> Path:
    """Run the study; returns the run folder."""
    config.check()
    with Run(
        config.out, command=command_line(), config=config, seed=config.seed, title=TITLE, force=config.force
    ) as run:
        cohort = inputs.read(config.cohort, lambda: _phantom(config))
        data = _subsample(inputs.labelled(cohort, config.target), config)
        run.add_data(data.cohort.name, data.cohort.digest(), len(data.y))
        run.hide([*data.patient, *data.case_id])
        vectors, data = _vectors(run, config, data)
        folds, design = inputs.resamples(data, config.design, repeats=config.repeats, seed=config.seed)
        run.log(f"design: {design}")
        table = pd.concat(
            [*_embeddings(run, config, data, vectors, folds), *_transfer(run, config, data, folds)],
            ignore_index=True,
        )
        table = pd.concat([table, _selected(table, config)], ignore_index=True)
        run.write_predictions(table)
        _show(run, config, data, table, design, len(cohort))
        score = evidence.placed_in_folds(table[table["model"] == SELECTED])
        found = audit(
            data.cohort, data.target, embeddings=vectors, folds=folds, n_perm=config.n_perm,
            n_boot=min(config.n_boot, 1000), seed=config.seed, score=score,
        )  # fmt: skip
        evidence.audit_section(run, found)
        run.model_card(_card(config, data, design))
    return run.out


def _phantom(config: Config) -> Any:
    folder = config.store.parent / f"phantom-fba-251-{config.effect:g}-{config.seed}"
    return inputs.phantom(
        folder, n=251, task="fba", effect=config.effect, seed=config.seed, prevalence=51 / 251,
        follow_ups=False,
    )  # fmt: skip


def _subsample(data: Labelled, config: Config) -> Labelled:
    """At most the asked number of each class, drawn by the seed."""
    keep = np.ones(len(data.y), bool)
    rng = np.random.default_rng([config.seed, 13])
    for label, most in ((1, config.positives), (0, config.negatives)):
        rows = np.flatnonzero(data.y == label)
        if most and most > len(rows):
            raise NotEnoughData(
                f"{data.cohort.name} has {len(rows)} cases of class {label}, not {most}. Ask for fewer"
            )
        if most:
            keep[rng.permutation(rows)[most:]] = False
    return data.keep(keep, "not drawn into the subsample")


def _vectors(run: Run, config: Config, data: Labelled) -> tuple[dict[str, Embeddings], Labelled]:
    names = [*config.encoder, *(("raw-pixels", f"random:{config.encoder[0]}") if config.controls else ())]
    vectors = {name: inputs.embed(run, [data.cohort], name, config)[0] for name in names}
    whole = np.all([np.isfinite(inputs.matrix(data.cohort, v)).all(1) for v in vectors.values()], axis=0)
    return vectors, data.keep(whole, "no usable image")


def _embeddings(
    run: Run, config: Config, data: Labelled, vectors: Mapping[str, Embeddings], folds: Sequence[Fold]
) -> list[pd.DataFrame]:
    """Every encoder with every head; the controls with the logistic head alone."""
    fits = []
    for name, found in vectors.items():
        x = inputs.matrix(data.cohort, found)
        for head in config.head if name in config.encoder else ("logistic",):
            label = f"{name} + {head}"
            fits += [Fit(label, cross_predict, _shared(data, config) | {
                "head": head, "X": x, "y": data.y, "folds": [fold], "groups": data.patient, "model": label,
                "threshold_rule": "youden",
            }) for fold in folds]  # fmt: skip
            run.log(f"{label}: {len(folds)} folds")
    return inputs.fits(config).run(fits, jobs=processes(config.jobs), log=run.log)


def _shared(data: Labelled, config: Config) -> dict[str, Any]:
    """What every fit carries into its rows."""
    return {
        "target": data.target, "case_id": data.case_id, "covariates": inputs.covariates(data.cohort),
        "seed": config.seed,
    }  # fmt: skip


def _transfer(run: Run, config: Config, data: Labelled, folds: Sequence[Fold]) -> list[pd.DataFrame]:
    """Fine-tuned networks, on the folds of the first repeats; one at a time, since each uses every CPU."""
    if not config.transfer:
        return []
    recipe = PRESETS[config.preset] | ({"size": config.size} if config.size else {})
    starts = starts_of(config.transfer, config.transfer_weights)
    pictures = _pictures(data, int(recipe["size"]))
    fits = []
    for backbone in config.transfer:
        for loss in config.loss:
            label = f"{backbone} fine-tuned, {loss}"
            fits += [Fit(label, fine_tuned, _shared(data, config) | {
                "pictures": pictures, "y": data.y, "patient": data.patient, "fold": fold, "model": label,
                "settings": {"backbone": backbone, "loss": loss, "device": config.device, **recipe},
                "kept": KEPT, "start": starts.get(backbone, PUBLISHED),
            }, scratch="checkpoint") for fold in folds if fold.repeat < config.transfer_repeats]  # fmt: skip
        run.log(f"{backbone} fine-tuned in {min(config.transfer_repeats, config.repeats)} repeats")
    return inputs.fits(config).run(fits, log=run.log)


def fine_tuned(
    *,
    pictures: np.ndarray,
    y: np.ndarray,
    patient: np.ndarray,
    fold: Fold,
    settings: Mapping[str, Any],
    kept: float,
    target: str,
    case_id: np.ndarray,
    covariates: Mapping[str, np.ndarray],
    model: str,
    seed: int,
    start: Start = PUBLISHED,
    checkpoint: Path | None = None,
) -> pd.DataFrame:
    """Prediction rows of one network for the test part of a fold.

    pictures: (n, size, size) float32 in [0, 1]; y, patient, case_id: (n,). kept: share of the training
    patients on whom the threshold and the inner AUC are found, where the fold has no validation part; the
    same share of the others decides when to stop. Scores are probabilities at the prevalence of training.
    """
    train, judging, test = fold.train, fold.validation, fold.test
    if judging is None:
        train, judging = _parted(train, y, patient, kept, seed)
    train, stopping = _parted(train, y, patient, kept, seed + 1)
    net = FineTune(**settings, weights=start.file, seed=seed, checkpoint=checkpoint, progress=_say)
    net.fit(pictures[train], y[train], validation=(pictures[stopping], y[stopping]))

    def probability(rows: np.ndarray) -> np.ndarray:
        p = net.predict_proba(pictures[rows])[:, 1]
        return at_training_prevalence(p, str(settings["loss"]), float(y[train].mean()))

    score, inside = probability(test), probability(judging)
    cut, inner = choose(y[judging], inside), auroc(y[judging], inside)
    rows = {
        "case_id": case_id[test], "patient_id": patient[test], "target": target, "y_true": y[test],
        "score": score, "threshold": cut.value, "decision": cut.decide(score),
        "model": model, "split": "test", "repeat": fold.repeat, "fold": fold.fold, "seed": seed,
        "inner_auroc": inner,
    }  # fmt: skip
    return pd.DataFrame(rows | {name: values[test] for name, values in covariates.items()})


def _parted(
    rows: np.ndarray, y: np.ndarray, patient: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows without a share of their patients, and those."""
    part = three_way(patient[rows], y[rows], fractions=(1 - share, share, 0.0), seed=seed)
    return rows[part == "train"], rows[part == "validation"]


def at_training_prevalence(p: np.ndarray, loss: str, prevalence: float) -> np.ndarray:
    """Probabilities (n,) of a network with the class weights of its loss taken out.

    A weighted loss is that of another prevalence: one half where classes weigh n/(2 n_c), the odds times
    alpha/(1 - alpha) for focal loss, whose gamma, which draws probabilities towards one half, stays in.
    """
    weighted = prevalence * ALPHA / (prevalence * ALPHA + (1 - prevalence) * (1 - ALPHA))
    return correct(p, prevalence, weighted if loss == "focal" else 0.5)


def _say(line: str) -> None:
    """An epoch takes minutes on a large cohort: say that something happens, where somebody watches."""
    if sys.stderr.isatty():
        print(f"  {line}", file=sys.stderr)


def _pictures(data: Labelled, size: int) -> np.ndarray:
    """(n, size, size) float32 in [0, 1], squashed to a square; colour is averaged to grey."""
    out = np.empty((len(data.y), size, size), np.float32)
    for row in range(len(data.y)):
        shown = read_image(data.cohort.image_path(row, data.cohort.image_columns[0])).display()
        grey = shown if shown.ndim == 2 else shown.mean(axis=2)
        out[row] = np.clip(resize(grey.astype(np.float32), (size, size), "bilinear"), 0, 1)
    return out


def _selected(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """In each outer fold the rows of the pipeline with the best inner AUC; controls do not compete.

    Only pipelines that ran in a fold compete in it.
    """
    picked = []
    for _, rows in table[~table["model"].isin(_floors(table, config))].groupby(["repeat", "fold"]):
        inner = rows.groupby("model")["inner_auroc"].first()
        picked.append(rows[rows["model"] == inner.idxmax()].assign(selected=inner.idxmax()))
    return pd.concat(picked, ignore_index=True).assign(model=SELECTED)


def _floors(table: pd.DataFrame, config: Config) -> list[str]:
    """The models that stand there to be beaten; a control that was asked for as an encoder competes."""
    models = [str(model) for model in dict.fromkeys(table["model"])]
    return [m for m in models if is_control(m) and m.rpartition(" + ")[0] not in config.encoder]


def _show(run: Run, config: Config, data: Labelled, table: pd.DataFrame, design: str, read: int) -> None:
    """Everything the page holds, except the audit."""
    run.section("The question", key="question", text=evidence.paragraph(__doc__, "Question"))
    evidence.table_one(run, data)
    tested = len(set(table["case_id"]))
    evidence.flow(run, read, data, [("tested", tested)])
    found = evidence.performance(
        run, table, SELECTED, n_boot=config.n_boot, seed=config.seed, within_folds=True
    )
    evidence.curves(
        run, table, found, SELECTED, n=min(config.n_boot, 500), seed=config.seed, within_folds=True
    )
    evidence.forest(run, found, SELECTED)
    evidence.league(run, found)
    _league_table(run, found)
    tests = _tests(run, table)
    evidence.errors(run, data, table, SELECTED, "test")
    chosen = table[table["model"] == SELECTED].groupby(["repeat", "fold"])["selected"].first().value_counts()
    words = ", ".join(f"{name} ({count})" for name, count in chosen.items())
    run.section(
        "What was selected", text=f"Pipelines chosen by inner AUC, with the number of folds: {words}."
    )
    against = evidence.comparisons(
        run, table, _against_floors(table, config), title="Do the embeddings add anything?", seed=config.seed,
        n_boot=config.n_boot, within_folds=True,
    )  # fmt: skip
    _verdict(run, found, tests, against)
    listed = [evidence.paragraph(__doc__, start) for start in ("Methods", "Comparison")]
    text = f"{' '.join(listed)} Here: {design}."
    run.section("Methods", key="methods", text=text)


def _against_floors(table: pd.DataFrame, config: Config) -> list[tuple[str, str]]:
    """Each encoder, with the head of the best mean inner AUC, and the selection, against every control."""
    inner = table.groupby("model", sort=False)["inner_auroc"].mean()
    floors = _floors(table, config)
    heads = [m for m in inner.index if m not in floors and " + " in m]
    best = {m.rpartition(" + ")[0]: m for m in sorted(heads, key=lambda m: inner[m])}  # the last one stays
    return [(model, floor) for model in (*best.values(), SELECTED) for floor in floors]


def _league_table(run: Run, found: Sequence[Estimate]) -> None:
    """Balanced metrics of every pipeline, best AUC first, with the majority class as the last row."""
    names = ("auroc", "balanced_accuracy", "f1_weighted", "accuracy", "auprc", "brier")
    models = dict.fromkeys(str(e.model) for e in found)
    picked = {m: {n: evidence.pick(found, n, m) for n in names} for m in models}
    order = sorted(picked, key=lambda m: -_value(picked[m]["auroc"]))
    wide = ("auroc", "balanced_accuracy")  # intervals of the others stand in metrics.json: the page is narrow
    rows = [[m, *(_cell(picked[m][n], n in wide) for n in names)] for m in order]
    trivial = {n: evidence.pick(found, f"{n}_trivial", SELECTED) for n in names}
    rows.append(["majority class", "0.500", *(_cell(trivial[n]) for n in names[1:])])
    run.set_section(
        "comparison_table-all",
        {"kind": "table", "title": "All pipelines", "rows": rows,
         "columns": ["pipeline", "AUC", "balanced accuracy", "F1, weighted", "accuracy", "AUPRC", "Brier"],
         "caption": "Accuracy cannot rank pipelines here: compare it with the last row."},
    )  # fmt: skip


def _value(e: Estimate | None) -> float:
    return -1.0 if e is None or not np.isfinite(e.value) else e.value


def _cell(e: Estimate | None, interval: bool = True) -> str:
    if e is None or not np.isfinite(e.value):
        return "–"
    return f"{e.value:.3f}" + (f" ({e.low:.2f} to {e.high:.2f})" if interval and np.isfinite(e.low) else "")


@dataclass(frozen=True)
class PairedTest:
    """One pipeline compared with the reference. p: after Holm's correction."""

    other: str
    difference: float
    p: float


def _tests(run: Run, table: pd.DataFrame) -> tuple[str, list[PairedTest]]:
    """The best fine-tuned network by inner AUC (or else the selection) against each pipeline."""
    inner = table[table["model"] != SELECTED].groupby("model")["inner_auroc"].mean()
    tuned = [m for m in inner.index if "fine-tuned" in m]
    first = max(tuned, key=lambda m: inner[m]) if tuned else SELECTED
    others = [m for m in dict.fromkeys(table["model"]) if m not in (first, SELECTED)]
    folds = table.groupby(["repeat", "fold"]).ngroups
    return first, (_fold_tests if folds > 1 else _case_tests)(run, table, first, others)


def _fold_tests(run: Run, table: pd.DataFrame, first: str, others: Sequence[str]) -> list[PairedTest]:
    """Fold by fold, corrected for the overlap of the training parts."""
    per_fold = pd.DataFrame(
        {
            model: rows.groupby(["repeat", "fold"])[["y_true", "score"]].apply(
                lambda f: auroc(f["y_true"].to_numpy(), f["score"].to_numpy())
            )
            for model, rows in table.groupby("model")
        }
    )
    shared = {m: d for m in others if len(d := per_fold[[first, m]].dropna()) > 1}
    ratio = 0.25  # five folds: one part tests, four train
    made = [
        (
            m,
            nadeau_bengio(d[first], d[m], test_train_ratio=ratio),
            correlated_t(d[first], d[m], test_train_ratio=ratio),
        )
        for m, d in shared.items()
    ]
    adjusted = holm([t.p for _, t, _ in made])
    rows = [
        [m, len(shared[m]), t.difference, f"{t.low:.3f} to {t.high:.3f}", p, b.worse,
         b.same, b.better]
        for (m, t, b), p in zip(made, adjusted)
    ]  # fmt: skip
    run.set_section(
        "comparison_table-folds",
        {"kind": "table", "title": f"{first}, against each pipeline by fold", "rows": rows,
         "columns": ["pipeline", "folds", "AUC difference", "95 % CI", "p (Holm)", "P(worse)", "P(same)",
                     "P(better)"],
         "caption": "Corrected resampled t-test; posterior probabilities with equality within ±0.02."},
    )  # fmt: skip
    return [PairedTest(m, float(t.difference), float(p)) for (m, t, _), p in zip(made, adjusted)]


def _case_tests(run: Run, table: pd.DataFrame, first: str, others: Sequence[str]) -> list[PairedTest]:
    """One split: paired DeLong over the test cases."""
    made = []
    for other in others:
        m = evidence.matched(table, (first, other))
        a, b = m.scores
        made.append(delong_paired(m.y, a[0], b[0], cluster=m.patient))
    adjusted = holm([c.p for c in made])
    rows = [
        [other, c.difference, f"{c.low:.3f} to {c.high:.3f}", p]
        for other, c, p in zip(others, made, adjusted)
    ]
    run.set_section(
        "comparison_table-cases",
        {"kind": "table", "title": f"{first}, against each pipeline on the same test cases", "rows": rows,
         "columns": ["pipeline", "AUC difference", "95 % CI", "p (Holm)"],
         "caption": "Paired DeLong test. One split does not say what other training cases would change."},
    )  # fmt: skip
    return [PairedTest(other, float(c.difference), float(p)) for other, c, p in zip(others, made, adjusted)]


def _verdict(
    run: Run, found: Sequence[Estimate], tests: tuple[str, list[PairedTest]], against: Sequence[Comparison]
) -> None:
    first, made = tests
    auc = evidence.pick(found, "auroc", SELECTED)
    items = [
        ("AUC, nested selection", auc, evidence.chance(auc) if auc is not None else None),
        *(
            (words, evidence.pick(found, name, SELECTED), evidence.pick(found, f"{name}_trivial", SELECTED))
            for words, name in (("Balanced accuracy", "balanced_accuracy"), ("Accuracy", "accuracy"))
        ),
    ]
    firm = [t for t in made if t.p < 0.05]
    words = ", ".join(f"{'above' if t.difference > 0 else 'below'} {t.other}" for t in firm)
    text = f"Of {len(made)} paired comparisons of {first}, {len(firm)} hold after correction: " + (
        f"it lies {words}." if firm else "these cases do not rank the pipelines."
    )
    run.verdict(text, [(w, e, b) for w, e, b in items if e is not None])
    for item in against:
        if item.verdict != "better":
            run.note(item.sentence)


def _card(config: Config, data: Labelled, design: str) -> dict[str, Any]:
    return {
        "title": f"Pipelines for {data.positive} against {data.negative}",
        "license": "other",
        "library_name": "radfoundry",
        "tags": ["radiology", "chest-radiograph", "paediatric"],
        "base_model": list(config.encoder),
        "Intended use": "Research only. Not a medical device.",
        "Training data": f"{data.cohort.name}, {len(data.y)} cases "
        f"({int(data.y.sum())} {data.positive}). {design}.",
    }
