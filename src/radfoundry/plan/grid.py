"""The grid of an ablation: which feature sets, which factors with which levels, and the cells they make.

A grid is a small YAML file of plain values:

    target: progression
    features:
      FMCIB:     {table: fmcib.parquet}
      radiomics: {table: radiomics.csv, columns: ["original_*"]}
      clinical:  {columns: [age, sex]}
      volume:    {table: radiomics.csv, columns: [original_shape_MeshVolume], role: volume}
      shuffled:  {table: fmcib_shuffled.parquet, role: control, of: FMCIB}
      FMCIB + clinical: {join: [FMCIB, clinical]}
    vary:
      normalisation: [z, none]
      classifier: [logistic, forest]
    design: full

A cell is one level of every factor; its address names them all, so that any cell can be run alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, cast, get_args

from radfoundry import yaml_files
from radfoundry.errors import InputError, UnknownName
from radfoundry.registry import nearest

ANY = "any set"
"""What the choice among all feature sets is called, so no set of a grid may be."""

MOST_BYTES = 1_000_000
"""A grid is a page of text; a larger file is something else."""

LEVELS: dict[str, tuple[str, ...]] = {
    "imbalance": ("none", "class-weight", "over", "under", "smote"),
    "normalisation": ("none", "z", "robust", "min-max", "quantile", "l2"),
    "selector": ("none", "anova", "mutual-information", "mrmr", "l1", "rfe", "forest", "pca"),
    "classifier": (
        "logistic", "svm-linear", "svm-rbf", "forest", "xgboost", "lightgbm", "knn", "lda", "naive-bayes",
        "mlp",
    ),
}  # fmt: skip
FACTORS = ("features", "sample_size", "normalisation", "selector", "k", "imbalance", "classifier")
"""In the order of the pipeline: the steps that cells share come first."""

WEIGHTLESS = ("knn", "lda", "naive-bayes")
"""Class weights leave the order of their scores, hence the AUC, as it was."""

SELF_SIZED = ("pca", "l1")
"""Selectors that mean something without a number to keep: all components, all features with a weight."""

Role = Literal["main", "clinical", "volume", "control"]
Design = Literal["full", "one-at-a-time"]
Pool = Literal["none", "mean", "max", "largest"]


@dataclass(frozen=True)
class FeatureSpec:
    """Where a feature set comes from.

    table: a file with `case_id` and a column `vector`, or numeric columns; None: columns of the cohort.
    columns: names or patterns (`original_*`); all numeric ones when empty. join: names of other sets to put
    side by side. role: clinical and volume are what a model of the image has to beat; a control must not
    work. of: the set that a control was made from. pool: how the lesions of a patient become one case, where
    it differs from the grid's.
    """

    table: Path | None = None
    columns: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    role: Role = "main"
    of: str = ""
    pool: Pool | None = None


@dataclass(frozen=True, order=True)
class Cell:
    """One pipeline on one feature set. labels: true, or shuffled (a control that must be at chance)."""

    features: str
    sample_size: float = 1.0
    normalisation: str = "z"
    selector: str = "none"
    k: int = 0
    imbalance: str = "none"
    classifier: str = "logistic"
    labels: str = "true"

    @property
    def address(self) -> str:
        """Every factor and its level, as `--only` takes them.

        >>> Cell("FMCIB", selector="anova", k=20).address
        'features=FMCIB,sample_size=1,normalisation=z,selector=anova,k=20,imbalance=none,classifier=logistic'
        """
        words = [f"{name}={self.level(name)}" for name in FACTORS]
        return ",".join([*words, *(["labels=shuffled"] if self.labels == "shuffled" else [])])

    def level(self, factor: str) -> str:
        """The level of a factor as text; k of a selector that keeps all is `all`."""
        value = getattr(self, factor)
        if factor == "k":
            return str(value) if value else "all"
        return f"{value:g}" if factor == "sample_size" else str(value)

    def __str__(self) -> str:
        chosen = "" if self.selector == "none" else f", {self.selector} {self.level('k')}"
        rest = "" if self.imbalance == "none" else f", {self.imbalance}"
        size = "" if self.sample_size == 1 else f", {self.sample_size:.0%} of the cases"
        shuffled = ", shuffled labels" if self.labels == "shuffled" else ""
        return f"{self.features}: {self.normalisation}{chosen}{rest}, {self.classifier}{size}{shuffled}"


@dataclass(frozen=True)
class Grid:
    """Everything an ablation is asked to do, beside the data.

    vary: factor to levels (k: 0 stands for all). design: `full` crosses all factors; `one-at-a-time` varies
    each from the reference cell alone. repeats, folds, inner: of the nested cross-validation. pool: make one
    case of the lesions of a patient; none keeps a row a lesion (patients still stay together in splits).
    """

    features: Mapping[str, FeatureSpec]
    vary: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    design: Design = "full"
    target: str | None = None
    cohort: Path | None = None
    repeats: int = 10
    folds: int = 5
    inner: int = 5
    shuffled_labels: bool = True
    seed: int = 0
    pool: Pool = "none"

    def __post_init__(self) -> None:
        if not self.features:
            raise InputError("a grid needs at least one feature set under `features:`")
        for name, spec in self.features.items():
            for other in (*spec.join, *([spec.of] if spec.of else [])):
                if other not in self.features:
                    raise UnknownName(
                        f"features: {name!r} refers to {other!r}, which is no feature set."
                        f"{nearest(other, self.features)} Known: {', '.join(self.features)}"
                    )
                if self.features[other].join:
                    raise InputError(
                        f"features: {name!r} refers to {other!r}, which is joined itself. Name its parts"
                    )
        apart = [name for name, spec in self.features.items() if spec.pool and self.pool == "none"]
        if apart:
            raise InputError(
                f"features: {apart[0]}: pool makes one case of a patient, so all sets need it. "
                "Add `pool: mean` to the grid"
            )
        self._check_selectors()
        if self.repeats < 1 or self.folds < 2 or self.inner < 2:
            raise InputError(
                "repeats must be 1 or more, folds and inner 2 or more; the grid says "
                f"{self.repeats}, {self.folds} and {self.inner}"
            )

    def _check_selectors(self) -> None:
        """A selector that keeps every feature selects nothing: it needs a number to keep."""
        named = [*self.vary.get("selector", ()), self.reference.get("selector", "none")]
        ranking = [name for name in dict.fromkeys(named) if name not in ("none", *SELF_SIZED)]
        if ranking and not any([*self.vary.get("k", ()), self.reference.get("k", 0)]):
            raise InputError(
                f"selector {', '.join(ranking)}: how many features are to be kept? Add `k: [20]` to `vary:`"
            )

    @property
    def mains(self) -> list[str]:
        """Feature sets that compete: all but the controls."""
        return [name for name, spec in self.features.items() if spec.role != "control"]

    def of_role(self, role: Role) -> list[str]:
        """Feature sets of a role."""
        return [name for name, spec in self.features.items() if spec.role == role]

    def reference_cell(self, features: str) -> Cell:
        """The cell from which single factors are varied: the first level of a factor where none is named.

        Of the sample sizes it is the largest, on which the headline rests.
        """
        first = {name: levels[0] for name, levels in self.vary.items() if name != "features" and levels}
        if sizes := self.vary.get("sample_size"):
            first["sample_size"] = max(sizes)
        return _tidy(Cell(features, **{**first, **self.reference}))

    def cells(self) -> tuple[list[Cell], list[str]]:
        """The cells in the order of the pipeline, and in words what was left out and why."""
        wanted: list[Cell] = []
        for name in self.features:
            wanted += self._full(name) if self.design == "full" else self._star(name)
        notes = []
        useless = [c for c in wanted if c.imbalance == "class-weight" and c.classifier in WEIGHTLESS]
        if useless:
            words = ", ".join(sorted({c.classifier for c in useless}))
            notes.append(
                f"class weights do not change the order of scores of {words}: {len(useless)} cells left out"
            )
        cells = sorted(set(wanted) - set(useless))
        if self.shuffled_labels:
            cells += [replace(self.reference_cell(name), labels="shuffled") for name in self.mains]
        return cells, notes

    def _full(self, features: str) -> list[Cell]:
        reference = self.reference_cell(features)
        names = [name for name in FACTORS if name in self.vary and name != "features"]
        crossed = product(*(self.vary[name] for name in names))
        return [_tidy(replace(reference, **dict(zip(names, levels)))) for levels in crossed] or [reference]

    def _star(self, features: str) -> list[Cell]:
        reference = self.reference_cell(features)
        found = [reference]
        for name in FACTORS:
            if name == "features" or (
                name == "k" and reference.selector == "none" and "selector" in self.vary
            ):
                continue  # a number of features means something beside a selector only
            for level in self.vary.get(name, ()):
                if name == "selector":
                    sizes = self.vary.get("k") or (reference.k,)
                    found += [_tidy(replace(reference, selector=level, k=k)) for k in sizes]
                else:
                    found.append(_tidy(replace(reference, **{name: level})))
        return found


def _tidy(cell: Cell) -> Cell:
    """Without a selector every feature is kept; a selector that keeps all but orders them is none."""
    if cell.selector == "none" or (cell.k == 0 and cell.selector not in SELF_SIZED):
        return replace(cell, selector="none", k=0)
    return cell


def matching(cells: Sequence[Cell], only: str) -> list[Cell]:
    """The cells with the levels of `only`, such as `classifier=logistic,k=20`; all when it is empty."""
    wanted = dict(_pair(word) for word in only.split(",") if word.strip())
    for name in wanted:
        if name not in (*FACTORS, "labels"):
            raise UnknownName(
                f"--only: no factor {name!r}.{nearest(name, FACTORS)} Factors: {', '.join(FACTORS)}"
            )
    found = [c for c in cells if all(_level(c, name) == level for name, level in wanted.items())]
    if not found:
        raise InputError(f"--only {only}: no cell of the grid has these levels. List them with --list")
    return found


def _level(cell: Cell, name: str) -> str:
    return cell.labels if name == "labels" else cell.level(name)


def _pair(word: str) -> tuple[str, str]:
    name, equals, level = word.partition("=")
    if not equals:
        raise InputError(f"--only takes FACTOR=LEVEL, separated by commas, not {word!r}")
    return name.strip(), level.strip()


def read_grid(path: Path) -> Grid:
    """A grid from YAML. InputError or UnknownName say which entry is wrong and what is allowed."""
    import yaml

    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} has more than {MOST_BYTES // 1000} kB; a grid is a page of YAML")
        loaded, twice = yaml_files.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise InputError(f"there is no grid file {path}. Check the path") from cause
    except IsADirectoryError as cause:
        raise InputError(f"{path} is a folder. Give the YAML file of the grid, such as grid.yaml") from cause
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as cause:
        raise InputError(f"{path} is not readable as YAML: {' '.join(str(cause).split())}") from cause
    if twice:
        key = twice[0]
        raise InputError(
            f"{path}: {key.where or 'the grid'} has {key.key!r} twice, in lines {key.first} and "
            f"{key.second}, and only the last would count. Join the two, or remove one"
        )
    if not isinstance(loaded, dict):
        raise InputError(f"{path} holds no mapping. It should begin with `features:` and `vary:`")
    try:
        return grid_from(loaded, path.parent)
    except (InputError, UnknownName) as error:
        raise type(error)(f"{path}: {error}") from error


KEYS = ("format", "target", "cohort", "features", "vary", "reference", "design", "repeats", "folds", "inner",
        "shuffled_labels", "seed", "pool")  # fmt: skip


def grid_from(loaded: Mapping[str, Any], root: Path) -> Grid:
    """A grid from plain values; tables are looked for beside `root`."""
    _known(loaded, KEYS, "the grid")
    if loaded.get("format", 1) != 1:
        raise InputError(f"format {loaded['format']} is unknown; this version reads format 1")
    features = _mapping(loaded, "features")
    vary = {name: _levels(name, levels) for name, levels in _mapping(loaded, "vary").items()}
    reference = {name: _levels(name, [level])[0] for name, level in _mapping(loaded, "reference").items()}
    design = loaded.get("design", "full")
    if design not in get_args(Design):
        raise InputError(f"design {design!r} is unknown. Use one of: {', '.join(get_args(Design))}")
    cohort = loaded.get("cohort")
    return Grid(
        features={_called(name): _spec(str(name), spec, root) for name, spec in features.items()},
        vary=vary, reference=reference, design=design,
        target=None if loaded.get("target") is None else str(loaded["target"]),
        cohort=None if cohort is None else root / str(cohort),
        shuffled_labels=_yes_or_no(loaded, "shuffled_labels", True),
        pool=_pool(loaded, "the grid") or "none",
        **{name: _whole(loaded, name) for name in ("repeats", "folds", "inner", "seed") if name in loaded},
    )  # fmt: skip


def _called(name: Any) -> str:
    """A name that can stand in an address, FACTOR=LEVEL between commas."""
    word = str(name)
    if not word or word != word.strip() or any(mark in word for mark in ",=\n"):
        raise InputError(
            f"features: {word!r} cannot be named in --only, where commas and = part the factors. Use a name "
            "without commas, = and spaces around it"
        )
    if word == ANY:
        raise InputError(f"features: {ANY!r} is what the choice among all sets is called. Use another name")
    return word


def _yes_or_no(loaded: Mapping[str, Any], name: str, otherwise: bool) -> bool:
    value = loaded.get(name, otherwise)
    if not isinstance(value, bool):
        raise InputError(f"{name}: should be true or false, without quotes, not {value!r}")
    return value


def _spec(name: str, spec: Any, root: Path) -> FeatureSpec:
    where = f"features: {name}"
    if not isinstance(spec, Mapping):
        raise InputError(f"{where}: give `table:`, `columns:` or `join:`, not {spec!r}")
    _known(spec, ("table", "columns", "join", "role", "of", "pool"), where)
    role = spec.get("role", "main")
    if role not in get_args(Role):
        raise InputError(f"{where}: role {role!r} is unknown. Use one of: {', '.join(get_args(Role))}")
    if bool(spec.get("join")) == bool(spec.get("table") or spec.get("columns")):
        raise InputError(f"{where}: give either `join:`, or `table:` and `columns:`")
    table = spec.get("table")
    return FeatureSpec(
        None if table is None else root / str(table),
        _words(spec, "columns", where), _words(spec, "join", where), role, str(spec.get("of") or ""),
        _pool(spec, where),
    )  # fmt: skip


def _pool(found: Mapping[str, Any], where: str) -> Pool | None:
    how = found.get("pool")
    if how is not None and how not in get_args(Pool):
        learns = " It learns from labels: use radfoundry.adapt.AttentionPool in Python"
        hint = learns if how == "attention" else ""
        raise UnknownName(f"{where}: no pool {how!r}. Use one of: {', '.join(get_args(Pool))}.{hint}")
    return cast(Pool | None, how)


def _levels(name: str, levels: Any) -> tuple[Any, ...]:
    """Checked levels of a factor. k: `all` becomes 0."""
    if name not in FACTORS or name == "features":
        known = [n for n in FACTORS if n != "features"]
        raise UnknownName(f"no factor {name!r}.{nearest(name, known)} Factors: {', '.join(known)}")
    values = levels if isinstance(levels, list) else [levels]
    if not values:
        raise InputError(f"{name}: needs at least one level")
    if name in LEVELS:
        for value in values:
            if str(value) not in LEVELS[name]:
                raise UnknownName(
                    f"{name}: no level {value!r}.{nearest(str(value), LEVELS[name])} "
                    f"Levels: {', '.join(LEVELS[name])}"
                )
        return tuple(dict.fromkeys(str(v) for v in values))
    return tuple(dict.fromkeys(_number(name, value) for value in values))


def _number(name: str, value: Any) -> float | int:
    if name == "k":
        if value == "all":
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"k: takes whole numbers from 1, or all, not {value!r}")
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise InputError(f"sample_size: takes shares above 0, at most 1, not {value!r}")
    return float(value)


def _mapping(loaded: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = loaded.get(name) or {}
    if not isinstance(found, Mapping):
        raise InputError(f"{name}: should be a mapping, not {found!r}")
    return found


def _words(spec: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    found = spec.get(name) or ()
    if isinstance(found, str):
        return (found,)
    if not isinstance(found, list | tuple):
        raise InputError(f"{where}: {name} should be a list of names, not {found!r}")
    return tuple(str(word) for word in found)


def _whole(loaded: Mapping[str, Any], name: str) -> int:
    value = loaded[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"{name}: should be a whole number, not {value!r}")
    return value


def _known(found: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for name in found:
        if name not in known:
            raise UnknownName(
                f"{where}: no entry {name!r}.{nearest(str(name), known)} Entries: {', '.join(known)}"
            )


def as_plain(grid: Grid) -> dict[str, Any]:
    """JSON-ready, for the manifest."""
    return asdict(grid)
