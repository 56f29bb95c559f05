"""Picking one row of many."""

from __future__ import annotations

from radfoundry.types import Estimate


def pick(found: list[Estimate], name: str, method: str = "", **where: object) -> Estimate:
    """The only row of that name whose method holds `method`: pooled, of no model, unless `where` says so."""
    wanted = {"target": None, "subgroup": None, "model": None, **where}
    rows = [
        one
        for one in found
        if one.name == name and method in one.method and all(getattr(one, k) == v for k, v in wanted.items())
    ]
    assert len(rows) == 1, f"{len(rows)} rows of {name} for {wanted}"
    return rows[0]
