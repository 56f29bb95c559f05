"""Volumes of a cohort: found, cut around their lesion, embedded once, and honest about what failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest

import radfoundry.encoders as encoders
from radfoundry.cli.main import main
from radfoundry.cohort import Cohort, read_cohort
from radfoundry.encoders.card import APACHE, EncoderCard
from radfoundry.encoders.cases import Choice, read_case
from radfoundry.encoders.encoder import Backend, Encoder, make_encoder
from radfoundry.encoders.extract import Extractor, extract
from radfoundry.errors import InputMismatch, TableError
from radfoundry.preprocess.volume_recipe import VolumeRecipe, Window
from radfoundry.types import Volume

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
AFFINE[:3, 3] = [20.0, 30.0, -10.0]
"""Stored as DICOM stores: columns towards left, rows towards posterior."""
SHAPE = (40, 36, 20)


def scan(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 300, SHAPE).astype(np.int16)


def save(array: np.ndarray, path: Path, affine: np.ndarray = AFFINE) -> str:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)  # type: ignore[attr-defined]
    return path.name


def ball(centre: tuple[int, int, int], radius: int = 3) -> np.ndarray:
    index = np.indices(SHAPE)
    away = sum((axis - c) ** 2 for axis, c in zip(index, centre, strict=True))
    return (away <= radius**2).astype(np.uint8)


def lps(index: tuple[int, int, int]) -> tuple[float, float, float]:
    ras = AFFINE @ [*index, 1]
    return float(-ras[0]), float(-ras[1]), float(ras[2])


def cohort(folder: Path, rows: list[dict[str, Any]], *, modality: str = "CT") -> Cohort:
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    (folder / "cohort.yaml").write_text(f"modality: {modality}\n")
    return read_cohort(folder / "cohort.csv")


def lesion_encoder(calls: list[tuple[int, ...]], **changes: Any) -> Encoder:
    """An encoder whose vector is the crop itself: 4x4x4 values around the lesion, in HU."""
    recipe = VolumeRecipe(
        "LPS", Window(0, 1, clip=False), (1.0, 1.0, 2.0), (4, 4, 4), "roi", centre="floor", **changes
    )
    card = EncoderCard(
        name="crop", title="crop", source="none", licence=APACHE, modalities=("CT",), recipe=recipe,
        output="crop", dim=64, citation="none", traps=("none",),
    )  # fmt: skip

    def forward(batch: np.ndarray) -> np.ndarray:
        calls.append(batch.shape)
        return batch.reshape(len(batch), -1)

    return make_encoder(card, Backend(forward, "numpy", "w"))


def around(array: np.ndarray, index: tuple[int, int, int]) -> np.ndarray:
    cut = tuple(slice(i - 2, i + 2) for i in index)
    return array[cut].astype(np.float32).ravel()


def test_several_lesions_of_one_patient_are_several_rows(tmp_path: Path) -> None:
    array, second = scan(), (25, 14, 11)
    image = save(array, tmp_path / "ct.nii.gz")
    mask = save(ball((12, 20, 8)), tmp_path / "mask.nii.gz")
    x, y, z = lps(second)
    table = cohort(tmp_path, [
        {"case_id": "p1-a", "patient_id": "p1", "image": image, "mask": mask},
        {"case_id": "p1-b", "patient_id": "p1", "image": image, "roi_x": x, "roi_y": y, "roi_z": z},
    ])  # fmt: skip
    calls: list[tuple[int, ...]] = []
    encoder = lesion_encoder(calls)
    result = encoders.embed(table, encoder, tmp_path / "store")
    assert result.failures == []
    np.testing.assert_allclose(result.embeddings.vectors[0], around(array, (12, 20, 8)), atol=1e-3)
    np.testing.assert_allclose(result.embeddings.vectors[1], around(array, second), atol=1e-3)
    assert calls == [(2, 1, 4, 4, 4)]
    store = encoders.Store(tmp_path / "store")
    rows = store.shelf(encoder).table().to_pandas().set_index("case_id")
    assert rows.roi["p1-b"] == f"point LPS {x:g}, {y:g}, {z:g}"
    assert rows.roi["p1-a"].startswith("mask, centroid, file ") and "nii" not in rows.roi["p1-a"]
    assert "centroid of the mask at LPS" in rows.record["p1-a"]
    assert "unit HU because the cohort says CT" in rows.record["p1-a"] and "axes LPS" in rows.record["p1-a"]
    again = encoders.embed(table, encoder, tmp_path / "store")
    assert again.timing["read"] == 0 and len(calls) == 1
    assert np.array_equal(again.embeddings.vectors, result.embeddings.vectors)
    assert np.array_equal(store.read("crop", ["p1-b"]).vectors[0], result.embeddings.vectors[1])


def test_a_changed_mask_is_computed_again_and_a_copied_one_is_not(tmp_path: Path) -> None:
    image = save(scan(), tmp_path / "ct.nii")
    mask = save(ball((12, 20, 8)), tmp_path / "mask.nii")
    rows = [{"case_id": "a", "image": image, "mask": mask}]
    calls: list[tuple[int, ...]] = []
    encoder, store = lesion_encoder(calls), tmp_path / "store"
    first = encoders.embed(cohort(tmp_path, rows), encoder, store)
    rows[0]["mask"] = save(ball((12, 20, 8)), tmp_path / "copy.nii")
    copied = encoders.embed(cohort(tmp_path, rows), encoder, store)
    assert copied.timing["read"] == 1 and len(calls) == 1
    assert copied.embeddings.key[0] == first.embeddings.key[0]
    rows[0]["mask"] = save(ball((13, 20, 8)), tmp_path / "moved.nii")
    moved = encoders.embed(cohort(tmp_path, rows), encoder, store)
    assert len(calls) == 2 and moved.embeddings.key[0] != first.embeddings.key[0]
    newest = encoders.Store(store).read("crop", ["a"]).vectors
    assert np.array_equal(newest, moved.embeddings.vectors)


def test_the_key_covers_geometry_and_lesion(tmp_path: Path) -> None:
    wide = AFFINE @ np.diag([1.0, 1.0, 1.5, 1.0])
    images = [save(scan(), tmp_path / "a.nii"), save(scan(), tmp_path / "b.nii", wide)]
    point = dict(zip(("roi_x", "roi_y", "roi_z"), lps((20, 18, 9)), strict=True))
    other = dict(zip(("roi_x", "roi_y", "roi_z"), lps((20, 18, 10)), strict=True))
    rows = [
        {"case_id": "a", "image": images[0], **point},
        {"case_id": "same", "image": images[0], **point},
        {"case_id": "spacing", "image": images[1], **point},
        {"case_id": "point", "image": images[0], **other},
    ]  # fmt: skip
    calls: list[tuple[int, ...]] = []
    result = encoders.embed(cohort(tmp_path, rows), lesion_encoder(calls), tmp_path / "store", batch_size=1)
    keys = result.embeddings.key
    assert keys[0] == keys[1] and len(set(keys)) == 3 and len(calls) == 3


def test_failures_are_named_and_stop_nothing(tmp_path: Path) -> None:
    image = save(scan(), tmp_path / "ct.nii.gz")
    good = save(ball((12, 20, 8)), tmp_path / "good.nii.gz")
    empty = save(np.zeros(SHAPE, np.uint8), tmp_path / "empty.nii.gz")
    other = AFFINE.copy()
    other[0, 3] += 7
    moved = save(ball((12, 20, 8)), tmp_path / "moved.nii.gz", other)
    four = save(np.zeros((4, 4, 4, 2), np.uint8), tmp_path / "four.nii.gz")
    offset = save(scan() + 2000, tmp_path / "offset.nii.gz")
    x, y, z = lps((20, 18, 9))
    rows = [
        {"case_id": "good", "image": image, "mask": good},
        {"case_id": "empty", "image": image, "mask": empty},
        {"case_id": "moved", "image": image, "mask": moved},
        {"case_id": "none", "image": image},
        {"case_id": "half", "image": image, "roi_x": x, "roi_y": y},
        {"case_id": "ras", "image": image, "roi_x": -x - 30, "roi_y": -y - 14, "roi_z": z},
        {"case_id": "four", "image": four, "mask": good},
        {"case_id": "offset", "image": offset, "mask": good},
    ]
    result = encoders.embed(cohort(tmp_path, rows), lesion_encoder([]), tmp_path / "store")
    assert result.embeddings.case_id.tolist() == ["good"]
    said = {case: message for case, _, message in result.failures}
    assert "is empty" in said["empty"] and "another geometry" in said["moved"]
    assert "no lesion is given" in said["none"] and "not all of roi_x, roi_y and roi_z" in said["half"]
    assert "outside the volume" in said["ras"] and "4D series" in said["four"]
    assert "not the Hounsfield units" in said["offset"]
    again = encoders.embed(cohort(tmp_path, rows), lesion_encoder([]), tmp_path / "store")
    assert len(again.failures) == 7 and again.timing["computed"] == 0


def test_pictures_and_volumes_are_not_confused(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    x, y, z = lps((20, 18, 9))
    rows = [{"case_id": "a", "image": "a.png", "roi_x": x, "roi_y": y, "roi_z": z}]
    flat = encoders.embed(cohort(tmp_path, rows), lesion_encoder([]), tmp_path / "s")
    assert "a single picture, no volume" in flat.failures[0][2]
    rows[0]["image"] = save(scan(), tmp_path / "ct.nii")
    raw = encoders.load("raw-pixels")
    deep = encoders.embed(cohort(tmp_path, rows), raw, tmp_path / "s")
    assert "20 slices" in deep.failures[0][2]
    with pytest.raises(InputMismatch, match="takes pictures"):
        raw.check(Volume(scan().astype(np.float32), AFFINE, "HU", "CT"))


def test_masks_are_found_by_the_name_of_the_image(tmp_path: Path) -> None:
    image = save(scan(), tmp_path / "a.nii")
    masks = {f"mask:{n}": save(ball(c), tmp_path / f"{n}.nii") for n, c in
             {"t1": (12, 20, 8), "t2": (20, 18, 9)}.items()}  # fmt: skip
    table = cohort(tmp_path, [{"case_id": "a", "image:t1": image, "image:t2": image, **masks}])
    for view, centre in (("t1", (12, 20, 8)), ("t2", (20, 18, 9))):
        case = read_case(table, 0, f"image:{view}")
        assert case.lesion is not None and case.lesion.centre == pytest.approx(lps(centre), abs=1e-6)
        assert case.mask is not None and case.mask.array.sum() == ball(centre).sum()
    chosen = read_case(table, 0, "image:t1", Choice(mask="t2")).lesion
    assert chosen is not None and chosen.centre == pytest.approx(lps((20, 18, 9)), abs=1e-6)
    with pytest.raises(TableError, match="no mask column 'x'"):
        read_case(table, 0, "image:t1", Choice(mask="x"))
    plain = cohort(tmp_path, [{"case_id": "a", "image": image, **masks}])
    with pytest.raises(TableError, match="Choose one: --mask mask:t1"):
        encoders.embed(plain, lesion_encoder([]), tmp_path / "s")
    bare = read_case(cohort(tmp_path, [{"case_id": "a", "image": image}]), 0)
    assert bare.mask is None and bare.lesion is None and bare.volume.array.shape == SHAPE


def test_volumes_of_any_size_share_a_batch_only_with_their_equals(tmp_path: Path) -> None:
    names = [save(scan(s)[:, :, : 10 + s // 2], tmp_path / f"{s}.nii") for s in range(4)]
    card = EncoderCard(
        name="any", title="any", source="none", licence=APACHE, modalities=("CT",), output="mean", dim=1,
        recipe=VolumeRecipe("RAS", Window(0, 1, clip=False)), citation="none", traps=("none",),
    )  # fmt: skip
    shapes: list[tuple[int, ...]] = []

    def forward(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        return batch.mean(axis=(1, 2, 3, 4))[:, None]

    encoder = make_encoder(card, Backend(forward, "numpy", "w"))
    rows = [{"case_id": str(s), "image": name} for s, name in enumerate(names)]
    result = encoders.embed(cohort(tmp_path, rows), encoder, tmp_path / "s", batch_size=8)
    assert [s[0] for s in shapes] == [2, 2] and shapes[0] != shapes[1]
    want = [scan(s)[:, :, : 10 + s // 2].mean() for s in range(4)]
    np.testing.assert_allclose(result.embeddings.vectors[:, 0], want, rtol=1e-3)


# --- extractors ----------------------------------------------------------------------------------------


def size_and_mean(volume: Volume, mask: Volume | None) -> np.ndarray:
    assert mask is not None
    inside = volume.array[mask.array > 0]
    return np.array([inside.size, inside.mean() if inside.size > 20 else np.nan])


SIZE = Extractor("size", ("voxels", "mean"), size_and_mean, {"version": 1})


def test_an_extractor_shares_the_store(tmp_path: Path) -> None:
    array, mask = scan(), ball((12, 20, 8))
    image, drawn = save(array, tmp_path / "ct.nii"), save(mask, tmp_path / "m.nii")
    x, y, z = lps((20, 18, 9))
    rows = [
        {"case_id": "a", "image": image, "mask": drawn},
        {"case_id": "b", "image": image, "roi_x": x, "roi_y": y, "roi_z": z},
        {"case_id": "c", "image": image, "mask": save(ball((12, 20, 8), 1), tmp_path / "small.nii")},
    ]
    table, store = cohort(tmp_path, rows), tmp_path / "store"
    result = extract(table, SIZE, store)
    want = [mask.sum(), array[mask > 0].mean()]
    np.testing.assert_allclose(result.embeddings.vectors, [want], rtol=1e-5)
    said = {case: message for case, _, message in result.failures}
    assert "needs a mask" in said["b"] and "no number for 1 features (mean)" in said["c"]
    about = encoders.Store(store).encoders()[0]
    assert about["provenance"]["features"] == ["voxels", "mean"] and about["dim"] == 2
    assert np.array_equal(encoders.Store(store).read("size", ["a"]).vectors, result.embeddings.vectors)
    assert extract(table, SIZE, store).timing["reused"] == 1
    changed = Extractor("size", SIZE.features, size_and_mean, {"version": 2}, missing=True)
    kept = extract(table, changed, store)
    assert changed.fingerprint != SIZE.fingerprint and kept.timing["computed"] == 2
    assert np.isnan(kept.embeddings.vectors[1, 1]) and kept.embeddings.vectors[1, 0] == 7


def test_an_extractor_runs_in_processes(tmp_path: Path) -> None:
    rows = [{
        "case_id": str(s), "image": save(scan(s), tmp_path / f"{s}.nii"),
        "mask": save(ball((10 + s, 20, 8)), tmp_path / f"m{s}.nii"),
    } for s in range(3)]  # fmt: skip
    table = cohort(tmp_path, rows)
    apart = Extractor("first", ("voxel",), first_voxel, {}, needs_mask=False)
    result = extract(table, apart, tmp_path / "store", processes=1)
    assert result.failures == []
    assert result.embeddings.vectors[:, 0].tolist() == [float(scan(s)[0, 0, 0]) for s in range(3)]


def first_voxel(volume: Volume, mask: Volume | None) -> np.ndarray:
    return volume.array[:1, 0, 0]


# --- the command ---------------------------------------------------------------------------------------


def test_the_command_embeds_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = save(scan(), tmp_path / "ct.nii.gz")
    labels = ball((12, 20, 8)) + 2 * ball((25, 14, 11))
    cohort(tmp_path, [{"case_id": "a", "image": image, "mask:gtv": save(labels, tmp_path / "m.nii.gz")}])
    call = ["embed", str(tmp_path / "cohort.csv"), "--encoder", "random:models-genesis", "--store",
            str(tmp_path / "store"), "--json"]  # fmt: skip
    assert main(call) == 1
    assert "labels 1, 2. Choose one" in json.loads(capsys.readouterr().out)["failures"][0]["message"]
    assert main([*call, "--mask", "gtv", "--label", "2", "--lesion", "box"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["embedded"] == 1 and report["dim"] == 512
    rows = encoders.Store(tmp_path / "store").read("random:models-genesis").vectors
    assert rows.shape == (1, 512) and np.isfinite(rows).all()
