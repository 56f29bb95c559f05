"""Network definitions in plain torch, with the key names of the published checkpoints.

Importing this package imports torch; nothing does so before a network is built.
"""

from __future__ import annotations

from torch import nn


def initialise(net: nn.Module) -> None:
    """He initialisation by fan-in, so that the signal of a random twin neither dies nor explodes.

    He et al. 2015, arXiv:1502.01852. Fan-out, usual in training code, starves depthwise convolutions.
    """
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
