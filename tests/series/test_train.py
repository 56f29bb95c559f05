"""Training: it learns what is there, either half may be missing, it resumes exactly, and it is kept whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radfoundry.errors import InputError, WeightsError
from radfoundry.series import calibrate
from radfoundry.series import model as models
from radfoundry.series.encode import Tokens
from radfoundry.series.header import SeriesHeader
from radfoundry.series.onnx import export
from radfoundry.series.tags import load_tags
from radfoundry.series.train import PHANTOM, _dropped, _mixed, _partners, _split, looked, train
from tests.series.sorting import CONFIG, LABELS, TOWER, HashTower, examples, sorter


@pytest.fixture(scope="module")
def model():
    return sorter()


@pytest.mark.parametrize("look", models.LOOKS)
def test_each_half_alone_names_new_series(model, look):
    new = examples(90, seed=7)
    tokens = looked(model.tokens(new.headers, new.images), look)
    said = model.logits(tokens).modality.argmax(axis=1)
    right = np.mean([model.modalities[i] == label for i, label in zip(said, new.modality)])
    assert right > 0.9, "one label in three would be right by chance"


def test_labels_are_those_of_the_training_series(model):
    assert model.modalities == tuple(sorted(LABELS))
    assert model.anatomies == ("Brain", "Knee")
    assert set(model.calibration) == set(models.LOOKS)
    assert sum(model.trained["series"]) == 420


def test_an_empty_header_is_not_an_error(model):
    logits = model.logits(model.tokens([SeriesHeader()]))
    assert np.isfinite(logits.modality).all()


def test_a_saved_model_answers_the_same(model, tmp_path):
    model.save(tmp_path / "m")
    again = models.load(tmp_path / "m")
    new = examples(12, seed=3)
    np.testing.assert_allclose(
        again.logits(again.tokens(new.headers, new.images)).modality,
        model.logits(model.tokens(new.headers, new.images)).modality,
        atol=1e-5,
    )
    assert again.calibration == model.calibration
    assert not list((tmp_path / "m").glob("*partial*"))


@pytest.mark.parametrize("damage", ["no json", "bad json", "other format", "cut weights", "missing"])
def test_a_damaged_model_is_named(model, tmp_path, damage):
    model.save(tmp_path)
    if damage == "no json":
        (tmp_path / "model.json").unlink()
    elif damage == "bad json":
        (tmp_path / "model.json").write_text("{")
    elif damage == "other format":
        text = (tmp_path / "model.json").read_text()
        (tmp_path / "model.json").write_text(text.replace('"format": 2', '"format": 9'))
    elif damage == "cut weights":
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="no model of the series sorter"):
        models.load(tmp_path)


def test_an_interrupted_training_goes_on_to_the_same_model(tmp_path, model):
    state = tmp_path / "state.safetensors"
    seen: list[str] = []

    def stop(line: str) -> None:
        seen.append(line)
        if line.startswith("epoch 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sorter(state=state, log=stop)
    assert state.exists()
    seen.clear()
    resumed = sorter(state=state, log=seen.append)
    assert any(line.startswith("going on after epoch 3") for line in seen)
    new = examples(12, seed=3)
    np.testing.assert_allclose(
        resumed.logits(resumed.tokens(new.headers)).modality,
        model.logits(model.tokens(new.headers)).modality,
        atol=1e-4,
    )


def test_a_state_of_other_settings_is_not_taken(tmp_path):
    state = tmp_path / "state.safetensors"
    sorter(replace(CONFIG, epochs=1), state=state)
    seen: list[str] = []
    sorter(replace(CONFIG, epochs=1, tag_drop=0.2), state=state, log=seen.append)
    assert not any("going on" in line for line in seen)


def test_a_state_of_other_labels_is_not_taken(tmp_path):
    state, seen = tmp_path / "state.safetensors", []
    config, drawn = replace(CONFIG, epochs=1), examples(120)
    how = {"tower": TOWER, "text": HashTower("test"), "state": state, "log": seen.append}
    train(drawn, load_tags().tags, config, **how)
    train(drawn, load_tags().tags, config, **how)
    assert any("going on" in line for line in seen)
    seen.clear()
    mended = replace(drawn, modality=[LABELS[1] if m == LABELS[0] else LABELS[0] for m in drawn.modality])
    train(mended, load_tags().tags, config, **how)
    assert not any("going on" in line for line in seen)


def test_groups_are_never_parted():
    group = [f"p{i % 37}" for i in range(200)]
    parts = _split(group, seed=1)
    named = [{group[i] for i in part} for part in parts]
    assert sum(len(part) for part in parts) == 200
    assert all(part for part in named)
    assert not (named[0] & named[1] or named[0] & named[2] or named[1] & named[2])


def test_dropping_hides_and_never_changes_values():
    tokens = sorter(replace(CONFIG, epochs=1)).tokens(examples(60).headers, examples(60).images)
    drawn = _dropped(tokens, CONFIG, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.numbers, tokens.numbers)
    assert not (drawn.numbers_known & ~tokens.numbers_known).any()
    kept = drawn.numbers_known.sum() / tokens.numbers_known.sum()
    assert 0.4 < kept < 0.8, "tags hidden at 30 %, a whole header in 15 % of series"
    assert not (
        ~drawn.images_known.any(axis=1) & ~drawn.phrases_known.any(axis=1) & ~drawn.numbers_known.any(axis=1)
    ).any()


def test_too_few_groups_and_labels_are_refused():
    few = examples(24)
    with pytest.raises(InputError, match="10 patients or studies"):
        train(few, load_tags().tags, CONFIG, tower=TOWER, text=HashTower("test"))
    one = replace(few, modality=["T1"] * 24)
    with pytest.raises(InputError, match="1 labels have 3 series or more"):
        train(one, load_tags().tags, CONFIG, tower=TOWER, text=HashTower("test"))


@pytest.mark.parametrize(
    ("wrong", "said"), [({"image_tower": "r3d"}, "no image tower"), ({"epochs": 0}, "1 or more")]
)
def test_impossible_settings_are_refused_before_anything_is_drawn(wrong, said):
    with pytest.raises(InputError, match=said):
        replace(CONFIG, **wrong)


def test_onnx_answers_as_torch_does(model, tmp_path):
    pytest.importorskip("onnxruntime")
    from radfoundry.series.onnx import OnnxNet

    path = export(model, tmp_path / "m.onnx")
    new = examples(17, seed=5)
    tokens = model.tokens(new.headers, new.images)
    np.testing.assert_allclose(OnnxNet(path)(tokens).modality, model.logits(tokens).modality, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_errors_are_counted_on_real_series_and_taken_to_be_many_on_phantoms_alone(model):
    shares = [share for heads in model.errors.values() for share in heads.values()]
    assert len(shares) == 6 and all(0.02 <= share <= 0.75 for share in shares)
    assert model.errors["both"]["modality"] < calibrate.UNSEEN_ERRORS
    drawn = examples(120)
    phantoms = replace(drawn, group=[f"{PHANTOM}{group}" for group in drawn.group])
    other = train(phantoms, load_tags().tags, CONFIG, tower=TOWER, text=HashTower("test"))
    assert {v for heads in other.errors.values() for v in heads.values()} == {calibrate.UNSEEN_ERRORS}


def test_mixed_tags_are_those_of_a_series_of_the_same_label():
    rng = np.random.default_rng(0)
    y = np.array([0, 1] * 20 + [2])
    others = _partners(y, rng)
    assert (y[others] == y).all() and others[-1] == 40 and (others[:-1] != np.arange(40)).all()
    level = np.arange(41, dtype=np.float32)
    flat = np.ones((41, 6), bool)
    tokens = Tokens(
        np.tile(level[:, None, None], (1, 6, 3)), flat, np.tile(level[:, None, None], (1, 6, 5)),
        np.tile(level[:, None] % 2 == 0, (1, 6)), np.zeros((41, 2, 4), np.float32), flat[:, :2],
    )  # fmt: skip
    got = _mixed(tokens, tokens.take(others), 0.5, rng)
    swapped = got.phrases[..., 0] != level[:, None]
    assert 0.15 < swapped.mean() < 0.35  # half of the series, half of their tags
    assert (got.phrases[..., 0][swapped] == np.broadcast_to(others[:, None], swapped.shape)[swapped]).all()
    assert (got.numbers_known == (got.numbers[..., 0] % 2 == 0)).all()  # missing tags move with their values
    assert got.images is tokens.images
