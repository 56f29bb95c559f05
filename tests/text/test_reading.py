"""Reports come in as they are: every kind of file to the same text, or a reason why not."""

from __future__ import annotations

import csv
import gzip
import html
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from radfoundry.errors import InputError, ReadError, TableError
from radfoundry.text import reading
from radfoundry.text.markup import plain_text
from radfoundry.text.mentions import Report
from radfoundry.text.reading import read_reports

TEXT = "FINDINGS: Nodule < 5 mm in the left upper lobe.\nNo pleural effusion."
MESSAGE = (
    "MSH|^~\\&|RIS|HOSP|||202601051200||ORU^R01|1|P|2.3\r"
    "PID|1||4711^^^HOSP||DOE^JANE||19500101|F\r"
    "OBR|1|||71020^CHEST||||||||||||DRX^REFERRING\r"
    "OBX|1|TX|71020&GDT||FINDINGS: Nodule < 5 mm in the left upper lobe.||||||F\r"
    "OBX|2|NM|1234||99||||||F\r"
    "OBX|3|TX|71020&GDT||No pleural effusion.||||||F\r"
    "NTE|1||called to DRX\r"
)
RTF = (
    r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}{\colortbl;\red0\green0\blue0;}"
    "\n"
    r"{\*\generator Writer 1.0;}{\info{\author Jane Doe}}\viewkind4\uc1\pard\f0\fs20 "
    r"{\b FINDINGS:} Nodule < 5 mm in the left upper lobe.\par"
    "\n"
    r"{\pict\wmetafile8 0100090000032100}No pleural effusion.\par}"
)
HTML = (
    "<html><head><title>Jane Doe</title><style>p {color: red}</style></head><body><!-- draft -->"
    "<p><b>FINDINGS:</b> Nodule &lt; 5 mm\n in the left upper lobe.</p><script>alert('x < y')</script>"
    "<p>No pleural effusion.</p></body></html>"
)


def _write(path: Path, rows: list[dict[str, str]], **options: str) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False, **options)
    return path


def _texts(found: reading.Reports) -> dict[str, str]:
    return {one.report_id: one.text for one in found.reports}


@pytest.mark.parametrize(
    ("raw", "kind"), [(TEXT, ()), (HTML, ("HTML",)), (RTF, ("RTF",)), (MESSAGE, ("HL7",))],
    ids=["plain", "html", "rtf", "hl7"],
)  # fmt: skip
def test_every_markup_gives_the_same_text(raw: str, kind: tuple[str, ...]) -> None:
    assert plain_text(raw) == (TEXT, kind)


def test_a_folder_is_read_by_content_not_by_extension(tmp_path: Path) -> None:
    for name, raw in {"a.txt": HTML, "b.HTM": TEXT, "c.rtf": RTF, "d.hl7": MESSAGE, "e.txt": RTF}.items():
        (tmp_path / name).write_text(raw, encoding="utf-8")
    (tmp_path / "notes.docx").write_bytes(b"PK\x03\x04")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "inside").mkdir()
    found = read_reports(tmp_path)
    assert _texts(found) == dict.fromkeys("abcde", TEXT)
    assert list(found.meta.index) == list("abcde") and found.meta.loc["b", "file"] == "b.HTM"
    assert found.failed == {}
    assert set(found.notes) == {
        "2 other files or folders not read", "1 text taken out of HTML", "2 texts taken out of RTF",
        "1 text taken out of HL7",
    }  # fmt: skip


def test_one_text_file_is_one_report(tmp_path: Path) -> None:
    (tmp_path / "x1.rtf").write_text(RTF)
    (tmp_path / "x2.txt").write_text("another")
    assert read_reports(tmp_path / "x1.rtf").reports == [Report("x1", TEXT)]


@pytest.mark.parametrize("text", [
    "Nodule < 5 mm and > 3 mm.", "T<b and c>d", "EF <40%, QRS >120", "a <3> b", "R&D, AT&T; x", "<5 mm>",
    "left < right <-> right", "{curly} and \\backslash", "PID is fine | so is OBX",
])  # fmt: skip
def test_signs_of_plain_text_are_not_markup(text: str) -> None:
    assert plain_text(text) == (text, ())


def test_a_stray_sign_inside_html_survives() -> None:
    assert plain_text("<p>Nodule <5 mm, T<b.</p>")[0] == "Nodule <5 mm, T<b."


def test_lists_breaks_and_line_ends_of_html() -> None:
    assert plain_text("<ol><li>One</li><li>Two<br/>three</li></ol>")[0] == "One\nTwo\nthree"
    assert plain_text("<b>FINDINGS</b>:\nClear.\n\n<i>IMPRESSION</i>:\nNormal.")[0] == (
        "FINDINGS:\nClear.\n\nIMPRESSION:\nNormal."
    )


def test_escapes_of_hl7() -> None:
    raw = r"OBX|1|FT|X||A\.br\B \T\ C \S\ D \F\ E \R\ F \E\ \X41E9\ \H\bold\N\ 5\6~next|||"
    assert plain_text(raw)[0] == "A\nB & C ^ D | E ~ F \\ Aé bold 5\\6\nnext"


def test_of_hl7_only_report_text_is_kept() -> None:
    for raw in (MESSAGE, MESSAGE.split("\r", 1)[1], MESSAGE.replace("\r", "\r\n"), MESSAGE.replace("|", "#")):
        text, _ = plain_text(raw)
        assert text == TEXT
    assert plain_text("PID|1||4711||DOE^JANE\rOBX|1|ED|PDF||JVBERi0x\r") == ("", ("HL7",))
    with pytest.raises(InputError, match="several HL7 messages"):
        plain_text(MESSAGE + MESSAGE)


def test_letters_of_rtf() -> None:
    assert plain_text(r"{\rtf1\ansi caf\'e9 \u945? \u-10179?\u-8704? a\~b \{x\}\\ \emdash \line n}")[0] == (
        "café α \U0001f600 a b {x}\\ —\nn"
    )
    assert plain_text(r"{\rtf1\ansi\ansicpg1251 \'f0\'e5\'e1\'f0\'ee}")[0] == "ребро"
    assert plain_text(r"{\rtf1\ansi\ansicpg932 \'8d\'9c}")[0] == "骨"
    assert plain_text(r"{\rtf1\uc2 \u233\'c3\'a9t{\object{\bin4 }}}}}}\par done}")[0] == "ét\ndone"


def test_unbalanced_rtf_is_read_to_its_end() -> None:
    assert plain_text("{\\rtf1 a}}}} b {{{{ c \\")[0] == "a b  c"


@pytest.mark.parametrize("piece", [
    "<p>", "<a ", "<!--", "<br></", "<br><!", "<p a='", "<script>", "<br>&", "<br><![CDATA[", "{\\rtf{",
    "{\\rtf\\'", "OBX|1|TX|||\\X", "OBX|1|TX|||~", "<br>< ", "<p a=b",
])  # fmt: skip
def test_hostile_markup_takes_no_more_than_its_length(piece: str) -> None:
    plain_text(piece + piece[-2:] * 100_000)
    text, _ = plain_text(piece * (100_000 // len(piece)))
    assert len(text) <= 100_000 + 1


# -- round trips ------------------------------------------------------------------------------------

LETTERS = st.text(
    st.characters(exclude_characters="\x85\u2028\u2029\ufeff", exclude_categories=("Cc", "Cs"))
    | st.sampled_from("\n<>&;\\{}|^~\",' %ñé"),
    max_size=60,
).map(str.strip)  # fmt: skip


@given(text=LETTERS)
@settings(max_examples=80, deadline=None)
def test_text_survives_html_hl7_and_rtf(text: str) -> None:
    def paragraph(text: str) -> str:
        return "<pre>" + html.escape(text) + "</pre>"

    def segment(text: str) -> str:
        signs = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\n": "\\.br\\"}
        return "PID|1||4711||DOE^JANE\rOBX|1|FT|R||" + "".join(signs.get(c, c) for c in text) + "|||\r"

    def rich(text: str) -> str:
        def one(c: str) -> str:
            if c in "\\{}":
                return "\\" + c
            if c == "\n":
                return "\\par\n"
            if ord(c) < 128:
                return c
            wide = c.encode("utf-16-le")
            units = [int.from_bytes(wide[i : i + 2], "little", signed=True) for i in range(0, len(wide), 2)]
            return "".join(f"\\u{unit}?" for unit in units)

        return "{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}}\\f0 " + "".join(map(one, text)) + "}"

    def inner(text: str) -> str:  # a text that looks like markup itself is read as such
        return plain_text(text)[0]

    assert plain_text(paragraph(text))[0] == text
    assume(inner(text) == text)
    assert plain_text(segment(text))[0] == text
    assert plain_text(rich(text))[0] == text


@given(texts=st.lists(LETTERS, min_size=1, max_size=6), separator=st.sampled_from(",;\t|"))
@settings(max_examples=20, deadline=None)
def test_text_survives_csv_and_parquet(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], separator: str
) -> None:
    assume(all(plain_text(text)[0] == text for text in texts))
    folder = tmp_path_factory.mktemp("round")
    written = {f"r{i}": text for i, text in enumerate(texts)}
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(
            [("report_id", "report"), *written.items()]
        )
    pd.DataFrame({"uid": list(written), "text": list(written.values())}).to_parquet(folder / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        assert _texts(read_reports(folder / name)) == written


# -- tables -----------------------------------------------------------------------------------------


def test_sections_are_joined_in_a_fixed_order(tmp_path: Path) -> None:
    row = {"impression": "Normal.", "uid": "1", "comparison": "", "findings": "Clear &amp; &amp;lt;.",
           "indication": "Cough."}  # fmt: skip
    found = read_reports(_write(tmp_path / "t.csv", [row]))
    assert _texts(found) == {"1": "INDICATION: Cough.\nFINDINGS: Clear & &lt;.\nIMPRESSION: Normal."}
    assert list(found.meta.columns) == []


def test_chosen_columns_are_joined_as_chosen(tmp_path: Path) -> None:
    row = {"key": "1", "conclusion": "Normal.", "body part": "Chest.", "text": "whole"}
    path = _write(tmp_path / "t.csv", [row])
    found = read_reports(path, id_column="key", text_columns=["conclusion", "body part"])
    assert _texts(found) == {"1": "IMPRESSION: Normal.\nBODY PART: Chest."}
    assert found.notes == ("1 other column with report text not read",)
    assert _texts(read_reports(path, id_column="key", text_columns="conclusion")) == {"1": "Normal."}
    with pytest.raises(TableError, match=r"no column 'conclusions'.*conclusion"):
        read_reports(path, text_columns=["conclusions"])


def test_two_columns_of_one_section_are_both_read(tmp_path: Path) -> None:
    row = {"id": "1", "impression": "One.", "conclusion": "Two.", "history": "H.", "indication": "I."}
    assert _texts(read_reports(_write(tmp_path / "t.csv", [row]))) == {
        "1": "INDICATION: I.\nHISTORY: H.\nIMPRESSION: One.\nCONCLUSION: Two."
    }


def test_the_rest_of_the_table_becomes_meta(tmp_path: Path) -> None:
    rows = [
        {"StudyID": "007", "Report": "a", "StudyDate_DICOM": "20260105", "Projection": "PA",
         "PatientID": "01", "Hospital": "A", "draft_model_version": "1.0", "other": "NA"},
        {"StudyID": "008", "Report": "b", "StudyDate_DICOM": "5/1/2026", "Projection": "AP", "PatientID": "",
         "Hospital": "B", "draft_model_version": "2.0", "other": ""},
    ]  # fmt: skip
    found = read_reports(_write(tmp_path / "t.csv", rows))
    assert [one.report_id for one in found.reports] == list(found.meta.index) == ["007", "008"]
    assert found.meta.index.name == "report_id"
    assert found.meta.drop(columns="date").to_dict("list") == {
        "view": ["PA", "AP"], "patient_id": ["01", ""], "site": ["A", "B"], "model_version": ["1.0", "2.0"],
        "other": ["NA", ""],
    }  # fmt: skip
    assert found.meta["date"].iloc[0] == pd.Timestamp("2026-01-05") and pd.isna(found.meta["date"].iloc[1])
    assert found.notes == ("1 date not YYYY-MM-DD or YYYYMMDD: left empty",)


def test_parquet_numbers_are_ids_without_decimals(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"id": [12.0, 13.0], "text": ["a", None], "date": pd.to_datetime(["2026-01-05", None])}
    )
    table.to_parquet(tmp_path / "t.bin")
    found = read_reports(tmp_path / "t.bin")
    assert _texts(found) == {"12": "a", "13": ""}
    assert found.meta["date"].iloc[0] == pd.Timestamp("2026-01-05")
    assert found.notes == ("1 report without text kept as empty",)


@pytest.mark.parametrize("first", ["", "sep=;\n"])
def test_semicolons_and_the_line_of_excel(tmp_path: Path, first: str) -> None:
    (tmp_path / "t.csv").write_text(first + 'id;text\n1;"a, b"\n\n2;"c;d"\n')
    assert _texts(read_reports(tmp_path / "t.csv")) == {"1": "a, b", "2": "c;d"}


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", ()),
        ("utf-8-sig", ()),
        ("utf-16", ()),
        ("cp1252", ("1 file not UTF-8: read as Windows-1252 (western European)",)),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, note: tuple[str, ...]) -> None:
    (tmp_path / "t.csv").write_bytes("id,text\n1,opacidad en lóbulo – año\n".encode(encoding))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.txt").write_bytes("opacidad en lóbulo – año\n".encode(encoding))
    for source in (tmp_path / "t.csv", tmp_path / "folder"):
        found = read_reports(source)
        assert _texts(found) == {"1": "opacidad en lóbulo – año"}
        assert found.notes == note


def test_bytes_without_a_letter_in_windows_1252_are_latin_1(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes(b"caf\xe9 \x81.")
    assert _texts(read_reports(tmp_path)) == {"1": "café \x81."}


def test_gzip_and_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"id,text\n1," + b"a" * 5000 + b"\n"))
    assert _texts(read_reports(path)) == {"1": "a" * 5000}
    monkeypatch.setattr(reading, "MOST_TABLE_BYTES", 4000)
    with pytest.raises(ReadError, match="Split it"):
        read_reports(path)
    path.write_bytes(gzip.compress(b"id,text\n1,a\n" * 500)[:40])
    with pytest.raises(ReadError, match="cannot be unpacked"):
        read_reports(path)


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.DataFrame({"id": [str(i) for i in range(1000)], "text": ["x" * 1000] * 1000})
    table.to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(reading, "MOST_TABLE_BYTES", 500_000)
    assert (tmp_path / "t.parquet").stat().st_size < 50_000
    with pytest.raises(ReadError, match="Split it"):
        read_reports(tmp_path / "t.parquet")


# -- bad input --------------------------------------------------------------------------------------


def test_duplicate_ids_are_an_error_unless_the_texts_agree(tmp_path: Path) -> None:
    same = [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}, {"id": "1", "text": " <b>a</b> "}]
    found = read_reports(_write(tmp_path / "same.csv", same))
    assert _texts(found) == {"1": "a", "2": "b"} and list(found.meta.index) == ["1", "2"]
    assert "1 report with the same id and text as an earlier one left out" in found.notes
    with pytest.raises(TableError, match=r"row 2 and row 4\. Rename") as caught:
        read_reports(_write(tmp_path / "two.csv", [same[1], same[0], same[1] | {"text": "secret"}, same[1]]))
    assert "secret" not in str(caught.value)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x.txt").write_text("a")
    (tmp_path / "f" / "x.html").write_text("<p>b</p>")
    with pytest.raises(TableError, match=r"x\.html and x\.txt"):
        read_reports(tmp_path / "f")


def test_long_reports_are_read_and_too_long_ones_named(tmp_path: Path) -> None:
    rows = [{"id": "long", "text": "No effusion. " * 8000}, {"id": "huge", "text": "a" * 2_000_001},
            {"id": "", "text": "b"}, {"id": "empty", "text": ""}]  # fmt: skip
    found = read_reports(_write(tmp_path / "t.csv", rows))
    assert {key: len(text) for key, text in _texts(found).items()} == {"long": 103_999, "empty": 0}
    assert found.failed == {
        "huge": "has 2,000,001 characters, more than 2,000,000",
        "row 4": "has no report id",
    }
    assert list(found.meta.index) == ["long", "empty"]


def test_binary_files_links_and_large_files_fail_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("not for you")
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "good.txt").write_text("Clear.")
    (folder / "binary.txt").write_bytes(b"\x00\x01\x02")
    (folder / "wide.txt").write_bytes("a\0b".encode("utf-16"))
    (folder / "odd.txt").write_bytes(b"\xff\xfea")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "in.txt").symlink_to(folder / "good.txt")
    (folder / "round.txt").symlink_to(folder / "round.txt")
    (folder / "folder.txt").mkdir()
    (folder / "large.txt").write_text("a" * 200)
    monkeypatch.setattr(reading, "MOST_FILE_BYTES", 100)
    found = read_reports(folder)
    assert _texts(found) == {"good": "Clear.", "in": "Clear."}
    assert set(found.failed) == {"binary", "wide", "odd", "out", "round", "folder", "large"}
    assert "link out of the folder" in found.failed["out"]
    assert "binary" in found.failed["wide"] and "binary" in found.failed["binary"]
    assert found.notes == ()


@pytest.mark.parametrize(("content", "error", "words"), [
    (b"", TableError, "is empty"),
    (b"id,text\n", TableError, "holds no report"),
    (b"id,text\n1,a,b\n", TableError, "Expected 2 fields in line 2, saw 3"),
    (b'id,text\n1,"a\n', TableError, "Close all quotes"),
    (b"id,text,text\n1,a,b\n", TableError, "row 1 names columns 2 and 3 the same"),
    (b"id,text,\n1,a,b\n", TableError, "no name for column 3"),
    (b"name,text\n1,a\n", TableError, "--id-column"),
    (b"id,words\n1,a\n", TableError, "--text-columns"),
    (b"id,text\n1,a\0b\n", ReadError, "binary"),
    (b"PK\x03\x04\x00\x00", ReadError, "binary"),
    (b"PAR1abc", ReadError, "Parquet"),
    (b"," * 5000, TableError, "more than 2000 columns"),
    (b"\xff\xfea", ReadError, "UTF-16"),
])  # fmt: skip
def test_tables_that_are_none_say_why(tmp_path: Path, content: bytes, error: type, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(error, match=words):
        read_reports(tmp_path / "t.csv")


@pytest.mark.parametrize("first", ["4711,Small effusion.", "A12345,x", "a,FINDINGS: Clear.", "4711,4711"])
def test_a_table_without_a_header_is_not_told_word_for_word(tmp_path: Path, first: str) -> None:
    (tmp_path / "t.csv").write_text(f"{first}\n2,b\n")
    with pytest.raises(TableError, match=r"row 1 names columns 1 and 2 the same|add a header") as error:
        read_reports(tmp_path / "t.csv")
    assert not [cell for cell in first.split(",") if len(cell) > 1 and cell in str(error.value)]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        read_reports(tmp_path / "none.csv")
    with pytest.raises(TableError, match="holds no report"):
        read_reports(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\0")
    with pytest.raises(ReadError, match="none of 1 reports could be read; the first holds binary"):
        read_reports(tmp_path)


def test_a_zero_byte_in_a_cell_fails_that_report(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["1", "2"], "text": ["a\0b", "c"]}).to_parquet(tmp_path / "t.parquet")
    found = read_reports(tmp_path / "t.parquet")
    assert _texts(found) == {"2": "c"} and "binary" in found.failed["1"]


def test_an_empty_trailing_column_of_a_spreadsheet_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text,\n1,a,\n2,b,\n")
    assert list(read_reports(tmp_path / "t.csv").meta) == []


def test_the_frame_is_usable_by_pandas(tmp_path: Path) -> None:
    found = read_reports(_write(tmp_path / "t.csv", [{"id": "1", "text": "a", "site": "B"}]))
    assert found.meta.loc["1", "site"] == "B"
    assert io.StringIO(found.meta.to_csv()).readline() == "report_id,site\n"
