"""The HTML report: what it holds, that nothing in it is markup by accident, that it loads nothing, in a browser too."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report
import yaml

from helpers.table_records import HALF, damaged, three, write
from simnl.results.report import make_report
from simnl.results.tables.model import Cell, cell_text

EVIL = "<img src=x onerror=alert(1)>\"'&"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Tags with attributes, text by enclosing section, and whether every tag is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open, self.text, self.section = [], [], {}, ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text[self.section] = self.text.get(self.section, "") + data

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def matrix() -> list[dict]:
    records = []
    for (n, dataset), (m, method), shots in itertools.product(
        enumerate(("dtd", "eurosat")), enumerate(("ZeroshotCLIP", "TipAdapterF", "SimNL")), (1, 16)
    ):
        records += three(40 + 10 * n + m * shots**0.5, dataset=dataset, method=method, shots=shots)
    records[-1] |= {"hparams": {"alpha": 1.25}, "environment": {"python": "3.11.4", "packages": {"torch": "2.9.1"}}}
    return records


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A small matrix, a run of hostile names, a damaged record, two stored configs."""
    folder = write(tmp_path_factory.mktemp("report") / "runs", matrix())
    hostile = {"dataset": EVIL, "backbone": EVIL, "options": {EVIL: EVIL}, "prompts": [EVIL], "hparams": {EVIL: 1.0}}
    write(folder / EVIL.replace("/", ""), three(50.0, **hostile))
    damaged(folder / "damaged", "{")
    for number, rate in ((0, 0.1), (3, 0.2)):
        body = {"OPTIM": {"LR": rate, "NAME": "adamw"}, "SEED": number, "EVIL": EVIL}
        (folder / f"{number:04d}" / "config.yaml").write_text(yaml.safe_dump(body))
    return folder


@pytest.fixture(scope="module")
def html(runs) -> str:
    return "".join(make_report(runs))


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_every_part_is_there(page):
    assert not page.open
    assert list(page.text)[1:] == ["reading", "tables", "figures", "summary", "runs", "configs", "versions"]
    assert "fewshot-val" in page.text["reading"]
    assert f"{50 + 2 * 4:.2f} ± {HALF:.2f}" in page.text["tables"]  # SimNL, eurosat, 16 shots
    assert "58.30" in page.text["runs"]  # its third seed
    assert "alpha 1.25" in page.text["runs"]
    assert "2.9.1" in page.text["versions"]
    assert len(page.all("figure")) >= 2


def test_a_damaged_record_is_named(page):
    assert str(Path("damaged") / "result.json") in page.text["reading"]


def test_configs_show_what_they_share_and_what_not(page):
    shared, *own = page.text["configs"].split("Keys that all stored configs share")[1].split("runs\n")
    assert "OPTIM.NAME: adamw" in shared
    assert "LR" not in shared.split("OPTIM.NAME")[0]
    assert sum("OPTIM.LR: 0.1" in part for part in own) == 1
    assert "SEED" not in page.text["configs"]
    assert "left no config.yaml" in page.text["configs"]


def test_names_are_text_and_not_markup(page):
    assert len(page.all("script")) == 1
    assert all(attrs["src"].startswith("data:image/svg+xml;base64,") for attrs in page.all("img"))
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    for section in ("runs", "summary", "configs"):
        assert EVIL in page.text[section]


def test_nothing_is_loaded(page, html):
    for tag, attrs in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"@import|url\(", html.split("<style>")[1].split("</style>")[0])
    for attrs in page.all("img"):
        svg = base64.b64decode(attrs["src"].split(",", 1)[1]).decode()
        assert not re.search(r'href="(?!#)', svg)


def test_links_lead_somewhere(page):
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = [attrs["href"][1:] for attrs in page.all("a")]
    assert links
    assert set(links) <= ids


def test_the_same_runs_make_the_same_file(runs, html):
    assert "".join(make_report(runs)) == html


def test_cells_as_text():
    assert cell_text(Cell(1234.567, grouped=True, decimals=0, mark="best"), "plain") == "1,235"
    assert cell_text(Cell(0.5, 0.25, signed=True, note="(n=2)"), "plain") == "+0.50 ± 0.25 (n=2)"
    assert cell_text(Cell(text="n/a"), "plain") == "n/a"


def test_the_tool(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "nothing")])
    assert report.main() == 1
    assert "No such file or folder" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["report", str(runs / "0000"), "--output", str(tmp_path / "one.html")])
    assert report.main() == 0
    assert "one.html: 0.0 MB" in capsys.readouterr().out
    assert "No figure can be drawn" in (tmp_path / "one.html").read_text()


# What a person would do, told as JSON in the page's title.
PROBE = """<script>
const told = {errors: [], blocked: []};
addEventListener("error", (event) => told.errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => told.blocked.push(event.blockedURI));
addEventListener("load", () => {
  const rows = () => [...document.querySelectorAll("#runs-list tbody tr")].filter((row) => !row.hidden);
  const accuracies = () => rows().map((row) => Number(row.cells[8].textContent));
  told.all = rows().length;
  document.querySelectorAll("#runs-list button")[8].click();
  told.ascending = accuracies();
  document.querySelectorAll("#runs-list button")[8].click();
  told.descending = accuracies();
  const search = document.querySelector("input[data-table=runs-list]");
  search.value = "simnl eurosat";
  search.dispatchEvent(new Event("input"));
  told.found = rows().map((row) => row.cells[0].textContent + " " + row.cells[1].textContent);
  told.count = search.closest("p").querySelector("output").value;
  rows()[0].cells[11].firstElementChild.click();
  setTimeout(() => {
    told.opened = document.querySelector("#configs details[open]") !== null;
    told.images = [...document.images].every((image) => image.naturalWidth > 100);
    told.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    told.loaded = loaded.filter((name) => !name.startsWith("data:"));
    document.title = JSON.stringify(told);
  }, 100);
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [1300, 500])
def test_in_a_browser(html, tmp_path, width):
    file = tmp_path / "report.html"
    file.write_text(html.replace("</title>", f"</title>{PROBE}", 1))
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", "--virtual-time-budget=5000", f"--window-size={width},900", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert ":CONSOLE" not in done.stderr
    told = json.loads(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1].replace("&amp;", "&"))
    assert (told["errors"], told["blocked"], told["loaded"]) == ([], [], [])
    assert told["all"] == 39
    assert told["ascending"] == sorted(told["ascending"])
    assert told["descending"] == sorted(told["ascending"], reverse=True)
    assert told["found"] == ["eurosat SimNL"] * 6
    assert told["count"] == "6 of 39"
    assert told["opened"]
    assert told["images"]
    assert told["overflow"] <= 0
