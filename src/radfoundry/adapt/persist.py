"""Fitted heads as skops files, which execute nothing and refuse unknown types; safetensors files, whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from radfoundry.errors import WeightsError
from radfoundry.table_files import whole

# What a head of ours may contain beyond the types that skops trusts by itself.
TRUSTED = (
    "radfoundry.adapt.logistic.LogisticPath",
    "radfoundry.adapt.mlp.BalancedEpochMLP",
    "radfoundry.adapt.prior.AtTrainingPrevalence",
    "radfoundry.adapt.probe.Head",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "collections.OrderedDict",
    "collections.defaultdict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
)


def save_tensors(path: Path, save: Callable[[str], None]) -> None:
    """`save` a safetensors file under the name that it is given; `path` holds it whole or not at all.

    RunError: it cannot be written.
    """
    from safetensors import SafetensorError

    with whole(path) as part:
        try:
            save(str(part))
        except SafetensorError as cause:  # what its writer makes of a full disk
            raise OSError(str(cause)) from cause


def save_head(head: Any, path: str | Path) -> Path:
    """Write a fitted head to one .skops file (a zip of JSON and arrays); returns the path.

    WeightsError: the head holds a type that `load_head` would refuse, so that nothing is written. RunError:
    it cannot be written.
    """
    import skops.io

    path = Path(path)
    data = skops.io.dumps(head)
    _refuse_unknown(skops.io.get_untrusted_types(data=data), f"this {type(head).__name__}")
    with whole(path) as part:
        part.write_bytes(data)
    return path


def load_head(path: str | Path) -> Any:
    """Read a head that `save_head` wrote. WeightsError: not such a file, or a type outside TRUSTED."""
    import skops.io

    try:
        unknown = skops.io.get_untrusted_types(file=path)
    except (OSError, ValueError, KeyError, BadZipFile) as cause:
        raise WeightsError(
            f"{path} could not be read as a skops file ({cause}); save the head again"
        ) from cause
    _refuse_unknown(unknown, str(path))
    return skops.io.load(path, trusted=list(unknown))


def _refuse_unknown(types: list[str], what: str) -> None:
    unknown = sorted(set(types) - set(TRUSTED))
    if unknown:
        raise WeightsError(
            f"{what} holds types that are not trusted: {', '.join(unknown)}. Only heads of radfoundry.adapt "
            "are read; a plug-in head must bring its own loader"
        )
