"""The little of the hub's HTTP interface that sharing needs, on the loopback: repositories of files in memory.

huggingface_hub itself talks to it. `serve` sends the client there for as long as the block lasts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch

from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server has and does.

    Attributes:
        url: where it listens.
        repositories: name -> file -> content.
        token: that it accepts for writing.
        fail: a status with which every request for a repository is answered, or 0.
        requests: method and path of what was asked, in order.
    """

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str = "hf_right"
    fail: int = 0
    requests: list[str] = field(default_factory=list)


def _handler(hub: Hub):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def answer_json(self, content: object) -> None:
            self.answer(200, json.dumps(content).encode(), Content_Type="application/json")

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def refused(self) -> bool:
            hub.requests.append(f"{self.command} {self.path}")
            if hub.fail:
                self.answer(hub.fail, b"{}", X_Error_Message="refused")
            return bool(hub.fail)

        def do_GET(self):
            path = self.path.split("?")[0]
            if path == "/":
                self.answer(200)
                return
            if self.refused():
                return
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            files = hub.repositories.get(found[1]) if found else None
            if files is None:
                self.answer(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            elif found[3] not in files:
                self.answer(404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found", X_Repo_Commit=COMMIT)
            else:
                content = files[found[3]]
                self.answer(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=COMMIT)

        do_HEAD = do_GET

        def do_POST(self):
            content = self.body()
            if self.refused():
                return
            path = self.path.split("?")[0]
            if path == "/api/validate-yaml":
                self.answer_json({"errors": [], "warnings": []})
                return
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                self.answer(401, b"{}", X_Error_Message="Invalid username or password.")
                return
            if path == "/api/repos/create":
                asked = json.loads(content)
                name = f"{asked['organization'] or 'me'}/{asked['name']}"
                is_new = name not in hub.repositories
                hub.repositories.setdefault(name, {})
                told = json.dumps({"url": f"{hub.url}/{name}", "name": name}).encode()
                self.answer(200 if is_new else 409, told, Content_Type="application/json")
                return
            found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/([^/]+)", path)
            if not found or found[1] not in hub.repositories:
                self.answer(404, X_Error_Code="RepoNotFound")
            elif found[2] == "preupload":
                asked = json.loads(content)["files"]
                self.answer_json(
                    {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
                )
            else:
                self.commit(found[1], content)

        def commit(self, name: str, content: bytes) -> None:
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    hub.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer_json({"success": True, "commitOid": COMMIT, "commitUrl": f"{hub.url}/{name}/commit/{COMMIT}"})

    return Handler


@contextmanager
def serve(cache) -> Iterator[Hub]:
    """A hub, to which the client goes; cache: a folder for what it downloads."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    template = "/{repo_id}/resolve/{revision}/{filename}"
    try:
        with (
            patch.multiple(
                constants, ENDPOINT=hub.url, HUGGINGFACE_CO_URL_TEMPLATE=hub.url + template, HF_HUB_CACHE=str(cache)
            ),
        ):
            yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
