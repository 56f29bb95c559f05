"""Whole tables: thresholds, baselines, subgroups, one class, splits; and the two commands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc as area

from radfoundry.cli.main import main
from radfoundry.errors import TableError
from radfoundry.evaluate import classification as cl
from radfoundry.evaluate import compare, compare_tables, evaluate
from radfoundry.evaluate.baselines import trivial
from radfoundry.evaluate.subgroups import groups


def table(n: int = 200, seed: int = 0, shift: float = 0.25, model: str = "m", **more) -> pd.DataFrame:
    truth = np.random.default_rng(0)
    y = (truth.random(n) < 0.3).astype(int)
    age, sex = truth.integers(5, 90, n), truth.choice(["F", "M"], n)
    score = np.clip(np.random.default_rng(seed).normal(0.35 + shift * y, 0.2), 0.01, 0.99)
    case = [f"c{i}" for i in range(n)]
    frame = pd.DataFrame({"case_id": case, "patient_id": case, "y_true": y, "score": score, "model": model})
    return frame.assign(age=age, sex=sex, **more)


def by_name(estimates) -> dict:
    return {e.name: e for e in estimates if e.subgroup is None}


def test_threshold_column_then_argument_then_half() -> None:
    t = table()
    sens = lambda cut: float((t["score"][t["y_true"] == 1] >= cut).mean())  # noqa: E731
    assert by_name(evaluate(t, n_boot=100))["sensitivity"].value == pytest.approx(sens(0.5))
    assert "by default, not tuned" in by_name(evaluate(t, n_boot=100))["sensitivity"].note
    asked = by_name(evaluate(t, n_boot=100, threshold=0.3))["sensitivity"]
    assert asked.value == pytest.approx(sens(0.3)) and "as asked" in asked.note
    given = by_name(evaluate(t.assign(threshold=0.4), n_boot=100, threshold=0.3))["sensitivity"]
    assert given.value == pytest.approx(sens(0.4)) and "threshold 0.4 from the table" in given.note
    decided = by_name(evaluate(t.assign(decision=t["y_true"], threshold=0.4), n_boot=100))["sensitivity"]
    assert decided.value == 1 and decided.note == "decisions as given"


def test_scores_that_are_no_probabilities_skip_what_needs_them() -> None:
    found = by_name(evaluate(table().assign(score=lambda t: t["score"] * 10 - 4), n_boot=100))
    assert {"auroc", "auprc"} <= set(found)
    assert not {"brier", "ece", "calibration_slope", "accuracy"} & set(found)


def test_trivial_scores_stand_beside_and_an_accuracy_below_them_says_so() -> None:
    t = table()
    found = by_name(evaluate(t.assign(decision=0), n_boot=100))
    majority = 1 - t["y_true"].mean()
    assert found["accuracy"].value == found["accuracy_trivial"].value == pytest.approx(majority)
    assert "not above always class 0" in found["accuracy"].note
    assert found["auprc_trivial"].value == pytest.approx(t["y_true"].mean())
    assert found["sensitivity"].value == 0 and math.isnan(found["ppv"].value)
    assert "denominator is zero" in found["ppv"].note


@pytest.mark.parametrize(
    ("metric", "value"),
    # One positive in four: always negative is right in 3/4; always positive has PPV 1/4 and F1 2/5.
    [("accuracy", 0.75), ("balanced_accuracy", 0.5), ("auroc", 0.5), ("auprc", 0.25), ("sens_at_spec90", 0.1),
     ("ppv", 0.25), ("npv", 0.75), ("f1", 0.4), ("f1_macro", 3 / 7), ("f1_weighted", 0.75 * 6 / 7),
     ("brier", 0.1875), ("brier_multiclass", 0.375)],
)  # fmt: skip
def test_trivial_scores_by_hand(metric: str, value: float) -> None:
    assert trivial(metric, np.array([0, 0, 0, 1])).value == pytest.approx(value)


def test_one_class_keeps_the_other_metrics() -> None:
    found = by_name(evaluate(table().assign(y_true=1), n_boot=100))
    assert math.isnan(found["auroc"].value) and "every case is of class 1" in found["auroc"].note
    assert math.isnan(found["calibration_slope"].value)
    assert 0 < found["sensitivity"].value < 1 and found["brier"].low < found["brier"].high


def test_perfect_shares_among_clustered_rows_keep_a_width() -> None:
    t = table().assign(patient_id=lambda t: "p" + (t.index // 2).astype(str), decision=lambda t: t["y_true"])
    found = by_name(evaluate(t, n_boot=100))["sensitivity"]
    assert (found.value, found.high) == (1, 1) and found.low < 0.99 and found.n_clusters == 100


def test_subgroups_by_bands_values_and_quartiles() -> None:
    t = table(level=np.linspace(0, 1, 200)).assign(sex=lambda t: t["sex"].where(t.index > 4))
    found = evaluate(t, n_boot=100, subgroups=("age", "sex", "level"), min_n=30)
    labels = list(dict.fromkeys(e.subgroup for e in found if e.subgroup))
    assert labels[:5] == ["age 0-17", "age 18-39", "age 40-59", "age 60-74", "age 75+"]
    assert labels[5:8] == ["sex F", "sex M", "sex unknown"] and labels[8] == "level 0 to 0.25"
    few = next(e for e in found if e.subgroup == "sex unknown" and e.name == "auroc")
    assert math.isnan(few.value) and few.note == "too few: 5 cases, at least 30 asked for" and few.n == 5
    women = next(e for e in found if e.subgroup == "sex F" and e.name == "auroc")
    only = by_name(evaluate(t[t["sex"] == "F"], n_boot=100))["auroc"]
    assert (women.value, women.low, women.n) == (only.value, only.low, only.n)
    for covariate in ("age", "sex", "level"):
        assert (sum(m.astype(int) for m in groups(t, covariate).values()) == 1).all()
    with pytest.raises(TableError, match="Did you mean 'sex'"):
        evaluate(t, n_boot=100, subgroups=("sx",))


def test_a_subgroup_of_many_images_and_few_patients_is_too_small() -> None:
    t = table(site=["a"] * 150 + ["b"] * 50)
    t["patient_id"] = t["patient_id"].where(t["site"] == "a", "p" + (t.index % 3).astype(str))
    few = [e for e in evaluate(t, n_boot=100, subgroups=("site",)) if e.subgroup == "site b"]
    assert few and all(math.isnan(e.value) for e in few)
    assert few[0].note == "too few: 50 cases of 3 patients, at least 20 asked for"


def test_an_identifier_as_subgroup_is_not_judged_group_by_group(monkeypatch) -> None:
    asked = table().assign(name=lambda t: t["case_id"])
    made: list[str | None] = []
    whole = evaluate.__globals__["make_part"]
    monkeypatch.setitem(evaluate.__globals__, "make_part", lambda *a: made.append(a[3]) or whole(*a))
    found = evaluate(asked, subgroups=["name", "sex", "sex"], n_boot=100)
    assert made == ["sex F", "sex M"]
    few = [e for e in found if e.subgroup == "name c7"]
    assert [e.name for e in few] == ["auroc", "accuracy", "sensitivity", "specificity"]
    assert {e.note for e in few} == {"too few: 1 cases, at least 20 asked for"}


def test_ages_as_dicom_writes_them_go_into_bands() -> None:
    ages = pd.DataFrame({"age": ["034Y", "011M", "006W", "081Y", None]})
    found = {name: mask.tolist() for name, mask in groups(ages, "age").items()}
    assert found == {
        "age 0-17": [False, True, True, False, False],
        "age 18-39": [True, False, False, False, False],
        "age 75+": [False, False, False, True, False],
        "age unknown": [False, False, False, False, True],
    }
    assert list(groups(pd.DataFrame({"age": ["034Y", "old"]}), "age")) == ["age 034Y", "age old"]


def test_a_value_outside_every_band_is_not_lost() -> None:
    found = groups(pd.DataFrame({"age": [-1, 30, 50]}), "age")
    assert found["age unknown"].tolist() == [True, False, False]


def test_every_model_target_and_split_is_judged_apart() -> None:
    both = pd.concat([table(model="a"), table(seed=1, shift=0.5, model="b")]).assign(target="t")
    split = both.assign(split=np.where(both["case_id"].str[-1].isin(list("0123")), "train", "test"))
    found = evaluate(split, n_boot=100)
    seen = {(e.model, e.subgroup) for e in found}
    assert seen == {(m, f"split {s}") for m in "ab" for s in ("train", "test")}
    alone = by_name(evaluate(both[both["model"] == "b"], n_boot=100))["auroc"]
    assert next(e for e in evaluate(both, n_boot=100) if e.model == "b" and e.name == "auroc") == alone


def test_same_seed_same_limits() -> None:
    first, again, other = (evaluate(table(), n_boot=100, seed=s) for s in (1, 1, 2))
    assert [e.as_dict() for e in first] == [e.as_dict() for e in again]
    assert by_name(first)["auprc"].low != by_name(other)["auprc"].low


def test_compare_pairs_by_case_and_corrects_over_targets() -> None:
    a = pd.concat([table(seed=1, shift=0.5, target=t) for t in "xyz"], ignore_index=True)
    b = pd.concat([table(seed=2, shift=0.1, target=t) for t in "xyz"], ignore_index=True)
    b = b.sample(frac=1, random_state=0)[lambda t: t["case_id"] != "c7"]
    found = compare_tables(a, b, n_boot=200, n_permutations=200)
    assert (found.only_a, found.only_b) == (3, 0) and any("left out: 3" in n for n in found.notes)
    auc = [c for c in found.comparisons if c.method == "paired DeLong"]
    assert len(auc) == 3 and all(c.n == 199 and c.difference > 0 and c.p < 0.01 for c in auc)
    assert auc[0].p_holm == pytest.approx(min(1, 3 * auc[0].p)) and auc[0].p_bh == pytest.approx(auc[0].p)
    kept = a[(a["target"] == "x") & (a["case_id"] != "c7")]
    assert auc[0].value_a == pytest.approx(by_name(evaluate(kept, n_boot=100))["auroc"].value)


def test_compare_never_pools_training_and_test_cases() -> None:
    part = np.where(np.arange(200) < 120, "train", "test")
    a, b = table(seed=1, split=part), table(seed=2, split=part)
    a["score"] = a["score"].where(a["split"] == "test", a["y_true"])  # learned by heart
    found = compare_tables(a, b, n_boot=200, n_permutations=200).comparisons
    assert {c.subgroup for c in found} == {"split train", "split test"}
    delong = {c.subgroup: c for c in found if c.method == "paired DeLong"}
    assert delong["split train"].value_a == 1 and (delong["split train"].n, delong["split test"].n) == (
        120,
        80,
    )
    own = a[a["split"] == "test"]
    assert delong["split test"].value_a == pytest.approx(by_name(evaluate(own, n_boot=100))["auroc"].value)
    assert delong["split test"].p_holm == delong["split test"].p  # one target: a family of one
    with pytest.raises(TableError, match="first table holds several parts"):
        compare_tables(a, b.drop(columns="split"), n_boot=100, n_permutations=100)


def test_compare_uses_folds_when_both_tables_tell_them() -> None:
    a, b = (
        pd.concat([table(seed=10 * s + r, shift=d, fold=np.arange(200) % 5, repeat=r) for r in range(2)])
        for s, d in ((1, 0.5), (2, 0.1))
    )
    found = compare_tables(a, b, n_boot=200, n_permutations=200).comparisons
    folded = next(c for c in found if c.name == "auroc_by_fold")
    assert folded.method == "Nadeau-Bengio corrected t, 10 folds" and folded.p < 0.05
    assert "Bayesian correlated t" in folded.note and folded.n == 200
    areas = [[cl.auroc(r["y_true"], r["score"]) for _, r in t.groupby(["repeat", "fold"])] for t in (a, b)]
    expected = compare.nadeau_bengio(*areas, test_train_ratio=0.25)  # a fifth tests, four fifths train
    assert (folded.statistic, folded.p) == pytest.approx((expected.statistic, expected.p))


def test_every_auc_of_repeated_validation_is_the_mean_over_repeats(files, tmp_path, capsys) -> None:
    """The estimate, both tests and the curve speak of one number, not of scores averaged over repeats too."""
    a, b = (
        pd.concat([table(seed=10 * s + r, shift=d, model=m, repeat=r) for r in range(3)])
        for s, d, m in ((1, 0.3, "a"), (2, 0.1, "b"))
    )
    mean = by_name(evaluate(a, n_boot=100))["auroc"].value
    pooled = a.groupby("case_id")["score"].mean()
    averaged = evaluate(table().assign(score=lambda t: t["case_id"].map(pooled)), n_boot=100)
    assert by_name(averaged)["auroc"].value > mean + 0.03
    tests = [c for c in compare_tables(a, b, n_boot=100, n_permutations=100).comparisons if c.name == "auroc"]
    assert len(tests) == 2 and all(c.method.startswith("mean over repeats; paired") for c in tests)
    assert [c.value_a for c in tests] == pytest.approx([mean, mean])
    once = compare_tables(a, b[b["repeat"] == 0], n_boot=100, n_permutations=100).comparisons
    assert [c.value_a for c in once if c.name == "auroc"] == pytest.approx([mean, mean])
    a.to_csv(files[0], index=False)
    assert main(["evaluate", str(files[0]), "--n-boot", "100", "--out", str(tmp_path / "out")]) == 0
    roc = pd.read_csv(tmp_path / "out" / "roc.csv")
    assert area(roc["fpr"], roc["sensitivity"]) == pytest.approx(mean, abs=0.01)
    assert pd.read_csv(tmp_path / "out" / "calibration.csv")["n"].sum() == 600


def test_compare_of_clustered_tables_permutes_patients() -> None:
    a, b = (table(seed=s, shift=d).assign(patient_id=lambda t: "p" + (t.index // 2).astype(str))
            for s, d in ((1, 0.5), (2, 0.1)))  # fmt: skip
    found = compare_tables(a, b, n_boot=200, n_permutations=300).comparisons
    methods = {c.name: c.method for c in found}
    assert "clustered" in next(c.method for c in found if c.name == "auroc")
    assert methods["accuracy"].startswith("permutation by patient") and "McNemar" not in str(methods)
    accuracy = next(c for c in found if c.name == "accuracy")
    own = [by_name(evaluate(t, n_boot=100))["accuracy"].value for t in (a, b)]
    assert (accuracy.value_a, accuracy.value_b) == pytest.approx(own) and accuracy.p < 0.05
    other_ids = b.assign(patient_id=b["case_id"])  # the first table says who is one patient
    again = compare_tables(a, other_ids, n_boot=200, n_permutations=300).comparisons
    assert [c.n_clusters for c in again] == [c.n_clusters for c in found]
    backwards = compare_tables(other_ids, a, n_boot=200, n_permutations=300).comparisons
    assert backwards[0].n_clusters == 200


def test_families_are_corrected_over_targets() -> None:
    targets = {"x": 0.13, "y": 0.1, "z": 0.07}
    a = pd.concat([table(seed=1, shift=s, target=t) for t, s in targets.items()], ignore_index=True)
    b = pd.concat([table(seed=2, shift=0.1, target=t) for t in targets], ignore_index=True)
    found = [c for c in compare_tables(a, b, n_boot=100, n_permutations=100).comparisons
             if c.method == "paired DeLong"]  # fmt: skip
    p = [c.p for c in found]
    assert max(p) > 0.1 > min(p) > 1e-6
    assert [c.p_holm for c in found] == pytest.approx(compare.holm(p))
    assert [c.p_bh for c in found] == pytest.approx(compare.benjamini_hochberg(p))
    assert any(c.p_holm > 1.2 * c.p_bh for c in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(case_id="z" + t["case_id"]), "is in both tables"),
        (lambda t: t.assign(y_true=1 - t["y_true"]), "'y_true' differs between the tables in 200 cases"),
        (lambda t: t.drop(columns="case_id"), "no case_id"),
        (lambda t: pd.concat([t, t.assign(model="other")]), "holds 2 models"),
    ],
)
def test_compare_refuses_what_can_not_be_paired(change, message: str) -> None:
    with pytest.raises(TableError, match=message):
        compare_tables(table(), change(table(seed=1)), n_boot=100, n_permutations=100)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.csv", tmp_path / "b.csv"
    for seed, path in enumerate(paths):
        table(seed=seed + 1, model=path.stem).to_csv(path, index=False)
    return paths


def test_evaluate_command_prints_a_table_json_and_a_folder(files, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["evaluate", str(files[0]), "--subgroup", "age", "--subgroup", "sex", "--n-boot", "100",
                 "--out", str(out)]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "sex F: auroc" in printed and "trivial" in printed and "DeLong" in printed
    assert {p.name for p in out.iterdir()} == {
        "metrics.json", "metrics.csv", "roc.csv", "pr.csv", "calibration.csv", "decision_curve.csv",
        "gaps.csv", "subgroups.csv", "subgroups.svg", "subgroups.png",
    }  # fmt: skip
    assert (
        main(["evaluate", str(files[0]), "--json", "--n-boot", "100", "--out", str(tmp_path / "m.json")]) == 0
    )
    content = json.loads(capsys.readouterr().out)
    assert content["estimates"] == json.loads((tmp_path / "m.json").read_text())
    auc = next(e for e in content["estimates"] if e["name"] == "auroc")
    assert auc["low"] < auc["value"] < auc["high"] and auc["n"] == 200


def test_commands_pick_models_truth_and_the_positive_label(files, tmp_path, capsys) -> None:
    wide = table().rename(columns={"score": "resnet"}).drop(columns=["model", "y_true"])
    words = np.where(table()["y_true"], "ill", "well")
    wide.assign(vit=table(seed=2)["score"], biopsy=words).to_csv(files[0], index=False)
    options = ["--truth", "biopsy", "--positive", "ill", "--n-boot", "100"]
    assert main(["evaluate", str(files[0]), *options, "--model", "resnet", "--model", "vit", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["estimates"]
    expected = by_name(evaluate(table(), n_boot=100))["auroc"].value
    assert {e["model"]: e["value"] for e in found if e["name"] == "auroc"}["resnet"] == pytest.approx(
        expected
    )
    same_file = ["compare", str(files[0]), str(files[0]), "--model-a", "resnet", "--model-b", "vit"]
    assert main([*same_file, *options]) == 0
    assert "a = resnet, b = vit" in capsys.readouterr().out
    assert main(["evaluate", str(files[0]), "--n-boot", "100"]) == 2
    assert "--truth COLUMN" in capsys.readouterr().err


def test_evaluate_command_says_what_one_class_cannot_give(files, tmp_path, capsys) -> None:
    table().assign(y_true=0).to_csv(files[0], index=False)
    assert main(["evaluate", str(files[0]), "--n-boot", "100"]) == 1
    captured = capsys.readouterr()
    assert "specificity" in captured.out and "every case is of class 0" in captured.err


def test_evaluate_command_is_compact_for_many_targets(files, capsys) -> None:
    many = pd.concat([table(target=t) for t in "vwxyz"])
    many.to_csv(files[0], index=False)
    assert main(["evaluate", str(files[0]), "--n-boot", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:7]] == list("vwxyz") and "--all" in lines[-1]


def test_compare_command(files, capsys) -> None:
    words = ["compare", *map(str, files), "--n-boot", "200"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "a = a, b = b" in printed and "paired DeLong" in printed and "McNemar" in printed
    assert main([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["unmatched"] == {"a": 0, "b": 0} and content["comparisons"][0]["method"] == "paired DeLong"


def test_compare_command_says_what_one_class_cannot_give(files, capsys) -> None:
    for path in files:
        table().assign(y_true=1).to_csv(path, index=False)
    assert main(["compare", *map(str, files), "--n-boot", "100"]) == 1
    captured = capsys.readouterr()
    assert "accuracy" in captured.out and "no AUC" in captured.err


def test_results_go_to_a_folder_that_is_not_there_yet(files, tmp_path) -> None:
    out = tmp_path / "new" / "deep" / "m.json"
    assert main(["evaluate", str(files[0]), "--n-boot", "100", "--out", str(out)]) == 0
    assert [p.name for p in out.parent.iterdir()] == ["m.json"]


@pytest.mark.parametrize("words", [["--level", "95"], ["--n-boot", "5"]])
def test_nonsense_options_are_refused(files, words, capsys) -> None:
    assert main(["evaluate", str(files[0]), *words]) == 2
    assert words[0] in capsys.readouterr().err


def test_many_cases_are_not_permuted_and_the_note_says_so() -> None:
    found = compare_tables(table(), table(seed=1), n_boot=100, n_permutations=30_000)
    assert any("no permutation" in n for n in found.notes)
    assert [c.method for c in found.comparisons if c.name == "auroc"] == ["paired DeLong"]
