"""`--weights`: each file goes to the encoder it was meant for, and to no other."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from radfoundry import encoders
from radfoundry.cli.main import main
from radfoundry.errors import InputError, UnknownName, WeightsError
from radfoundry.studies import inputs
from radfoundry.studies.embeddings_vs_radiomics import Config
from radfoundry.studies.options import local_weights

SEVERAL = ("fmcib", "astra-ct", "random:fmcib", "raw-pixels")


class Loaded(Exception):
    """Ends a run where an encoder would be loaded."""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a.pt and b.pt, which is where we are."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.pt", "b.pt", "a=1.pt"):
        Path(name).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (SEVERAL, ["a.pt"], {"fmcib": "a.pt"}),
        (SEVERAL, ["fmcib=a.pt"], {"fmcib": "a.pt"}),
        (SEVERAL, ["astra-ct=b.pt", "fmcib=a.pt"], {"fmcib": "a.pt", "astra-ct": "b.pt"}),
        (("fmcib", "merlin"), ["merlin=b.pt"], {"merlin": "b.pt"}),
        (("fmcib", "fmcib"), ["a.pt"], {"fmcib": "a.pt"}),
        (("hf-hub:o/n@1", "local:x"), ["a.pt"], {"hf-hub:o/n@1": "a.pt"}),
        (("efficientnet-lite0",), ["efficientnet-lite0=a.pt"], {"efficientnet-lite0": "a.pt"}),
        (("se-resnet50-3d",), ["a.pt"], {"se-resnet50-3d": "a.pt"}),
        (("fmcib",), ["a=1.pt"], {"fmcib": "a=1.pt"}),
        (SEVERAL, [], {}),
    ],
)
def test_each_file_has_one_owner(
    names: tuple[str, ...], given: list[str], expected: dict[str, str], files: Path
) -> None:
    assert local_weights(names, given) == {name: Path(file) for name, file in expected.items()}


@pytest.mark.parametrize(
    ("names", "given", "error", "match"),
    [
        (("fmcib", "merlin"), ["a.pt"], InputError, "--weights fmcib=FILE merlin=FILE"),
        (("fmcib", "merlin"), ["a.pt", "merlin=b.pt"], InputError, "of which encoder"),
        (("fmcib",), ["a.pt", "b.pt"], InputError, "of which encoder"),
        (("astra-ct",), ["a.pt"], InputError, "--weights astra-ct=a.pt"),
        (("raw-pixels", "random:fmcib"), ["a.pt"], InputError, "no encoder of --encoder has weights"),
        ((), ["a.pt"], InputError, "no encoder of --encoder has weights"),
        (SEVERAL, ["fmcip=a.pt"], InputError, "Did you mean 'fmcib'"),
        (SEVERAL, ["random:fmcib=a.pt"], InputError, "is no trained encoder"),
        (SEVERAL, ["fmcib=a.pt", "fmcib=b.pt"], InputError, "two files"),
        (SEVERAL, ["fmcib="], WeightsError, "no file or folder"),
        (SEVERAL, ["fmcib=gone.pt"], WeightsError, "gone.pt"),
        (("fmcib",), ["gone.pt"], WeightsError, "gone.pt"),
        (("fmcip",), ["a.pt"], UnknownName, "Did you mean 'fmcib'"),
    ],
)
def test_what_is_not_clear_is_refused(
    names: tuple[str, ...], given: list[str], error: type[Exception], match: str, files: Path
) -> None:
    with pytest.raises(error, match=match):
        local_weights(names, given)


def test_a_study_refuses_before_it_reads_or_writes(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--cohort", "nowhere.csv", "--encoder", "fmcib", "merlin", "--weights", "a.pt", "--out", "run"]
    assert main(["study", "run", "embeddings_vs_radiomics", *words]) == 2
    assert "of which encoder" in capsys.readouterr().err and not Path("run").exists()


def test_a_study_loads_every_encoder_from_its_own_file(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load(name: str, *, weights: Any = None, **_: Any) -> None:
        asked[name] = weights
        raise Loaded

    monkeypatch.setattr(encoders, "load", load)
    config = Config(encoder=("fmcib", "astra-ct"), weights=("fmcib=a.pt",))
    config.check()
    for name in SEVERAL:
        with pytest.raises(Loaded):
            inputs.embed(SimpleNamespace(), [], name, config)  # type: ignore[arg-type]  # never gets to the run
    assert asked == {"fmcib": Path("a.pt"), "astra-ct": None, "random:fmcib": None, "raw-pixels": None}


@pytest.mark.parametrize(
    ("given", "expected"),
    [(["a.pt"], {"rad-dino": "a.pt", "efficientnet-lite0": None}),
     (["efficientnet-lite0=b.pt", "rad-dino=a.pt"], {"rad-dino": "a.pt", "efficientnet-lite0": "b.pt"})],
)  # fmt: skip
def test_a_learning_curve_loads_every_encoder_from_its_own_file(
    given: list[str], expected: dict[str, str | None], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("i.png").write_bytes(b"")
    rows = "".join(f"c{i},p{i},i.png,{i % 2}\n" for i in range(40))
    Path("cohort.csv").write_text(f"case_id,patient_id,image,y:ila\n{rows}")
    asked: dict[str, Any] = {}

    def load(name: str, *, weights: Any = None, **_: Any) -> None:
        asked[name] = weights
        if len(asked) == 2:
            raise Loaded

    def nothing(cohort: Any, encoder: Any, store: Any) -> Any:
        return SimpleNamespace(failures=[], embeddings=SimpleNamespace(case_id=np.array([])))

    monkeypatch.setattr(encoders, "load", load)
    monkeypatch.setattr(import_module("radfoundry.encoders.embed"), "embed", nothing)
    monkeypatch.setattr(inputs, "matrix", lambda cohort, found: None)
    words = ["cohort.csv", "--encoder", "efficientnet-lite0", "rad-dino", "--weights", *given]
    with pytest.raises(Loaded):
        main(["plan", "learning-curve", *words])
    assert asked == {name: None if file is None else Path(file) for name, file in expected.items()}


def test_a_revision_goes_to_the_only_encoder_of_a_hub() -> None:
    config = Config(encoder=SEVERAL, revision="v2")
    config.check()
    assert [config.revision_of(name) for name in SEVERAL] == ["v2", None, None, None]
    assert Config(encoder=SEVERAL).revision_of("fmcib") is None


@pytest.mark.parametrize(
    ("names", "match"), [(("fmcib", "merlin"), "several encoders load"), (("astra-ct",), "no encoder loads")]
)
def test_a_revision_that_could_be_of_several_encoders_is_refused(names: tuple[str, ...], match: str) -> None:
    with pytest.raises(InputError, match=f"--revision v2: {match} weights of a hub"):
        Config(encoder=names, revision="v2").check()
