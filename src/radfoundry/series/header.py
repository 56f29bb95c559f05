"""What the headers of one series say, merged over its files and frames: all that rules and tag model see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SeriesHeader:
    """The tags of one series. Made by `tags.read_header`; nothing in it identifies a patient.

    values: DICOM keyword -> its distinct values (str, float or int; a multi-valued element such as Image
    Type is one tuple), in order of first sight over files and frames; what is absent or empty is left out.
    Keywords of the tag list (`tags.yaml`), with SeriesDescription and ProtocolName only when they were
    switched on; those that rules need beside them (`tags.RULE_TAGS`); "vendor:..." facts (`vendor.facts`).
    vendor: siemens, ge, philips, uih, canon, hitachi, hyperfine, or "" when unknown.
    n_images: slices in all, tiles of a mosaic and frames of a multi-frame object counted. n_positions:
    distinct slice positions; n_images / n_positions is about the number of volumes.
    normals: distinct slice normals, unit vectors in LPS, signs made comparable.
    b_values: s/mm², ascending, from the standard element, enhanced frames or the vendor's private ones.
    n_directions: distinct diffusion gradient directions. asl: how spin labelling is known, or "".
    inversion_times, echo_times, repetition_times in ms, ascending.
    private: keywords that only private elements told, InstanceCount among them where they alone tell how many
    tiles a mosaic has; what goes when an anonymiser takes private elements.
    notes: what had to be passed over, e.g. a private element with a wrong VR.
    """

    uid: str = ""
    values: Mapping[str, Values] = field(default_factory=dict)
    vendor: str = ""
    n_files: int = 0
    n_images: int = 0
    n_positions: int = 0
    normals: tuple[tuple[float, float, float], ...] = ()
    b_values: tuple[float, ...] = ()
    n_directions: int = 0
    asl: str = ""
    echo_times: tuple[float, ...] = ()
    repetition_times: tuple[float, ...] = ()
    inversion_times: tuple[float, ...] = ()
    private: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def first(self, keyword: str, default: Any = None) -> Any:
        """First value of a tag."""
        found = self.values.get(keyword)
        return found[0] if found else default

    def words(self, keyword: str) -> frozenset[str]:
        """All words of a tag in upper case, over every value and its parts.

        >>> SeriesHeader(values={"ImageType": (("ORIGINAL", "PRIMARY", "M"),)}).words("ImageType") >= {"M"}
        True
        """
        return frozenset(
            str(part).upper().strip()
            for value in self.values.get(keyword, ())
            for part in (value if isinstance(value, tuple) else (value,))
        )
