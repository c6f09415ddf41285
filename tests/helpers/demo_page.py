"""The demo's page without a browser: requests in this process, on the tiny CLIP."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from helpers.pictures import Pictures
from simnl.demo.lesson import Setup
from simnl.demo.server import Pages
from simnl.demo.session import Session
from simnl.demo.teacher import Teacher

TOKEN = "a-token"
HOST = "127.0.0.1:8000"


class Page:
    """What a browser would ask, without one."""

    def __init__(self, folder: Path, support: Path | None = None, backbone: str = "tiny"):
        self.session = Session(folder)
        self.teacher = Teacher(self.session, Setup(backbone, device="cpu"))
        app = Pages(self.session, self.teacher, support).app(TOKEN)
        self.client = TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)

    def get(self, path: str, **query: Any):
        return self.client.get(f"/{TOKEN}/{path}", params=query)

    def post(self, path: str, content: bytes | None = None, query: dict[str, Any] | None = None, **body: Any):
        sent = {"json": body} if content is None else {"content": content}
        return self.client.post(f"/{TOKEN}/{path}", params=query, **sent)

    def add(self, path: str | Path, place: int = 0, name: str = ""):
        query = {"place": place, "name": name or Path(path).name}
        return self.post("pictures", Path(path).read_bytes(), query)

    def state(self) -> dict[str, Any]:
        return self.get("state").json()

    def settled(self, seconds: float = 60.0) -> dict[str, Any]:
        """The state, once nothing goes on any more."""
        end = time.monotonic() + seconds
        while (state := self.state())["status"]["phase"] in ("loading", "working"):
            assert time.monotonic() < end, state["status"]
            time.sleep(0.01)
        return state

    def teach(self, pictures: Pictures, names: tuple[str, ...]) -> dict[str, Any]:
        """Two classes or more with the training pictures of these names; the settled state."""
        paths, labels = pictures["train"]
        while len(self.session.classes) < len(names):
            assert self.post("classes").status_code == 200
        for number, name in zip(list(self.session.classes), names, strict=True):
            assert self.post(f"classes/{number}", name=name).status_code == 200
            for path, label in zip(paths, labels, strict=True):
                if label == name:
                    assert self.add(path, number).status_code == 200
        return self.settled()
