"""U-statistics: against counting by hand, the analysis of variance, published VIPER, and null studies."""

from __future__ import annotations

import math
import time
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.readers import analyse
from radfoundry.evaluate.readers.merits import merit_of
from radfoundry.evaluate.readers.reads import Reads, arrange, read
from radfoundry.evaluate.readers.u_statistics import Terms, _weighted, u_statistics
from tests._data import data_dir

AUROC = merit_of("auroc")
APART = np.array([1.0, -1.0])


@pytest.fixture(scope="module")
def vandyke() -> Reads:
    return read(data_dir("reader_studies", "VanDyke.csv"), threshold=3)


@pytest.fixture(scope="module")
def viper() -> pd.DataFrame:
    """20,382 reads, 43 readers, 715 cases, five sub-studies; recall 1 is yes, 2 is no."""
    table = pd.read_csv(data_dir("reader_studies", "viper_observations.csv.gz"))
    return table.assign(decision=2 - table["recall"])


def study(
    rng: np.random.Generator, *, readers: int = 6, n: int = 12, sd: float = 0.3, rounded: bool = False
) -> Reads:
    """Two modalities alike; n cases of each class."""
    y = np.repeat([0, 1], n)
    skill = 1.2 + sd * rng.normal(size=(2, readers)) / math.sqrt(2)
    rating = skill[..., None] * y + 0.8 * rng.normal(size=2 * n) + 0.6 * rng.normal(size=(2, readers, 2 * n))
    rating = np.round(rating) if rounded else rating
    names = [tuple(f"{kind}{i}" for i in range(size)) for kind, size in zip("mrc", rating.shape)]
    rows = pd.DataFrame({"case_id": names[2], "patient_id": names[2]})
    return Reads(*names, y, rating, (rating > 0.6).astype(float), rows)


def without(reads: Reads, keep: np.ndarray) -> Reads:
    """Reads where keep (I, J, n) holds."""
    return Reads(
        reads.modalities, reads.readers, reads.cases, reads.y, np.where(keep, reads.rating, np.nan),
        np.where(keep, reads.decision, np.nan), reads.rows,
    )  # fmt: skip


def split_plot(reads: Reads, blocks: int) -> Reads:
    """Readers and cases dealt into blocks; a reader reads the cases of his block alone."""
    of_reader = np.arange(len(reads.readers)) % blocks
    of_case = np.arange(len(reads.cases)) % blocks
    keep = np.broadcast_to(of_reader[:, None] == of_case, reads.rating.shape)
    return without(reads, keep)


def by_hand(reads: Reads, merit: str) -> tuple[np.ndarray, np.ndarray]:
    """Averages and covariance by listing every pair of terms."""
    data = reads.rating if merit == "auroc" else reads.decision
    terms: list[list[tuple[tuple[int, ...], float]]] = []
    positives, negatives = np.flatnonzero(reads.y == 1), np.flatnonzero(reads.y == 0)
    for own in data:
        found: list[tuple[tuple[int, ...], float]] = []
        for r in range(len(own)):
            if merit == "sensitivity":
                found += [((r, int(i)), own[r, i]) for i in positives if np.isfinite(own[r, i])]
                continue
            for i, j in product(positives, negatives):
                a, b = own[r, i], own[r, j]
                if np.isfinite(a + b):
                    found.append(((r, int(i), int(j)), float(a > b) + 0.5 * float(a == b)))
        terms.append(found)
    value = np.array([np.mean([v for _, v in found]) for found in terms])
    cov = np.empty((2, 2))
    for a, b in product(range(2), repeat=2):
        products = [
            v * w for (key, v), (other, w) in product(terms[a], terms[b])
            if all(x != z for x, z in zip(key, other))
        ]  # fmt: skip
        cov[a, b] = value[a] * value[b] - np.mean(products)
    return value, cov


@pytest.mark.parametrize("merit", ["auroc", "sensitivity"])
@pytest.mark.parametrize("design", ["crossed", "missing", "split-plot"])
def test_averages_and_covariances_are_those_counted_by_hand(merit: str, design: str) -> None:
    reads = study(np.random.default_rng(3), readers=4, n=5, rounded=True)
    if design == "missing":
        reads = without(reads, np.random.default_rng(0).random(reads.rating.shape) > 0.25)
    if design == "split-plot":
        reads = split_plot(reads, 2)
    value, cov = by_hand(reads, merit)
    found = u_statistics(reads, merit_of(merit), matched=False)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.cov == pytest.approx(cov, abs=1e-12)


@pytest.mark.parametrize(
    ("merit", "kind"),
    [
        ("auroc", "unbiased"),
        ("sensitivity", "jackknife"),
        ("specificity", "jackknife"),
        ("accuracy", "jackknife"),
    ],
)
def test_a_crossed_study_is_that_of_obuchowski_and_rockette(vandyke: Reads, merit: str, kind: str) -> None:
    """With the unbiased covariance, standard error, degrees of freedom and p are the same."""
    ours = analyse(vandyke, merit=merit, method="u-statistics")
    theirs = analyse(vandyke, merit=merit, covariance=kind)  # type: ignore[arg-type]
    for one, other in zip(ours.differences + ours.averages, theirs.differences + theirs.averages):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-9)
    assert ours.test is not None and theirs.test is not None
    assert (ours.test.statistic, ours.test.df2) == pytest.approx((theirs.test.statistic, theirs.test.df2))


def test_the_standard_error_beside_that_of_delong(vandyke: Reads) -> None:
    """VanDyke: 0.0206715 against 0.0206825 (published, unbiased and DeLong), 5 in 10,000 apart."""
    found = u_statistics(vandyke, AUROC).contrast(APART, 0.95)
    assert found.se == pytest.approx(0.02067154, abs=5e-9)
    assert found.df == pytest.approx(15.03418, abs=5e-6)
    assert 0.0206825 / found.se - 1 == pytest.approx(0.00053, abs=5e-6)


def test_readers_may_count_by_reads_or_alike() -> None:
    """In a crossed study it is one; where one reader read less, he counts less, or the same."""
    reads = study(np.random.default_rng(5))
    both = [u_statistics(reads, AUROC, weights) for weights in ("reads", "readers")]  # type: ignore[arg-type]
    assert both[0].value == pytest.approx(both[1].value) and both[0].cov == pytest.approx(both[1].cov)
    keep = np.full(reads.rating.shape, True)
    keep[:, 0, 2:10] = False
    fewer = without(reads, keep)
    alone = [one.value for one in analyse(fewer, method="u-statistics").readers]
    by_reader = u_statistics(fewer, AUROC, "readers")
    assert by_reader.value == pytest.approx(np.reshape(alone, (2, 6)).mean(axis=1))
    pairs = np.array([4 * 12, *[12 * 12] * 5])
    assert u_statistics(fewer, AUROC).value == pytest.approx(np.reshape(alone, (2, 6)) @ pairs / pairs.sum())


@pytest.mark.parametrize("merit", ["auroc", "sensitivity"])
def test_matched_products_weigh_rows_and_columns_as_the_averages_do(merit: str) -> None:
    """By listing all pairs of terms that share neither reader nor case."""
    reads = study(np.random.default_rng(3), readers=5, n=6, rounded=True)
    reads = without(reads, np.random.default_rng(1).random(reads.rating.shape) > 0.2)
    data = reads.rating if merit == "auroc" else reads.decision
    a, b = (Terms(own, reads.y, merit_of(merit), "reads") for own in data)
    left, right = _weighted(a, b, 200)
    weights = []
    for row, column in (left, right):
        weights.append(row[:, :, None] * column[:, None, :])
    keys = np.stack(np.meshgrid(*map(np.arange, weights[0].shape), indexing="ij"), axis=-1).reshape(-1, 3)
    keys = keys[:, : len(a.axes)]
    apart = (keys[:, None] != keys).all(axis=2)
    products = apart * np.outer(weights[0].ravel(), weights[1].ravel())
    of_a = products.sum(axis=1).reshape(weights[0].shape)
    wanted = a.by_row[:, :, None] * a.by_column[:, None, :] * a.scale[:, None, None]
    for axis in (1, 2):
        assert of_a.sum(axis=axis) == pytest.approx(wanted.sum(axis=axis), abs=1e-6)
    won = [np.stack([one.success(reader) for reader in range(5)]).ravel() for one in (a, b)]
    expected = (products * np.outer(*won)).sum() / products.sum()
    cov = u_statistics(reads, merit_of(merit)).cov[0, 1]
    assert cov == pytest.approx(a.mean * b.mean - expected, abs=1e-8)


def test_matching_keeps_missing_reads_from_drowning_the_variance() -> None:
    """100 studies with a fifth of the reads missing: the same variance on average, far steadier."""
    rng = np.random.default_rng(77)
    kept, plain = np.empty((2, 100))
    for run in range(100):
        reads = study(rng, readers=5, n=15)
        reads = without(reads, rng.random(reads.rating.shape) > 0.2)
        for found, matched in ((kept, True), (plain, False)):
            found[run] = APART @ u_statistics(reads, AUROC, matched=matched).cov @ APART
    apart = kept - plain
    assert abs(apart.mean()) < 3 * apart.std(ddof=1) / 10
    assert kept.std() < 0.6 * plain.std()
    assert (kept < 0).mean() < 0.15 < 0.2 < (plain < 0).mean()


def test_one_reader_of_most_reads_leaves_equal_weights() -> None:
    """Nobody else weighs enough to be paired with him: no matched weights exist."""
    reads = study(np.random.default_rng(4), readers=4, n=20)
    keep = np.full(reads.rating.shape, True)
    keep[:, 1:, 5:20] = keep[:, 1:, 25:] = False
    one, other = (u_statistics(without(reads, keep), AUROC, matched=m) for m in (True, False))
    assert one.cov == pytest.approx(other.cov, abs=1e-12)


def test_the_order_of_rows_changes_no_digit(viper: pd.DataFrame) -> None:
    rows = viper[viper["subStudyLabel"] == "challengeHighP"]
    one = u_statistics(arrange(rows, truth="cancerStatus455"), AUROC)
    other = u_statistics(arrange(rows.sample(frac=1, random_state=1), truth="cancerStatus455"), AUROC)
    assert np.array_equal(one.value, other.value) and np.array_equal(one.cov, other.cov)


def test_degrees_of_freedom_count_readers_less_groups_that_share_no_case() -> None:
    reads = study(np.random.default_rng(6), readers=8, n=12)
    assert u_statistics(reads, AUROC).df == pytest.approx([7, 7])
    assert u_statistics(split_plot(reads, 2), AUROC).df == pytest.approx([6, 6])
    assert u_statistics(split_plot(reads, 4), AUROC).df == pytest.approx([4, 4])


def test_readers_with_cases_of_their_own_are_independent_units() -> None:
    """Then the variance is that of a mean of independent readers, with readers - 1 degrees of freedom."""
    reads = split_plot(study(np.random.default_rng(7), readers=6, n=36), 6)
    found = u_statistics(reads, AUROC).contrast(APART, 0.95)
    ours = analyse(reads, method="u-statistics")
    apart = [one.difference for one in ours.reader_differences]
    assert found.value == pytest.approx(np.mean(apart))
    assert found.se == pytest.approx(np.std(apart, ddof=1) / math.sqrt(6))
    assert found.df == pytest.approx(5)


# ------------------------------------------------------------------ VIPER


def test_the_published_difference_of_viper(viper: pd.DataFrame) -> None:
    """Gallas et al., J Med Imaging 2019;6:015501, abstract: "biggest AUC difference: 0.047, SE = 0.023, p =
    0.047", in favour of screen-film; the p is of the normal distribution, as iMRMC takes it above 50 df."""
    found = {}
    for name, rows in viper.groupby("subStudyLabel"):
        reads = arrange(rows, truth="cancerStatus455")
        found[name] = u_statistics(reads, AUROC, matched=False).contrast(APART, 0.95)
    assert len(found) == 5 and all(one.value < 0 for one in found.values())  # FFDM minus SFM
    biggest = min(found.values(), key=lambda one: one.value)
    assert biggest is found["challengeHighP"]
    assert (round(-biggest.value, 3), round(biggest.se, 3)) == (0.047, 0.023)
    assert round(2 * stats.norm.sf(abs(biggest.statistic)), 3) == 0.047
    matched = u_statistics(
        arrange(viper[viper["subStudyLabel"] == "challengeHighP"], truth="cancerStatus455"), AUROC
    )
    assert matched.contrast(APART, 0.95).se == pytest.approx(biggest.se, rel=0.02)


@pytest.mark.parametrize("method", ["u-statistics", "bootstrap"])
def test_all_of_viper_takes_seconds_and_points_the_published_way(viper: pd.DataFrame, method: str) -> None:
    start = time.perf_counter()
    found = analyse(arrange(viper, truth="cancerStatus455"), method=method)  # type: ignore[arg-type]
    assert time.perf_counter() - start < 60
    apart = found.differences[0]
    assert (apart.model_a, apart.model_b) == ("FFDM", "SFM")
    assert apart.difference < 0 < apart.high and apart.low < apart.difference
    assert len(found.readers) == 86 and any("41108 of 61490 reads are missing" in n for n in found.notes)


def test_viper_decisions_are_analysed_too(viper: pd.DataFrame) -> None:
    reads = arrange(viper, truth="cancerStatus455")
    for merit in ("sensitivity", "specificity"):
        apart = analyse(reads, merit=merit, method="u-statistics").differences[0]
        assert apart.low < 0 < apart.high  # the paper: indeterminate


# ------------------------------------------------------------------ null studies


@pytest.mark.parametrize("blocks", [1, 2])
def test_without_a_difference_it_rejects_as_often_as_it_says(blocks: int) -> None:
    """150 crossed and split-plot null studies: 1 to 10 in 100 (nominal 5; standard error 1.8)."""
    rng = np.random.default_rng(12)
    p = []
    for _ in range(150):
        reads = study(rng, readers=6, n=16)
        reads = split_plot(reads, blocks) if blocks > 1 else reads
        p.append(u_statistics(reads, AUROC).contrast(APART, 0.95).p)
    rate = np.mean(np.array(p) < 0.05)
    assert 0.01 <= rate <= 0.10 and np.isnan(p).mean() < 0.03


def test_the_variance_is_unbiased() -> None:
    """Mean of the variance estimates against the variance of the estimates, split-plot, 250 studies."""
    rng = np.random.default_rng(8)
    found = [u_statistics(split_plot(study(rng, readers=4, n=8), 2), AUROC) for _ in range(250)]
    truth = np.var([APART @ one.value for one in found], ddof=1)
    claimed = np.mean([APART @ one.cov @ APART for one in found])
    assert claimed / truth == pytest.approx(1, abs=0.25)  # about 2.5 standard errors of the ratio


# ------------------------------------------------------------------ bad input


def test_one_reader_has_no_variance_over_readers() -> None:
    reads = study(np.random.default_rng(0), readers=1)
    with pytest.raises(NotEnoughData, match="hold them fixed"):
        u_statistics(reads, AUROC)
    with pytest.raises(NotEnoughData, match="fixed readers"):
        analyse(reads, method="u-statistics")


def test_a_figure_that_is_no_mean_over_reads_is_refused() -> None:
    with pytest.raises(NotEnoughData, match="no mean over reads"):
        analyse(study(np.random.default_rng(0)), merit="auroc_binormal", method="u-statistics")


def test_a_reader_without_a_class_is_named() -> None:
    reads = study(np.random.default_rng(0))
    keep = np.full(reads.rating.shape, True)
    keep[1, 2, reads.y == 1] = False
    with pytest.raises(NotEnoughData, match="reader r2 read no positive case in modality m1"):
        u_statistics(without(reads, keep), AUROC)


def test_a_negative_variance_is_refused_and_said() -> None:
    """Two readers, few cases: an unbiased variance may be negative; no interval is made of it."""
    for seed in range(200):
        reads = study(np.random.default_rng(seed), readers=2, n=4, sd=0.0)
        if APART @ u_statistics(reads, AUROC).cov @ APART < -1e-6:
            break
    found = analyse(reads, method="u-statistics", margin=0.1)
    apart = found.differences[0]
    assert math.isnan(apart.low) and math.isnan(apart.p) and "not positive" in str(apart.note)
    assert any("refused" in note and "bootstrap" in note for note in found.notes)
    assert "not tested" in str(found.noninferiority[0].note)


def test_readers_of_one_modality_each_are_compared_between_readers() -> None:
    """Unpaired readers: nothing of the reader cancels, so the error is larger than of paired ones."""
    reads = study(np.random.default_rng(9), readers=8, n=20, sd=0.6)
    keep = np.zeros(reads.rating.shape, bool)
    keep[0, :4], keep[1, 4:] = True, True
    unpaired = u_statistics(without(reads, keep), AUROC)
    assert unpaired.df == pytest.approx([3, 3])
    apart = unpaired.contrast(APART, 0.95)
    assert apart.se > u_statistics(reads, AUROC).contrast(APART, 0.95).se


def test_cases_of_one_patient_are_said_to_count_as_independent(vandyke: Reads) -> None:
    rows = vandyke.rows.assign(patient_id=vandyke.rows["case_id"].astype(int) // 2)
    note = "some patients have several cases: U-statistics take cases as independent"
    reads = arrange(rows)
    assert note in analyse(reads, method="u-statistics").notes
    assert note not in analyse(vandyke, method="u-statistics").notes
