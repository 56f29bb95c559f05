"""The page shows what is in metrics.json, escapes what comes from data, and loads without requests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.show import Show
from radfoundry.errors import RunError
from radfoundry.report import figures
from radfoundry.report.build import build, describe, interval, number
from radfoundry.report.render import render
from radfoundry.report.svg import clean
from radfoundry.types import Estimate
from tests.report.demo import make

ATTACK = "<script>document.title='pwned'</script><img src=https://leak.invalid/x onerror=alert(1)>\"'{{7*7}}"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("demo") / "run")


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("attack") / "run", inject=ATTACK)


class Page(HTMLParser):
    """Collects tags with their attributes, and the text of cells by the estimate they show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.rows: list[tuple[int, dict[str, str]]] = []
        self._row: tuple[int, dict[str, str]] | None = None
        self._cell = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "tr":
            self._row = (int(given["data-estimate"]), {}) if "data-estimate" in given else None
            self.rows += [self._row] if self._row else []
        if tag in ("td", "th"):
            self._cell = given.get("class", "").split(" ")[-1]

    def handle_data(self, data: str) -> None:
        if self._row and self._cell:
            self._row[1][self._cell] = self._row[1].get(self._cell, "") + data


def test_clusters_are_called_what_they_are_on_the_page_and_in_words() -> None:
    method = "Wilson, cells taken as independent"
    one = Estimate("micro_f1", 0.9, 0.8, 0.95, method=method, n=600, n_clusters=60, cluster="report")
    assert describe(one.as_dict(), 0)["text"]["n"] == "600 (60 reports)"
    assert str(one).endswith("n = 600, 60 reports)")
    assert Estimate.from_dict(one.as_dict()) == one
    older = {name: value for name, value in one.as_dict().items() if name != "cluster"}
    assert describe(older, 0)["text"]["n"] == "600 (60 patients)"
    assert Estimate.from_dict(older).cluster == "patient"


def test_page_shows_exactly_metrics_json(run_dir: Path) -> None:
    records = json.loads((run_dir / "metrics.json").read_text())
    page = Page((run_dir / "report.html").read_text())
    assert {index for index, _ in page.rows} == set(range(len(records)))
    for index, cells in page.rows:
        assert cells["value"] == number(records[index]["value"])
        assert cells["interval"] == interval(records[index])
        assert cells["n"].startswith(f"{records[index]['n']:,}")
    shown = [int(a["data-headline"]) for _, a in page.tags if "data-headline" in a]
    assert [records[i]["model"] for i in shown] == ["Frozen encoder + MLP", "Random encoder"]


def test_changed_metric_changes_the_page(run_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    records = json.loads((copy / "metrics.json").read_text())
    records[4]["value"] = 0.123456
    (copy / "metrics.json").write_text(json.dumps(records))
    assert dict(Page(render(build(copy))).rows)[4]["value"] == "0.123"


def test_headline_that_is_not_in_metrics_is_said(run_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    (copy / "metrics.json").write_text("[]")
    assert any("AUC, cross-validation" in w for w in build(copy)["warnings"])


def test_text_from_data_is_escaped(attacked: Path) -> None:
    text = (attacked / "report.html").read_text()
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "link" + "x")]
    assert not [a for _, given in page.tags for a in given if a.startswith("on")]
    assert all(given["src"].startswith("data:") for tag, given in page.tags if tag == "img")
    assert text.count("&lt;script&gt;") >= 8
    assert "49" not in re.findall(r"phantoms[^<]*", text)[0]


def test_page_is_self_contained(run_dir: Path) -> None:
    page = Page((run_dir / "report.html").read_text())
    links = [given[name] for _, given in page.tags for name in ("src", "href", "xlink:href") if name in given]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids)), "ids of two drawings collide"
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_sections_stand_in_order(run_dir: Path) -> None:
    keys = [s["key"] for s in build(run_dir, embed=False)["sections"]]
    assert keys[:4] == ["table_one", "flow", "performance", "roc"]
    assert keys[-3:] == ["audit", "errors", "methods"]


@pytest.mark.parametrize("path", ["../secret.svg", "/etc/hostname"])
def test_figures_outside_the_run_are_refused(run_dir: Path, tmp_path: Path, path: str) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    content = json.loads((copy / "sections.json").read_text())
    gallery = next(s for s in content["sections"] if s["key"] == "errors")
    gallery["items"][0]["file"] = path
    (copy / "sections.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="outside the run folder"):
        build(copy)


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no manifest\.json"):
        build(tmp_path)


def test_show(run_dir: Path, capsys: pytest.CaptureFixture) -> None:
    assert Show(run_dir).run() == 0
    text = capsys.readouterr().out
    value = number(json.loads((run_dir / "metrics.json").read_text())[0]["value"])
    assert value in text and "What this data cannot support" in text and "report.html" in text
    assert Show(run_dir, json=True).run() == 0
    assert json.loads(capsys.readouterr().out)["estimates"][0]["text"]["value"] == value


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        '<path onload="alert(1)" d="M0 0"/>',
        '<image href="https://example.org/x.png"/>',
        '<use href="https://example.org/x.svg#a"/>',
        '<rect style="fill:url(https://example.org/x)"/>',
        "<style>@import 'https://example.org/x.css'</style>",
        '<foreignObject><body xmlns="http://www.w3.org/1999/xhtml">x</body></foreignObject>',
        '<a href="javascript:alert(1)"><path d="M0 0"/></a>',
    ],
)
def test_active_drawings_are_disarmed(inner: str) -> None:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><g id="kept">{inner}</g></svg>'
    cleaned = clean(svg, prefix="p-", label="x")
    assert 'id="p-kept"' in cleaned
    assert not re.search(r"alert|example\.org|foreignObject|<style", cleaned)


@pytest.mark.parametrize("svg", ["not xml", "<html/>", '<!DOCTYPE x [<!ENTITY a "b">]><svg/>'])
def test_drawings_that_are_not_svg(svg: str) -> None:
    with pytest.raises(RunError, match="Draw it again"):
        clean(svg, prefix="", label="x")


def test_forest_prints_what_it_was_given() -> None:
    rows = [Estimate("auroc", 0.8, 0.7, 0.9, n=50, subgroup="sex = F"), Estimate("auroc", float("nan"), n=3)]
    figure, data = figures.forest(rows)
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"sex = F", "0.800", "0.700 to 0.900", "50"} <= words
    assert data["value"].iloc[0] == 0.8 and np.isnan(data["value"].iloc[1])


def test_score_histogram_counts_every_case() -> None:
    _, data = figures.score_distributions({"a": np.linspace(0, 1, 57), "b": np.array([0.5])})
    assert data.groupby("group")["cases"].sum().to_dict() == {"a": 57, "b": 1}


def test_figures_leave_matplotlib_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.history(pd.DataFrame({"epoch": [1, 2], "training": [1.0, 0.5]}))
    assert dict(mpl.rcParams) == before


@pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed")
def test_chromium_runs_nothing_and_asks_nobody(attacked: Path, tmp_path: Path) -> None:
    words = "headless no-sandbox disable-gpu no-first-run disable-sync disable-component-update dump-dom"
    flags = [
        f"--{flag}" for flag in (*words.split(), "disable-background-networking", "enable-logging=stderr")
    ]
    page = (attacked / "report.html").resolve().as_uri()
    done = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path}", f"--log-net-log={tmp_path / 'net.json'}", page],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Study report" in done.stdout
    assert "<title>pwned" not in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
    log = (tmp_path / "net.json").read_text()  # it also holds the browser's own calls home
    assert "report.html" in log or len(log) > 1000
    assert "leak.invalid" not in log
