"""What the rules look at: the words and numbers of one header, in one dialect for all vendors.

Scanning Sequence, Sequence Variant and Scan Options are read as they stand in classic headers and derived
from the enhanced ones (Echo Pulse Sequence, Steady State Pulse Sequence, ...). Names of sequences are joined
into one lower-case string. Series Description and Protocol Name are no evidence here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from radfoundry.series.header import SeriesHeader
from radfoundry.series.labels import parted
from radfoundry.series.verdict import RuleVerdict


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set.

    >>> sorted(words("MIP MPR"))
    ['MIP', 'MPR']
    """
    return frozenset(text.split())


NAMES = ("SequenceName", "PulseSequenceName", "vendor:pulse_sequence", "vendor:technique")
DENIALS = words(
    "NO NON NONE NOT N NA NIL NIHIL NEVER WITHOUT WO UNENHANCED NATIVE NATIV PRE OFF FALSE OHNE KEIN KEINE "
    "SANS AUCUN SENZA SIN SEM ZONDER UTAN GEEN"
)
"""First words of Contrast/Bolus Agent, in some languages, that mean there was none."""
UNTOLD = words("UNKNOWN UNSPECIFIED SEE ANONYMIZED ANONYMISED REMOVED")
"""First words of it that say nothing, such as what an anonymiser writes; so does a row of X."""
AGENTS = words(
    "GADOVIST GADAVIST DOTAREM CLARISCAN CYCLOLUX MAGNEVIST MAGNEGITA PROHANCE MULTIHANCE OMNISCAN PRIMOVIST "
    "EOVIST ELUCIREM VUEWAY ABLAVAR VASOVIST OPTIMARK ARTIREM ENDOREM RESOVIST FERAHEME TESLASCAN GADOBUTROL "
    "GADOTERATE GADOTERIDOL GADOBENATE GADODIAMIDE GADOPENTETATE GADOXETATE GADOXETIC GADOPICLENOL "
    "GADOFOSVESET GADOVERSETAMIDE FERUMOXYTOL GADOLINIUM GADO GAD GD GBCA DTPA CONTRAST KM"
)
"""What Contrast/Bolus Agent may say in a trace: the rest of it is free text, which may hold a name."""
DERIVED_WORDS = words(
    "SUBTRACTION SUBTRACT SUB DIFFERENCE DIVISION MULTIPLICATION MAP T1_MAP T2_MAP T2STAR_MAP R1 R2 T_TEST "
    "Z_SCORE STD_DEVIATION MASKED QSM PARAMETRIC GLM T_MAP DESIGN"
)
"""Image Type words of results whose contrast TE and TR no longer tell."""
COMPONENTS = {"M": "MAGNITUDE", "P": "PHASE", "R": "REAL", "I": "IMAGINARY"}
EPI_BANDWIDTH = 900.0
"""Hz per pixel: with a train of 15 echoes or more, only EPI reads so fast (single-shot TSE stays below)."""


@dataclass(frozen=True)
class Facts:
    """One header, as rules see it. Times in ms, angles in degrees, lengths in mm, field in tesla."""

    header: SeriesHeader

    @property
    def vendor(self) -> str:
        return self.header.vendor

    def number(self, keyword: str) -> float | None:
        """First value of a tag as a number; None where it is absent or no number."""
        return _number(self.header.first(keyword))

    def word(self, keyword: str) -> str:
        """First value of a tag in upper case, "" where it is absent."""
        return str(self.header.first(keyword, "")).upper().strip()

    # --- the sequence

    @cached_property
    def sequence(self) -> frozenset[str]:
        """SE, GR, IR, EP, RM; from the enhanced attributes where Scanning Sequence is absent."""
        found = {
            word for word in self.header.words("ScanningSequence") if word in {"SE", "GR", "IR", "EP", "RM"}
        }
        echo = self.header.words("EchoPulseSequence")
        if not found & {"SE", "GR"} and len(echo) == 1:
            found |= {"SE"} if "SPIN" in echo else {"GR"} if "GRADIENT" in echo else set()
        if "YES" in self.header.words("InversionRecovery"):
            found.add("IR")
        if "YES" in self.header.words("EchoPlanarPulseSequence"):
            found.add("EP")
        if re.search(r"\bepfid|feepi|fe_epi|gre_epi|ep2d_(bold|fid|pace|perf|pasl)", self.name):
            found |= {"EP", "GR"}
        elif re.search(r"\bepse|seepi|se_epi|ep2d_(se|diff)", self.name):
            found |= {"EP", "SE"}
        elif re.search(r"\b(?:e[pz]|re)_b|\bep2d|\bepi\d?\b|epi_|_epi|dwissh|dwise", self.name):
            found.add("EP")
        return frozenset(found)

    @cached_property
    def variant(self) -> frozenset[str]:
        """Sequence Variant, with the enhanced Steady State Pulse Sequence in its words."""
        found = set(self.header.words("SequenceVariant"))
        steady = self.header.words("SteadyStatePulseSequence")
        if steady & {"FREE_PRECESSION", "TRANSVERSE", "LONGITUDINAL"}:
            found.add("SS")
        if "TIME_REVERSED" in steady:
            found.add("TRSS")
        return frozenset(found)

    @cached_property
    def options(self) -> frozenset[str]:
        return self.header.words("ScanOptions")

    @cached_property
    def name(self) -> str:
        """All names of the sequence in lower case, without the asterisk of a multi-shot Siemens name."""
        values = (str(v) for key in NAMES for v in self.header.values.get(key, ()))
        return " ".join(value.lower().replace("*", " ").replace("%", " ") for value in values).strip()

    def named(self, pattern: str) -> str:
        """What of the name matches a pattern, "" where nothing does."""
        found = re.search(pattern, self.name)
        return found[0].strip() if found else ""

    @property
    def epi(self) -> bool:
        """Echo planar: said, named, or a long train that is read too fast for spin echoes."""
        if "EP" in self.sequence:
            return True
        return self.train >= 15 and (self.number("PixelBandwidth") or 0) >= EPI_BANDWIDTH

    @property
    def spin(self) -> bool:
        """Spin echo and not echo planar."""
        return "SE" in self.sequence and "GR" not in self.sequence and not self.epi

    @property
    def gradient(self) -> bool:
        """Gradient echo and not echo planar."""
        return "GR" in self.sequence and "SE" not in self.sequence and not self.epi

    @property
    def gradient_epi(self) -> bool:
        return self.epi and "GR" in self.sequence and "SE" not in self.sequence

    @property
    def inverted(self) -> bool:
        return "IR" in self.sequence or self.ti is not None

    @property
    def spoiled(self) -> bool:
        """RF-spoiled gradient echo, by Sequence Variant or by name."""
        spoilt = (
            r"\bt?fl[23]d|\bfl_|tfl|spgr|fsp\b|_fsp|t1tfe|t1ffe|vibe|flash|lava|bravo|mprage|efgre3d|rssg"
        )
        told = self.header.words("Spoiling") & {"RF", "RF_AND_GRADIENT"}
        return "SP" in self.variant or bool(told) or bool(self.named(spoilt))

    @property
    def dixon(self) -> bool:
        """Fat and water were separated or sampled in and opposed phase."""
        return bool(
            self.tokens
            & {"W", "F", "IP", "OP", "WATER", "FAT", "IN", "OPP", "OUT", "IN_PHASE", "OUT_PHASE", "OPP_PHASE"}
        )

    # --- numbers

    @cached_property
    def tes(self) -> tuple[float, ...]:
        return tuple(te for te in self.header.echo_times if te > 0)

    @property
    def te(self) -> float | None:
        return self.tes[0] if self.tes else None

    @property
    def tr(self) -> float | None:
        times = [tr for tr in self.header.repetition_times if tr > 0]
        return times[0] if times else None

    @cached_property
    def tis(self) -> tuple[float, ...]:
        return tuple(ti for ti in self.header.inversion_times if ti > 0)

    @property
    def ti(self) -> float | None:
        return self.tis[0] if self.tis else None

    @property
    def flip(self) -> float | None:
        return self.number("FlipAngle")

    @cached_property
    def train(self) -> int:
        """Longest echo train that is told."""
        keys = ("EchoTrainLength", "RFEchoTrainLength", "GradientEchoTrainLength")
        numbers = [_number(v) for key in keys for v in self.header.values.get(key, ())]
        return int(max((n for n in numbers if n is not None), default=0))

    @property
    def tesla(self) -> float | None:
        """Field strength; some files write gauss or millitesla."""
        value = self.number("MagneticFieldStrength")
        if value is None or value <= 0:
            return None
        return value / 10_000 if value > 1000 else value / 1000 if value > 25 else value

    @property
    def b(self) -> float:
        """Largest b-value, 0 where none is known."""
        return max(self.header.b_values, default=0.0)

    @property
    def volumes(self) -> float:
        """Volumes of one echo, or the temporal positions that the header promises."""
        echoes = max(len(self.tes), 1)
        counted = self.header.n_images / max(self.header.n_positions, 1) / echoes
        keys = ("NumberOfTemporalPositions", "computed:temporal_positions")
        return max(counted, *(self.number(key) or 0.0 for key in keys))

    @property
    def dimension(self) -> str:
        """2D or 3D, "" where MR Acquisition Type does not say."""
        kinds = self.header.words("MRAcquisitionType")
        return next(iter(kinds)) if len(kinds) == 1 and kinds <= {"2D", "3D"} else ""

    @property
    def thickness(self) -> float | None:
        return self.number("SliceThickness")

    @property
    def pixel(self) -> float | None:
        """Smallest distance of reconstructed pixels."""
        return min(_numbers(self.header.first("PixelSpacing")), default=None)

    @property
    def acquired_pixel(self) -> float | None:
        """Coarser in-plane size as acquired: field of view over Acquisition Matrix."""
        rows, spacing = self.number("Rows"), self.pixel
        matrix = [n for n in _numbers(self.header.first("AcquisitionMatrix")) if n > 0]
        if not rows or spacing is None:
            return None
        return rows * spacing / min(matrix) if matrix else spacing

    # --- Image Type

    @cached_property
    def types(self) -> tuple[frozenset[str], ...]:
        """Each distinct Image Type as its words and the pieces of its words, upper case.

        Siemens XA keeps the old words (P, SWI, MNIP, ADC) in a private element, merged over the series: they
        are added, or stand alone where Image Type is gone, but for those that contradict each other.
        """
        found = tuple(_pieces(value) for value in self.header.values.get("ImageType", ()))
        words = self.header.words("vendor:image_kind")
        if self.vendor != "siemens" or not words & {"ORIGINAL", "DERIVED"}:
            return found
        for pair in ({"ORIGINAL", "DERIVED"}, {"M", "P"}):
            words = words - pair if pair <= words else words
        private = _pieces(tuple(words))
        return tuple(kind | private for kind in found) if found else (private,)

    @cached_property
    def tokens(self) -> frozenset[str]:
        return frozenset().union(*self.types)

    def every(self, words: Iterable[str]) -> str:
        """A word that stands in every Image Type of the series, "" where none of `words` does."""
        wanted = set(words)
        hits = [sorted(wanted & kind) for kind in self.types]
        return hits[0][0] if hits and all(hits) else ""

    @property
    def image_type(self) -> str:
        """First Image Type as DICOM writes it, without parts that are no code words."""
        value = self.header.first("ImageType", ())
        return "\\".join(code(str(part)) for part in (value if isinstance(value, tuple) else (value,)))

    @property
    def derived(self) -> bool:
        return "DERIVED" in self.tokens

    @property
    def plain(self) -> bool:
        """Image Type is there and says original, or derived without a word for another contrast.

        DERIVED\\SECONDARY without further words may be anything, so it is not plain.
        """
        if not self.types or self.tokens & DERIVED_WORDS:
            return False
        if any({"DERIVED", "SECONDARY"} <= kind for kind in self.types):
            return False
        return self.component <= {"MAGNITUDE"} and not self.phase_word

    @property
    def unprocessed(self) -> bool:
        """Plain, or without an Image Type that could deny it."""
        return self.plain or (not self.types and self.component <= {"MAGNITUDE"})

    @cached_property
    def component(self) -> frozenset[str]:
        """Complex Image Component, without MIXED, and what private elements say of it (M, P, R, I)."""
        told = self.header.words("ComplexImageComponent") | self.header.words("vendor:image_kind")
        return frozenset(COMPONENTS.get(word, word) for word in told) & frozenset(COMPONENTS.values())

    @property
    def phase_word(self) -> str:
        """What says that all images are phase images. PHASE CONTRAST M is Philips' magnitude of flow."""
        if self.component == {"PHASE"}:
            return "ComplexImageComponent PHASE"
        hit = self.every(("P", "PHASE_MAP", "PHASE", "P_FFE", "P_SE", "VELOCITY_MAP"))
        contrast = any(token.startswith("PHASE_CONTRAST_M") for token in self.tokens)
        # in and opposed phase are magnitude images; a P beside such a word still is one of phase
        fat_water = bool(self.tokens & {"IN_PHASE", "OUT_PHASE", "OPP_PHASE"}) and hit == "PHASE"
        return f"ImageType {self.image_type}" if hit and not contrast and not fat_water else ""

    @property
    def agent(self) -> bool | None:
        """Whether a contrast agent was given; None where the header does not say."""
        told = {agent_given(str(value)) for value in self.header.values.get("ContrastBolusAgent", ())}
        return True if True in told else False if False in told else None

    @property
    def agent_said(self) -> str:
        """ "agent" and the known one that is named; never the text of the element itself."""
        told = " ".join(str(value) for value in self.header.values.get("ContrastBolusAgent", ()))
        known = [word for word in re.findall(r"[A-Z]+", told.upper()) if word in AGENTS]
        return " ".join(("agent", *known[:1]))

    @property
    def oblique_planes(self) -> int:
        """Number of slice directions that stand at least 60 degrees apart."""
        apart: list[tuple[float, float, float]] = []
        for normal in self.header.normals:
            if all(abs(sum(a * b for a, b in zip(normal, other))) < 0.5 for other in apart):
                apart.append(normal)
        return len(apart)


Test = Callable[[Facts], str]


@dataclass(frozen=True)
class Rule:
    """One rule. test: facts -> what it saw ("EP + b-value 1000"), or "" to abstain.

    vendor: whose dialect it reads, or any. verdict: a modality, or other:KIND. reference: where the
    condition comes from. A vendor's rule also speaks where the vendor is not known.
    """

    name: str
    vendor: str
    verdict: str
    reference: str
    test: Test

    @property
    def condition(self) -> str:
        """The condition in words: the docstring of the test, on one line."""
        return " ".join((self.test.__doc__ or "").split())

    def __call__(self, facts: Facts) -> RuleVerdict | None:
        if self.vendor not in ("any", facts.vendor) and facts.vendor:
            return None
        seen = self.test(facts)
        if not seen:
            return None
        modality, kind = parted(self.verdict)
        return RuleVerdict(self.name, modality, kind, f"{seen} → {self.verdict}")


class Rulebook(list[Rule]):
    """Rules in order of precedence, added by decorating their tests."""

    def rule(self, name: str, verdict: str, reference: str, vendor: str = "any") -> Callable[[Test], Test]:
        def add(test: Test) -> Test:
            self.append(Rule(name, vendor, verdict, reference, test))
            return test

        return add


def show(value: float | None) -> str:
    """A number for a trace: without trailing zeros, at most two decimals."""
    return "?" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def code(text: str) -> str:
    """The value of an element of code words (VR CS) as it stands, for a trace, or "…" where it cannot be one.

    Words of a free text may look like code words: of such an element only words that are known may be shown.

    >>> code("M_FFE"), code("DOE^JOHN"), code("SCREEN SAVE")
    ('M_FFE', '…', 'SCREEN SAVE')
    """
    return text if re.fullmatch(r"[\w .+*/-]{1,32}", text, re.ASCII) else "…"


def within(value: float | None, low: float, high: float) -> bool:
    """low <= value <= high; False where the value is not known."""
    return value is not None and low <= value <= high


def _pieces(value: object) -> frozenset[str]:
    """Words of an Image Type with blanks as underscores, and their pieces: "B0 MAP" -> B0_MAP, B0, MAP.

    TENSOR_B0 and the like keep their own meaning: B0 is a piece only where the word begins with it.
    """
    words = [str(part).upper().strip() for part in (value if isinstance(value, tuple) else (value,))]
    found: set[str] = set()
    for word in words:
        pieces = [piece for piece in re.split(r"[^A-Z0-9]+", word) if piece]
        found.add("_".join(pieces))
        found.update(piece for i, piece in enumerate(pieces) if i == 0 or piece != "B0")
    return frozenset(found - {""})


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1e12 else None  # also false for NaN


def _numbers(value: object) -> list[float]:
    parts = value if isinstance(value, tuple | list) else (value,)
    return [number for number in map(_number, parts) if number is not None]


def agent_given(text: str) -> bool | None:
    """Whether Contrast/Bolus Agent names an agent, denies one (also an amount of zero), or says nothing.

    >>> agent_given("Dotarem 15 ml"), agent_given("w/o contrast"), agent_given("0 ml"), agent_given("--")
    (True, False, False, None)
    """
    parts = re.findall(r"[A-Z]+|\d+(?:[.,]\d+)?", text.upper().replace("W/O", "WO").replace("N/A", "NA"))
    if not parts or parts[0] in UNTOLD or set(parts[0]) == {"X"}:
        return None
    amounts = [float(part.replace(",", ".")) for part in parts if part[0].isdigit()]
    if parts[0][0].isdigit() and not any(amounts):
        return False
    return not (parts[0] in DENIALS or "NOT" in parts)
