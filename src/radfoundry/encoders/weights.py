"""Find weight files, verify them, read them without unpickling.

Only safetensors, and torch files that `weights_only=True` accepts, are ever opened.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.encoders.card import EncoderCard
from radfoundry.errors import MissingExtra, WeightsError
from radfoundry.optional import require

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "trunk_state_dict")
WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.pth")


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, over its configuration and weight files in order of name."""
    if path.is_dir():
        parts = sorted({p for pattern in ("config.json", *WEIGHT_FILES) for p in path.glob(pattern)})
        text = "".join(f"{p.name}:{digest(p)}\n" for p in parts)
        return hashlib.sha256(text.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def joined_digest(parts: Sequence[Path]) -> str:
    """SHA-256 of the file that these parts make, one behind the other."""
    found = hashlib.sha256()
    for part in parts:
        with part.open("rb") as stream:
            while block := stream.read(2**22):
                found.update(block)
    return found.hexdigest()


def text_digest(*parts: object) -> str:
    """SHA-256 standing in for weights that are drawn from a seed."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def verified_digest(path: Path, card: EncoderCard) -> tuple[str, bool]:
    """(digest, whether the card's checksum was held against it).

    A file of another name than the card's is the user's own conversion: it has no published checksum.
    """
    found = digest(path)
    if not card.checksum or path.name != card.weights_file:
        return found, False
    require_digest(found, path, card)
    return found, True


def require_digest(found: str, path: Path, card: EncoderCard) -> None:
    """WeightsError where a digest is not the one the card was published with."""
    if not found.startswith(card.checksum):
        raise WeightsError(
            f"{path} is not the file {card.name} was published with: SHA-256 starts {found[:16]}, "
            f"expected {card.checksum[:16]}. Delete it and fetch it again from {card.source}."
        )


def package_file(package: str, relative: str, *, install: str) -> Path:
    """A file inside an installed package; the package itself is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(f"the weights come in the package {package!r}, not installed here: {install}")
    path = Path(next(iter(spec.submodule_search_locations)), relative)
    if not path.is_file():
        raise WeightsError(f"{package} is installed but {relative} is not in it. Reinstall: {install}")
    return path


def existing(path: Path, card: EncoderCard) -> Path:
    """The path a user gave, if it exists."""
    if not path.exists():
        raise WeightsError(f"no weights at {path} for {card.name}. Check the path. {how_to_get(card)}")
    return path


def file_of(card: EncoderCard, given: Path | None) -> Path:
    """The file the user gave, or the one at the card's URL: from torch's cache, else downloaded there."""
    if given is not None:
        return existing(given, card)
    # Late, because they cost the listing of encoders a tenth of its time.
    import urllib.request
    from http.client import HTTPException

    torch = require("torch", extra="torch")
    path = Path(torch.hub.get_dir(), "checkpoints", card.weights_file)
    if path.is_file():
        return path
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        url = card.source.removeprefix("url:")
        with urllib.request.urlopen(url, timeout=20) as reply, part.open("wb") as out:
            shutil.copyfileobj(reply, out)
        part.replace(path)
    except (OSError, HTTPException) as cause:  # unreachable, refused, cut off, disk full
        raise WeightsError(f"{card.name} could not be fetched ({cause}). {how_to_get(card)}") from cause
    finally:
        part.unlink(missing_ok=True)
    return path


def hub_folder(
    repo: str, revision: str, card: EncoderCard, *, patterns: tuple[str, ...] = ("*.json", "*.safetensors")
) -> tuple[Path, str]:
    """(folder, commit) of a model hub's snapshot: from the local cache, else downloaded."""
    hub = require("huggingface_hub", extra="hf")
    for offline in (True, False):
        try:
            folder = hub.snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=offline,
                etag_timeout=10,
            )
        except Exception as cause:  # the hub's client raises a dozen kinds; all mean "not here"
            problem = cause
            continue
        if any(p for pattern in WEIGHT_FILES for p in Path(folder).glob(pattern)):
            return Path(folder), Path(folder).name
        problem = FileNotFoundError(f"{repo} holds no weights in a safe format")
    raise WeightsError(
        f"the weights of {card.name} could not be fetched from {repo}@{revision} "
        f"({type(problem).__name__}: {_first_line(problem)}). {how_to_get(card)}"
    ) from problem


def how_to_get(card: EncoderCard) -> str:
    """The next step for a user whose machine cannot reach the source."""
    if card.source.startswith("hf-hub:"):
        repo = card.source.removeprefix("hf-hub:")
        return (
            f"On a machine that reaches the hub: `hf download {repo} --revision {card.revision or 'main'} "
            f"--local-dir FOLDER`; bring FOLDER here and pass --weights FOLDER."
        )
    if card.source.startswith("local:"):
        return "It has to be the folder that holds config.json."
    where = card.source.removeprefix("url:")
    return f"Get {card.weights_file or 'the file'} from {where} and pass --weights FILE."


def read_state_dict(path: Path, *more: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from .safetensors, .pt, .pth or .bin; a wrapper (one of `WRAPPERS`) is opened.

    more: further parts of a file that was cut to pieces; they are joined in memory.
    """
    torch = require("torch", extra="torch")
    try:
        if path.suffix == ".safetensors":
            return require("safetensors.torch", extra="torch").load_file(path)
        file = BytesIO(b"".join(part.read_bytes() for part in (path, *more))) if more else path
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as cause:  # truncated zip, bad header, refused pickle: each library has its own
        raise WeightsError(
            f"{path} could not be read as plain tensors ({type(cause).__name__}: {_first_line(cause)}). It "
            "is truncated, or a pickled module, which is never opened because it can run code. Convert it "
            "where you trust it: torch.save(model.state_dict(), 'weights.pt')."
        ) from cause
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError(f"{path} is no state dict (names to tensors). Save model.state_dict() instead.")
    return dict(state)


def load_strict(
    module: torch.nn.Module,
    state: Mapping[str, Any],
    source: Path,
    *,
    ignore: Iterable[str] = (),
    prefix: str = "",
) -> None:
    """Load every tensor or refuse: a key missing, left over or of another shape means another network.

    prefix: what the file puts before the module's own names; errors name the keys as the file does.
    """
    own = {prefix + k: v for k, v in module.state_dict().items()}
    state = {k.removeprefix("module."): v for k, v in state.items()}
    for name in ignore:
        state.pop(name, None)
    missing = sorted(own.keys() - state.keys())
    extra = sorted(state.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if missing or extra or shapes:
        raise WeightsError(
            f"{source} belongs to another architecture: {len(missing)} tensors missing{_some(missing)}, "
            f"{len(extra)} unknown{_some(extra)}, {len(shapes)} of another shape{_some(shapes)}. "
            "Check that the file is the one the card names."
        )
    module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items()})


def _some(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""


def _first_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0][:200] if lines else "no message"
