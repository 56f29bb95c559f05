"""Run a torch module as an encoder's network: device, precision, seeded initialisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.encoders import weights
from radfoundry.encoders.catalogue import Request
from radfoundry.encoders.encoder import Backend
from radfoundry.errors import RadfoundryError
from radfoundry.optional import require

if TYPE_CHECKING:
    import numpy as np
    import torch


def torch_device(name: str) -> torch.device:
    """The named device; RadfoundryError when it is not on this machine."""
    torch = require("torch", extra="torch")
    try:
        device = torch.device(name)
    except RuntimeError as cause:
        raise RadfoundryError(f"device {name!r} is unknown: use cpu, cuda, cuda:N or mps.") from cause
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RadfoundryError(f"device {name!r} was asked for, but torch sees no GPU here. Use --device cpu.")
    return device


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from `seed` without disturbing the process's own generator."""
    torch = require("torch", extra="torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def pooled(module: Any, batch: Any) -> Any:
    """The embedding of the networks in `nets`."""
    return module.embed(batch)


def plain_backend(
    net: torch.nn.Module,
    request: Request,
    path: Path | None,
    *,
    ignore: tuple[str, ...] = (),
    embed: Callable[[Any, Any], Any] = pooled,
) -> Backend:
    """A network of `nets` with the state dict at `path`, or as it is when path is None (a random twin).

    embed: (network, batch) to vectors.
    """
    if path is None:
        digest, verified = weights.text_digest(request.card.name, request.seed), True
    else:
        digest, verified = weights.verified_digest(path, request.card)
        weights.load_strict(net, weights.read_state_dict(path), path, ignore=ignore)
    forward, engine = runner(net, request, embed)
    return Backend(forward, engine, digest, verified=verified)


def runner(
    module: torch.nn.Module, request: Request, embed: Callable[[Any, Any], Any]
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """(forward, engine name): `embed(module, batch)` in inference mode, float32 in and out.

    bf16 is autocast; it is an option for torch networks and never chosen by "auto".
    """
    torch = require("torch", extra="torch")
    if request.precision == "openvino":
        raise RadfoundryError(
            f"{request.card.name} runs in torch; precision 'openvino' is offered for dinov2-s-focus. "
            "Use fp32 or bf16."
        )
    device = torch_device(request.device)
    module = module.eval().requires_grad_(False).to(device)
    low = request.precision == "bf16"

    def forward(batch: np.ndarray) -> np.ndarray:
        context = torch.autocast(device.type, dtype=torch.bfloat16) if low else nullcontext()
        with torch.inference_mode(), context:
            vectors = embed(module, torch.from_numpy(batch).to(device))
        return vectors.float().cpu().numpy()

    return forward, f"torch {'bf16 autocast' if low else 'fp32'} on {device.type}"
