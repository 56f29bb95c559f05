"""The network of the series sorter as ONNX, for programs that have no torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.errors import RunError
from radfoundry.optional import require
from radfoundry.series.encode import Tokens
from radfoundry.series.model import Logits, SeriesModel, as_tensors

INPUTS = Tokens.__slots__
OUTPUTS = ("modality", "anatomy", "embedding")
TOLERANCE = 1e-3


def export(model: SeriesModel, path: Path) -> Path:
    """Write the network with a free batch size; inputs are named as the fields of `Tokens`.

    The file is run once beside the torch network before it takes its name. Raises RunError when the two
    differ by more than TOLERANCE, MissingExtra without onnx and onnxruntime.
    """
    import torch

    require("onnx", extra="series")
    tokens = _sample(model)
    partial = path.with_name(f".{path.stem}.partial.onnx")
    names = {name: {0: "series"} for name in (*INPUTS, *OUTPUTS)}
    with warnings.catch_warnings():
        # "might not generalise to other inputs": shapes are fixed but the batch, which is tried below
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            model.net.eval(),
            as_tensors(tokens),
            str(partial),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=names,
            opset_version=17,
            dynamo=False,
        )
    tokens = tokens.take(slice(1, 3))  # another batch size than the traced one
    wanted, found = model.logits(tokens), OnnxNet(partial)(tokens)
    gap = max(float(np.abs(getattr(wanted, name) - getattr(found, name)).max()) for name in OUTPUTS)
    if gap > TOLERANCE:
        partial.unlink()
        raise RunError(
            f"{path} was not written: ONNX and torch differ by {gap:.2g}. Try another torch or onnxruntime"
        )
    partial.replace(path)
    return path


def _sample(model: SeriesModel) -> Tokens:
    """Three series of noise: one with tags and slices, one without slices, one without tags."""
    rng, shape = np.random.default_rng(0), model.net.shape

    def drawn(*size: int) -> np.ndarray:
        return rng.normal(size=(3, *size)).astype(np.float32)

    known = [np.ones((3, n), bool) for n in (shape.text_tags, shape.number_tags, shape.image_tokens)]
    known[2][1] = False
    known[0][2] = known[1][2] = False
    return Tokens(
        drawn(shape.text_tags, shape.text_dim),
        known[0],
        drawn(shape.number_tags, shape.number_dim),
        known[1],
        drawn(shape.image_tokens, shape.image_dim),
        known[2],
    )


class OnnxNet:
    """An exported network: tokens -> Logits."""

    def __init__(self, path: Path, *, threads: int = 2) -> None:
        runtime = require("onnxruntime", extra="series")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session: Any = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, tokens: Tokens) -> Logits:
        """What the network says of each series, uncalibrated."""
        feed = {name: np.ascontiguousarray(getattr(tokens, name)) for name in INPUTS}
        return Logits(*(found.astype(np.float64) for found in self._session.run(list(OUTPUTS), feed)))
