"""The findings table, as anybody may have written it."""

from __future__ import annotations

import pandas as pd
import pytest

from radfoundry.errors import TableError, UnknownName
from radfoundry.text.findings import Dictionary, Finding
from radfoundry.text.mentions import COLUMNS, Extraction, Mention, check, table

TINY = Dictionary("tiny", "1", "en", {"nodule": Finding("nodule", "Nodule", "lung", "minor")})
ROW = {"report_id": "r1", "finding": "nodule", "status": "present"}


def rows(*made: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame([{**ROW, **one} for one in made])


def test_what_extractors_write_is_a_findings_table() -> None:
    one = Extraction("r1", (Mention("nodule", "present", "Nodule", 5, 11, "left", "mild"),))
    made = table([one, Extraction("r2")], "rules", "1")
    pd.testing.assert_frame_equal(check(made, TINY), made)
    assert tuple(table([], "rules", "1")) == COLUMNS


def test_three_columns_are_enough_and_blanks_are_forgiven() -> None:
    found = check(rows({"report_id": 7, "finding": " nodule ", "status": "absent"}), TINY)
    assert found[["report_id", "finding", "status", "evidence", "start"]].to_numpy().tolist() == [
        ["7", "nodule", "absent", "", -1]
    ]


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"status": "maybe"}, TableError, "row 3: status 'maybe' is none of: present"),
        ({"status": "DOE^JANE"}, TableError, "row 3: status is none of: present"),
        ({"status": "mrn4711"}, TableError, "row 3: status is none of: present"),
        ({"status": "small left effusion"}, TableError, "row 3: status is none of: present"),
        ({"finding": "nodul"}, UnknownName, "row 3: finding 'nodul' is not in tiny. Did you mean 'nodule'"),
        ({"finding": "Doe Jane"}, UnknownName, "row 3: finding is not in tiny"),
        ({"finding": "a" * 41}, UnknownName, "row 3: finding is not in tiny"),
        ({"finding": "nodule\n"}, TableError, "row 3: nodule of one report occurs twice"),
        ({"finding": None}, TableError, "row 3: finding is empty"),
    ],
)
def test_a_wrong_row_is_named_and_its_value_only_where_it_is_a_plain_word(
    wrong: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as raised:
        check(rows({}, wrong), TINY, name="a.csv")
    said = str(raised.value)
    assert said.startswith("a.csv: ") and words in said
    assert not [one for one in ("JANE", "Jane", "4711", "left", "aaa") if one in said]


def test_swapped_columns_tell_no_identifier_without_a_dictionary_either() -> None:
    twice = {"report_id": "nodule", "finding": "JANE4711"}
    with pytest.raises(TableError, match="row 3: a finding of one report occurs twice") as error:
        check(rows(twice, twice))
    assert "JANE" not in str(error.value)


def test_a_table_without_a_header_is_not_told_word_for_word() -> None:
    with pytest.raises(TableError, match=r"no column 'report_id'\. It has: uid, finding"):
        check(pd.DataFrame(columns=["uid", "finding"]))
    with pytest.raises(TableError, match=r"no column 'report_id'\. Its first row does not look") as error:
        check(pd.DataFrame(columns=["MRN4711", "nodule", "present"]))
    assert "4711" not in str(error.value)
