"""Radiomics and lesion size of a cohort: computed once, in processes, kept in the store."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.cohort import Cohort, read_cohort
from radfoundry.encoders import Store, extractors
from radfoundry.encoders.extract import extract
from radfoundry.errors import RadfoundryError, UnknownName
from radfoundry.radiomics import PRESETS, feature_names, features
from tests.radiomics._made import lesion

QUICK = "radiomics:ct-plain,families=shape+firstorder,resample_mm=none"


def _cohort(folder: Path, empty: int | None = None, patients: int = 4) -> Cohort:
    rows = []
    for number in range(patients):
        volume, mask = lesion()
        image = volume.array + 10 * number
        marked = mask.array * (number != empty)
        for name, array in (("image", image), ("mask", marked)):
            nib.save(nib.Nifti1Image(array, volume.affine), folder / f"{name}{number}.nii.gz")
        rows.append({"case_id": f"SECRET{number}", "image": f"image{number}.nii.gz",
                     "mask": f"mask{number}.nii.gz", "y:label": number % 2})  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    (folder / "cohort.yaml").write_text("modality: CT\n")
    return read_cohort(folder / "cohort.csv")


@pytest.mark.parametrize("name", ["lesion-size", "radiomics", "radiomics:mr", QUICK])
def test_card_agrees_with_what_is_loaded(name: str) -> None:
    card = extractors.card(name)
    loaded = extractors.load(name)
    assert (card.name, card.dim) == (loaded.name, loaded.dim)
    assert len(set(loaded.features)) == loaded.dim
    assert card.traps and card.licence.name and not card.licence.restricted
    assert card.as_dict()["installed"]


def test_cards_need_neither_mirp_nor_numpy() -> None:
    code = (
        "import sys\nfrom radfoundry.encoders import extractors\n"
        "assert [extractors.card(n).dim for n in extractors.names()] == [3, 352]\n"
        'sys.exit(f\'{ {"mirp", "numpy", "pandas"} & set(sys.modules) }\' if '
        "{'mirp', 'numpy', 'pandas'} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_fingerprint_covers_settings_and_versions() -> None:
    assert extractors.load("radiomics").fingerprint == extractors.load("radiomics:ct").fingerprint
    assert extractors.load("radiomics").name == "radiomics"
    other = extractors.load("radiomics:ct,bin_width=10")
    assert other.fingerprint != extractors.load("radiomics").fingerprint
    assert other.settings["mirp"] and other.settings["bin_width"] == 10.0


@pytest.mark.parametrize("processes", [0, 2])
def test_cohort_to_store_and_back(tmp_path: Path, processes: int) -> None:
    pytest.importorskip("mirp", reason="radiomics need the extra radiomics")
    cohort = _cohort(tmp_path)
    loaded = extractors.load(QUICK)
    done: list[tuple[int, int]] = []
    first = extract(
        cohort, loaded, tmp_path / "store", processes=processes, progress=lambda *at: done.append(at)
    )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (first.timing["computed"], first.timing["read"], first.failures) == (4, 4, [])
    volume, mask = lesion()
    settings = replace(PRESETS["ct-plain"], families=("shape", "firstorder"), resample_mm=None)
    expected = features(volume, mask, settings).values.astype(np.float32)
    np.testing.assert_allclose(first.embeddings.vectors[0], expected, rtol=1e-6)  # NIfTI rounds spacing
    assert loaded.features == feature_names(settings)
    mean = loaded.features.index("firstorder_Mean")
    np.testing.assert_allclose(np.diff(first.embeddings.vectors[:, mean]), 10.0, rtol=1e-4)
    for path in tmp_path.glob("*.nii.gz"):  # the second time no image is opened: they could not be read
        size = path.stat()
        path.write_bytes(b"\0" * size.st_size)
        os.utime(path, ns=(size.st_atime_ns, size.st_mtime_ns))
    second = extract(cohort, loaded, tmp_path / "store", processes=processes)
    assert (second.timing["read"], second.timing["computed"], second.failures) == (0, 0, [])
    np.testing.assert_array_equal(second.embeddings.vectors, first.embeddings.vectors)
    kept = Store(tmp_path / "store").read(QUICK)
    np.testing.assert_array_equal(kept.vectors, first.embeddings.vectors)


def test_a_bad_mask_stops_nothing(tmp_path: Path) -> None:
    result = extract(_cohort(tmp_path, empty=1), extractors.load("lesion-size"), tmp_path / "store")
    assert result.embeddings.vectors.shape == (3, 3)
    ((case, column, message),) = result.failures
    assert (case, column) == ("SECRET1", "image")
    assert "is empty" in message


def test_undefined_features_are_kept_as_nan(tmp_path: Path) -> None:
    pytest.importorskip("mirp", reason="radiomics need the extra radiomics")
    loaded = extractors.load("radiomics:ct-plain,families=glcm,bin_width=5000,resample_mm=none")
    vectors = extract(_cohort(tmp_path, patients=2), loaded, tmp_path / "store").embeddings.vectors
    empty = np.isnan(vectors)
    assert [loaded.features[i] for i in np.flatnonzero(empty.any(axis=0))] == ["glcm_InverseVariance"]
    assert empty.all(axis=0).sum() == 1


def test_no_identifier_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mirp", reason="radiomics need the extra radiomics")
    with caplog.at_level(logging.DEBUG):
        extract(_cohort(tmp_path, patients=1), extractors.load(QUICK), tmp_path / "store", quiet=True)
    out = capfd.readouterr()
    assert "SECRET" not in out.out + out.err + caplog.text
    assert "mirp" not in out.out + out.err + caplog.text


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("radiomic", UnknownName, "Did you mean 'radiomics'"),
        ("lesion-size:3", RadfoundryError, "has no settings"),
        ("radiomics:", RadfoundryError, "Presets: ct, ct-plain, mr, pyradiomics"),
        ("radiomics:mrr", RadfoundryError, "Did you mean 'mr'"),
    ],
)
def test_wrong_names(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        extractors.load(name)


def test_command_line_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mirp", reason="radiomics need the extra radiomics")
    _cohort(tmp_path, empty=2)
    words = ["embed", str(tmp_path / "cohort.csv"), "--encoder", QUICK, "--store", str(tmp_path / "store")]
    assert main([*words, "--export", str(tmp_path / "out.parquet")]) == 1  # a case without a mask
    shown = capsys.readouterr()
    assert "3 of 4 images embedded with radiomics:ct-plain" in shown.out and "(42 numbers each)" in shown.out
    assert "is empty" in shown.err
    assert main([*words, "--json", "--workers", "1"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (
        report["timing"]["computed"] == 0 and report["timing"]["read"] == 1
    )  # the failed one is tried again
    assert report["provenance"]["features"][0] == "shape_MeshVolume"
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 3
