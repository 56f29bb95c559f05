"""Which series a table of labels means; phantoms that were drawn before."""

from __future__ import annotations

from pathlib import Path

import pytest

from radfoundry.series import examples as module
from radfoundry.series.examples import labelled
from radfoundry.series.find import Series, unique_ids
from radfoundry.series.tags import load_tags


def series(uid: str, where: str, study: str = "s") -> Series:
    return Series(uid, study, "sub", "", 1, where, ())


@pytest.mark.parametrize(
    ("truth", "key"),
    [
        ({"1.2": "T1", "a": "T2"}, "1.2"),
        ({"a": "T1"}, "a"),
        ({"a": "T2", "a/b": "T1"}, "a/b"),
        ({"a/b/c": "T1", "ab": "T2", "b": "T2"}, None),
    ],
    ids=["its UID before its folder", "a folder above", "the deepest folder", "no folder above"],
)
def test_a_series_is_labelled_by_its_uid_or_by_the_deepest_folder(truth: dict, key: str | None) -> None:
    one = series("1.2", "a/b")
    assert labelled([one], truth) == ([(one, key)] if key else [])


def test_a_series_in_two_folders_is_labelled_where_both_rows_say_the_same() -> None:
    one = series("1.2", "a, b/c")
    assert labelled([one], {"a": "T1", "b": "T1"}) == [(one, "a")]
    assert labelled([one], {"a": "T1", "b": "T2"}) == []
    assert labelled([one], {"a": "T1"}) == []
    assert labelled([series("1.2", "one, two")], {"one, two": "T1"}) != []


def test_series_that_share_a_uid_are_told_apart_by_their_ids() -> None:
    both = [series("1.2", "a", "s1"), series("1.2", "b", "s2")]
    first, second = unique_ids(both)
    assert labelled(both, {first: "T1", second: "T2"}) == [(both[0], first), (both[1], second)]


def test_phantoms_that_are_kept_start_no_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"pixels": False, "store": tmp_path, "vendor": "ge"}
    monkeypatch.setattr(module, "CHUNK", 1)
    drawn = module.from_phantoms(2, load_tags(), **how)  # type: ignore[arg-type]

    def none(*_: object) -> None:
        raise AssertionError("a pool was started")

    monkeypatch.setattr(module, "ProcessPoolExecutor", none)
    again = module.from_phantoms(2, load_tags(), workers=2, **how)  # type: ignore[arg-type]
    assert again.headers == drawn.headers and again.modality == drawn.modality
    with pytest.raises(AssertionError, match="pool"):
        module.from_phantoms(4, load_tags(), workers=2, **how)  # type: ignore[arg-type]
