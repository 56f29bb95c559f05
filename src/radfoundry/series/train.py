"""Train the series sorter: groups of series apart, dropped tags and images, best epoch, then calibration."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.errors import InputError
from radfoundry.series import calibrate, rules, towers
from radfoundry.series.attributes import anatomy_of
from radfoundry.series.encode import Tokens, scheme
from radfoundry.series.header import SeriesHeader
from radfoundry.series.model import LOOKS, Look, SeriesModel, as_tensors
from radfoundry.series.phrases import PACKAGED, TextTower
from radfoundry.series.towers import ImageTower, build

CODE_VERSION = 2
PHANTOM = "phantom-"
"""The groups of series that were drawn begin so."""
IGNORED = -100
"""Torch's index for a label that is not known: that head learns nothing from the series."""


@dataclass(frozen=True)
class Examples:
    """Labelled series. images: tokens of the image tower, None where pixels were not read.

    modality: "T1" or "other:BOLD". anatomy: "" where it is not known. group: patient or study; groups are
    never parted between training, validation and calibration.
    """

    headers: Sequence[SeriesHeader]
    images: Sequence[np.ndarray | None]
    modality: Sequence[str]
    anatomy: Sequence[str]
    group: Sequence[str]

    def __len__(self) -> int:
        return len(self.headers)

    def __add__(self, other: Examples) -> Examples:
        return Examples(*([*getattr(self, name), *getattr(other, name)] for name in Examples.__match_args__))

    def take(self, rows: np.ndarray) -> Examples:
        """Some of the examples, by row."""
        return Examples(*([getattr(self, name)[i] for i in rows] for name in Examples.__match_args__))


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained.

    tag_drop, half_drop: chance that a tag, or all of one half, is hidden. mix: chance that a tag is taken
    from another series of the same label, in half of the series: so that no vendor's habit of writing two
    tags together is learnt.
    """

    epochs: int = 16
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.02
    smoothing: float = 0.05
    tag_drop: float = 0.3
    half_drop: float = 0.15
    mix: float = 0.3
    width: int = 96
    layers: int = 6
    text_tower: str = PACKAGED
    image_tower: str = "efficientnet-lite0"
    least: int = 12
    """Labels of fewer training series are left out of the model."""
    alpha: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        towers.check(self.image_tower)
        if min(self.epochs, self.batch, self.width, self.layers) < 1:
            raise InputError("epochs, batch, width and layers of the training must be 1 or more")


Progress = Callable[[str], None]


def train(
    examples: Examples,
    tags: Any,
    config: TrainConfig,
    *,
    state: Path | None = None,
    tower: ImageTower | None = None,
    text: TextTower | None = None,
    log: Progress = lambda _: None,
) -> SeriesModel:
    """Train and calibrate on labelled series; 80:10:10 of the groups train, choose the epoch, calibrate.

    tags: keyword -> how, the list the model reads. state: file from which an interrupted training goes on.
    Raises InputError when there are too few groups, or fewer than two labels.
    """
    import torch

    from radfoundry.series.network import SeriesNet, Shape

    examples, modalities = _with_enough(examples, config.least)
    anatomies = tuple(sorted({a for a in examples.anatomy if a}))
    parts = _split(examples.group, config.seed)
    fitted = scheme(tags, [examples.headers[i] for i in parts[0]])
    image, words = tower or build(config.image_tower), text or TextTower(config.text_tower)
    log(f"{len(examples)} series, {len(modalities)} labels, {len(anatomies)} anatomies")
    tokens = [
        fitted.encode(
            [examples.headers[i] for i in part], words, [examples.images[i] for i in part], image.shape
        )
        for part in parts
    ]
    targets = [_targets(examples, part, modalities, anatomies) for part in parts]
    shape = Shape(
        len(fitted.text),
        len(fitted.number),
        tokens[0].phrases.shape[2],
        tokens[0].numbers.shape[2],
        *image.shape,
        len(modalities),
        len(anatomies),
        width=config.width,
        layers=config.layers,
        feed_forward=2 * config.width,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = SeriesNet(shape)
        arrays = [getattr(part, name) for part in tokens[:2] for name in Tokens.__slots__]
        made = _fingerprint(config, (modalities, anatomies), *targets[:2], *arrays) if state else ""
        history = _fit(net, tokens[0], targets[0], tokens[1], targets[1], config, state, made, log)
    model = SeriesModel(net, modalities, anatomies, fitted, words, config.image_tower)
    model.trained = {
        "config": asdict(config),
        "series": [len(part) for part in parts],
        "history": history,
        "groups": len(set(examples.group)),
        "code": CODE_VERSION,
    }
    _calibrate(model, examples.take(parts[2]), tokens[2], targets[2], config)
    return model


def _with_enough(examples: Examples, least: int) -> tuple[Examples, tuple[str, ...]]:
    counts = {label: list(examples.modality).count(label) for label in set(examples.modality)}
    modalities = tuple(sorted(label for label, n in counts.items() if n >= least))
    if len(modalities) < 2:
        raise InputError(
            f"{len(modalities)} labels have {least} series or more ({counts}). Add labelled series, or mix "
            "in phantoms with --phantoms"
        )
    rows = np.flatnonzero([label in modalities for label in examples.modality])
    return examples.take(rows), modalities


def _split(group: Sequence[str], seed: int) -> list[np.ndarray]:
    """Rows for training, validation and calibration: 80:10:10 of the groups."""
    names = sorted(set(group))
    if len(names) < 10:
        raise InputError(f"training needs 10 patients or studies at least, not {len(names)}. Add some")
    order = np.random.default_rng(seed).permutation(len(names))
    cut = [round(len(names) * share) for share in (0.8, 0.9)]
    part_of = {names[i]: int(np.searchsorted(cut, k, side="right")) for k, i in enumerate(order)}
    parts = np.array([part_of[name] for name in group])
    return [np.flatnonzero(parts == k) for k in range(3)]


def _targets(
    examples: Examples, rows: np.ndarray, modalities: Sequence[str], anatomies: Sequence[str]
) -> np.ndarray:
    """(n, 2) indices of modality and anatomy; IGNORED where a label is not known."""
    places = [{label: i for i, label in enumerate(labels)} for labels in (modalities, anatomies)]
    return np.array(
        [[places[0][examples.modality[i]], places[1].get(examples.anatomy[i], IGNORED)] for i in rows], int
    ).reshape(len(rows), 2)


def _fit(
    net: Any,
    tokens: Tokens,
    y: np.ndarray,
    held: Tokens,
    held_y: np.ndarray,
    config: TrainConfig,
    state: Path | None,
    made: str,
    log: Progress,
) -> list[dict[str, float]]:
    """Train in place; the epoch of least validation loss over the looks is kept. Returns the history."""
    import torch

    optimizer = torch.optim.AdamW(net.parameters(), config.rate, weight_decay=config.weight_decay)
    weight = _weights(y[:, 0], net.shape.modalities)
    kept, best, history = _resumed(net, optimizer, state, made)
    if history:
        log(f"going on after epoch {len(history)}")
    for epoch in range(len(history), config.epochs):
        loss = _epoch(net, optimizer, tokens, y, weight, config, epoch)
        found = _validate(net, held, held_y)
        history.append({"epoch": epoch + 1, "loss": loss, **found})
        log(
            f"epoch {epoch + 1} of {config.epochs}: loss {loss:.3f}, validation {found['nll']:.3f}; right by "
            f"tags {found['tags']:.3f}, by pixels {found['pixels']:.3f}, by both {found['both']:.3f}"
        )
        if found["nll"] < best:
            best, kept = found["nll"], {key: value.clone() for key, value in net.state_dict().items()}
        if state is not None:
            _keep(net, optimizer, state, kept, {"made": made, "best": best, "history": history})
    if kept:
        net.load_state_dict(kept)
    return history


def _epoch(
    net: Any,
    optimizer: Any,
    tokens: Tokens,
    y: np.ndarray,
    weight: np.ndarray,
    config: TrainConfig,
    epoch: int,
) -> float:
    """One pass in an order that the epoch decides; the mean loss."""
    import torch

    rng = np.random.default_rng((config.seed, epoch))
    torch.manual_seed(config.seed * 1000 + epoch)  # dropout of this epoch, inside the caller's fork
    net.train()
    order = rng.permutation(len(tokens))
    partners = _partners(y[:, 0], rng)
    steps = max(math.ceil(len(tokens) / config.batch), 1)
    total = 0.0
    for step in range(steps):
        rows = order[step * config.batch : (step + 1) * config.batch]
        _set_rate(optimizer, config, (epoch * steps + step) / (config.epochs * steps))
        batch = tokens.take(rows)
        if config.mix:
            batch = _mixed(batch, tokens.take(partners[rows]), config.mix, rng)
        loss = _loss(net, _dropped(batch, config, rng), y[rows], weight, config.smoothing)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        total += float(loss.detach()) * len(rows)
    return total / len(tokens)


def _resumed(
    net: Any, optimizer: Any, state: Path | None, made: str
) -> tuple[dict[str, Any] | None, float, list[dict[str, float]]]:
    """(best weights, their loss, history) of an interrupted training of the same kind, loaded in place."""
    from radfoundry.adapt import checkpoint

    if state is None or not state.exists():
        return None, math.inf, []
    tensors, record = checkpoint.read(state)
    if record.get("made") != made:
        return None, math.inf, []
    net.load_state_dict(tensors["net"])
    checkpoint.restore_optimizer(optimizer, tensors["optimizer"])
    return tensors["best"], record["best"], record["history"]


def _keep(net: Any, optimizer: Any, state: Path, best: dict[str, Any] | None, record: dict[str, Any]) -> None:
    """Write what `_resumed` reads."""
    from radfoundry.adapt import checkpoint

    tensors = {
        "net": net.state_dict(), "best": best or {}, "optimizer": checkpoint.optimizer_tensors(optimizer),
    }  # fmt: skip
    checkpoint.write(state, tensors, record)


def _fingerprint(config: TrainConfig, labels: Sequence[Sequence[str]], *arrays: np.ndarray) -> str:
    """Of all that decides what a training makes: a state of anything else is not gone on from."""
    from radfoundry.encoders.weights import text_digest

    seen = hashlib.sha256()
    for array in arrays:
        seen.update(str(array.shape).encode())
        seen.update(np.ascontiguousarray(array).data)
    return text_digest(CODE_VERSION, sorted(asdict(config).items()), labels, seen.hexdigest())


def _weights(y: np.ndarray, classes: int) -> np.ndarray:
    """Weights of labels, by the inverse root of their frequency, mean 1."""
    counts = np.bincount(y, minlength=classes).astype(float)
    weight = 1.0 / np.sqrt(np.maximum(counts, 1.0))
    return weight / weight.mean()


def _set_rate(optimizer: Any, config: TrainConfig, done: float) -> None:
    """Warm-up over the first twentieth, then a cosine to zero."""
    scale = min(done / 0.05, 1.0) * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimizer.param_groups:
        group["lr"] = config.rate * max(scale, 1e-3)


def _partners(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each row another one of its label, at random; itself where there is no other."""
    out = np.arange(len(y))
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        out[rows] = np.roll(rows, 1)
    return out


def _mixed(tokens: Tokens, others: Tokens, rate: float, rng: np.random.Generator) -> Tokens:
    """A copy with some tags, present or missing, of other series; slices stay."""
    chosen = rng.random((len(tokens), 1)) < 0.5
    words = chosen & (rng.random(tokens.phrases_known.shape) < rate)
    numbers = chosen & (rng.random(tokens.numbers_known.shape) < rate)
    return Tokens(
        np.where(words[..., None], others.phrases, tokens.phrases),
        np.where(words, others.phrases_known, tokens.phrases_known),
        np.where(numbers[..., None], others.numbers, tokens.numbers),
        np.where(numbers, others.numbers_known, tokens.numbers_known),
        tokens.images,
        tokens.images_known,
    )


def _dropped(tokens: Tokens, config: TrainConfig, rng: np.random.Generator) -> Tokens:
    """A copy with tags hidden at random, and at times all of them, or all slices where tags remain."""
    n = len(tokens)
    halves = rng.random(n)
    has_images = tokens.images_known.any(axis=1)
    no_tags = (halves < config.half_drop) & has_images
    no_images = halves > 1 - config.half_drop
    rate = (
        config.tag_drop * rng.random((n, 1)) * 2
    )  # from none to twice the rate, so that whole headers occur
    phrases = tokens.phrases_known & (rng.random(tokens.phrases_known.shape) >= rate) & ~no_tags[:, None]
    numbers = tokens.numbers_known & (rng.random(tokens.numbers_known.shape) >= rate) & ~no_tags[:, None]
    images = tokens.images_known & ~no_images[:, None]
    return Tokens(tokens.phrases, phrases, tokens.numbers, numbers, tokens.images, images)


def _loss(net: Any, tokens: Tokens, y: np.ndarray, weight: np.ndarray, smoothing: float) -> Any:
    import torch
    from torch.nn.functional import cross_entropy

    modality, anatomy, _ = net(*as_tensors(tokens))
    truth = torch.from_numpy(y)
    found = cross_entropy(modality, truth[:, 0], torch.from_numpy(weight).float(), label_smoothing=smoothing)
    if (y[:, 1] != IGNORED).any():
        found = found + cross_entropy(anatomy, truth[:, 1], ignore_index=IGNORED, label_smoothing=smoothing)
    return found


def looked(tokens: Tokens, look: Look) -> Tokens:
    """The tokens as one look sees them: without slices, without tags, or as they are."""
    hide_tags, hide_images = look == "pixels", look == "tags"
    return Tokens(
        tokens.phrases,
        tokens.phrases_known & (not hide_tags),
        tokens.numbers,
        tokens.numbers_known & (not hide_tags),
        tokens.images,
        tokens.images_known & (not hide_images),
    )


def _validate(net: Any, tokens: Tokens, y: np.ndarray) -> dict[str, float]:
    """Mean negative log-likelihood over the looks, and accuracy of each; pixels on series that have them."""
    import torch

    net.eval()
    found: dict[str, float] = {}
    losses = []
    for look in LOOKS:
        rows = np.flatnonzero(tokens.images_known.any(axis=1)) if look != "tags" else np.arange(len(tokens))
        if len(rows) == 0:
            found[look] = math.nan
            continue
        with torch.inference_mode():
            parts = [
                net(*as_tensors(looked(tokens.take(rows[k : k + 256]), look)))[0]
                for k in range(0, len(rows), 256)
            ]
        logits = torch.cat(parts).double().numpy()
        truth = y[rows, 0]
        losses.append(-calibrate.log_probabilities(logits, 1.0)[np.arange(len(rows)), truth].mean())
        found[look] = float((logits.argmax(1) == truth).mean())
    return {"nll": float(np.mean(losses)), **found}


def _calibrate(
    model: SeriesModel, examples: Examples, tokens: Tokens, y: np.ndarray, config: TrainConfig
) -> None:
    """Fit temperatures, conformal and open-set thresholds for each look, and how the rules err."""
    made: dict[str, dict[str, calibrate.Calibration]] = {}
    errors: dict[str, dict[str, float]] = {}
    real = np.array([not group.startswith(PHANTOM) for group in examples.group], bool)
    for look in LOOKS:
        rows = np.flatnonzero(tokens.images_known.any(axis=1)) if look != "tags" else np.arange(len(tokens))
        if len(rows) == 0:
            continue
        logits = model.logits(looked(tokens.take(rows), look))
        told = y[rows, 1] != IGNORED
        right = logits.modality.argmax(axis=1) == y[rows, 0]
        placed = (logits.anatomy.argmax(axis=1) == y[rows, 1])[told & real[rows]] if told.any() else right[:0]
        errors[look] = {
            "modality": calibrate.network_errors(right[real[rows]]),
            "anatomy": calibrate.network_errors(placed),
        }
        made[look] = {"modality": calibrate.fit(logits.modality, y[rows, 0], alpha=config.alpha)}
        if told.any():
            made[look]["anatomy"] = calibrate.fit(logits.anatomy[told], y[rows[told], 1], alpha=config.alpha)
    model.calibration, model.errors = made, errors
    verdicts = [rules.decide(header, described=False) for header in examples.headers]
    said = [verdict.label if verdict else None for verdict in verdicts]
    model.rules = {
        "modality": calibrate.rule_likelihoods(said, examples.modality, model.modalities),
        "anatomy": calibrate.rule_likelihoods(
            [anatomy_of(header)[0] or None for header in examples.headers], examples.anatomy, model.anatomies
        ),
    }
