"""Tasks for engines, in a module of their own so that a worker which looks them up starts quickly."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from radfoundry.errors import NotEnoughData


def square(x: int) -> int:
    return x * x


def dies_once(x: int, marker: Path) -> int:
    if x == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def dies_always(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def too_few(x: int) -> int:
    raise NotEnoughData(f"only {x} cases")


def total(array: np.ndarray, factor: int) -> float:
    return float(array.sum()) * factor
