"""A run as a study leaves it, from synthetic scores: for the tests, and to look at the page.

python tests/report/demo.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from radfoundry.report import figures, flow_figure
from radfoundry.studies.run import Run
from radfoundry.types import Estimate

MODELS = {"Frozen encoder + MLP": 1.9, "Random encoder": 0.7, "Age, sex, view alone": 0.5}


def scores(n: int = 420, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], pd.DataFrame]:
    """(n,) labels, (n,) scores by model, and covariates."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.36).astype(int)
    score = {
        name: 1 / (1 + np.exp(-(gain * (y - 0.5) + rng.normal(0, 1.1, n) - 0.3)))
        for name, gain in MODELS.items()
    }
    covariates = pd.DataFrame(
        {
            "sex": rng.choice(["F", "M"], n),
            "age": rng.choice(["under 50", "50 to 69", "70 and over"], n),
            "view": rng.choice(["PA", "AP"], n, p=[0.8, 0.2]),
        }
    )
    return y, score, covariates


def auc(y: np.ndarray, score: np.ndarray, **names: str) -> Estimate:
    """AUC with Hanley and McNeil's interval: good enough to draw."""
    if y.min() == y.max() or len(y) < 20:
        return Estimate("auroc", float("nan"), n=len(y), note="too few cases", **names)
    a, p, q = float(roc_auc_score(y, score)), int(y.sum()), int((1 - y).sum())
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + (p - 1) * (q1 - a * a) + (q - 1) * (q2 - a * a)) / (p * q))
    return Estimate(
        "auroc",
        a,
        float(a - 1.96 * error),
        float(min(a + 1.96 * error, 1)),
        method="Hanley–McNeil",
        n=len(y),
        n_clusters=len(y) - 12,
        target="ila",
        **names,
    )


def make(out: Path, *, inject: str = "", seed: int = 0, force: bool = False) -> Path:
    """Write the demonstration run; `inject` is put wherever text of a cohort can reach the page."""
    y, score, covariates = scores(seed=seed)
    main = next(iter(MODELS))
    whole = {name: auc(y, s, model=name) for name, s in score.items()}
    config = {"cohort": f"phantoms{inject}", "folds": 5, "repeats": 5, "head": "mlp"}
    title = f"Interstitial lung abnormality or atelectasis?{inject}"
    with Run(out, command="radfoundry demo --seed 0", config=config, seed=seed, title=title, subtitle=(
        "Does a frozen image encoder with a small head tell the two apart on one chest radiograph, here and "
        "at another site?"), force=force) as run:  # fmt: skip
        run.add_data(f"phantoms, site A{inject}", "sha256:" + "3f9a" * 16, len(y))
        run.add_encoder("dinov2-s-focus", "dinov2-s-focus@1.0+" + "ab12" * 8)
        run.add_licence("dinov2-s-focus", "Apache-2.0")
        run.add_estimates(whole.values())
        run.verdict(
            "The encoder carries a signal that age, sex and view do not explain. At the second site it "
            "falls, but stays above both floors.",
            [
                ("AUC, cross-validation", whole[main], whole["Age, sex, view alone"]),
                ("AUC, random encoder", whole["Random encoder"], whole["Age, sex, view alone"]),
            ],
        )
        run.note("31 cases are from scanner B: too few to say anything about that scanner alone.")
        run.note(f"Labels were generated, not read by radiologists{inject}.")
        _population(run, y, covariates, inject)
        _curves(run, y, score, whole, main)
        _groups(run, y, score, covariates, main, whole, inject)
        _closing(run, inject)
    return out


def _population(run: Run, y: np.ndarray, covariates: pd.DataFrame, inject: str) -> None:
    table = pd.DataFrame(
        {
            f"characteristic{inject}": ["Cases", "Age, median (IQR)", f"Female{inject}", "View AP"],
            "all": ["420", "61 (49 to 72)", "212 (50 %)", "84 (20 %)"],
            "ILA": ["151", "66 (55 to 75)", "74 (49 %)", "31 (21 %)"],
            "atelectasis": ["269", "58 (46 to 70)", "138 (51 %)", "53 (20 %)"],
            "p": [None, 0.0004, 0.71, 0.85],
        }
    )
    run.set_section("table_one", {"kind": "table", "table": table, "caption": "p: Mann–Whitney or Fisher."})
    steps = [("Radiographs of the archive", 621), ("With one of the two findings", 441), ("Analysed", len(y))]
    excluded = [
        [(f"both findings{inject}", 122), ("neither finding", 58)],
        [("unreadable file", 9), ("lateral view", 12)],
    ]
    run.save_figure(
        "flow", *flow_figure.flow(steps, excluded, [("Cross-validation", 300), ("External test", 120)])
    )


def _curves(run: Run, y: np.ndarray, score: dict, whole: dict[str, Estimate], main: str) -> None:
    rocs, prs, cals, nets = {}, {}, {}, {}
    for name, s in score.items():
        fpr, tpr, _ = roc_curve(y, s)
        rocs[name] = pd.DataFrame({"fpr": fpr, "sensitivity": tpr})
        if name == main:
            rocs[name] = rocs[name].assign(low=np.clip(tpr - 0.07, 0, 1), high=np.clip(tpr + 0.05, 0, 1))
        precision, recall, _ = precision_recall_curve(y, s)
        prs[name] = pd.DataFrame({"recall": recall, "precision": precision})
        t = np.linspace(0.01, 0.8, 80)
        hit = s[:, None] >= t
        net = ((hit & (y[:, None] == 1)).mean(0)) - (hit & (y[:, None] == 0)).mean(0) * t / (1 - t)
        nets[name] = pd.DataFrame(
            {"threshold": t, "model": net, "all": y.mean() - (1 - y.mean()) * t / (1 - t)}
        )
    observed, predicted = calibration_curve(y, score[main], n_bins=8, strategy="quantile")
    cals[main] = pd.DataFrame({"predicted": predicted, "observed": observed}).assign(
        low=np.clip(observed - 0.1, 0, 1), high=np.clip(observed + 0.1, 0, 1), n=len(y) // 8
    )
    run.save_figure("roc", *figures.roc(rocs, whole), caption="Band: 95 % bootstrap band, by patient.")
    run.save_figure("precision_recall", *figures.precision_recall(prs, float(y.mean())))
    run.save_figure("calibration", *figures.calibration(cals, {main: score[main]}))
    run.save_figure("decision_curve", *figures.decision_curve(nets))
    by_class = {"ILA": score[main][y == 1], "atelectasis": score[main][y == 0]}
    run.save_figure("scores", *figures.score_distributions(by_class, threshold=0.41))
    epochs = np.arange(1, 11)
    table = pd.DataFrame({"epoch": epochs, "training": 0.7 / epochs**0.5, "validation": 0.7 / epochs**0.3})
    run.save_figure("history", *figures.history(table))


def _groups(
    run: Run,
    y: np.ndarray,
    score: dict,
    covariates: pd.DataFrame,
    main: str,
    whole: dict[str, Estimate],
    inject: str,
) -> None:
    rows = []
    for column in covariates:
        for value in sorted(covariates[column].unique()):
            keep = (covariates[column] == value).to_numpy()
            rows.append(auc(y[keep], score[main][keep], model=main, subgroup=f"{column} = {value}{inject}"))
    rows.append(
        Estimate("auroc", float("nan"), n=11, model=main, subgroup="scanner = B", note="fewer than 20")
    )
    run.add_estimates(rows)
    run.save_figure("subgroups", *figures.forest(rows, overall=whole[main]))
    many = [
        auc(*_shifted(y, seed), model=f"{head} on {enc}")
        for seed, (head, enc) in enumerate(
            (head, enc)
            for enc in ("DINOv2-S", "EfficientNet-Lite0")
            for head in ("logistic", "MLP", "SVM", "kNN")
        )
    ]
    run.add_estimates(many)
    ordered = sorted(many, key=lambda e: -e.value)
    run.save_figure("comparison", *figures.dots(ordered, baseline=whole["Age, sex, view alone"]))
    tests = pd.DataFrame(
        {
            "A": [main, main],
            "B": ["Random encoder", "Age, sex, view alone"],
            "difference in AUC": [0.161, 0.19],
            "interval": ["0.11 to 0.21", "0.13 to 0.25"],
            "test": ["paired DeLong"] * 2,
            "p": [0.00002, 0.031],
            "p (Holm)": [0.00004, 0.031],
        }
    )
    run.set_section("comparison_table", {"kind": "table", "table": tests})
    run.set_section(
        "thresholds",
        {
            "kind": "table",
            "columns": ["rule", "threshold", "sensitivity", "specificity", "PPV", "NPV", "flagged"],
            "rows": [["Youden, on validation", 0.412, 0.81, 0.76, 0.66, 0.88, 187],
                     ["sensitivity 0.90, on validation", 0.287, 0.9, 0.58, 0.55, 0.91, 249]],
        },
    )  # fmt: skip


def _shifted(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(100 + seed)
    return y, (1.0 + 0.12 * seed) * y + rng.normal(0, 1, len(y))


def _closing(run: Run, inject: str) -> None:
    run.section("Performance", "estimates", key="performance", pick=[{"name": "auroc", "subgroup": None}])
    run.set_section(
        "audit",
        {
            "kind": "audit",
            "checks": [
                {"name": "Patients across splits", "status": "ok", "summary": "0 of 408 in two parts."},
                {"name": "Near-duplicates", "status": "warn", "summary": f"2 pairs above 0.995{inject}.",
                 "advice": "Both lie within one part."},
                {"name": "Shuffled labels", "status": "ok", "summary": "AUC 0.51 (0.44 to 0.57)."},
                {"name": "Site predictability", "status": "fail", "summary": "AUC 0.97: site can be read."},
            ],
        },
    )  # fmt: skip
    rng = np.random.default_rng(5)
    grid = np.linspace(-1, 1, 128)
    chest = np.exp(-((np.abs(grid)[None] - 0.45) ** 2 * 9 + grid[:, None] ** 2 * 1.5))
    pictures = [np.clip(0.85 - 0.7 * chest + rng.normal(0, 0.04, chest.shape), 0, 1) for _ in range(8)]
    captions = [
        {"tag": "false negative" if i < 4 else "false positive", "title": f"case-{i:04d}{inject}",
         "text": f"score {0.03 + 0.01 * i:.2f}, age {50 + i}, view PA"}
        for i in range(8)
    ]  # fmt: skip
    run.save_images("errors", pictures, captions)
    run.section(
        "Methods",
        paragraphs=[
            "Radiographs were prepared as the encoder's card says and encoded once. A logistic head was "
            "fitted in 5 × 5 patient-grouped, stratified cross-validation; the threshold was chosen on "
            f"validation folds only.{inject}",
            "Intervals: bootstrap over patients, 2,000 draws. Paired differences: DeLong, Holm.",
        ],
    )
    run.model_card(
        {
            "license": "apache-2.0",
            "tags": ["radiology"],
            "title": "MLP head",
            "intended_use": "Research only.",
        }
    )
    run.log(f"done{inject}")


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), inject=sys.argv[2] if len(sys.argv) > 2 else "", force=True))
