"""The reader study end to end: phantoms with planted effects, Van Dyke's published numbers, odd tables."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from radfoundry.datasets import phantom_readers
from radfoundry.errors import InputError, TableError
from radfoundry.predictions import read_predictions
from radfoundry.studies import reader_study
from radfoundry.studies.reader_study import Config
from tests._data import data_dir


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("readers") / "run"
    return reader_study.run(Config(readers=6, cases=100, n_boot=200, out=out))


@pytest.fixture(autouse=True)
def no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of one line; those of `finished`, made before this, are real."""

    def save(figure: Any, stem: Path) -> None:
        stem.with_suffix(".svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
        stem.with_suffix(".png").write_bytes(b"")

    monkeypatch.setattr("radfoundry.report.figures.save", save)


@pytest.fixture(scope="module")
def reads() -> pd.DataFrame:
    return phantom_readers.make(5, 60, missing=0, seed=3).table


def metrics(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "metrics.json").read_text())


def sections(run: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((run / "sections.json").read_text())
    return {one["key"]: one for one in found["sections"]}


def notes(run: Path) -> str:
    return " ".join(json.loads((run / "sections.json").read_text())["notes"])


def ran(table: pd.DataFrame, tmp_path: Path, **options: Any) -> Path:
    path = tmp_path / "reads.csv"
    table.to_csv(path, index=False)
    return reader_study.run(Config(reads=path, out=tmp_path / "run", n_boot=100, **options))


def test_the_run_folder_is_whole(finished: Path) -> None:
    for name in ("manifest.json", "metrics.json", "predictions.parquet", "report.html", "log.txt",
                 "tables/readers.csv", "tables/reader_differences.csv", "tables/switches.csv"):  # fmt: skip
        assert (finished / name).is_file(), name
    for name in ("roc", "comparison", "reading_time", "automation_bias"):
        assert (finished / "figures" / f"{name}.svg").is_file(), name
        assert len(pd.read_csv(finished / "figures" / f"{name}.csv")) > 1
    assert {"performance", "comparison_table", "in_words", "otherwise", "kappa", "time", "bias", "planted",
            "methods"} <= set(sections(finished))  # fmt: skip


def test_what_was_planted_is_found(finished: Path) -> None:
    rows = sections(finished)["planted"]["rows"]
    assert [row[0] for row in rows][:3] == ["AUC unaided", "AUC aided", "difference of the AUCs"]
    inside = [row[3] for row in rows]
    assert len(inside) == 6 and inside.count("no") <= 1  # one in twenty misses by chance


def test_every_figure_stands_beside_the_ai_alone_and_chance(finished: Path) -> None:
    rows = {row[0]: row for row in sections(finished)["performance"]["rows"]}
    assert list(rows) == ["unaided", "aided", "more frequent class, or chance", "the AI alone"]
    truth = read_predictions(finished / "predictions.parquet").drop_duplicates("case_id")["y_true"]
    share = max(truth.mean(), 1 - truth.mean())
    assert rows["more frequent class, or chance"][1:] == ["0.500", "–", "–", f"{share:.3f}"]
    assert all(re.match(r"0\.\d{3} \(", cell) for cell in rows["the AI alone"][1:])


def test_the_paragraph_repeats_the_estimates(finished: Path) -> None:
    text = sections(finished)["in_words"]["text"]
    average = {m["model"]: m for m in metrics(finished) if m["name"] == "auroc" and not m["subgroup"]}
    for model in ("unaided", "aided"):
        one = average[model]
        assert f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f}) for {model}" in text
    ratio = next(m for m in metrics(finished) if m["name"] == "time_ratio" and "mixed" in m["method"])
    assert f"aided over unaided {ratio['value']:.3f}" in text


def test_the_same_seed_gives_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    again = reader_study.run(Config(readers=6, cases=100, n_boot=200, out=tmp_path / "run"))
    assert metrics(again) == metrics(finished)


def test_the_reads_can_be_judged_as_predictions(finished: Path) -> None:
    table = read_predictions(finished / "predictions.parquet")
    assert set(table["model"]) == {f"reader {r}, {m}" for r in range(1, 7) for m in ("unaided", "aided")}
    assert {"reader", "modality", "seconds", "order"} <= set(table)


def test_no_case_or_patient_stands_in_the_log(finished: Path) -> None:
    log = (finished / "log.txt").read_text()
    ids = pd.read_parquet(finished / "predictions.parquet", columns=["case_id", "patient_id"])
    assert log and not any(name in log for name in np.unique(ids.to_numpy(str)))


def test_a_study_of_equal_modalities_is_not_called_a_gain(reads: pd.DataFrame, tmp_path: Path) -> None:
    twin = reads[reads["modality"] == "unaided"]
    same = pd.concat([twin, twin.assign(modality="aided")]).drop(columns=["order", "session", "seconds"])
    run = ran(same, tmp_path)
    assert "higher" not in sections(run)["verdict"]["text"]
    rows = sections(run)["comparison_table"]["rows"]
    assert all(row[2].startswith("+0.000") for row in rows)


def test_readers_who_all_began_unaided_cannot_tell_learning_from_aid(
    reads: pd.DataFrame, tmp_path: Path
) -> None:
    fixed = reads.assign(session=np.where(reads["modality"] == "unaided", 1, 2))
    run = ran(fixed, tmp_path)
    assert "Every case was read first with unaided" in notes(run)
    assert "Every case was read first with unaided" in sections(run)["in_words"]["text"]


def test_a_crossover_carries_no_such_warning(finished: Path) -> None:
    assert "read first with" not in notes(finished)


def test_missing_reads_go_to_u_statistics_and_the_complete_cases_stand_beside(
    reads: pd.DataFrame, tmp_path: Path
) -> None:
    run = ran(reads.sample(frac=0.97, random_state=0), tmp_path)
    rows = {row[0]: row for row in sections(run)["otherwise"]["rows"]}
    assert rows["main analysis"][4].startswith("U-statistics")
    assert rows["covariance by DeLong"][4].startswith("Obuchowski-Rockette")


def test_ways_without_a_complete_case_share_one_line(reads: pd.DataFrame, tmp_path: Path) -> None:
    cases = sorted(reads["case_id"].unique())
    late = reads["case_id"].isin(cases[::2])
    own = reads[late == reads["reader"].isin(("reader 1", "reader 2"))]  # a split-plot
    rows = sections(ran(own, tmp_path))["otherwise"]["rows"]
    failed = [row for row in rows if row[2] == "–"]
    assert len(failed) == 1 and "0 of 60 cases were read by all readers" in failed[0][4]
    assert "covariance by DeLong" in failed[0][0]
    assert next(row for row in rows if row[0] == "these readers alone")[1] == 60


def test_decisions_alone_are_enough(reads: pd.DataFrame, tmp_path: Path) -> None:
    table = reads[["case_id", "y_true", "reader", "modality", "decision"]]
    run = ran(table, tmp_path, merit="accuracy")
    found = sections(run)
    assert [row[0] for row in found["comparison_table"]["rows"]] == [
        "Accuracy",
        "Sensitivity",
        "Specificity",
    ]
    assert not {"roc", "time", "bias"} & set(found)


def test_one_reader_speaks_for_itself_alone(reads: pd.DataFrame, tmp_path: Path) -> None:
    run = ran(reads[reads["reader"] == "reader 1"], tmp_path)
    assert "for reader 1 alone" in sections(run)["verdict"]["text"]
    assert "fixed readers" in sections(run)["otherwise"]["rows"][0][4]


def test_one_modality_has_nothing_to_be_compared_with(reads: pd.DataFrame, tmp_path: Path) -> None:
    run = ran(reads[reads["modality"] == "unaided"], tmp_path)
    assert "nothing to compare it with" in sections(run)["verdict"]["text"]
    assert "comparison_table" not in sections(run)


def test_a_margin_is_judged_and_said(reads: pd.DataFrame, tmp_path: Path) -> None:
    run = ran(reads, tmp_path, margin=0.05)
    assert "not worse than unaided by 0.05" in sections(run)["verdict"]["text"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reference": "unaied"}, "no modality 'unaied'"),
        ({"merit": "auc"}, "no figure of merit 'auc'"),
        ({"merit": "specificity:0.9:0.2"}, "range of specificity"),
        ({"level": 95}, "between 0 and 1"),
        ({"n_boot": 5}, "at least 100"),
        ({"margin": -0.1}, "--margin"),
    ],
)
def test_a_wrong_option_is_refused_and_leaves_nothing(
    options: dict[str, Any], said: str, reads: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "reads.csv"
    reads.to_csv(path, index=False)
    with pytest.raises(InputError, match=re.escape(said)):
        reader_study.run(Config(**{"reads": path, "out": tmp_path / "run", "n_boot": 100, **options}))
    assert [p.name for p in tmp_path.iterdir()] == ["reads.csv"]


def test_a_second_read_of_a_case_is_refused_with_its_row(reads: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=f"row {len(reads) + 2}"):
        ran(pd.concat([reads, reads.head(1)]), tmp_path)
    assert not (tmp_path / "run").exists()


def test_van_dyke_gives_the_published_numbers(tmp_path: Path) -> None:
    """MRMCaov's vignette: 0.8970370 and 0.9408374, difference 0.0438 (-0.00027 to 0.08787), p .0512."""
    path = data_dir("reader_studies", "VanDyke.csv")
    run = reader_study.run(Config(reads=path, threshold=3, reference="1", n_boot=100, out=tmp_path / "run"))
    found = {(m["name"], m["model"]): m for m in metrics(run) if not m["subgroup"]}
    assert found["auroc", "1"]["value"] == pytest.approx(0.8970370, abs=5e-8)
    assert found["auroc", "2"]["value"] == pytest.approx(0.9408374, abs=5e-8)
    difference = found["auroc_difference", "2 minus 1"]
    assert [difference["low"], difference["high"]] == pytest.approx([-0.0002665519, 0.0878671960], abs=5e-10)
    assert sections(run)["verdict"]["text"].startswith(
        "A difference in AUC (ROC) between modality 2 and modality 1 is not shown"
    )
    rated = found["kappa_ratings", "1"]
    ratings = pd.read_csv(path).query("treatment == 1").pivot(index="case", columns="reader", values="rating")
    pairs = [
        cohen_kappa_score(ratings[a], ratings[b], weights="quadratic") for a, b in combinations(ratings, 2)
    ]
    assert rated["value"] == pytest.approx(np.mean(pairs)) and rated["low"] < rated["value"] < rated["high"]
    assert found["sensitivity", "1"]["value"] == pytest.approx(0.8222, abs=5e-5)  # methods: rating >= 3
    assert found["sensitivity", "2"]["value"] == pytest.approx(0.92, abs=5e-5)


@pytest.fixture(scope="module")
def three() -> pd.DataFrame:
    """A third modality, barely better than the first."""
    made = phantom_readers.make(5, 60, missing=0, seed=3).table
    third = made[made["modality"] == "unaided"].assign(modality="third")
    rng = np.random.default_rng(0)
    score = third["score"] + 6 * third["y_true"] + rng.normal(0, 3, len(third))
    table = pd.concat([made, third.assign(score=score.round(1))])
    return table[["case_id", "y_true", "reader", "modality", "score", "decision"]]


def test_of_three_modalities_the_verdict_goes_by_holm(three: pd.DataFrame, tmp_path: Path) -> None:
    run = ran(three, tmp_path)
    rows = {row[1]: row for row in sections(run)["comparison_table"]["rows"] if row[0] == "AUC (ROC)"}
    assert list(rows) == ["aided - unaided", "third - unaided"] and rows["third - unaided"][4] != "–"
    verdict = sections(run)["verdict"]["text"]
    for name, row in rows.items():
        shown = float(row[4].lstrip("<")) < 0.05
        assert (f"higher for {name.split()[0]} than" in verdict) == shown
        assert f"Holm p {'< 0.0001' if row[4].startswith('<') else f'= {row[4]}'}" in verdict
    assert "difference aided minus unaided" in sections(run)["in_words"]["text"]


def test_reading_without_and_at_once_with_the_ai_is_a_fixed_order(
    reads: pd.DataFrame, tmp_path: Path
) -> None:
    """As a sequential design lists it: one session, each case unaided and then aided."""
    place = reads.groupby("reader")["case_id"].transform(lambda c: pd.factorize(c)[0])
    run = ran(
        reads.assign(session=1, order=2 * place + np.where(reads["modality"] == "aided", 2, 1)), tmp_path
    )
    assert "Every case was read first with unaided" in notes(run)
    assert not any("Reading time" in item["label"] for item in sections(run)["verdict"]["items"])


def test_the_mean_roc_has_the_area_that_is_printed_beside_it(reads: pd.DataFrame, tmp_path: Path) -> None:
    cases = sorted(reads["case_id"].unique())
    few = reads[(reads["reader"] != "reader 1") | reads["case_id"].isin(cases[::3])]
    run = ran(few, tmp_path)
    curve = pd.read_csv(run / "figures" / "roc.csv").query("reader == 'mean'")
    found = {m["model"]: m["value"] for m in metrics(run) if m["name"] == "auroc" and not m["subgroup"]}
    for modality, points in curve.groupby("modality"):
        assert np.trapezoid(points["sensitivity"], points["fpr"]) == pytest.approx(found[modality], abs=1e-6)


def test_a_secondary_figure_that_cannot_be_had_is_a_note(reads: pd.DataFrame, tmp_path: Path) -> None:
    run = ran(reads[reads["y_true"] == 1], tmp_path, merit="sensitivity")
    assert "Specificity: specificity needs negative cases" in notes(run)
    assert [row[0] for row in sections(run)["comparison_table"]["rows"]] == ["Sensitivity", "Accuracy"]


def test_decisions_alone_are_judged_by_accuracy_without_being_asked(
    reads: pd.DataFrame, tmp_path: Path
) -> None:
    run = ran(reads[["case_id", "y_true", "reader", "modality", "decision"]], tmp_path)
    assert sections(run)["comparison_table"]["rows"][0][0] == "Accuracy"


def test_names_of_modalities_keep_their_letters(reads: pd.DataFrame, tmp_path: Path) -> None:
    table = reads.assign(modality=reads["modality"].map({"unaided": "SFM", "aided": "FFDM"}))
    run = ran(table, tmp_path, margin=0.05, reference="SFM")
    assert "FFDM not worse than SFM by 0.05" in sections(run)["verdict"]["text"]


def test_readers_who_ignore_the_ai_are_not_said_to_follow_it(tmp_path: Path) -> None:
    """They change decisions all the same: the page must show how often without the AI's advice."""
    made = phantom_readers.make(8, 160, reliance=0.0, ai_auc=0.75, missing=0, seed=2).table
    rows = {row[0]: row for row in sections(ran(made, tmp_path))["bias"]["rows"]}
    wrong = [float(rows[f"of reads right alone where the AI is {w}: changed to wrong"][3].split()[0])
             for w in ("wrong", "right")]  # fmt: skip
    assert min(wrong) > 0.05 and abs(wrong[0] - wrong[1]) < 0.12
    assert not any("follow" in name or "misled" in name for name in rows)
