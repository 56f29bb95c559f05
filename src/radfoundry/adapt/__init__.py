"""From embeddings or images to predictions: heads, thresholds, prior correction, transfer learning.

The names below are resolved on first use, so that importing this package needs neither scikit-learn
nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "make_head": "probe",
    "cross_predict": "cross",
    "save_head": "persist",
    "load_head": "persist",
    "BalancedEpochMLP": "mlp",
    "FineTune": "finetune",
    "make_bags": "pooling",
    "pool": "pooling",
    "PooledHead": "pooling",
    "AttentionPool": "pooling",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
