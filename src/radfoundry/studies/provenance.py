"""What a run records of itself: the command, the versions, the class of machine."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Versions always recorded, and those recorded when something in the run imported them.
CORE = ("radfoundry", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "matplotlib", "pydicom")
IF_IMPORTED = {
    "torch": "torch",
    "transformers": "transformers",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "xgboost": "xgboost-cpu",
    "lightgbm": "lightgbm",
    "nibabel": "nibabel",
    "monai": "monai",
    "mirp": "mirp",
    "imblearn": "imbalanced-learn",
    "ray": "ray",
    "ahocorasick": "pyahocorasick",
    "sqlalchemy": "sqlalchemy",
    "alembic": "alembic",
    "httpx": "httpx",
    "xllamacpp": "xllamacpp",
}


def machine_class() -> dict[str, Any]:
    """Processor model, count and memory: enough to judge a timing, too little to find the machine."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux says more than Python does
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = found[1].strip() if found else model
    memory = None
    with contextlib.suppress(ValueError, OSError, AttributeError):  # not every system has sysconf
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "memory_gib": memory,
        "system": f"{platform.system()} {platform.machine()}",
    }


def command_line(words: Sequence[str] | None = None) -> str:
    """The command as typed, for the manifest; the program's own path is left out."""
    words = sys.argv if words is None else words
    return shlex.join(["radfoundry", *words[1:]])


def versions() -> dict[str, str]:
    """Distribution to version: of the core, and of what this process has imported by now."""
    names = [*CORE, *(dist for module, dist in IF_IMPORTED.items() if module in sys.modules)]
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):  # installed under another name, or from source
            found[name] = version(name)
    return found
