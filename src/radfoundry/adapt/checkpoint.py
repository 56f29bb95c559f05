"""State of a training that may be interrupted: tensors and JSON in one safetensors file, replaced whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from radfoundry.adapt.persist import save_tensors
from radfoundry.errors import WeightsError

Tensors = dict[str, torch.Tensor]


def write(path: Path, parts: Mapping[str, Tensors], record: Mapping[str, Any]) -> None:
    """Write `parts` (name -> tensors) and `record` (JSON-ready); readers see the old file or the new.

    Raises RunError where it cannot be written.
    """
    from safetensors.torch import save_file

    flat = {
        f"{part}/{name}": t.detach().cpu().contiguous()
        for part, ts in parts.items()
        for name, t in ts.items()
    }
    about = {"radfoundry": json.dumps(record)}
    save_tensors(path, lambda part: save_file(flat, part, metadata=about))


def read(path: Path) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """What `write` wrote. WeightsError: not such a file, or a damaged one."""
    from safetensors import SafetensorError, safe_open

    parts: dict[str, Tensors] = {}
    try:
        with safe_open(str(path), "pt") as file:
            record = json.loads((file.metadata() or {})["radfoundry"])
            for key in file.keys():  # noqa: SIM118 - safe_open has no __iter__
                part, _, name = key.partition("/")
                parts.setdefault(part, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError, ValueError, KeyError) as cause:
        raise WeightsError(
            f"{path} is not a training state of radfoundry ({cause}); delete it and train again"
        ) from cause
    return parts, record


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """The optimiser's moments and step counts as flat tensors `index.key`."""
    states = optimizer.state_dict()["state"]
    return {
        f"{i}.{key}": torch.as_tensor(value) for i, state in states.items() for key, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
