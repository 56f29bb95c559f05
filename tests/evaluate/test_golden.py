"""Numbers from other programs and from print: R pROC, statsmodels, scikit-learn, published AUCs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from radfoundry.evaluate import calibration, compare, evaluate, intervals
from radfoundry.evaluate import classification as cl
from radfoundry.predictions import read_predictions
from tests._data import data_dir

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluate"


@pytest.fixture(scope="module")
def asah() -> pd.DataFrame:
    table = pd.read_csv(data_dir("stats_references", "aSAH.csv"))
    return table.assign(y=(table["outcome"] == "Poor").astype(int))


@pytest.fixture(scope="module")
def proc() -> dict[str, float]:
    return pd.read_csv(GOLDEN / "proc.csv").set_index("quantity")["value"].to_dict()


@pytest.mark.parametrize("marker", ["wfns", "s100b", "ndka"])
def test_delong_interval_agrees_with_proc(asah, proc, marker: str) -> None:
    found = intervals.delong(asah["y"], asah[marker], scale="plain")
    assert found.value == pytest.approx(proc[f"auc_{marker}"], abs=1e-9)
    assert (found.low, found.high) == pytest.approx((proc[f"low_{marker}"], proc[f"high_{marker}"]), abs=1e-8)
    components = intervals.placements(asah["y"], asah[marker])
    variance = intervals.auc_covariance(asah["y"], components)[0, 0]
    assert variance == pytest.approx(proc[f"var_{marker}"], abs=1e-9)


@pytest.mark.parametrize(("other", "z"), [("s100b", 2.209), ("ndka", 2.798)])
def test_paired_delong_agrees_with_proc(asah, proc, other: str, z: float) -> None:
    found = compare.delong_paired(asah["y"], asah["wfns"], asah[other])
    assert found.statistic == pytest.approx(z, abs=5e-4)
    assert found.statistic == pytest.approx(proc[f"z_wfns_{other}"], abs=1e-8)
    assert found.p == pytest.approx(proc[f"p_wfns_{other}"], abs=1e-8)


def test_published_aucs_of_14_labels() -> None:
    table = read_predictions(_csv(data_dir("nih_cxr", "chexnet_testset_predictions_with_labels.csv.gz")))
    published = pd.read_csv(data_dir("nih_cxr", "published_aucs_retrained_model.csv")).set_index("label")[
        "auc"
    ]
    found = {t: cl.auroc(p["y_true"], p["score"]) for t, p in table.groupby("target")}
    assert len(found) == 14
    for label, auc in published.items():
        assert found[label] == pytest.approx(auc, abs=1e-5)


def _csv(path: Path) -> Path:
    """read_predictions reads plain files; pandas inflates by suffix all the same."""
    return path


def test_wilson_and_clopper_pearson_agree_with_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for k, n in [(0, 10), (3, 10), (10, 10), (41, 113), (1, 2000)]:
        for ours, method in ((intervals.wilson, "wilson"), (intervals.clopper_pearson, "beta")):
            expected = proportion.proportion_confint(k, n, alpha=0.1, method=method)
            assert ours(k, n, 0.9) == pytest.approx(np.nan_to_num(expected), abs=1e-9)


def test_mcnemar_agrees_with_statsmodels_and_pingouin() -> None:
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    table = pd.read_csv(data_dir("stats_references", "pingouin_chi2_mcnemar.csv"))
    a, b = table["treatment_X"].to_numpy(bool), table["treatment_Y"].to_numpy(bool)
    found = compare.mcnemar(a, b)
    crossed = pd.crosstab(a, b).to_numpy()
    assert found.p == pytest.approx(contingency.mcnemar(crossed, exact=True).pvalue, rel=1e-9)
    assert round(found.p, 6) == 0.000003  # p-exact printed in pingouin's documentation of chi2_mcnemar


def test_newcombe_interval_of_the_paper() -> None:
    # Newcombe 1998, Stat Med 17:2635, table II (36, 12, 2, 0): method 10 gives 0.0569 to 0.3404.
    assert compare.newcombe_paired(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=1e-4)
    # Two tables of the R package contingencytables (chapter 8); its formula was evaluated in R.
    assert compare.newcombe_paired(1, 1, 7, 12) == pytest.approx((-0.506920, -0.025559), abs=1e-6)
    assert compare.newcombe_paired(59, 6, 16, 80) == pytest.approx((-0.118621, -0.004625), abs=1e-6)


@pytest.fixture(scope="module")
def probabilities() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    logit = rng.normal(-1, 1.5, 400)
    p = np.round(1 / (1 + np.exp(-logit)), 2).clip(0.01, 0.99)  # rounded: with ties
    return (rng.random(400) < 1 / (1 + np.exp(-0.7 * logit - 0.3))).astype(int), p


def test_calibration_agrees_with_statsmodels(probabilities) -> None:
    sm = pytest.importorskip("statsmodels.api")
    y, p = probabilities
    logit = np.log(p / (1 - p))
    slope, intercept = calibration.slope_intercept(y, p)
    both = sm.GLM(y, sm.add_constant(logit), family=sm.families.Binomial()).fit()
    large = sm.GLM(y, np.ones(len(y)), offset=logit, family=sm.families.Binomial()).fit()
    assert slope.value == pytest.approx(both.params[1], abs=1e-6)
    assert (slope.low, slope.high) == pytest.approx(both.conf_int()[1], abs=1e-5)
    assert intercept.value == pytest.approx(large.params[0], abs=1e-6)
    assert (intercept.low, intercept.high) == pytest.approx(large.conf_int()[0], abs=1e-5)


def test_clustered_calibration_agrees_with_statsmodels(probabilities) -> None:
    sm = pytest.importorskip("statsmodels.api")
    y, p = probabilities
    who = np.arange(len(y)) // 4
    logit = np.log(p / (1 - p))
    slope, _ = calibration.slope_intercept(y, p, cluster=who)
    fit = sm.GLM(y, sm.add_constant(logit), family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": who, "df_correction": False, "use_correction": False}
    )
    groups = len(np.unique(who))
    expected = 1.959964 * fit.bse[1] * math.sqrt(groups / (groups - 1))
    assert slope.high - slope.value == pytest.approx(expected, rel=1e-4)


SKLEARN = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "sensitivity": sk.recall_score,
    "specificity": lambda y, d: sk.recall_score(y, d, pos_label=0),
    "ppv": sk.precision_score,
    "npv": lambda y, d: sk.precision_score(y, d, pos_label=0),
    "f1": sk.f1_score,
    "f1_macro": lambda y, d: sk.f1_score(y, d, average="macro"),
    "f1_weighted": lambda y, d: sk.f1_score(y, d, average="weighted"),
    "mcc": sk.matthews_corrcoef,
}
ON_SCORES = {
    "auroc": sk.roc_auc_score,
    "auprc": sk.average_precision_score,
    "brier": sk.brier_score_loss,
    "sens_at_spec90": lambda y, p: max(
        t for f, t in zip(*sk.roc_curve(y, p, drop_intermediate=False)[:2]) if f <= 0.1 + 1e-12
    ),
}


@pytest.mark.parametrize("name", cl.METRICS)
def test_every_binary_metric_agrees_with_scikit_learn(probabilities, name: str) -> None:
    y, p = probabilities
    table = pd.DataFrame({"case_id": np.arange(len(y)).astype(str), "y_true": y, "score": p})
    expected = SKLEARN[name](y, p >= 0.4) if name in SKLEARN else ON_SCORES[name](y, p)
    assert cl.compute(name, y, p, threshold=0.4) == pytest.approx(expected, abs=1e-12)
    found = {e.name: e for e in evaluate(table, threshold=0.4, n_boot=100)}
    assert found[name].value == pytest.approx(expected, abs=1e-12)
    assert found[name].low < found[name].value < found[name].high


def test_multiclass_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(3, size=300)
    p = rng.dirichlet(np.ones(3), 300) + 0.5 * np.eye(3)[y]
    p /= p.sum(axis=1, keepdims=True)
    names = np.array(["normal", "ILA", "atelectasis"])
    table = pd.DataFrame({f"score:{c}": p[:, i] for i, c in enumerate(names)})
    table = table.assign(case_id=np.arange(300).astype(str), y_true=names[y])
    found = {e.name: e for e in evaluate(table, n_boot=200)}
    decision = p.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(y, decision),
        "balanced_accuracy": sk.balanced_accuracy_score(y, decision),
        "f1_macro": sk.f1_score(y, decision, average="macro"),
        "f1_weighted": sk.f1_score(y, decision, average="weighted"),
        "mcc": sk.matthews_corrcoef(y, decision),
        "auroc_ovr_macro": sk.roc_auc_score(y, p, multi_class="ovr"),
        "auroc_ovr_weighted": sk.roc_auc_score(y, p, multi_class="ovr", average="weighted"),
        "brier_multiclass": ((p - np.eye(3)[y]) ** 2).sum(axis=1).mean(),
        "auroc:ILA": sk.roc_auc_score(y == 1, p[:, 1]),
        "sensitivity:ILA": sk.recall_score(y, decision, average=None)[1],
        "ppv:ILA": sk.precision_score(y, decision, average=None)[1],
        "f1:ILA": sk.f1_score(y, decision, average=None)[1],
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
        assert found[name].low < value < found[name].high, name
    assert cl.auroc_ovr(y, p, "weighted") == pytest.approx(expected["auroc_ovr_weighted"], abs=1e-12)
    assert cl.brier_multiclass(y, p) == pytest.approx(expected["brier_multiclass"])


def test_nadeau_bengio_by_hand() -> None:
    # d = .02 .04 .00 .03 .01: mean .02, s2 = .00025; se = sqrt((1/5 + 1/4) * .00025) = .0106066
    a, b = [0.82, 0.84, 0.80, 0.83, 0.81], [0.80] * 5
    found = compare.nadeau_bengio(a, b, test_train_ratio=0.25)
    assert found.statistic == pytest.approx(0.02 / 0.0106066017, rel=1e-6)
    x = 1.885618 / math.sqrt(4 + 1.885618**2)  # 4 degrees of freedom: p = 1 - (3x - x^3) / 2
    assert found.p == pytest.approx(1 - (3 * x - x**3) / 2, abs=1e-6)
    assert found.high == pytest.approx(0.02 + 2.776445 * 0.0106066, abs=1e-6)
    posterior = compare.correlated_t(a, b, test_train_ratio=0.25, rope=0.02)
    assert posterior.better == pytest.approx(0.5)
    assert posterior.worse + posterior.same + posterior.better == pytest.approx(1)


def test_holm_and_bh_agree_with_statsmodels() -> None:
    multi = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(30) ** 3
    assert compare.holm(p) == pytest.approx(multi.multipletests(p, method="holm")[1])
    assert compare.benjamini_hochberg(p) == pytest.approx(multi.multipletests(p, method="fdr_bh")[1])
    assert np.isnan(compare.holm([0.01, math.nan])[1]) and compare.holm([0.01, math.nan])[0] == 0.01


def test_brier_parts_add_up_and_ece_by_hand() -> None:
    y, p = np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.6, 0.8])
    parts = calibration.brier_parts(y, p, bins=2)
    assert parts["reliability"] == pytest.approx(0.5 * 0.2**2 + 0.5 * 0.3**2)
    assert parts["resolution"] == pytest.approx(0.25) and parts["uncertainty"] == pytest.approx(0.25)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bin"]
    assert total == pytest.approx(sk.brier_score_loss(y, p))
    assert calibration.ece(y, p, bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.3)


def test_net_benefit_by_hand() -> None:
    y, p = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.3, 0.6, 0.2, 0.1])
    row = calibration.net_benefit(y, p, np.array([0.5])).iloc[0]
    assert row["model"] == pytest.approx(1 / 5 - 1 / 5)
    assert row["all"] == pytest.approx(2 / 5 - 3 / 5) and row["none"] == 0
