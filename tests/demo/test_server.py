"""Who gets in, what is taken, and what is refused in which words. No model is needed: the thread that learns rests."""

from __future__ import annotations

import asyncio
import io
import re
import struct
import zlib

import httpx
import pytest
from PIL import Image

from helpers.demo_page import HOST, TOKEN
from simnl.demo import pictures as limits
from simnl.demo import server, session
from simnl.demo.lesson import MAX_NAME, check_name, check_prompts
from simnl.demo.server import PAGE, Pages


def picture(width: int = 8, height: int = 6, colour: int = 0, kind: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    drawn = Image.new("RGB", (width, height), (colour % 256, colour // 256, 90))
    (drawn if mode == "RGB" else drawn.convert("L").convert(mode)).save(file, kind)
    return file.getvalue()


def claimed(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says that it is so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def page(open_page):
    return open_page(start=False)


# ---------------------------------------------------------------------- who gets in


@pytest.mark.parametrize("path", ["/", "/state", "/a-toke/state", f"/{TOKEN}x/state", f"/x/{TOKEN}/state", "//", "/é/"])
def test_without_the_token_nothing_is_told(page, path):
    answer = page.client.get(path)
    assert answer.status_code == 403
    assert answer.text.startswith("The address is not complete: open the one that the terminal shows")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "[::1", "0.0.0.0", ""])
def test_another_name_of_this_machine_is_refused(page, host):
    answer = page.client.get(f"/{TOKEN}/state", headers={"host": host})
    assert answer.status_code == 403
    assert "for the browser of this machine alone" in answer.text


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:9999", "localhost"])
def test_a_forwarded_port_works(page, host):
    headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    assert page.client.post(f"/{TOKEN}/classes", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8001"},  # another program of this machine
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_other_pages_change_nothing(page, headers):
    before = page.session.revision
    for method, path in (("POST", "classes"), ("DELETE", "classes/1"), ("POST", "pictures")):
        answer = page.client.request(method, f"/{TOKEN}/{path}", headers=headers, content=picture())
        assert answer.status_code == 403
        assert "comes from another page" in answer.text
    assert page.session.revision == before


def test_every_answer_keeps_to_itself(page):
    for path in ("", "state", "page/style.css", "nothing"):
        headers = page.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_has_all_that_it_names_and_nothing_from_outside(page):
    assert page.get("").headers["content-type"].startswith("text/html")
    files = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}
    for name, text in files.items():
        assert page.get(f"page/{name}").text == text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        for other in re.findall(r'(?:href|src)="page/([^"]+)"|from "\./([^"]+)"', text):
            assert "".join(other) in files
    for wrong in ("page/nothing.js", "page/..%2Fserver.py", "page/../server.py", "nothing"):
        answer = page.get(wrong)
        assert (answer.status_code, answer.json()) == (404, {"problem": "There is no such address on this page."})


# ---------------------------------------------------------------------- pictures


def refused(page, content: bytes, name: str = "one.png", place: int = 0) -> tuple[int, str]:
    answer = page.post("pictures", content, {"name": name, "place": place})
    assert page.state()["content"]["new"] == []
    return answer.status_code, answer.json()["problem"]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "one.png is empty."),
        (b"just text", 415, "one.png is no picture that can be read. Use JPEG, PNG, GIF, BMP, WEBP, TIFF or PPM."),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, "one.png is no picture that can be read."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "one.png is no picture that can be read."),
        (picture(64, 64, kind="JPEG")[:-200], 415, "one.png cannot be decoded: "),
        (claimed(8, 8), 415, "one.png cannot be decoded: "),
        (picture(64, 64, kind="TIFF", mode="F"), 415, "one.png cannot be decoded: its pixels are fractions (mode F), "
         "and the file does not say which value is white; save it with 8 or 16 bits per channel."),
        (claimed(30_000, 30_000), 413, "one.png has more than 50 million pixels: make it smaller."),
        (claimed(9_000, 6_000), 413, "one.png has 9,000 x 6,000 pixels, more than 50 million: make it smaller."),
        (picture(4, 600), 413, "one.png has 4 x 600 pixels, which is too narrow for a model to see."),
    ],
    ids=["empty", "text", "eps", "svg", "cut", "no pixels", "fractions", "bomb", "large", "narrow"],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_a_sentence(page, content, status, said):
    found, problem = refused(page, content)
    assert (found, problem[: len(said)]) == (status, said)


def test_limits_of_size_and_number(page, monkeypatch):
    content = picture()
    monkeypatch.setattr(server, "MAX_FILE", 20)
    assert refused(page, content) == (413, "one.png has more than 0 MB.")

    def parts():  # no length is announced
        yield content[:15]
        yield content[15:]

    assert page.client.post(f"/{TOKEN}/pictures", params={"name": "x.png"}, content=parts()).status_code == 413
    monkeypatch.undo()
    monkeypatch.setattr(session, "MAX_TOTAL", 2 * len(content) - 1)
    assert page.post("pictures", content, {"name": "first.png"}).status_code == 200
    answer = page.post("pictures", picture(colour=1), {"name": "second.png"})
    assert (answer.status_code, answer.json()["problem"]) == (413, "All pictures together may have 0 MB: remove some.")
    monkeypatch.undo()
    monkeypatch.setattr(session, "MAX_PICTURES", 1)
    answer = page.post("pictures", picture(colour=2), {"name": "third.png"})
    assert answer.json()["problem"] == "There are 1 pictures, the most that this page takes: remove some."
    assert [one["name"] for one in page.state()["content"]["new"]] == ["first.png"]


def test_a_picture_is_there_once(page):
    first = next(iter(page.session.classes))
    assert page.post("pictures", picture(), {"name": "a.png", "place": first}).json() == {"number": 3, "name": "a.png"}
    answer = page.post("pictures", picture(), {"name": "b.png"})
    assert answer.status_code == 409
    assert answer.json()["problem"] == "b.png is there already: it is a.png in class 1."
    assert page.post("pictures", picture(colour=1), {"name": "b.png", "place": 77}).status_code == 404


def test_names_of_files_lead_nowhere(page):
    names = ["../../etc/passwd", "C:\\x\\a.png", "A.PNG", "", "con\u202efig.png", "x" * 300 + ".png", "..", "a.tar.gz"]
    for i, name in enumerate(names):
        assert page.post("pictures", picture(colour=i), {"name": name}).status_code == 200, name
    kept = [one.path for one in page.session.pictures.values()]
    assert {path.parent for path in kept} == {page.session.folder / "pictures"}
    assert [path.name for path in kept][:3] == ["passwd.png", "a.png", "A-2.PNG"]
    assert all(path.is_file() and path.name.isprintable() and len(path.name) < 200 for path in kept)


def test_the_order_is_the_one_in_which_files_were_chosen(page):
    for order in (3, 1, 2):
        page.post("pictures", picture(colour=order), {"name": f"{order}.png", "order": order})
    assert [one["name"] for one in page.state()["content"]["new"]] == ["1.png", "2.png", "3.png"]
    for query in ({"order": "x"}, {"order": "1" * 40}, {"place": "-1"}, {"place": "१"}):
        answer = page.post("pictures", picture(colour=9), query)
        assert (answer.status_code, answer.json()["problem"]) == (400, f"{next(iter(query))} must be a whole number.")


def test_files_of_removed_pictures_go(page):
    numbers = [page.post("pictures", picture(colour=i), {"name": "x.png"}).json()["number"] for i in range(3)]
    paths = [one.path for one in page.session.pictures.values()]
    page.post("pictures/remove", numbers=[numbers[0], numbers[1], numbers[0]])
    page.session.lesson()
    assert [path.is_file() for path in paths] == [False, False, True]
    assert page.get(f"pictures/{numbers[0]}").json()["problem"] == "This picture is not there any more."
    assert page.post("pictures/remove", numbers=[99]).status_code == 404


# ---------------------------------------------------------------------- classes, prompts, requests


def test_names_of_classes(page):
    first, second = page.session.classes
    for name, said in (
        ("", "A class needs a name, because CLIP reads it."),
        ("  ", "A class needs a name, because CLIP reads it."),
        ("x" * (MAX_NAME + 1), f"The name of a class may have {MAX_NAME} characters, and this one has 81."),
        ("Class  2 ", "There is a class “Class 2” already. Names must differ."),
        ("a\u200bb", "The name a\\u200bb has characters that cannot be seen. Type it anew."),
    ):
        assert page.post(f"classes/{first}", name=name).json()["problem"] == said
    assert page.post(f"classes/{first}", name=" <b>Käse</b> ").status_code == 200
    assert [one.name for one in page.session.classes.values()] == ["<b>Käse</b>", "class 2"]
    assert page.client.delete(f"/{TOKEN}/classes/{second}").status_code == 200
    page.post("classes")
    assert [one.name for one in page.session.classes.values()] == ["<b>Käse</b>", "class 1"]
    for _ in range(session.MAX_CLASSES - 2):
        page.post("classes")
    assert "which is the most" in page.post("classes").json()["problem"]


def test_prompts(page):
    assert check_name(" a  b ", set()) == "a b"
    assert check_prompts(["", "a {}. ", " "], placeholder=True) == ("a {}.",)
    for wish, said in (
        ({"templates": ["a photo"]}, "“a photo” needs {} once, where the name of the class goes."),
        ({"negative": ["no {} {}"]}, "“no {} {}” needs {} once, where the name of the class goes."),
        ({"templates": ["{} {0}"]}, "“{} {0}” needs {} once, where the name of the class goes."),
        ({"templates": ["{} " + "x" * 400]}, "A prompt may have 300 characters"),
        ({"templates": ["a {}"] * 101}, "At most 100 prompts are allowed, and these are 101."),
        ({"templates": "a {}"}, "Prompts must be a list of texts."),
        ({"method": "SimNL"}, "There is no method SimNL for this model."),  # none is loaded yet
    ):
        assert page.post("settings", **wish).json()["problem"].startswith(said)
    assert page.session.settings.templates is None
    page.post(f"classes/{next(iter(page.session.classes))}", sentences=["a {} brace is a brace"])
    assert page.session.lesson().sentences == {"class 1": ("a {} brace is a brace",)}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b"x" * 600_000])
def test_requests_that_are_no_json(page, content):
    answer = page.post("classes", content)
    assert answer.status_code in (400, 413)
    assert answer.json()["problem"].startswith(("The request is not ", "The request holds more text"))
    for path, body in (("pictures/remove", {"numbers": "1"}), ("pictures/1", {"place": "x"})):
        assert "must be a" in page.post(path, **body).json()["problem"]


def test_a_defect_is_told_as_one(page, monkeypatch):
    monkeypatch.setattr(page.session, "add_class", lambda name: {}["nothing"])
    answer = page.post("classes")
    assert (answer.status_code, answer.json()["problem"][:34]) == (500, "A defect stopped this (KeyError). ")


def test_five_hundred_at_once(page):
    """All of them are taken, in the order in which they were chosen, but for damaged ones, each of which is named."""

    async def send(client, i: int) -> str:
        content = picture(colour=i)[: 30 if i % 100 == 7 else None]
        address = f"/{TOKEN}/pictures?name={i}.png&order={i}"
        return (await client.post(address, content=content)).json().get("problem", "")

    async def send_all() -> list[str]:
        transport = httpx.ASGITransport(Pages(page.session, page.teacher).app(TOKEN))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await asyncio.gather(*(send(client, i) for i in range(500)))

    problems = [problem for problem in asyncio.run(send_all()) if problem]
    assert [problem.split(" ")[0] for problem in problems] == [f"{i}.png" for i in (7, 107, 207, 307, 407)]
    names = [one["name"] for one in page.state()["content"]["new"]]
    assert names == [f"{i}.png" for i in range(500) if i % 100 != 7]
    assert len(page.get("state", content=page.state()["content"]["version"]).content) < 300  # what is known is left out


def test_the_small_copies_stay_small():
    looked = limits.look_at(picture(2000, 1000, kind="JPEG"), "x.jpg")
    assert (looked.width, looked.height) == (2000, 1000)
    assert Image.open(io.BytesIO(looked.small)).size == (256, 128)
