"""The labels of the series sorter: modalities, kinds of `other`, anatomies, and how BIDS calls them.

They are data (`labels.yaml`), so a site adds its own without touching code; a model is bound to the labels
that it was trained with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from radfoundry.errors import InputError

OTHER = "other"
PACKAGED = Path(__file__).with_name("labels.yaml")
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Label:
    """One label. bids: (datatype, suffix), or None when BIDS has no place for it.

    entities: BIDS entities that the label itself fixes, e.g. {"acq": "swi"}. derived: computed from other
    images, so not raw data.
    """

    id: str
    name: str
    bids: tuple[str, str] | None = None
    entities: Mapping[str, str] = field(default_factory=dict)
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Labels:
    """All labels of one file; each mapping is by id, in the file's order, and ends the list with `other`."""

    modalities: Mapping[str, Label]
    kinds: Mapping[str, Label]
    anatomies: Mapping[str, Label]

    def of(self, modality: str, kind: str = "") -> Label:
        """The label of a verdict: the kind's own where the modality is `other` and the kind is known.

        Raises InputError for a modality that the file lacks; `require` says so before any work.
        """
        if modality == OTHER and kind in self.kinds:
            return self.kinds[kind]
        if modality not in self.modalities:
            raise InputError(f"the labels lack the modality {modality!r}. Add it to the file of labels")
        return self.modalities[modality]

    def require(self, said: Iterable[str], anatomies: Iterable[str], path: Path | None = None) -> None:
        """InputError that names what may be said and is not in the file; path: None for the packaged one.

        said: labels as `joined` writes them.
        """
        parts = [parted(label) for label in said]
        asked = (
            ("modalities", {modality for modality, _ in parts}, self.modalities),
            ("kinds", {kind for _, kind in parts if kind}, self.kinds),
            ("anatomies", set(anatomies), self.anatomies),
        )
        lacking = [
            f"{name} {', '.join(sorted(wanted - set(known)))}"
            for name, wanted, known in asked
            if wanted - set(known)
        ]
        if lacking and path is None:
            raise InputError(
                f"the packaged labels lack {'; '.join(lacking)}, which the model says. Pass --labels "
                "with the file that it was trained with"
            )
        if lacking:
            raise InputError(
                f"{path} lacks {'; '.join(lacking)}, which the rules or the model say. Add them; {PACKAGED} "
                "has those of the rules"
            )


def joined(modality: str, kind: str = "") -> str:
    """One label of a modality and a kind of `other`.

    >>> joined("other", "BOLD"), joined("T1"), parted("other:BOLD"), parted("T1")
    ('other:BOLD', 'T1', ('other', 'BOLD'), ('T1', ''))
    """
    return f"{modality}:{kind}" if kind else modality


def parted(label: str) -> tuple[str, str]:
    """(modality, kind) of a label; the kind is "" where there is none."""
    modality, _, kind = label.partition(":")
    return modality, kind


@cache
def load(path: Path = PACKAGED) -> Labels:
    """Labels of a YAML file. Raises InputError that names the entry which is not understood."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES:,} bytes, so it is no list of labels")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
        raise InputError(f"{path} could not be read as YAML: {cause}. See the packaged {PACKAGED}") from cause
    if not isinstance(data, dict) or data.get("format") != 1:
        raise InputError(f"{path} lacks `format: 1`. Start from a copy of {PACKAGED}")
    parts = {
        name: _labels(data.get(name), f"{path}: {name}") for name in ("modalities", "kinds", "anatomies")
    }
    for name in ("modalities", "anatomies"):
        if OTHER not in parts[name]:
            raise InputError(
                f"{path}: {name} lacks `{OTHER}`, which takes whatever is none of the rest. Add it"
            )
    return Labels(**parts)


def _labels(entries: Any, where: str) -> dict[str, Label]:
    if not isinstance(entries, dict) or not entries:
        raise InputError(
            f"{where} is no mapping of label to its description. Start from a copy of {PACKAGED}"
        )
    return {str(name): _label(str(name), entry, f"{where}.{name}") for name, entry in entries.items()}


def _label(name: str, entry: Any, where: str) -> Label:
    known = {"name", "bids", "entities", "derived"}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or set(entry) - known:
        raise InputError(
            f"{where} needs `name` and may have {', '.join(sorted(known - {'name'}))}. Correct it"
        )
    bids = entry.get("bids")
    if bids is not None and (not isinstance(bids, str) or len(bids.split("/")) != 2):
        raise InputError(f"{where} has bids {bids!r}, not datatype/suffix such as anat/T1w. Correct it")
    entities = entry.get("entities", {})
    if not isinstance(entities, dict) or not all(str(v).isalnum() for v in entities.values()):
        raise InputError(f"{where} has entities {entities!r}; BIDS takes letters and digits only. Correct it")
    return Label(
        name,
        entry["name"],
        (bids.split("/")[0], bids.split("/")[1]) if bids else None,
        {str(key): str(value) for key, value in entities.items()},
        bool(entry.get("derived", False)),
    )
