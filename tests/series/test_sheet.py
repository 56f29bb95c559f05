"""The contact sheet: order, escaping, size, and a correction made in a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from radfoundry.errors import RunError
from radfoundry.series.corrections import Correction, read_corrections
from radfoundry.series.find import Series
from radfoundry.series.header import SeriesHeader
from radfoundry.series.organise import index_row
from radfoundry.series.origin import LEGIBLE, unshown
from radfoundry.series.sheet import write_sheet
from radfoundry.series.verdict import Attributes, Verdict

HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\">'\"{{ 7*7 }}"


def row(uid: str, label: str = "T1", **changes: Any) -> dict[str, Any]:
    modality, _, kind = label.partition(":")
    verdict = Verdict(
        uid,
        modality,
        kind,
        "Brain",
        confidence=0.97,
        source="tags",
        trace=("TE 10 → T1",),
        candidates=(label,),
        attributes=Attributes("axial", "2D", echo_times=(10.0,)),
    )
    verdict = replace(verdict, **{k: v for k, v in changes.items() if k in Verdict.__slots__})
    made = index_row(Series(uid, "1", "ab12cd34", "", 3, f"study/{uid}", ()), verdict)
    return made | {k: v for k, v in changes.items() if k in made}


UNSURE = {"unsure": True, "confidence": 0.55, "candidates": ("T2", "T2*", "other:PD")}


def page(tmp_path: Path, rows: list[dict[str, Any]], **kwargs: Any) -> str:
    return write_sheet(rows, tmp_path / "sheet.html", **kwargs).read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.found


def cards(text: str) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in tags(text) if tag == "article"]


def test_the_least_sure_come_first_then_problems(tmp_path: Path) -> None:
    rows = [
        row("1"),
        row("2", **UNSURE),
        row("3", problem="2 of 3 files unreadable"),
        row("4", **{**UNSURE, "confidence": 0.3}),
        row("5", unsure=True, confidence=None),
    ]
    assert [card["data-uid"] for card in cards(page(tmp_path, rows))] == ["5", "4", "2", "3", "1"]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    changes = {
        "path_in": HOSTILE,
        "trace": (HOSTILE,),
        "problem": HOSTILE,
        "notes": (HOSTILE,),
        "subject": HOSTILE,
        "candidates": (HOSTILE,),
        "label": HOSTILE,
        "anatomy": HOSTILE,
        "left_out": HOSTILE,
    }
    hostile = page(tmp_path, [row("1") | changes], facts={"1": [HOSTILE]}, title=HOSTILE)
    plain = page(
        tmp_path,
        [row("1") | {k: "x" if isinstance(v, str) else ("x",) for k, v in changes.items()}],
        facts={"1": ["x"]},
        title="x",
    )
    assert [tag for tag, _ in tags(hostile)] == [tag for tag, _ in tags(plain)]
    assert [sorted(a) for _, a in tags(hostile)] == [sorted(a) for _, a in tags(plain)]
    assert cards(hostile)[0]["data-label"] == HOSTILE


def test_the_page_asks_nobody_and_runs_only_its_own_script(tmp_path: Path) -> None:
    text = page(tmp_path, [row("1")], thumbnails={"1": np.zeros((8, 8), np.uint8)})
    assert not re.search(r"https?://|@import|url\(", text)
    policy = (
        next(a["content"] for t, a in tags(text) if a.get("http-equiv") == "Content-Security-Policy") or ""
    )
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_a_thumbnail_is_a_small_jpeg_of_the_same_picture(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 400).astype(np.uint8), (200, 1))
    text = page(tmp_path, [row("1")], thumbnails={"1": ramp})
    image = next(attributes for tag, attributes in tags(text) if tag == "img")
    assert image["loading"] == "lazy"
    data = base64.b64decode(str(image["src"]).split(",")[1])
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size) == ("JPEG", (176, 88))
    assert np.asarray(picture)[40, [5, 170]].tolist() == pytest.approx([8, 246], abs=6)


@pytest.mark.parametrize("thumbnail", [None, np.zeros((0, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)])
def test_without_a_picture_the_card_says_so(thumbnail: np.ndarray | None, tmp_path: Path) -> None:
    assert "no picture" in page(tmp_path, [row("1")], thumbnails={"1": thumbnail})


@pytest.mark.parametrize(
    ("label", "unshown", "why"),
    [
        ("other:SCREEN", {}, "secondary capture"),
        ("other:NOT-MR", {}, "not MR"),
        ("T1", {"1": "burned-in annotation"}, "burned-in annotation"),
    ],
)
def test_a_picture_that_may_name_a_patient_is_not_in_the_page(
    label: str, unshown: dict[str, str], why: str, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96)).astype(np.uint8)
    shown = page(tmp_path, [row("1")], thumbnails={"1": noise})
    text = page(tmp_path, [row("1", label)], thumbnails={"1": noise}, unshown=unshown)
    assert "data:image/jpeg" in shown and "data:image" not in text
    assert f"not shown: {why}; its pixels may name a patient" in text and "<svg" in text


@pytest.mark.parametrize(
    ("values", "verdict", "why"),
    [
        ({"BurnedInAnnotation": ("NO", "YES")}, Verdict("1", "T1"), "burned-in annotation"),
        ({"SOPClassUID": ("1.2.840.10008.5.1.4.1.1.7.2",)}, Verdict("1", "T1"), LEGIBLE["SCREEN"]),
        ({"ConversionType": ("WSD",)}, Verdict("1", "T1", source="person"), LEGIBLE["SCREEN"]),
        ({"Modality": ("OT",)}, Verdict("1", "T1"), LEGIBLE["SCREEN"]),
        ({}, Verdict("1", "other", "SCREEN"), LEGIBLE["SCREEN"]),
        ({"Modality": ("US",)}, Verdict("1", "other", "NOT-MR"), "not MR"),
        ({"SOPClassUID": ("1.2.840.10008.5.1.4.1.1.4",), "BurnedInAnnotation": ("NO",), "Modality": ("MR",)},
         Verdict("1", "T1"), ""),
    ],
)  # fmt: skip
def test_header_and_verdict_tell_which_pictures_may_name_a_patient(
    values: dict[str, Any], verdict: Verdict, why: str
) -> None:
    assert unshown(SeriesHeader(values=values), verdict) == why


def test_facts_of_the_index_stand_in_for_those_of_the_header(tmp_path: Path) -> None:
    assert "<span>TE 10</span>" in page(tmp_path, [row("1", echo_times=(10,))])
    text = page(tmp_path, [row("1")], facts={"1": ["TR 500"]})
    assert "<span>TR 500</span>" in text
    assert "<span>axial</span>" not in text


def test_rows_of_a_saved_index_are_shown_too(tmp_path: Path) -> None:
    saved = row("1") | {"trace": "a; b", "candidates": "T1; T2", "notes": "", "confidence": float("nan")}
    text = page(tmp_path, [saved])
    assert "<li>a</li><li>b</li>" in text
    assert "no probability" in text


def test_two_thousand_series_make_a_page_of_bearable_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96)).astype(np.uint8)
    start = time.perf_counter()
    text = page(
        tmp_path, [row(f"1.{i}") for i in range(2000)], thumbnails={f"1.{i}": noise for i in range(2000)}
    )
    assert time.perf_counter() - start < 30
    assert len(text) < 40e6
    assert text.count("<article") == 2000
    assert text.count("<select") == 6  # three filters, and one editor for the active card


def test_an_unsure_card_always_offers_a_choice(tmp_path: Path) -> None:
    rows = [row("1", unsure=True, confidence=None, candidates=()), row("2", **UNSURE), row("3")]
    choices = [attributes for tag, attributes in tags(page(tmp_path, rows)) if "data-choose" in attributes]
    assert len(choices) == 2


def test_no_series_make_a_page(tmp_path: Path) -> None:
    assert cards(page(tmp_path, [])) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_sheet([row("1")], tmp_path / "file" / "sheet.html")


# --- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("Chromium and its driver are not installed")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "window-size=1300,900",
    ):
        options.add_argument(f"--{flag}")
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.downloads = downloads
    yield driver
    driver.quit()


def opened(browser: Any, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = write_sheet(rows, tmp_path / "sheet.html", thumbnails={"1.1": np.full((8, 8), 90, np.uint8)})
    browser.get(path.as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()


def press(browser: Any, *keys: str) -> None:
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def downloaded(browser: Any) -> Path:
    for old in browser.downloads.iterdir():
        old.unlink()
    browser.find_element("id", "download").click()
    path = browser.downloads / "corrections.json"
    for _ in range(100):
        if path.exists() and path.stat().st_size:
            return path
        time.sleep(0.05)
    raise AssertionError("nothing was downloaded")


ROWS = [row("1.1", "T1", **UNSURE), row("1.2", "T2", **UNSURE), row("1.3", "DWI"), row("1.4", "other:BOLD")]


def test_a_correction_made_with_the_mouse_is_exported(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.support.ui import Select

    opened(browser, tmp_path, ROWS)
    browser.find_element("css selector", '[data-uid="1.3"] h2').click()
    Select(browser.find_element("name", "modality")).select_by_value("other")
    Select(browser.find_element("name", "kind")).select_by_value("DSC")
    Select(browser.find_element("name", "anatomy")).select_by_value("Knee")
    note = browser.find_element("name", "note")
    note.send_keys('a "note" <b>')
    browser.find_element("css selector", '[data-uid="1.1"] h2').click()
    assert browser.find_element("id", "checked").text == "1"
    path = downloaded(browser)
    found = read_corrections(path)
    when = found["1.3"].when
    assert found == {"1.3": Correction("1.3", "other", "DSC", "Knee", 'a "note" <b>', when)}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", when)
    entry = json.loads(path.read_text())["corrections"][0]
    assert entry["was"] == {"modality": "DWI", "kind": "", "anatomy": "Brain"}
    assert browser.get_log("browser") == []


def test_the_keyboard_alone_is_enough(browser: Any, tmp_path: Path) -> None:
    opened(browser, tmp_path, ROWS)
    press(
        browser, "2", "u", "c", "c"
    )  # first unsure: second candidate; second unsure: confirmed; then the third
    labels = {uid: found.label for uid, found in read_corrections(downloaded(browser)).items()}
    assert labels == {"1.1": "T2*", "1.2": "T2", "1.3": "DWI"}
    press(browser, "z")
    assert browser.find_element("id", "checked").text == "3"  # the fourth had no correction to take back
    from selenium.webdriver.common.keys import Keys

    browser.find_element("css selector", '[data-uid="1.4"] h2').click()
    press(browser, Keys.ARROW_LEFT, "z")
    assert set(read_corrections(downloaded(browser))) == {"1.1", "1.2"}


def test_corrections_survive_closing_the_page(browser: Any, tmp_path: Path) -> None:
    opened(browser, tmp_path, ROWS)
    press(browser, "c")
    browser.refresh()
    assert browser.find_element("id", "checked").text == "1"
    assert browser.find_element("css selector", '[data-uid="1.1"] .mine').text == "confirmed"
    path = write_sheet(ROWS[1:], tmp_path / "other.html")
    browser.get(path.as_uri())
    assert browser.find_element("id", "checked").text == "0"  # another sheet, other corrections


def test_filters_show_what_they_say(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.support.ui import Select

    opened(browser, tmp_path, ROWS)

    def shown() -> list[str]:
        found = browser.find_elements("css selector", "li:not([hidden]) > .card")
        return [card.get_attribute("data-uid") for card in found]

    Select(browser.find_element("id", "by-state")).select_by_value("unsure")
    assert shown() == ["1.1", "1.2"]
    Select(browser.find_element("id", "by-state")).select_by_value("")
    Select(browser.find_element("id", "by-label")).select_by_value("other:BOLD")
    assert shown() == ["1.4"]
    Select(browser.find_element("id", "by-label")).select_by_value("")
    browser.find_element("id", "search").send_keys("1.3")
    assert shown() == ["1.3"]


def test_an_unsure_series_without_candidates_is_chosen_for(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    bare = {"unsure": True, "confidence": None, "candidates": (), "source": "rules"}
    opened(browser, tmp_path, [row("1.0", "other:UNKNOWN", **bare), row("1.1", "other:UNKNOWN", **bare)])
    browser.find_element("css selector", '[data-uid="1.1"] [data-choose]').click()
    press(browser, Keys.ESCAPE)
    assert browser.switch_to.active_element.get_attribute("name") in ("modality", None)
    Select(browser.find_element("name", "modality")).select_by_value("SWI")
    assert {uid: one.label for uid, one in read_corrections(downloaded(browser)).items()} == {"1.1": "SWI"}


def test_the_editor_moves_no_card_and_cuts_no_list(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, tmp_path, [row(f"1.{i}", "other:BOLD") for i in range(9)])
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('.card')].map((card) => card.offsetHeight)"
    )
    assert max(sizes) - min(sizes) <= 1
    lists = browser.find_elements("css selector", ".editor select")
    assert [len(one.find_elements("tag name", "option")) > 5 for one in lists] == [True] * 3
    for one in lists:
        longest = browser.execute_script(
            "const s = arguments[0], probe = s.cloneNode(true); probe.style.cssText = 'position:absolute;"
            "width:auto;max-width:none'; document.body.append(probe); const w = probe.offsetWidth;"
            "probe.remove(); return w - s.offsetWidth", one,
        )  # fmt: skip
        assert longest <= 0
    press(browser, *[Keys.ARROW_RIGHT] * 8)
    place = "return document.querySelector(arguments[0]).getBoundingClientRect()"
    active, dock = (browser.execute_script(place, query) for query in (".card.active", "#dock"))
    assert active["bottom"] <= dock["top"] < 900
    assert "study/1.8" in browser.find_element("css selector", ".which").text


def test_hostile_text_does_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    hostile = row("1.1", **UNSURE) | {
        "path_in": HOSTILE,
        "trace": (HOSTILE,),
        "label": HOSTILE,
        "candidates": (HOSTILE,),
    }
    opened(browser, tmp_path, [hostile])
    press(browser, "c")
    time.sleep(0.2)
    assert browser.title == "MRI series: contact sheet"
    assert browser.find_elements("css selector", "img:not([src^=data])") == []
    assert browser.get_log("browser") == []
