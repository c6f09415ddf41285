"""The addresses of the page. Each answers with json, a picture or a file, and a refusal is a sentence in json."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from simnl.demo.errors import Refused
from simnl.demo.guard import Guard
from simnl.demo.pictures import MAX_FILE, look_at, small_copy_of
from simnl.demo.session import Session
from simnl.demo.state import evidence, state_of
from simnl.demo.teacher import Teacher
from simnl.escaping import file_name, shortened
from simnl.files import replacing

PAGE = Path(__file__).resolve().parent / "page"
MAX_JSON = 512 * 1024  # bytes
MAX_HEAD = 512 * 2**20
DIGITS = 16
AT_ONCE = 4  # pictures that are read and decoded at once
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DONE = JSONResponse({})  # the page asks for the state itself
Endpoint = Callable[[Request], Awaitable[Response]]


class Pages:
    """The answers to requests.

    Args:
        session: the content of the page.
        teacher: the thread that learns from it.
        support: the folder of the pictures that a head file names; None if no folder was given.
    """

    def __init__(self, session: Session, teacher: Teacher, support: Path | None = None):
        self.session, self.teacher, self.support = session, teacher, support
        self._uploads = asyncio.Semaphore(AT_ONCE)

    def app(self, token: str) -> ASGIApp:
        """The guarded application, below `/<token>/`."""
        routes = [
            _route("/", self.file),
            _route("/page/{name}", self.file),
            _route("/state", self.state),
            _route("/classes", self.add_class, "POST"),
            _route("/classes/{number:int}", self.change_class, "POST", "DELETE"),
            _route("/settings", self.change_settings, "POST"),
            _route("/pictures", self.add_picture, "POST"),
            _route("/pictures/remove", self.remove_pictures, "POST"),
            _route("/pictures/{number:int}", self.picture, "GET", "POST"),
            _route("/why/{fit:int}/{number:int}", self.why),
            _route("/support/{index:int}", self.support_picture),
            _route("/head", self.head, "GET", "POST"),
            _route("/head/away", self.put_head_away, "POST"),
        ]
        handlers: Any = {Refused: _refused, HTTPException: _unknown, ClientDisconnect: _gone, Exception: _defect}
        return Guard(Starlette(routes=[Mount(f"/{token}", routes=routes)], exception_handlers=handlers), token)

    # ------------------------------------------------------------------ what is shown

    async def file(self, request: Request) -> Response:
        """The page itself, its style sheet and its scripts."""
        name = request.path_params.get("name", "index.html")
        known = {path.name: path for path in PAGE.iterdir() if path.suffix in KINDS}
        if name not in known:
            raise HTTPException(404)
        return FileResponse(known[name], media_type=KINDS[known[name].suffix])

    async def state(self, request: Request) -> Response:
        """The state of the page, without the parts that the page says it has already."""
        query = request.query_params
        return JSONResponse(state_of(self.session, self.teacher, query.get("content", ""), query.get("labels", "")))

    async def picture(self, request: Request) -> Response:
        """Send a small copy of a picture, or move the picture."""
        number = request.path_params["number"]
        if request.method == "POST":
            self.session.move_picture(number, _whole(await _json(request), "place"))
            return DONE
        with self.session.changed:
            path = self.session.picture(number).small
        if not path.is_file():
            raise Refused("This picture is not there any more.", 404)
        return FileResponse(path, media_type="image/jpeg")

    async def support_picture(self, request: Request) -> Response:
        """Send a small copy of a support image of a loaded head, from the folder of `--support-images`."""
        index, result = request.path_params["index"], self.teacher.result
        names = result.fit.head.about.support if result else ()
        content = None
        if self.support is not None and index < len(names):
            content = await run_in_threadpool(small_copy_of, self.support, names[index])
        if content is None:
            raise Refused("There is no such picture.", 404)
        return Response(content, media_type="image/jpeg")

    async def why(self, request: Request) -> Response:
        """Say why a picture has the label that a fit gave it."""
        fit, number = request.path_params["fit"], request.path_params["number"]
        has_support = self.support is not None
        return JSONResponse(await run_in_threadpool(evidence, self.session, self.teacher, fit, number, has_support))

    # ------------------------------------------------------------------ what is changed

    async def add_class(self, request: Request) -> Response:
        """Add a class."""
        self.session.add_class(str((await _json(request)).get("name") or ""))
        return DONE

    async def change_class(self, request: Request) -> Response:
        """Rename a class, write sentences about it, or remove it."""
        number = request.path_params["number"]
        if request.method == "DELETE":
            self.session.remove_class(number)
        else:
            wish = await _json(request)
            self.session.change_class(number, wish.get("name"), wish.get("sentences"))
        return DONE

    async def change_settings(self, request: Request) -> Response:
        """Choose another method, or other prompts."""
        wish, model = await _json(request), self.teacher.model
        method = wish.get("method")
        if method is not None and (model is None or method not in [one.name for one in model.methods]):
            raise Refused(f"There is no method {shortened(str(method))} for this model.")
        self.session.change_settings(method, wish.get("templates"), wish.get("negative"))
        return DONE

    async def add_picture(self, request: Request) -> Response:
        """Add a picture, whose bytes are the body of the request."""
        name = request.query_params.get("name", "picture")
        place, order = _asked(request, "place"), _asked(request, "order")
        async with self._uploads:
            self.session.check_room(_length(request))
            content = await _body(request, MAX_FILE, f"{shortened(name)} has more than {MAX_FILE // 2**20} MB.")
            looked = await run_in_threadpool(look_at, content, name)
            picture = await run_in_threadpool(self.session.add_picture, content, looked, name, place, order)
        return JSONResponse({"number": picture.number, "name": picture.name})

    async def remove_pictures(self, request: Request) -> Response:
        """Remove pictures."""
        numbers = (await _json(request)).get("numbers")
        if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
            raise Refused("numbers must be a list of the numbers of pictures.")
        self.session.remove_pictures(numbers)
        return DONE

    async def head(self, request: Request) -> Response:
        """Send what was learned as a head file, or use such a file in the place of the classes."""
        folder = self.session.folder / "heads"
        if request.method == "POST":
            name = file_name(request.query_params.get("name") or "head.safetensors")
            content = await _body(request, MAX_HEAD, f"{name} has more than {MAX_HEAD // 2**20} MB.")
            with self.session.changed:
                path = folder / f"{self.session.revision}-{name}"
            with replacing(path) as temporary:
                await run_in_threadpool(temporary.write_bytes, content)
            self.session.use_head(path, name)
            return DONE
        with self.session.changed:
            result = self.teacher.result
            if result is None or result.fit.key != self.session.key:
                raise Refused("There is nothing to save yet: wait until the page says that it is ready.", 409)
        path = folder / f"fit-{result.fit.number}.safetensors"
        if not path.is_file():
            await run_in_threadpool(result.fit.classifier.save, path)
        return FileResponse(path, media_type="application/octet-stream", filename="head.safetensors")

    async def put_head_away(self, request: Request) -> Response:
        """Go back to the classes; with `take`, make classes of the names that the head has."""
        take = (await _json(request)).get("take")
        with self.session.changed:
            result = self.teacher.result
            is_of_head = result is not None and result.fit.key == self.session.key
            self.session.put_head_away(result.fit.head.classnames if take and result and is_of_head else ())
        return DONE


def _route(path: str, endpoint: Endpoint, *methods: str) -> Route:
    return Route(path, endpoint, methods=list(methods or ("GET",)))


def _asked(request: Request, key: str) -> int:
    """A whole number in the query of the address; 0 if it is not there."""
    text = request.query_params.get(key, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise Refused(f"{key} must be a whole number.")
    return int(text)


def _length(request: Request) -> int:
    given = request.headers.get("content-length", "")
    return int(given) if given.isascii() and given.isdigit() else 0


async def _body(request: Request, limit: int, too_long: str) -> bytes:
    """The whole body of a request.

    Raises:
        Refused: the body has more bytes than the limit. The rest is not read.
    """
    if _length(request) > limit:
        raise Refused(too_long, 413)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise Refused(too_long, 413)
        parts.append(part)
    return b"".join(parts)


async def _json(request: Request) -> dict[str, Any]:
    body = await _body(request, MAX_JSON, "The request holds more text than the page takes.")
    try:
        content = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise Refused("The request is not json.") from None
    if not isinstance(content, dict):
        raise Refused("The request is not a json object.")
    return content


def _whole(content: dict[str, Any], key: str) -> int:
    value = content.get(key)
    if type(value) is not int:
        raise Refused(f"{key} must be a whole number.")
    return value


async def _refused(request: Request, error: Refused) -> Response:
    return JSONResponse({"problem": str(error)}, error.status)


async def _unknown(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"problem": "There is no such address on this page."}, error.status_code)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _defect(request: Request, error: Exception) -> Response:
    return JSONResponse({"problem": f"A defect stopped this ({type(error).__name__}). The terminal says where."}, 500)
