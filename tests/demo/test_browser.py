"""The page as a person uses it, in headless Chromium: clicking, typing, choosing and dropping files."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import threading
from pathlib import Path

import pytest
import uvicorn

from datasets.shapes.dataset import CLASSES, render_image
from helpers.demo_page import TOKEN
from simnl import FewShotClassifier
from simnl.demo.lesson import Setup
from simnl.demo.server import Pages
from simnl.demo.session import Session
from simnl.demo.teacher import Teacher

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = api.expect
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZES = {1400: 900, 390: 844}
WAIT = 60_000  # milliseconds, for machines that do much else
REFUSED = re.compile(r"Failed to load resource: (the server responded with a status of 4\d\d|net::ERR_CONNECTION_)")
DROP = """([zone, files]) => {
    const transfer = new DataTransfer();
    for (const [name, data] of files) {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
    }
    const target = document.querySelector(zone);
    for (const kind of ["dragenter", "dragover", "drop"])
        target.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
OVERFLOW = """() => [document.documentElement, ...document.querySelectorAll("dialog[open], .card, .answers, table")]
    .filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.id || box.className || box.tagName)"""


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    with api.sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=found, args=sandbox)
        yield browser
        browser.close()


class Served:
    """A page behind a real server, whose thread runs in this process."""

    def __init__(self, folder: Path):
        self.session = Session(folder)
        self.teacher = Teacher(self.session, Setup(device="cpu"))
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}/{TOKEN}/"
        app = Pages(self.session, self.teacher).app(TOKEN)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=[[listener]])
        self.thread.start()
        self.teacher.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert self.teacher.stop(30)


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path / "page")
    yield made
    made.stop()


@pytest.fixture
def open_tab(browser, served):
    """Opens tabs; at the end none has told its console of an error, but for requests that were refused."""
    errors, tabs = [], []

    def make(width: int = 1400, scheme: str = "light"):
        tab = browser.new_page(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme)
        tab.set_default_timeout(WAIT)
        tab.on("console", lambda message: message.type in ("error", "warning") and errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(served.address)
        tabs.append(tab)
        return tab

    yield make
    for tab in tabs:
        tab.close()
    assert [error for error in errors if not REFUSED.match(error)] == []


def figures(folder: Path, name: str, numbers: range) -> list[str]:
    kind = next(kind for kind in CLASSES if kind.name == name)
    paths = [folder / f"{name}-{number}.png" for number in numbers]
    for path, number in zip(paths, numbers, strict=True):
        render_image("train", kind, number, "photo").save(path)
    return [str(path) for path in paths]


def choose(tab, button, paths: list[str]) -> None:
    """Click, and choose files in the dialog that opens."""
    with tab.expect_file_chooser() as chooser:
        button.click()
    chooser.value.set_files(paths)


def drop(tab, zone: str, files: dict[str, bytes]) -> None:
    tab.evaluate(DROP, [zone, [[name, base64.b64encode(data).decode()] for name, data in files.items()]])


def ready(tab) -> None:
    expect(tab.locator("#status")).to_have_attribute("data-phase", "ready", timeout=WAIT)


def teach(tab, folder: Path) -> None:
    """Name two classes, and give each three pictures: one by choosing files, one by dropping them."""
    for i, name in enumerate(("dotted star", "solid heart")):
        field = tab.get_by_label("Name of the class").nth(i)
        field.fill(name)
        field.press("Enter")
    expect(tab.locator(".class").nth(1)).to_have_attribute("aria-label", "Class solid heart")
    choose(tab, tab.locator(".class .dropzone").first, figures(folder, "dotted star", range(3)))
    hearts = [Path(path) for path in figures(folder, "solid heart", range(3))]
    drop(tab, ".class:nth-child(2)", {path.name: path.read_bytes() for path in hearts})
    ready(tab)
    expect(tab.locator("#status-more")).to_contain_text("6 pictures of 2 classes learned in")


def test_a_person_teaches_tries_and_corrects(open_tab, tmp_path):
    tab = open_tab()
    expect(tab.locator("#status-text")).to_have_text("No class has a picture yet. Add a few pictures to each class.")
    expect(tab.locator("#save-head")).to_be_disabled()
    expect(tab.locator("#tiny")).to_contain_text("knows rendered figures only")
    teach(tab, tmp_path)

    new = [Path(figures(tmp_path, name, range(9, 10))[0]) for name in ("dotted star", "solid heart")]
    files = {path.name: path.read_bytes() for path in new}
    drop(tab, "#try-zone", {**files, "cut.png": files[new[0].name][:300], "notes.txt": b"no picture"})
    message = tab.locator(".message")
    expect(message).to_contain_text("2 of 4 pictures were not added.")
    expect(message.locator("li")).to_contain_text(["cut.png cannot be decoded", "notes.txt is no picture"])
    message.get_by_role("button").click()
    expect(message).to_have_count(0)
    expect(tab.locator(".answer .label")).to_have_text(["dotted star", "solid heart"])
    expect(
        tab.get_by_role("button", name=re.compile(r"dotted star-9\.png: dotted star, .* %\. Look why"))
    ).to_be_visible()

    tab.locator(".answer").first.focus()
    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog", name="dotted star")
    parts = dialog.locator(".terms tbody th")
    expect(parts).to_have_text(["positive text", "negative text", "positive cache", "negative cache"])
    assert dialog.locator(".support img").evaluate_all("(all) => all.map((one) => one.naturalWidth > 0)") == [True] * 3
    tab.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(tab.locator(".answer").first).to_be_focused()

    tab.locator(".answer").first.click()
    tab.get_by_label("Teach with it: it is a").select_option("solid heart")
    expect(tab.locator("#look")).to_contain_text("This picture teaches “solid heart”.")
    ready(tab)
    expect(tab.locator("#status-more")).to_contain_text("7 pictures of 2 classes")
    tab.get_by_role("button", name="Close").click()
    expect(tab.locator(".class .number")).to_have_text(["3 pictures", "4 pictures"])
    expect(tab.locator(".answer .label")).to_have_text(["solid heart"])

    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save a head file").click()
    assert FewShotClassifier.load(download.value.path(), device="cpu").classnames_ == ["dotted star", "solid heart"]
    choose(tab, tab.locator("label", has_text="Open a head file"), [str(download.value.path())])
    expect(tab.locator("#head-panel")).to_contain_text("SimNL on tiny, 2 classes, 4 pictures per class at most.")
    expect(tab.locator(".answer .label")).to_have_text(["solid heart"])
    tab.get_by_role("button", name="Back to my classes").click()
    expect(tab.locator(".class")).to_have_count(2)


def test_wishes_that_are_refused(open_tab, tmp_path, served):
    tab = open_tab()
    expect(tab.locator("#status")).to_have_attribute("data-phase", "waiting")
    tab.get_by_role("button", name="Add a class").click()
    third = tab.get_by_label("Name of the class").nth(2)
    expect(third).to_have_value("class 3")
    expect(third).to_be_focused()
    tab.keyboard.type("Class 1")
    tab.keyboard.press("Enter")
    expect(tab.locator(".message")).to_contain_text("There is a class “Class 1” already. Names must differ.")
    expect(third).to_have_value("class 3")
    choose(tab, tab.locator(".class .dropzone").nth(2), figures(tmp_path, "dotted star", range(1)))
    status = tab.locator("#status-text")
    expect(status).to_have_text("“class 1” and “class 2” have no pictures. Add some, or remove them.")
    tab.get_by_role("button", name="Remove the class class 3").click()
    sure = tab.get_by_role("dialog")
    expect(sure).to_contain_text("Remove the class “class 3” with its 1 picture?")
    sure.get_by_role("button", name="Cancel").click()
    expect(tab.locator(".class")).to_have_count(3)
    tab.get_by_role("button", name="Remove the class class 3").click()
    sure.get_by_role("button", name="Remove").click()
    expect(tab.locator(".class")).to_have_count(2)
    tab.get_by_text("Method and prompts").click()
    tab.get_by_label("Prompts, one per line", exact=True).fill("a photo")
    tab.keyboard.press("Tab")
    tab.get_by_label("Method").select_option("Tip-Adapter")
    expect(tab.locator("#templates-wrong")).to_have_text("“a photo” needs {} once, where the name of the class goes.")
    expect(tab.locator("#method-now")).to_have_text("Tip-Adapter on tiny")
    expect(tab.locator("#negative-field")).to_be_hidden()  # it reads none
    served.stop()
    expect(tab.locator("#problem")).to_have_text("The program has ended. Start it again for a new page.")


def test_five_hundred_pictures_at_once(open_tab, tmp_path):
    tab = open_tab()
    teach(tab, tmp_path)
    data = [Path(path).read_bytes() for path in figures(tmp_path, "dotted star", range(20, 24))]
    many = [
        {"name": f"{i}.png", "mimeType": "image/png", "buffer": data[i % 4] + i.to_bytes(2, "big")} for i in range(500)
    ]  # bytes behind the end of a PNG do not count, but make another file of it
    many[7]["buffer"] = many[7]["buffer"][:200]
    tab.locator("#try-files").set_input_files(many)
    expect(tab.locator("#status-text")).to_have_text("Adding pictures")
    expect(tab.locator("#status-more")).to_have_text(re.compile(r"\d+ of 500"))
    expect(tab.locator(".message")).to_contain_text("7.png cannot be decoded", timeout=2 * WAIT)
    expect(tab.locator("#answer-count")).to_have_text("499 pictures", timeout=2 * WAIT)
    ready(tab)
    expect(tab.locator(".answer .label")).to_have_text(["dotted star"] * 499)
    assert tab.locator(".answer").nth(6).get_attribute("aria-label").startswith("6.png: dotted star, ")
    assert tab.evaluate(OVERFLOW) == []
    tab.get_by_role("button", name="Remove all").click()
    tab.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(tab.locator("#answers-empty")).to_be_visible()


def test_widths_and_colours(open_tab, tmp_path):
    """Four looks at one page with long names: nothing is wider than its place, and dark is dark."""
    long = "a" * 60
    first = open_tab()
    teach(first, tmp_path)
    field = first.get_by_label("Name of the class").first
    field.fill(long)
    field.press("Enter")
    path = Path(figures(tmp_path, "dotted star", range(9, 10))[0])
    drop(first, "#try-zone", {"x" * 90 + ".png": path.read_bytes()})
    expect(first.locator(".answer .label")).to_have_text([long])
    for width in SIZES:
        for scheme in ("light", "dark"):
            tab = open_tab(width, scheme)
            tab.locator(".answer .label").wait_for()
            assert tab.evaluate(OVERFLOW) == [], (width, scheme)
            tab.get_by_text("Method and prompts").click()
            tab.locator(".answer").first.click()
            tab.locator(".terms").wait_for()
            assert tab.evaluate(OVERFLOW) == [], (width, scheme)
            ground = tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
            assert (max(map(int, re.findall(r"\d+", ground)[:3])) < 60) == (scheme == "dark")
