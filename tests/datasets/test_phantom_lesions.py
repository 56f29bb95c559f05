"""Generated nodules: one seed, one file; the truth is what lies in the files; the knobs do what they say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import orientations
from scipy.stats import norm, rankdata

from radfoundry import io
from radfoundry.cli.main import main
from radfoundry.cohort import read_cohort
from radfoundry.datasets import phantom_lesions as lesions
from radfoundry.encoders.cases import read_case
from radfoundry.types import Volume

CHEAP = {"grid": (32, 32, 28), "spacing_mm": (2.4, 2.4, 2.5)}
"""The same pieces of lung in fifteen times fewer voxels."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 cases at low resolution: several orientations, both scanners, patients with several nodules."""
    folder = tmp_path_factory.mktemp("lesions")
    lesions.make(folder, n=24, **CHEAP)
    return folder


@pytest.fixture(scope="module")
def without_effect() -> list[lesions.Lesion]:
    return [lesions.draw(i, effect=0, volume_effect=0, **CHEAP) for i in range(200)]


@pytest.fixture(scope="module")
def with_effect() -> list[lesions.Lesion]:
    return [lesions.draw(i, effect=1, volume_effect=0, **CHEAP) for i in range(200)]


FEATURES = {
    "volume": lambda case: case.truth.volume_mm3,
    "mean HU": lambda case: case.image[case.mask > 0].mean(),
    "SD of HU": lambda case: case.image[case.mask > 0].std(),
    "spiculation": lambda case: case.truth.spiculation,
    "heterogeneity": lambda case: case.truth.heterogeneity,
    "stage": lambda case: case.truth.t_stage,
    "age": lambda case: case.truth.age,
    "scanner": lambda case: case.truth.scanner == "CT-1",
}


def area(label: np.ndarray, values: np.ndarray) -> float:
    """The area under the ROC curve, from the sum of ranks."""
    positive = int(label.sum())
    rank = rankdata(values)[label == 1].sum() - positive * (positive + 1) / 2
    return float(rank / (positive * (len(label) - positive)))


def auc(cases: list[lesions.Lesion], feature: str) -> float:
    label = np.array([c.truth.malignant for c in cases])
    return area(label, np.array([float(FEATURES[feature](c)) for c in cases]))


def chance(cases: list[lesions.Lesion], feature: str, level: float = 0.99) -> tuple[float, float]:
    """Where an AUC lies without any effect: labels shuffled over patients, who keep all their nodules."""
    rng = np.random.default_rng(0)
    values = rankdata([float(FEATURES[feature](c)) for c in cases])
    patient = np.unique([c.truth.patient_id for c in cases], return_inverse=True)[1]
    label = np.zeros(patient.max() + 1, int)
    label[patient] = [c.truth.malignant for c in cases]
    drawn = [area(rng.permutation(label)[patient], values) for _ in range(1000)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# --- reproducible --------------------------------------------------------------------------------------


def test_a_case_depends_neither_on_n_nor_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lesions, "WORTH_PROCESSES", 0)
    alone = lesions.make(tmp_path / "one", n=4, **CHEAP)
    shared = lesions.make(tmp_path / "two", n=6, workers=2, **CHEAP)
    assert shared.subset(range(4)).digest() == alone.digest()
    for i in range(4):
        assert alone.image_path(i).read_bytes() == shared.image_path(i).read_bytes()
        assert (alone.mask_path(i) or Path()).read_bytes() == (shared.mask_path(i) or Path()).read_bytes()
    rows = (tmp_path / "two" / "truth.csv").read_text().splitlines()
    assert (tmp_path / "one" / "truth.csv").read_text().splitlines() == rows[:5]


def test_the_seed_changes_the_picture() -> None:
    first, again, other = (lesions.draw(0, seed=s, **CHEAP) for s in (0, 0, 1))
    assert (first.image == again.image).all()
    assert first.truth == again.truth
    assert (first.image != other.image).mean() > 0.9


# --- files ---------------------------------------------------------------------------------------------


def test_the_cohort_can_be_read(small: Path) -> None:
    cohort = read_cohort(small)
    assert cohort.meta["modality"] == "CT"
    assert cohort.meta["settings"] == {
        "n": 24, "effect": 1.0, "volume_effect": 0.3, "seed": 0, "prevalence": 0.5, "several": 0.2,
        "grid": [32, 32, 28], "spacing_mm": [2.4, 2.4, 2.5], "size_mm": [9.0, 32.0],
    }  # fmt: skip
    assert cohort.targets == ["malignant"]
    assert cohort.covariates == ["age", "sex", "site", "scanner", "t_stage"]  # truth is not among them
    by_patient = cohort.table.groupby("patient_id")
    assert by_patient.size().max() > 1
    assert (by_patient[["y:malignant", "age", "sex", "scanner"]].nunique() == 1).all(axis=None)


def test_the_truth_is_what_lies_in_the_files(small: Path) -> None:
    cohort = read_cohort(small)
    with (small / cohort.meta["truth"]).open() as file:
        truth = {row["case_id"]: row for row in csv.DictReader(file)}
    assert list(truth) == cohort.table["case_id"].tolist()
    for i, row in cohort.table.iterrows():
        mask = nibabel.load(cohort.mask_path(i))
        image = nibabel.load(cohort.image_path(i))
        voxel = abs(np.linalg.det(mask.affine[:3, :3]))
        about = truth[row["case_id"]]
        assert np.asarray(mask.dataobj).sum() * voxel == pytest.approx(float(about["volume_mm3"]), rel=1e-4)
        assert row["truth:heterogeneity"] == float(about["heterogeneity"])
        assert mask.shape == image.shape
        assert (mask.affine == image.affine).all()
        assert image.get_data_dtype() == np.int16
        index = np.linalg.solve(image.affine, [-row["roi_x"], -row["roi_y"], row["roi_z"], 1])[:3]
        assert mask.dataobj[tuple(np.rint(index).astype(int))] == 1
        stored = "".join(orientations.aff2axcodes(image.affine))
        assert stored == about["orientation"].replace("oblique", "LPS")
    assert len({about["orientation"] for about in truth.values()}) >= 3


def test_readers_of_the_toolkit_agree_with_nibabel(small: Path) -> None:
    cohort = read_cohort(small)
    for i in range(len(cohort)):
        theirs = nibabel.load(cohort.image_path(i))
        ours = io.read(cohort.image_path(i))
        assert isinstance(ours, Volume)
        np.testing.assert_array_equal(ours.array, theirs.get_fdata())
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-6)
        assert ours.record == ()  # sform and qform agree, and the header needs no repair
        case = read_case(cohort, i)
        assert case.volume.unit == "HU"
        assert case.mask is not None
        assert case.lesion is not None


# --- what is drawn -------------------------------------------------------------------------------------


def test_a_nodule_is_dense_in_air_and_one_piece(with_effect: list[lesions.Lesion]) -> None:
    from scipy import ndimage

    for case in with_effect[:60]:
        inside = ndimage.binary_erosion(case.mask)
        if inside.sum() >= 5:
            assert -450 < case.image[inside].mean() < 250
        assert np.quantile(case.image, 0.1) < -800
        assert ndimage.label(case.mask, np.ones((3, 3, 3)))[1] == 1
        assert 8 < case.truth.diameter_mm < 33


def test_spikes_do_not_change_the_volume() -> None:
    """The same case drawn smooth and spiculated: the wanted volume within what voxels allow."""
    from radfoundry.datasets import phantom_nodule
    from radfoundry.datasets.phantom_lung import Field

    field, surface = Field((80, 80, 80), (0.5, 0.5, 0.5)), []
    for spiculation in (0.0, 0.5, 1.0):
        nodule = phantom_nodule.Nodule(2000.0, spiculation, 0.0, 30.0, (0.3, -0.2, 0.1))
        air = np.full(field.shape, -860, np.float32)
        hu, mask = phantom_nodule.draw(air, field, nodule, None, np.random.default_rng(3))
        assert mask.sum() * 0.125 == pytest.approx(2000, rel=0.03)
        assert hu[mask].mean() < 31
        surface.append(sum(np.abs(np.diff(mask.astype(int), axis=a)).sum() for a in range(3)))
    assert surface[0] < 0.95 * surface[1] < 0.9 * surface[2]


def test_heterogeneity_spreads_the_densities_and_keeps_their_mean() -> None:
    from scipy import ndimage

    from radfoundry.datasets import phantom_nodule
    from radfoundry.datasets.phantom_lung import Field

    field, means, spread = Field((60, 60, 60), (0.6, 0.6, 0.6)), [], []
    for heterogeneity in (0.0, 0.5, 1.0):
        nodule = phantom_nodule.Nodule(4000.0, 0.1, heterogeneity, 30.0, (0.0, 0.0, 0.0))
        air = np.full(field.shape, -860, np.float32)
        hu, mask = phantom_nodule.draw(air, field, nodule, None, np.random.default_rng(3))
        core = ndimage.binary_erosion(mask)
        means.append(hu[core].mean())
        spread.append(hu[core].std())
    assert np.ptp(means) < 25
    assert spread[0] < 12 < 60 < spread[1] < spread[2]


def test_the_sharp_kernel_is_noisier_and_its_noise_finer(with_effect: list[lesions.Lesion]) -> None:
    from radfoundry.datasets.phantom_lung import SCANNERS, Field, scan

    field, noise, fine = Field((64, 64, 16), (0.8, 0.8, 1.5)), {}, {}
    for name in ("CT-1", "CT-2"):
        air = scan(np.full(field.shape, -860, np.float32), field, SCANNERS[name], np.random.default_rng(0))
        noise[name] = air.std()
        fine[name] = np.corrcoef(air[1:].ravel(), air[:-1].ravel())[0, 1]
        assert abs(np.corrcoef(air[:, :, 2:].ravel(), air[:, :, :-2].ravel())[0, 1]) < 0.1
    assert noise["CT-2"] > 1.5 * noise["CT-1"]
    assert fine["CT-2"] < fine["CT-1"] - 0.1
    assert {c.truth.scanner for c in with_effect} == set(SCANNERS)


# --- knobs ---------------------------------------------------------------------------------------------


def test_without_effect_the_label_leaves_no_trace() -> None:
    """Other prevalences turn some labels and may change nothing else, not one voxel."""
    turned = 0
    for i in range(8):
        few, many = (lesions.draw(i, effect=0, volume_effect=0, prevalence=p, **CHEAP) for p in (0.1, 0.9))
        turned += few.truth.malignant != many.truth.malignant
        assert (few.image == many.image).all()
        assert (few.mask == many.mask).all()
        assert few.seed_lps == many.seed_lps
    assert turned >= 4


@pytest.mark.parametrize("feature", FEATURES)
def test_without_effect_simple_features_are_at_chance(
    feature: str, without_effect: list[lesions.Lesion]
) -> None:
    low, high = chance(without_effect, feature)
    # 150 patients in 200 cases, so that what patients share, such as age, has the widest interval.
    assert high - low < 0.33  # one that could not be missed would prove nothing
    assert low < auc(without_effect, feature) < high


@pytest.mark.parametrize("feature", ["spiculation", "heterogeneity"])
def test_effect_separates_the_traits(feature: str, with_effect: list[lesions.Lesion]) -> None:
    wanted = norm.cdf(lesions.SEPARATION / np.sqrt(2))
    assert auc(with_effect, feature) == pytest.approx(wanted, abs=0.08)


def test_effect_can_be_seen_in_the_pictures(
    with_effect: list[lesions.Lesion], without_effect: list[lesions.Lesion]
) -> None:
    assert auc(with_effect, "SD of HU") > 0.7 > auc(without_effect, "SD of HU")
    for feature in ("volume", "stage"):  # which effect leaves alone
        low, high = chance(with_effect, feature)
        assert low < auc(with_effect, feature) < high


@pytest.mark.parametrize("volume_effect", [0.3, 1.0])
def test_volume_effect_is_the_auc_that_is_stated(
    volume_effect: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(field, *_):  # the lung around it has no part in the volume, and takes longest to draw
        return np.full(field.shape, -860, np.float32)

    monkeypatch.setattr(lesions.phantom_lung, "lung", empty)
    drawn = [lesions.draw(i, effect=0, volume_effect=volume_effect, **CHEAP) for i in range(300)]
    assert auc(drawn, "volume") == pytest.approx(norm.cdf(volume_effect / np.sqrt(2)), abs=0.06)
    assert auc(drawn, "stage") > 0.52
    low, high = chance(drawn, "heterogeneity")
    assert low < auc(drawn, "heterogeneity") < high


def test_patients_share_the_label_and_prevalence_is_exact() -> None:
    people = [lesions.patient_of(i) for i in range(400)]
    assert people == sorted(people)
    assert 0.15 < np.mean(np.bincount(people)[:-1] > 1) < 0.25
    assert np.bincount(people).max() == 3
    cases = [lesions.draw(i, several=0, prevalence=0.3, grid=(16, 16, 16), spacing_mm=(4, 4, 4))
             for i in range(20)]  # fmt: skip
    assert sum(c.truth.malignant for c in cases) == 6


# --- options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("n", 1), ("effect", -1), ("effect", float("nan")), ("volume_effect", -0.1), ("prevalence", 1),
        ("several", 2), ("grid", (96, 96, 8)), ("grid", (96, 96)), ("spacing_mm", (1, 1, 0)),
        ("size_mm", (30, 10)), ("size_mm", (8, 60)), ("size_mm", (2, 30)),
    ],
)  # fmt: skip
def test_options_out_of_range(tmp_path: Path, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        lesions.make(tmp_path / "x", **{option: value})
    assert not (tmp_path / "x").exists()


def test_the_command_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cohort"
    words = ["cohort", "phantom", "--kind", "lesions", "--out", str(out), "--n", "2", "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["targets"]["malignant"]["kind"] == "binary"
    assert nibabel.load(read_cohort(out).image_path(0)).shape in {(96, 96, 48), (48, 96, 96), (96, 48, 96)}


@pytest.mark.parametrize(
    ("kind", "option", "value"), [("lesions", "--task", "fba"), ("radiographs", "--volume-effect", "1")]
)
def test_the_command_refuses_an_option_of_the_other_kind(
    kind: str, option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cohort"
    assert main(["cohort", "phantom", "--kind", kind, "--out", str(out), option, value]) == 2
    assert f"{option} belongs to" in capsys.readouterr().err
    assert not out.exists()
