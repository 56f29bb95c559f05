"""What the tag model does with what it never saw: a vendor, a kind of series.

    python benchmarks/measure_series_unseen.py [--studies 40] [--epochs 6] [--vendors ge] [--kinds MRA SWI]

Vendors: a model is trained on phantom headers of all other vendors and judges phantom headers of the one
that was left out, beside a model of all vendors that saw as many studies. Kinds: a model is trained without
them and judges them, by tags alone, since rules know them: a sure verdict is then a wrong one. How many
known series are unsure stands beside it. Headers are damaged, emptied and anonymised as everywhere in the
phantoms; "confident errors" are wrong at a probability above 0.9. Of kinds the open-set rejection is judged
by itself too: how many series are called unlike all that was learnt (by its calibration 1 % of those that
were kept from training), and the AUC of the energy beside that of the largest probability. Phantom dialects
are our reading of how vendors write headers, so real scanners may differ more from each other than these do.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from radfoundry.datasets.phantom_series import VENDORS
from radfoundry.evaluate.intervals import delong, wilson
from radfoundry.series import calibrate
from radfoundry.series.classify import Classifier
from radfoundry.series.examples import from_phantoms
from radfoundry.series.find import Series
from radfoundry.series.model import SeriesModel
from radfoundry.series.tags import TagList, load_tags
from radfoundry.series.train import Examples, TrainConfig, train

LEARN, JUDGE = 4_000, 5_000
"""Seeds of phantoms that are learnt from and judged."""


def main() -> None:
    """Print one line a vendor, way of looking and model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=40, help="phantom studies a vendor to learn from")
    parser.add_argument("--judged", type=int, default=20, help="phantom studies a vendor to judge")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--mix", type=float, default=TrainConfig().mix)
    parser.add_argument("--vendors", nargs="*", default=list(VENDORS))
    parser.add_argument("--kinds", nargs="*", default=["MRA", "SWI", "other:BOLD", "other:DSC"])
    parser.add_argument("--store", type=Path, default=Path("stores/series"))
    asked = parser.parse_args()
    tags, config = load_tags(), TrainConfig(epochs=asked.epochs, mix=asked.mix)
    seen, held = (
        {v: drawn(v, n, seed, tags, asked.store) for v in VENDORS}
        for n, seed in ((asked.studies, LEARN), (asked.judged, JUDGE))
    )
    if asked.vendors:
        left_out(asked.vendors, seen, held, tags, config)
    if asked.kinds:
        unknown(asked.kinds, together(list(seen.values())), together(list(held.values())), tags, config)


def left_out(
    vendors: Sequence[str], seen: Mapping[str, Examples], held: Mapping[str, Examples], tags: TagList,
    config: TrainConfig,
) -> None:  # fmt: skip
    """Models that never saw a vendor, beside one that saw all."""
    share = 1 - 1 / len(VENDORS)
    all_of = together([first(seen[v], share) for v in VENDORS])
    everybody = train(all_of, tags.tags, config)
    print(f"{len(VENDORS)} vendors, {len(all_of)} series to learn from")
    for vendor in vendors:
        model = train(together([seen[v] for v in VENDORS if v != vendor]), tags.tags, config)
        print(f"{vendor}: {len(set(held[vendor].group))} studies, {len(held[vendor])} series")
        told("rules alone", None, held[vendor], {})
        for name, one in (("never seen", model), ("seen", everybody)):
            told(f"tags, vendor {name}", one, held[vendor], {"use_rules": False})
            told(f"rules and tags, vendor {name}", one, held[vendor], {})


def unknown(kinds: Sequence[str], seen: Examples, held: Examples, tags: TagList, config: TrainConfig) -> None:
    """A model that never learnt these kinds, on them and on the others."""
    model = train(seen.take(among(seen, kinds, False)), tags.tags, config)
    print(f"never learnt: {', '.join(kinds)}")
    told("tags, kinds that it never learnt", model, held.take(among(held, kinds, True)), {"use_rules": False})
    told("tags, kinds that it learnt", model, held.take(among(held, kinds, False)), {"use_rules": False})
    rejected(model, held, kinds)


def rejected(model: SeriesModel, held: Examples, kinds: Sequence[str]) -> None:
    """How many series are called unlike, and how well scores tell the kinds that were never learnt."""
    own = model.calibration["tags"]["modality"]
    logits = model.logits(model.tokens(held.headers)).modality
    energy = calibrate.energy(logits, own.temperature)
    strange = np.zeros(len(held), int)
    strange[among(held, kinds, True)] = 1
    for words, rows in (("never learnt", strange == 1), ("learnt", strange == 0)):
        hits = int((energy[rows] > own.energy).sum())
        low, high = wilson(hits, int(rows.sum()))
        print(f"  called unlike, {words}: {hits} of {rows.sum()} ({low:.3f} to {high:.3f})")
    unsure = -calibrate.log_probabilities(logits, own.temperature).max(axis=1)
    groups = np.asarray(held.group)
    for words, score in (("energy", energy), ("1 - largest probability", unsure)):
        found = delong(strange, score, cluster=groups)
        print(f"  AUC of {words}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
    for kind in kinds:
        rows = np.array([label == kind for label in held.modality])
        print(f"  {kind}: {int((energy[rows] > own.energy).sum())} of {rows.sum()} called unlike")


def among(examples: Examples, kinds: Sequence[str], wanted: bool) -> np.ndarray:
    """Rows whose label is one of these kinds, or is none of them."""
    return np.flatnonzero([(label in kinds) == wanted for label in examples.modality])


def drawn(vendor: str, studies: int, seed: int, tags: TagList, store: Path) -> Examples:
    """Headers of phantom studies of one vendor."""
    found = from_phantoms(
        studies, tags, pixels=False, seed=seed, store=store, workers=os.cpu_count() or 1, vendor=vendor
    )
    return replace(found, group=[f"{group}-{vendor}" for group in found.group])


def first(examples: Examples, share: float) -> Examples:
    """A share of the studies."""
    groups = sorted(set(examples.group))
    kept = set(groups[: round(share * len(groups))])
    return examples.take(np.flatnonzero([group in kept for group in examples.group]))


def together(parts: Sequence[Examples]) -> Examples:
    """Examples of several vendors as one."""
    return sum(parts[1:], parts[0])


def told(name: str, model: SeriesModel | None, held: Examples, how: Mapping[str, bool]) -> None:
    """One line: share right with its interval, share decided without a person, confident errors."""
    series = [Series(str(i), group, group, "", i, group, ()) for i, group in enumerate(held.group)]
    found = Classifier(model, "never", **how)(series, held.headers)  # type: ignore[arg-type]
    right = np.array([one.verdict.label == label for one, label in zip(found, held.modality, strict=True)])
    low, high = wilson(int(right.sum()), len(right))
    sure = np.array([not one.verdict.unsure for one in found])
    confident = np.array([(one.verdict.confidence or 0.0) > 0.9 for one in found])
    true_of_sure = right[sure].mean() if sure.any() else 0.0
    print(
        f"  {name:<34} {right.mean():.3f} ({low:.3f} to {high:.3f}); sure of {sure.mean():.3f}, right then "
        f"{true_of_sure:.3f}; confident errors {int((confident & ~right).sum())}"
    )


if __name__ == "__main__":
    main()
