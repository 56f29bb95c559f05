"""Losses for imbalanced classes. Logits in, mean over the batch out."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from radfoundry.errors import InputError

BINARY = ("weighted-bce", "focal")
LOSSES = (*BINARY, "cross-entropy")


def class_weights(code: np.ndarray, k: int) -> np.ndarray:
    """n / (k n_c): every class weighs the same in the sum.

    >>> class_weights(np.repeat([1, 0], [51, 200]), 2).round(3)  # 51 positive, 200 negative
    array([0.628, 2.461])
    """
    return len(code) / (k * np.bincount(code, minlength=k))


def weighted_bce(
    logit: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Binary cross-entropy; weight: (2,), of the negative and the positive class. logit, y: (n,)."""
    soft = y * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logit, soft, weight=weight[y.long()])


def focal(logit: torch.Tensor, y: torch.Tensor, gamma: float = 2.0, alpha: float = 0.25) -> torch.Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t; alpha_t is alpha for positives (Lin et al., ICCV 2017)."""
    cross_entropy = F.binary_cross_entropy_with_logits(logit, y, reduction="none")
    alpha_t = alpha * y + (1 - alpha) * (1 - y)
    return (alpha_t * (1 - (-cross_entropy).exp()) ** gamma * cross_entropy).mean()


def make_loss(name: str, code: np.ndarray, k: int, smoothing: float, device: str):
    """loss(logits (n, outputs), code (n,)) of that name; weights come from the training labels."""
    if name not in LOSSES or (k > 2 and name in BINARY):
        raise InputError(
            f"loss {name!r} does not fit {k} classes; use {'cross-entropy' if k > 2 else LOSSES}"
        )
    weight = torch.as_tensor(class_weights(code, k), dtype=torch.float32, device=device)
    if name == "weighted-bce":
        return lambda z, y: weighted_bce(z[:, 0], y.float(), weight, smoothing)
    if name == "focal":
        return lambda z, y: focal(z[:, 0], y.float())
    return lambda z, y: F.cross_entropy(z, y, weight=weight, label_smoothing=smoothing)
