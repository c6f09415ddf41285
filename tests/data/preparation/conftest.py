"""A file server on the loopback interface that can misbehave, small archives, and miniature data sets."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import sys
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers.miniatures import build_layout
from simnl.data.preparation import fetch
from simnl.data.preparation.catalogue import SOURCES
from simnl.data.preparation.sources import Remote
from simnl.plugins import load_plugins

PUBLISHED = dict(SOURCES)  # as declared, with the CuPL sentences


@dataclass
class Site:
    """What the server has and how it behaves; `requests` lists (path, Range header) as they came."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    drop: dict[str, int] = field(default_factory=dict)  # path -> how many answers break off half way
    no_ranges: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, content: bytes) -> str:
        """Serve `content`; returns its address."""
        self.files[f"/{name}"] = content
        return f"{self.address}/{name}"


def make_handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            site.requests.append((self.path, asked))
            content = site.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and not site.no_ranges else 0
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            if site.drop.get(self.path, 0) > 0:
                site.drop[self.path] -= 1
                body = body[: len(body) // 2]
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    return Handler


@pytest.fixture
def site(monkeypatch):
    """A running server; requests are not held up between attempts."""
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(site))
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _no_drive(monkeypatch):
    """No test reaches Google Drive: gdown cannot be imported, unless a test puts another one in its place."""
    monkeypatch.setitem(sys.modules, "gdown", None)


@pytest.fixture(autouse=True)
def _no_cupl(monkeypatch):
    """CuPL sentences are left out, unless a test puts `PUBLISHED` back: no test reaches beyond this machine."""
    for name, source in PUBLISHED.items():
        kept = tuple(piece for piece in source.pieces if not piece.above)
        monkeypatch.setitem(SOURCES, name, replace(source, pieces=kept))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def files_below(folder: Path, prefix: str = "") -> dict[str, bytes]:
    """Content by path of all files in a folder, below `prefix`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def make_tar(files: Mapping[str, bytes], compression: str = "gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def build(tmp_path: Path):
    """`build("Caltech101", root)` writes the miniature; `root` is a folder of its own unless given."""
    return lambda name, root=None: build_layout(name, root or tmp_path / "made")


@pytest.fixture
def miniature(monkeypatch):
    """`miniature("Caltech101", built)`: from now on the published sizes are those of the miniature."""
    from dassl.data.datasets import DATASET_REGISTRY
    from simnl.data.base import Sizes

    load_plugins()

    def publish(name: str, built) -> None:
        counts = [len(built.parts.get(part, ())) for part in ("train", "val", "test")]
        classes = len({label for items in built.parts.values() for _, label, _ in items})
        monkeypatch.setattr(DATASET_REGISTRY.get(name), "published", Sizes(classes, *counts))

    return publish


@pytest.fixture
def tool(monkeypatch, capsys):
    """`tool("check_data", "dtd", "--root", ...)` runs a tool here; returns exit code, output, errors."""
    quiet = logging.getLogger("simnl.data.base")
    level = quiet.level

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        code = importlib.import_module(name).main()
        output = capsys.readouterr()
        return code, output.out, output.err

    yield run
    quiet.setLevel(level)  # the tools turn it down


@pytest.fixture
def helpers():
    """The functions above, for tests."""
    return sys.modules[__name__]


@pytest.fixture
def caltech(site, build, miniature, helpers, monkeypatch):
    """Caltech101 in miniature on the server, packed as its authors do: a tar in a zip."""
    built = build("Caltech101")
    miniature("Caltech101", built)
    inner = helpers.make_tar(helpers.files_below(built.images, "101_ObjectCategories/"))
    outer = helpers.make_zip({"caltech-101/101_ObjectCategories.tar.gz": inner})
    split = (built.folder / "split_zhou_Caltech101.json").read_bytes()
    serve(monkeypatch, site, helpers, "caltech101", {"caltech-101.zip": outer, "split_zhou_Caltech101.json": split})
    return built


def serve(monkeypatch, site, helpers, name: str, files: dict[str, bytes]) -> None:
    """Let the downloads of a data set come from the server, with the checksums of what is served."""
    for file, content in files.items():
        site.add(file, content)
    pieces = tuple(
        replace(piece, remote=local(piece.remote, site, helpers)) if piece.remote else piece
        for piece in SOURCES[name].pieces
    )
    monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], pieces=pieces))


def local(remote: Remote, site, helpers) -> Remote:
    content = site.files.get(f"/{remote.name}", b"")
    md5 = helpers.md5(content) if remote.md5 else ""
    return replace(remote, urls=(f"{site.address}/{remote.name}",), drive="", md5=md5, size=len(content))
