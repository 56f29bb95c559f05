"""Transfer learning on small made-up images; the measured run on real ones is marked slow."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from sklearn.metrics import accuracy_score, roc_auc_score  # noqa: E402

from radfoundry.adapt.augment import Augment, plain_view, shrink  # noqa: E402
from radfoundry.adapt.backbones import Net  # noqa: E402
from radfoundry.adapt.finetune import PRESETS, FineTune  # noqa: E402
from radfoundry.adapt.losses import class_weights, focal, make_loss, weighted_bce  # noqa: E402
from radfoundry.errors import InputError, InputMismatch, NotEnoughData, RunError, WeightsError  # noqa: E402
from tests._data import data_dir  # noqa: E402

from ._made import squares  # noqa: E402

# Random weights: the packaged ones are not needed to test the machinery.
TINY = {"pretrained": False, "size": 32, "batch_size": 16, "epochs": (2, 2), "lr": (1e-3, 1e-3),
        "batchnorm": "train", "unfreeze": 3, "ema": 0.5}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    X, y = squares(48)
    return X[:32], y[:32], (X[32:], y[32:])


def fit(data, **changes) -> FineTune:
    X, y, validation = data
    return FineTune(**(TINY | changes)).fit(X, y, validation=validation)


def test_class_weights_of_the_paediatric_study() -> None:
    """51 positives and 200 negatives give 2.46 and .63, as published for that study."""
    code = np.repeat([1, 0], [51, 200])
    assert class_weights(code, 2).round(2).tolist() == [0.63, 2.46]
    y = torch.as_tensor(code).float()
    weight = torch.as_tensor(class_weights(code, 2)).float()
    assert weighted_bce(torch.zeros(251), y, weight).item() == pytest.approx(math.log(2), rel=1e-5)


def test_focal_by_the_formula() -> None:
    p, y = np.array([0.9, 0.2, 0.6]), np.array([1, 0, 0])
    p_t, alpha_t = np.where(y == 1, p, 1 - p), np.where(y == 1, 0.25, 0.75)
    expected = (-alpha_t * (1 - p_t) ** 2 * np.log(p_t)).mean()
    got = focal(torch.as_tensor(np.log(p / (1 - p))), torch.as_tensor(y).double())
    assert got.item() == pytest.approx(expected, rel=1e-9)


def test_losses_refuse_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="cross-entropy"):
        make_loss("focal", np.arange(3), 3, 0.0, "cpu")


def test_plain_view_is_bicubic_enlargement() -> None:
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(images, (64, 64), mode="bicubic", align_corners=False)
    assert (plain_view(images, 64) - expected.clamp(0, 1))[:, :, 4:-4, 4:-4].abs().max() < 1e-5


def test_augmentation_turns_by_the_stated_angle_and_never_mirrors() -> None:
    """The brightest point stays on its side, within 7 degrees and the shift of where it was."""
    images = torch.zeros(64, 1, 64, 64)
    images[:, :, 30:34, 54:58] = 1
    view = Augment(rotation=7, shift=0.05, brightness=0).view(images, 64, torch.Generator().manual_seed(0))
    grid = torch.arange(64.0)
    mass = view.sum((1, 2, 3))
    row = (view.sum((1, 3)) * grid).sum(1) / mass - 31.5
    column = (view.sum((1, 2)) * grid).sum(1) / mass - 31.5
    assert column.min() > 24 * math.cos(math.radians(7)) - 2.5  # 1.6 px of shift and a pixel of blur
    angle = torch.rad2deg(torch.atan2(row, column)).abs()
    assert 5 < angle.max() < 7 + math.degrees(2.5 / 22)


def test_shrink_does_not_alias() -> None:
    stripes = torch.zeros(1, 1, 256, 256)
    stripes[..., ::2] = 1
    assert (shrink(stripes, 32)[..., 4:-4] - 0.5).abs().max() < 0.02
    assert shrink(stripes, 512) is stripes


def test_learns_and_chooses_its_threshold_on_validation(data) -> None:
    before = torch.random.get_rng_state()
    model = fit(data, epochs=(30, 0), loss="weighted-bce")
    assert torch.equal(before, torch.random.get_rng_state())
    X, y = data[2]
    assert roc_auc_score(y, model.predict_proba(X)[:, 1]) > 0.9
    assert model.threshold_ is not None and model.threshold_.n_validation == 16
    assert model.predict(X).tolist() == model.threshold_.decide(model.predict_proba(X)[:, 1]).tolist()


def test_interrupted_training_ends_at_the_same_weights(data, tmp_path) -> None:
    whole = fit(data)

    def stop(line: str) -> None:
        if "all 1" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data, checkpoint=tmp_path, progress=stop)
    lines: list[str] = []
    resumed = fit(data, checkpoint=tmp_path, progress=lines.append)
    assert 0 < len(lines) < len(whole.history_)
    for name, value in whole.nets_[0].state_dict().items():
        assert torch.equal(value, resumed.nets_[0].state_dict()[name]), name
    assert whole.history_ == resumed.history_
    with pytest.raises(RunError, match="other data or settings"):
        fit(data, checkpoint=tmp_path, seed=1)


def test_unfreezing_moves_only_the_last_blocks(data) -> None:
    model = fit(data, unfreeze=2, batchnorm="frozen", ema=0.0, patience=9)
    start = Net("efficientnet-lite0", 1, pretrained=False, seed=0)
    trained = {name for name, p in model.nets_[0].named_parameters() if p.requires_grad}
    assert trained == {"backbone._conv_head.weight", "backbone._bn1.weight", "backbone._bn1.bias",
                       "linear.weight", "linear.bias"}  # fmt: skip
    state = model.nets_[0].state_dict()
    running = [n for n in state if n.endswith("running_mean")]
    assert running and all(torch.equal(state[n], start.state_dict()[n]) for n in running)


def test_save_and_load(data, tmp_path) -> None:
    model = fit(data, seeds=2, epochs=(1, 1))
    path = tmp_path / "model.safetensors"
    model.save(path)
    read = FineTune.load(path)
    np.testing.assert_array_equal(read.predict_proba(data[0]), model.predict_proba(data[0]))
    assert read.threshold_ == model.threshold_ and len(read.nets_) == 2 and read.augment == model.augment
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(WeightsError, match="not a training state"):
        FineTune.load(path)


def test_three_classes_in_colour_without_validation() -> None:
    X, y = squares(24, k=3)
    labels = np.array(["a", "b", "c"])[y]
    colour = np.repeat(X[:, None], 3, axis=1)
    model = FineTune(**(TINY | {"loss": "cross-entropy", "epochs": (1, 1), "precision": "bf16"})).fit(
        colour, labels
    )
    proba = model.predict_proba(colour)
    np.testing.assert_allclose(proba.sum(1), 1)
    assert proba.shape == (24, 3) and model.threshold_ is None and set(model.predict(colour)) <= set("abc")


def test_mobilenet_v2(data) -> None:
    model = fit(data, backbone="mobilenet-v2", epochs=(1, 1), loss="focal")
    assert model.predict_proba(data[0]).shape == (32, 2)


def test_bad_input(data) -> None:
    X, y, validation = data
    with pytest.raises(InputMismatch, match=r"\[0, 1\]"):
        FineTune(**TINY).fit(X * 255, y)
    with pytest.raises(InputMismatch, match=r"\[0, 1\]"):
        FineTune(**TINY).fit(np.where(X > 0.5, np.nan, X), y)
    with pytest.raises(InputMismatch, match="must be"):
        FineTune(**TINY).fit(X[0], y)
    with pytest.raises(NotEnoughData, match="two classes"):
        FineTune(**TINY).fit(X, np.ones(32, int))
    with pytest.raises(NotEnoughData, match="validation has classes"):
        FineTune(**TINY).fit(X, y, validation=(validation[0], np.ones(16, int)))
    with pytest.raises(InputError, match="multiple of 32"):
        FineTune(**(TINY | {"size": 50})).fit(X, y)
    with pytest.raises(InputError, match="as many labels"):
        FineTune(**TINY).fit(X, y[:30])


@pytest.mark.slow
def test_pneumonia_small_images() -> None:
    """Official split of PneumoniaMNIST; the published ResNet-18 (28 px) has AUC .944, accuracy .854."""
    data = np.load(data_dir("medmnist", "pneumoniamnist_restored.npz"))
    image = {part: data[f"{part}_images"].astype(np.float32) / 255 for part in ("train", "val", "test")}
    label = {part: data[f"{part}_labels"][:, 0] for part in ("train", "val", "test")}
    model = FineTune(**PRESETS["small-images"])
    model.fit(image["train"], label["train"], validation=(image["val"], label["val"]))
    assert roc_auc_score(label["test"], model.predict_proba(image["test"])[:, 1]) >= 0.95
    assert accuracy_score(label["test"], model.predict(image["test"])) >= 0.85
