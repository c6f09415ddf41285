"""The check of every request: only this machine's browser gets in, at the address that the terminal shows.

The server listens on the loopback address alone. Pages of other sites can still make a browser send requests to it, or
make their own name point to it (DNS rebinding); so each request must have the token in its address, name this machine
as its host, and come from a page of this very server.
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
SAFE = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application that answers or passes on the requests to another one.

    Args:
        app: the application that it guards.
        token: the first part of every path.
    """

    def __init__(self, app: ASGIApp, token: str):
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        reason = self._reason(scope)
        app = PlainTextResponse(f"{reason}\n", 403) if reason else self.app
        await app(scope, receive, send_with_headers)

    def _reason(self, scope: Scope) -> str:
        """Why a request is refused, as a sentence; empty if it is not refused."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _name(f"//{host}") not in HOSTS:
            return "This page is for the browser of this machine alone, at the address that the terminal shows."
        given = scope["path"].lstrip("/").partition("/")[0]
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return "The address is not complete: open the one that the terminal shows, with all of its letters."
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        other = origin is not None and urlsplit(origin).netloc != host
        if other or (site not in ("same-origin", "none") and scope["method"] not in SAFE):
            return "This request comes from another page than that of the demo."
        return ""


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
