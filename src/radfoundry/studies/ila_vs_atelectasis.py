"""S4 · Interstitial lung abnormality against atelectasis on a frontal chest radiograph.

Question. Both conditions whiten the lung bases. Does a frozen encoder with a small multi-layer perceptron
tell them apart, here and at another hospital, and does it add anything to age, sex and view?

Methods. Each radiograph becomes one vector by a frozen encoder. A perceptron (256 hidden units, ReLU, dropout
0.2) is trained with Adam for 10 epochs; every epoch shows all cases of the rarer class and a fresh equal draw
of the other, without replacement; five seeds are averaged. Its probabilities are moved back to the training
prevalence. The threshold is chosen on validation cases. Patients, never images, are split: 80:10:10 where the
test part then holds 30 cases of the rarer class, else by repeated 5-fold cross-validation, so that every case
is tested. An external cohort is scored once by a model of the development cohort.

Comparators. Under the same resamples: logistic regression on the same vectors, the same perceptron on a
randomly initialised twin of the encoder, logistic regression on raw pixels and on age, sex, view and site.

Design after the published system that paired RAD-DINO with a perceptron (542 and 1,167 patients, external
85 and 100; AUC .865 and .890), with what it left out added: intervals, calibration, comparators, an audit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.adapt.cross import cross_predict
from radfoundry.adapt.fits import Fit, processes
from radfoundry.adapt.mlp import BalancedEpochMLP
from radfoundry.adapt.prior import AtTrainingPrevalence
from radfoundry.audit import audit
from radfoundry.audit.evidence import tested_rows
from radfoundry.errors import InputError
from radfoundry.predictions import is_survival, read_predictions
from radfoundry.splits import Fold
from radfoundry.studies import evidence, inputs
from radfoundry.studies.covariate_head import CovariateHead
from radfoundry.studies.inputs import Labelled
from radfoundry.studies.options import Options
from radfoundry.studies.run import Run, command_line
from radfoundry.types import Embeddings, Estimate

TITLE = "Interstitial lung abnormality against atelectasis"


@dataclass(frozen=True)
class Config(Options):
    """Options of the study; without --cohort it runs on generated phantoms from two sites."""

    out: Path = Path("runs/ila_vs_atelectasis")
    """Run folder to make."""
    external: Path | None = None
    """Cohort of another site, scored once."""
    encoder: str = "efficientnet-lite0"
    """Frozen encoder: a name of `radfoundry encoders`, hf-hub:ORG/NAME@REVISION or local:PATH."""
    seeds: int = 5
    """Perceptrons averaged."""
    threshold_rule: str = "youden"
    """youden, f1, sensitivity:X, specificity:X or cost:R."""
    compare: tuple[Path, ...] = ()
    """Prediction tables of other models for the same cases and target."""
    cases: int = 400
    """Phantoms to draw (external: a third of it)."""
    confounder: float = 0.0
    """Phantoms: 0 to 1, how far scanner, view and age go with the label."""


def run(config: Config) -> Path:
    """Run the study; returns the run folder."""
    config.check()
    command = command_line()
    with Run(
        config.out, command=command, config=config, seed=config.seed, title=TITLE, force=config.force
    ) as run:
        cohort = inputs.read(config.cohort, lambda: _phantom(config, "A", config.cases))
        development = inputs.labelled(cohort, config.target)
        external = _external(config, development)
        for data in filter(None, (development, external)):
            run.add_data(data.cohort.name, data.cohort.digest(), len(data.cohort))
            run.hide([*data.patient, *data.case_id])
        features, vectors, development, external = _features(run, config, development, external)
        folds, design = inputs.resamples(development, config.design, repeats=config.repeats, seed=config.seed)
        run.log(f"design: {design}")
        table = _predict(run, config, development, external, features, folds)
        headline = f"{config.encoder} + MLP"
        ours = table[(table["model"] == headline) & (table["split"] == "test")]
        theirs = _theirs(config, development, sorted(set(ours["repeat"])), set(ours["case_id"]))
        for path, one in zip(config.compare, theirs):
            _say_matched(run, path, one, ours["case_id"].nunique())
        _refuse_namesakes([table, *theirs])
        table = pd.concat([table, *(one.drop(columns="stated") for one in theirs)], ignore_index=True)
        run.write_predictions(table)
        _show(run, config, development, external, table, headline, design, len(cohort))
        evidence.audit_section(
            run,
            audit(
                development.cohort, development.target, embeddings=vectors, folds=folds, n_perm=config.n_perm,
                n_boot=min(config.n_boot, 1000), seed=config.seed, score=ours,
            ),
        )  # fmt: skip
        run.model_card(_card(config, development, design))
    return run.out


def _phantom(config: Config, site: str, cases: int) -> Any:
    folder = (
        config.store.parent
        / f"phantom-ila-{site}-{cases}-{config.effect:g}-{config.confounder:g}-{config.seed}"
    )
    return inputs.phantom(
        folder, n=cases, task="ila", effect=config.effect, confounder=config.confounder, site=site,
        seed=config.seed, prevalence=0.35,
    )  # fmt: skip


def _external(config: Config, development: Labelled) -> Labelled | None:
    if config.external is None and config.cohort is not None:
        return None
    cohort = inputs.read(config.external, lambda: _phantom(config, "B", max(30, config.cases // 3)))
    data = inputs.labelled(cohort, development.target)
    seen = set(development.patient) & set(data.patient)
    if seen:
        raise InputError(
            f"{len(seen)} patients of {cohort.name} are in {development.cohort.name} too, so it is not "
            "external. Remove them, or give patients of different sites different ids"
        )
    return data


Features = Mapping[str, tuple[np.ndarray, Any]]


def _features(
    run: Run, config: Config, development: Labelled, external: Labelled | None
) -> tuple[Features, dict[str, Embeddings], Labelled, Labelled | None]:
    """Model name to (features of development and external cases stacked, head)."""
    both = [data for data in (development, external) if data is not None]
    names = [config.encoder, "raw-pixels"]
    twin = f"random:{config.encoder}"
    if config.controls and not config.encoder.startswith("random"):
        names.append(twin)
    vectors = {name: inputs.embed(run, [d.cohort for d in both], name, config) for name in names}
    blocks = {
        name: [inputs.matrix(d.cohort, v) for d, v in zip(both, found)] for name, found in vectors.items()
    }
    kept = []
    for index, data in enumerate(both):
        whole = np.all([np.isfinite(block[index]).all(axis=1) for block in blocks.values()], axis=0)
        for block in blocks.values():
            block[index] = block[index][whole]
        kept.append(data.keep(whole, "no usable image"))
    features: dict[str, tuple[np.ndarray, Any]] = {
        f"{config.encoder} + MLP": (np.vstack(blocks[config.encoder]), _mlp(config)),
        f"{config.encoder} + logistic": (np.vstack(blocks[config.encoder]), "logistic"),
        "raw pixels + logistic": (np.vstack(blocks["raw-pixels"]), "logistic"),
    }
    if twin in blocks:
        features["random twin + MLP"] = (np.vstack(blocks[twin]), _mlp(config))
    tabular = inputs.metadata([d.cohort for d in kept])
    if tabular.names:
        head = CovariateHead(tabular.numeric, seed=config.seed)
        features[f"{', '.join(tabular.names)} alone"] = (tabular.values, head)
    return features, {n: v[0] for n, v in vectors.items()}, kept[0], kept[1] if len(kept) > 1 else None


def _mlp(config: Config) -> Any:
    return AtTrainingPrevalence(
        BalancedEpochMLP(seeds=config.seeds, seed=config.seed, device=config.torch_device)
    )


def _predict(
    run: Run,
    config: Config,
    development: Labelled,
    external: Labelled | None,
    features: Features,
    folds: list[Fold],
) -> pd.DataFrame:
    """Out-of-fold scores of every model; external cases are scored by a model of the development ones."""
    parts = [data for data in (development, external) if data is not None]
    n, total = len(development.y), sum(len(d.y) for d in parts)
    y = np.concatenate([d.y for d in parts])
    patient = np.concatenate([d.patient for d in parts])
    case_id = np.concatenate([d.case_id for d in parts])
    carried = [pd.DataFrame(inputs.covariates(d.cohort)) for d in parts]
    columns = {name: stacked.to_numpy() for name, stacked in pd.concat(carried, ignore_index=True).items()}
    jobs = [("test", folds)]
    if external is not None:
        once = folds[0] if len(folds) == 1 else Fold(np.arange(n), np.arange(0))
        jobs.append(("external", [Fold(once.train, np.arange(n, total), validation=once.validation)]))
    fits, parts_of = [], []
    for model, (x, head) in features.items():
        for split, cut in jobs:
            fits += [Fit(model, cross_predict, {
                "head": head, "X": x, "y": y, "folds": [fold], "groups": patient, "case_id": case_id,
                "target": development.target, "model": model, "covariates": columns,
                "threshold_rule": config.threshold_rule, "seed": config.seed,
            }) for fold in cut]  # fmt: skip
            parts_of += [split] * len(cut)
    made = inputs.fits(config).run(fits, jobs=processes(config.jobs), log=run.log)
    return pd.concat([t.assign(split=split) for t, split in zip(made, parts_of)], ignore_index=True)


def _theirs(
    config: Config, development: Labelled, repeats: Sequence[int], tested: Collection[str] | None = None
) -> list[pd.DataFrame]:
    """Other models' predictions for our cases, with our labels and patients; one table a file.

    Rows of their split train or validation are left out: their model knows those cases. One score a case
    stands in each of our repeats; as many repeats as ours are taken one by one. Column stated: their own
    y_true, which is the other class in no more than half of the cases.
    tested: the cases that our models are tested on; all of `development` by default.
    """
    ours = pd.DataFrame(
        {"case_id": development.case_id, "patient_id": development.patient, "y_true": development.y}
    )
    ours = ours if tested is None else ours[ours["case_id"].isin(tested)]
    tables = []
    for path in config.compare:
        scored = _scored(path, development)
        scored = scored.rename(columns={"y_true": "stated"})
        joined = ours.merge(scored[["case_id", "score", "model", "resample", "stated"]], on="case_id")
        if joined.empty:
            raise InputError(
                f"{path}: no tested case_id of {development.cohort.name} occurs in it. Use the same case ids"
            )
        if (joined["stated"] != joined["y_true"]).mean() > 0.5:
            raise InputError(
                f"{path}: its y_true is the other class than {development.target} of "
                f"{development.cohort.name} in most cases. Is the other class coded 1, or is it of another "
                "label? Correct y_true, and the scores if they follow it"
            )
        joined = joined.assign(target=development.target, split="test", fold=0, seed=config.seed)
        made = [_by_repeat(path, rows, repeats) for _, rows in joined.groupby("model", sort=False)]
        tables.append(pd.concat(made, ignore_index=True).drop(columns="resample"))
    return tables


def _scored(path: Path, development: Labelled) -> pd.DataFrame:
    """Rows of another prediction table that can be compared: of our target, two classes, not trained on."""
    table = read_predictions(path)
    if "target" in table and development.target in set(table["target"]):
        table = table[table["target"] == development.target]
    timed = is_survival(table)
    if timed.all():
        raise InputError(
            f"{path}: its rows predict a time to an event, not {development.target}. Give scores of the label"
        )
    table = table[~timed]
    if "score" not in table or table["score"].isna().any():
        raise InputError(f"{path}: no column 'score' for the two classes of {development.target}. Add it")
    kept = tested_rows(table)
    if kept.empty:
        raise InputError(
            f"{path}: all of its {len(table)} rows are of split train or validation, cases that its model "
            "knows. Give predictions of test cases"
        )
    keys = [c for c in ("repeat", "seed") if c in kept]
    resample = kept.groupby(keys, dropna=False).ngroup() if keys else 0
    kept = kept.assign(case_id=kept["case_id"].astype(str), resample=resample)
    if kept.duplicated(["case_id", "model", "resample"]).any():
        raise InputError(
            f"{path}: several scores of one model for one case, in different parts of column 'split'. Keep "
            "the rows of one test part"
        )
    return kept


def _by_repeat(path: Path, rows: pd.DataFrame, repeats: Sequence[int]) -> pd.DataFrame:
    """One model's rows in each of our repeats; InputError where theirs are several, and not as many."""
    found = sorted(set(rows["resample"]))
    if len(found) == 1:
        return pd.concat([rows.assign(repeat=repeat) for repeat in repeats], ignore_index=True)
    if len(found) != len(repeats):
        raise InputError(
            f"{path}: {len(found)} repeats of each case against {len(repeats)} here, and an AUC is the mean "
            "over repeats. Keep one score a case, or as many repeats as this study has (--repeats)"
        )
    return rows.assign(repeat=rows["resample"].map(dict(zip(found, repeats))))


def _refuse_namesakes(tables: Sequence[pd.DataFrame]) -> None:
    """InputError where a model of one table has the name of one of another."""
    names = [str(name) for table in tables for name in dict.fromkeys(table["model"])]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"--compare: two models are called {twice[0]!r}. Rename one in its column 'model'")


def _say_matched(run: Run, path: Path, table: pd.DataFrame, tested: int) -> None:
    """How many of our tested cases another table scores: on the page where some are missing.

    So is the number of cases whose class is another one there: ours is taken.
    """
    for model, rows in table.groupby("model", sort=False):
        n = rows["case_id"].nunique()
        differ = rows.loc[rows["stated"] != rows["y_true"], "case_id"].nunique()
        if differ:
            words = f"{model} ({path.name}) has another class than this cohort for {differ} of {n} cases"
            run.note(f"{words}; it is judged by this cohort's.")
        text = f"{model} ({path.name}) has scores for {n} of the {tested} tested cases"
        run.log(text)
        if n < tested:
            run.note(f"{text}; it is compared on those.")


def _show(
    run: Run, config: Config, development: Labelled, external: Labelled | None, table: pd.DataFrame,
    headline: str, design: str, read: int,
) -> None:  # fmt: skip
    """Everything the page holds, except the audit."""
    run.section("The question", key="question", text=evidence.paragraph(__doc__, "Question"))
    evidence.table_one(run, development)
    tested = len(set(table.loc[table["split"] == "test", "case_id"]))
    arms = [("tested inside", tested)] + (
        [("external test", len(external.y))] if external is not None else []
    )
    evidence.flow(run, read, development, arms)
    found = evidence.performance(run, table, headline, n_boot=config.n_boot, seed=config.seed)
    evidence.curves(run, table, found, headline, n=min(config.n_boot, 500), seed=config.seed)
    evidence.thresholds(run, table, found, headline, config.threshold_rule)
    evidence.forest(run, found, headline)
    evidence.league(run, found)
    others = [m for m in dict.fromkeys(table["model"]) if m != headline]
    made = evidence.comparisons(
        run, table, [(headline, other) for other in others], title=f"{headline}, against each other model",
        seed=config.seed, n_boot=config.n_boot,
    )  # fmt: skip
    split, shown = ("test", development) if external is None else ("external", external)
    evidence.errors(run, shown, table, headline, split)
    for item in made:
        if (
            str(item.baseline.model).endswith(("alone", "twin + MLP", "pixels + logistic"))
            and item.verdict != "better"
        ):
            run.note(item.sentence)
    run.verdict(*_verdict(found, headline, external is not None, made))
    words = [evidence.paragraph(__doc__, start) for start in ("Methods", "Comparators")]
    run.section("Methods", key="methods", text=f"{' '.join(words)} Here: {design}; encoder {config.encoder}.")


def _verdict(
    found: list[Estimate], headline: str, has_external: bool, made: list[Any]
) -> tuple[str, list[tuple[str, Estimate, Estimate | None]]]:
    """The sentence at the top and its numbers, each beside the trivial one."""
    alone = next((c.baseline for c in made if str(c.baseline.model).endswith("alone")), None)
    items: list[tuple[str, Estimate, Estimate | None]] = []
    for split, words in (("test", "internal"), *((("external", "external"),) if has_external else ())):
        auc = evidence.pick(found, "auroc", headline, split)
        accuracy = evidence.pick(found, "accuracy", headline, split)
        if auc is not None:
            beside = alone if split == "test" and alone is not None else evidence.chance(auc)
            items.append((f"AUC, {words}", auc, beside))
        if accuracy is not None:
            trivial = evidence.pick(found, "accuracy_trivial", headline, split)
            items.append((f"Accuracy, {words}", accuracy, trivial))
    gains = [
        c for c in made if c.verdict == "better" and str(c.baseline.model).endswith(("alone", "twin + MLP"))
    ]
    text = " ".join(c.sentence for c in gains) or (
        "Nothing here shows that the frozen encoder knows more than the trivial models below."
    )
    return text, items


def _card(config: Config, development: Labelled, design: str) -> dict[str, Any]:
    return {
        "title": f"{config.encoder} + MLP: {development.positive} against {development.negative}",
        "license": "other",
        "library_name": "radfoundry",
        "tags": ["radiology", "chest-radiograph", "frozen-encoder"],
        "base_model": config.encoder,
        "Intended use": "Research only. Not a medical device. Closed world: it knows these two classes, so a "
        "normal radiograph or a third condition is forced into one of them.",
        "Training data": f"{development.cohort.name}, {len(development.y)} cases "
        f"({int(development.y.sum())} {development.positive}). Evaluation: {design}.",
    }
