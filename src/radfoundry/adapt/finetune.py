"""End-to-end transfer learning: images in, probabilities out, in two stages.

First the linear layer alone, on features of the frozen backbone (in evaluation mode, computed once and
without augmentation, so that an epoch takes milliseconds). Then the last blocks, or all of them, with a
low learning rate, augmentation and cosine decay after a short warm-up; the epoch with the best
validation AUC is kept, and the threshold is chosen on validation too. Test data play no part.

    model = FineTune(**PRESETS["small-images"]).fit(images, y, validation=(images_v, y_v))
    model.predict_proba(images_test)
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import roc_auc_score
from sklearn.utils.validation import check_is_fitted

from radfoundry.adapt import checkpoint as state_file
from radfoundry.adapt.augment import Augment, plain_view, shrink
from radfoundry.adapt.backbones import Net
from radfoundry.adapt.losses import BINARY, make_loss
from radfoundry.adapt.thresholds import Threshold, choose
from radfoundry.errors import InputError, InputMismatch, NotEnoughData, RunError

FORMAT = "radfoundry-finetune-1"

PRESETS: dict[str, dict[str, Any]] = {
    # Images of about 28 px, some thousands of them; chosen on the validation part of PneumoniaMNIST.
    "small-images": {
        "size": 96, "epochs": (10, 6), "lr": (1e-3, 2e-4), "unfreeze": "all", "batchnorm": "frozen",
        "batch_size": 64, "weight_decay": 0.05, "ema": 0.99, "patience": 6,
        "augment": Augment(rotation=7, shift=0.1, scale=0.1, brightness=0.1, contrast=0.2),
    },
    # A few hundred radiographs (the two-stage default of the paediatric study).
    "few-cases": {"size": 224, "epochs": (10, 20), "lr": (1e-3, 1e-5), "unfreeze": 5, "batchnorm": "frozen"},
}  # fmt: skip


class FineTune(ClassifierMixin, BaseEstimator):
    """Transfer learning of an ImageNet backbone.

    backbone: efficientnet-lite0 (its weights come in a package) or mobilenet-v2. pretrained: False gives a
    random start; weights: a state dict of the backbone to start from instead of the published one.
    size: images are resampled to size x size, a multiple of 32 (one that is not square is squashed).
    loss: weighted-bce (weights n/(2 n_c)), focal (gamma 2, alpha .25) or cross-entropy (class-weighted,
    any number of classes). epochs, lr: of the first and the second stage. unfreeze: how many of the last
    units train in the second stage, or "all". batchnorm: `frozen` keeps the running statistics of the
    pretraining, on which the first stage was fitted; `train` adapts them. ema: decay of a running average of
    the weights that is judged and kept instead, 0 for none. patience: epochs without a better validation AUC
    before stopping. seeds: nets averaged. precision: fp32 or bf16 (autocast). checkpoint: a folder for the
    state after every epoch; the same call resumes from it and ends at the same weights. progress: called
    with a line of text after every epoch.

    Fitted: classes_, threshold_ (a Threshold chosen on validation, or None), history_ (one dict an epoch:
    seed, stage, epoch, loss, auc), nets_. Random draws come from generators of (seed, epoch): the
    process-wide state is not touched and the same seed gives the same weights on the same machine.
    """

    def __init__(
        self, backbone: str = "efficientnet-lite0", size: int = 224, loss: str = "weighted-bce",
        epochs: tuple[int, int] = (10, 20), lr: tuple[float, float] = (1e-3, 1e-5),
        unfreeze: int | str = "all", batchnorm: str = "frozen", batch_size: int = 32,
        dropout: float = 0.2, weight_decay: float = 1e-4, label_smoothing: float = 0.0, ema: float = 0.0,
        augment: Augment | None = Augment(), patience: int = 5, seeds: int = 1, seed: int = 0,  # noqa: B008 - frozen
        threshold_rule: str = "youden", pretrained: bool = True,
        weights: str | Path | None = None, device: str = "cpu", precision: str = "fp32",
        checkpoint: str | Path | None = None, progress: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.backbone = backbone
        self.size = size
        self.loss = loss
        self.epochs = epochs
        self.lr = lr
        self.unfreeze = unfreeze
        self.batchnorm = batchnorm
        self.batch_size = batch_size
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.ema = ema
        self.augment = augment
        self.patience = patience
        self.seeds = seeds
        self.seed = seed
        self.threshold_rule = threshold_rule
        self.pretrained = pretrained
        self.weights = weights
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.progress = progress

    def fit(
        self, images: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray] | None = None
    ) -> FineTune:
        """images: (N, H, W) or (N, 3, H, W) float32 in [0, 1]; y: (N,).

        validation: (images, y) of other patients.

        Without validation every epoch is run, the last is kept and there is no threshold.
        InputMismatch: images of another shape or range. NotEnoughData: fewer than two classes.
        """
        self._check_settings()
        self.classes_, code = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise NotEnoughData(
                f"all {len(code)} training labels are {self.classes_.tolist()}: two classes are needed"
            )
        data = _Data(self._load(images), torch.as_tensor(code), *self._validation(validation))
        if len(data.x) != len(code):
            raise InputError(f"{len(data.x)} images need as many labels, not {len(code)}")
        digest = self._digest(data) if self.checkpoint else ""
        self.history_: list[dict[str, Any]] = []
        self.nets_: list[Net] = []
        for s in range(self.seeds):
            run = _Training(self, data, s, digest)
            self.nets_.append(run.train())
            self.history_ += run.history
        self.threshold_: Threshold | None = None
        if data.xv is not None and len(self.classes_) == 2 and data.yv is not None:
            score = self._average(data.xv)[:, 1]
            self.threshold_ = choose(data.yv.numpy(), score, self.threshold_rule)
        return self

    def predict_proba(self, images: np.ndarray) -> np.ndarray:
        """(N, classes), averaged over the seeds. With weighted losses these belong to balanced classes."""
        check_is_fitted(self, "nets_")
        return self._average(self._load(images))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Classes: by the validation threshold where there is one, else the most probable."""
        proba = self.predict_proba(images)
        if self.threshold_ is not None:
            return self.classes_[self.threshold_.decide(proba[:, 1])]
        return self.classes_[proba.argmax(1)]

    def save(self, path: str | Path) -> None:
        """Weights of all seeds in one safetensors file, settings and threshold as JSON in its header."""
        check_is_fitted(self, "nets_")
        threshold = self.threshold_.as_dict() if self.threshold_ else None
        record = {"format": FORMAT, "params": self._plain_params(), "classes": self.classes_.tolist(),
                  "threshold": threshold, "history": self.history_}  # fmt: skip
        state_file.write(Path(path), {str(i): net.state_dict() for i, net in enumerate(self.nets_)}, record)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> FineTune:
        """Read what `save` wrote; no pretrained weights are needed for it."""
        parts, record = state_file.read(Path(path))
        if record.get("format") != FORMAT:
            raise InputError(f"{path} is no {FORMAT} file; write one with FineTune.save")
        params = dict(record["params"])
        augment = params.pop("augment")
        model = cls(**params, augment=Augment(**augment) if augment else None, device=device)
        model.classes_, model.history_ = np.asarray(record["classes"]), record["history"]
        model.threshold_ = Threshold(**record["threshold"]) if record["threshold"] else None
        model.nets_ = []
        for i in range(len(parts)):
            net = Net(model.backbone, model._outputs(), pretrained=False)
            net.load_state_dict(parts[str(i)])
            net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            model.nets_.append(net.eval())
        return model

    def _outputs(self) -> int:
        return 1 if self.loss in BINARY else len(self.classes_)

    def _check_settings(self) -> None:
        if self.size < 32 or self.size % 32:
            raise InputError(f"size must be a multiple of 32, not {self.size}")
        if self.batchnorm not in ("frozen", "train") or self.precision not in ("fp32", "bf16"):
            raise InputError("batchnorm must be 'frozen' or 'train', and precision 'fp32' or 'bf16'")

    def _load(self, images: np.ndarray) -> torch.Tensor:
        return shrink(torch.as_tensor(check_images(images)), self.size)

    def _validation(self, validation) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if validation is None:
            return None, None
        labels = np.asarray(validation[1])
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown) or len(np.unique(labels)) < len(self.classes_):
            raise NotEnoughData(
                f"validation has classes {np.unique(labels).tolist()}, training {self.classes_.tolist()}: "
                "both need all of them; stratify the split"
            )
        return self._load(validation[0]), torch.as_tensor(np.searchsorted(self.classes_, labels))

    def _average(self, x: torch.Tensor) -> np.ndarray:
        return np.mean([self._proba(net, x) for net in self.nets_], axis=0)

    def _proba(self, net: Net, x: torch.Tensor) -> np.ndarray:
        """(n, classes) of one net in evaluation mode."""
        return probabilities(torch.cat(list(self._batches(net, x))))

    @torch.no_grad()
    def _batches(self, net: Net, x: torch.Tensor, features: bool = False):
        net.eval()
        for part in x.split(128):
            with self._autocast():
                view = plain_view(part.to(self.device), self.size)
                out = net.features(view) if features else net(view)
            yield out.float().cpu()

    def _autocast(self):
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")

    def _plain_params(self) -> dict[str, Any]:
        """Settings that decide the result, JSON-ready."""
        skipped = ("checkpoint", "progress", "device")
        params = {name: value for name, value in self.get_params(deep=False).items() if name not in skipped}
        params["augment"] = asdict(self.augment) if self.augment else None
        params["weights"] = str(self.weights) if self.weights else None
        return params

    def _digest(self, data: _Data) -> str:
        made = hashlib.sha256(json.dumps(self._plain_params(), sort_keys=True).encode())
        for tensor in (data.x, data.y, data.xv, data.yv):
            made.update(b"" if tensor is None else tensor.numpy().tobytes())
        return made.hexdigest()


def check_images(images: np.ndarray) -> np.ndarray:
    """(N, 1 or 3, H, W) float32 of (N, H, W) or (N, 3, H, W); InputMismatch for another shape or range."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise InputMismatch(f"images must be (N, H, W) or (N, 3, H, W), not {images.shape}")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise InputMismatch(f"images must lie in [0, 1]; these span {low:g} to {high:g}. Use Image.display()")
    return np.ascontiguousarray(images, dtype=np.float32)


def probabilities(logit: torch.Tensor) -> np.ndarray:
    """(n, k) from logits: one column is a sigmoid's, more are a softmax's."""
    if logit.shape[1] == 1:
        p = logit[:, 0].double().sigmoid()
        return torch.stack([1 - p, p], 1).numpy()
    return logit.double().softmax(1).numpy()


@dataclass
class _Data:
    x: torch.Tensor
    y: torch.Tensor
    xv: torch.Tensor | None
    yv: torch.Tensor | None

    def auc(self, proba: np.ndarray) -> float:
        """Validation AUC; macro average of one against the rest beyond two classes."""
        assert self.yv is not None
        if proba.shape[1] == 2:
            return float(roc_auc_score(self.yv.numpy(), proba[:, 1]))
        return float(roc_auc_score(self.yv.numpy(), proba, multi_class="ovr"))


@dataclass
class _Training:
    """One seed's training: the mutable state that a checkpoint holds, and the two stages."""

    setting: FineTune
    data: _Data
    index: int
    digest: str
    history: list[dict[str, Any]] = field(default_factory=list)
    best_auc: float = -1.0
    stale: int = 0
    epoch: int = 0

    def train(self) -> Net:
        """Both stages; resumes after the last epoch whose state is on disk."""
        s, seed = self.setting, self._seed("init")
        source = Path(s.weights) if s.weights else None
        self.net = Net(s.backbone, s._outputs(), pretrained=s.pretrained, weights=source, seed=seed)
        self.net = self.net.to(s.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        k = len(s.classes_)
        self.loss = make_loss(s.loss, self.data.y.numpy(), k, s.label_smoothing, s.device)
        self.net.unfreeze(s.unfreeze)
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=s.lr[1], weight_decay=s.weight_decay)
        if not self._resume():
            self._fit_head()
            self.average = copy.deepcopy(self.net)
            self._judge("head", s.epochs[0], math.nan)
            self._save()
        while self.epoch < s.epochs[1] and self.stale < s.patience:
            loss = self._run_epoch()
            self.epoch += 1
            self._judge("all", self.epoch, loss)
            self._save()
        self.net.load_state_dict(self.best)
        return self.net.eval()

    def _seed(self, *what: object) -> int:
        text = repr((self.setting.seed, self.index, *what)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")

    def _generator(self, *what: object) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(*what))

    def _fit_head(self) -> None:
        """Stage one: Adam on the linear layer over cached features."""
        s = self.setting
        features = torch.cat(list(s._batches(self.net, self.data.x, features=True))).to(s.device)
        y, draw = self.data.y.to(s.device), self._generator("head")
        adam = torch.optim.Adam(self.net.linear.parameters(), lr=s.lr[0])
        for _ in range(s.epochs[0]):
            for rows in torch.randperm(len(y), generator=draw).split(s.batch_size):
                keep = _dropout((len(rows), features.shape[1]), s.dropout, draw).to(s.device)
                loss = self.loss(self.net.linear(features[rows] * keep), y[rows])
                adam.zero_grad()
                loss.backward()
                adam.step()

    def _run_epoch(self) -> float:
        """Stage two, one pass over the training images; returns the mean loss."""
        s = self.setting
        self.net.train_mode(s.batchnorm)
        draw = self._generator("epoch", self.epoch)
        # A last batch of one or two images would give batch normalisation a wild estimate: it is left out.
        batches = list(torch.randperm(len(self.data.y), generator=draw).split(s.batch_size))
        if len(batches) > 1 and len(batches[-1]) < s.batch_size // 2:
            batches.pop()
        total = 0.0
        for i, rows in enumerate(batches):
            self._set_lr(self.epoch + i / len(batches))
            total += self._step(rows, draw) * len(rows)
            self._update_average(self.epoch * len(batches) + i)
        return total / sum(map(len, batches))

    def _step(self, rows: torch.Tensor, draw: torch.Generator) -> float:
        s = self.setting
        x = self.data.x[rows].to(s.device)
        view = s.augment.view(x, s.size, draw) if s.augment else plain_view(x, s.size)
        keep = _dropout((len(rows), self.net.linear.in_features), s.dropout, draw).to(s.device)
        with s._autocast():
            logit = self.net(view, keep)
        loss = self.loss(logit.float(), self.data.y[rows].to(s.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def _set_lr(self, epoch: float) -> None:
        """Cosine decay to zero after a linear warm-up over the first half epoch."""
        factor = (
            min(1.0, (epoch + 0.02) / 0.5) * 0.5 * (1 + math.cos(math.pi * epoch / self.setting.epochs[1]))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.setting.lr[1] * factor

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Running average of the weights; it follows quickly at first."""
        if not self.setting.ema:
            return
        decay = min(self.setting.ema, (step + 1) / (step + 10))
        for old, new in zip(self.average.state_dict().values(), self.net.state_dict().values()):
            if old.dtype.is_floating_point:
                old.lerp_(new, 1 - decay)
            else:
                old.copy_(new)

    def _judge(self, stage: str, epoch: int, loss: float) -> None:
        """Validation AUC of the present weights; the best are remembered (without validation, the last)."""
        s, net = self.setting, self.average if self.setting.ema else self.net
        auc = math.nan
        if self.data.xv is not None:
            auc = self.data.auc(s._proba(net, self.data.xv))
        self.stale += 1
        if math.isnan(auc):
            self.stale = 0
        if math.isnan(auc) or auc > self.best_auc:
            self.best_auc, self.stale = auc, 0
            self.best = {name: t.detach().clone() for name, t in net.state_dict().items()}
        row = {"seed": self.index, "stage": stage, "epoch": epoch, "loss": _json(loss), "auc": _json(auc)}
        self.history.append(row)
        if s.progress:
            s.progress(f"seed {self.index}, {stage} {epoch}: loss {loss:.4f}, validation AUC {auc:.4f}")

    def _path(self) -> Path | None:
        folder = self.setting.checkpoint
        return None if folder is None else Path(folder) / f"seed{self.index}.safetensors"

    def _save(self) -> None:
        path = self._path()
        if path is None:
            return
        parts = {"net": self.net.state_dict(), "average": self.average.state_dict(), "best": self.best,
                 "optimizer": state_file.optimizer_tensors(self.optimizer)}  # fmt: skip
        record = {"digest": self.digest, "epoch": self.epoch, "stale": self.stale,
                  "best_auc": _json(self.best_auc), "history": self.history}  # fmt: skip
        state_file.write(path, parts, record)

    def _resume(self) -> bool:
        """Take up the state on disk, if there is one of these data and settings."""
        path = self._path()
        if path is None or not path.exists():
            return False
        parts, record = state_file.read(path)
        if record.get("digest") != self.digest:
            raise RunError(
                f"{path} belongs to other data or settings; choose another checkpoint folder or delete it"
            )
        self.average = copy.deepcopy(self.net)
        self.net.load_state_dict(parts["net"])
        self.average.load_state_dict(parts["average"])
        self.best = parts["best"]
        state_file.restore_optimizer(self.optimizer, parts.get("optimizer", {}))
        self.epoch, self.stale, self.history = record["epoch"], record["stale"], record["history"]
        self.best_auc = math.nan if record["best_auc"] is None else record["best_auc"]
        return True


def _dropout(shape: tuple[int, int], rate: float, generator: torch.Generator) -> torch.Tensor:
    """Factors 0 or 1/(1 - rate)."""
    return (torch.rand(shape, generator=generator) >= rate).float() / (1 - rate)


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value
