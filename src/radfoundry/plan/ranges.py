"""Least and most of every numeric option of a learning curve, refused in one place and in one wording."""

from __future__ import annotations

from typing import Any

from radfoundry.errors import InputError

RANGES: dict[str, tuple[float, float, str]] = {
    "sizes": (2, 1e6, "A size is a number of positives in training"),
    "negatives": (0.01, 1e4, "They are counted for each positive; 5 is usual"),
    "repeats": (2, 1000, "One has no spread; ten are a good start"),
    "folds": (2, 100, "5 are usual"),
    "horizon": (1, 1e6, "It is a multiple of the largest size; 10 is usual"),
    "level": (0.01, 0.9999, "For a 90 % interval give 0.9"),
    "draws": (50, 20_000, "1000 are usual"),
    "back_test_from": (1, 1e6, "It is a number of positives; 50 is usual"),
    "prevalence": (1e-6, 1, "For 10 % give 0.1"),
    "price": (0, 1e9, "It is what labelling one case costs"),
    "worth": (0, 1, "It is a gain of the metric, such as 0.005"),
    "jobs": (0, 1024, "0 uses every CPU"),
    "seed": (0, 2**32 - 1, "Any whole number from 0 on will do"),
}
"""Option to least and most, ends included, and what to do instead."""


def check_ranges(**options: Any) -> None:
    """InputError for the first option outside its range in `RANGES`, NaN and infinity among them.

    A sequence is checked value by value; None is an option that was not given.

    >>> check_ranges(horizon=10, price=None, sizes=(5, 10))
    """
    for name, given in options.items():
        least, most, hint = RANGES[name]
        for value in given if isinstance(given, tuple | list) else (given,):
            if value is not None and not least <= value <= most:
                words = f"{name.replace('_', '-')} must lie between {least:,.15g} and {most:,.15g}"
                raise InputError(f"{words}, not {value if isinstance(value, int) else f'{value:g}'}. {hint}")
