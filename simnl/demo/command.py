"""Teach classes with pictures on a page of your browser, and see why new pictures have their labels.

python tools/demo.py
python tools/demo.py head.safetensors --backbone vit_b16

The page is for this machine alone: nothing leaves it. docs/demo.md explains it.
"""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from simnl import interrupts
from simnl.commands import parser_of
from simnl.numbers import argument

HOST = "127.0.0.1"
PACKAGES = ("starlette", "uvicorn")  # of requirements-demo.txt
PATIENCE = 1.5  # seconds in which the thread that learns can end by itself


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add(
        "head",
        metavar="HEAD",
        nargs="?",
        help="a head.safetensors, or the folder of a run; without it there are no classes at first",
    )
    add("--backbone", default="tiny", help="rn50, vit_b16, ... (default: the bundled tiny CLIP, for rendered figures)")
    add("--weights", default="", help="a weights tag, or the path of a checkpoint")
    add("--support-images", default="", metavar="FOLDER", help="the folder of the support images of HEAD, to show them")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--port", type=argument(0, 65535), default=0, help="the port of the page (default: a free one)")
    add("--no-browser", action="store_true", help="print the address of the page instead of opening it")
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Show the page until Ctrl-C or SIGTERM. Returns 130 or 143.

    Raises:
        ValueError, OSError, ImportError: the message says what is wrong, where, and what to do.
    """
    args = build_parser().parse_args(arguments)
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"The page needs packages that are not installed ({', '.join(missing)}): run .venv/bin/pip install "
            f"{' '.join(missing)}"
        )
    from simnl.runs.devices import split_device

    split_device(args.device)
    if args.support_images and not Path(args.support_images).is_dir():
        raise FileNotFoundError(f"--support-images is {args.support_images}, and there is no such folder.")
    if args.head and not Path(args.head).exists():
        raise FileNotFoundError(f"There is no head file {args.head}.")
    with listening(args.port) as listener, folder_of_the_page() as folder:
        number, ended = _serve(args, listener, folder)
    print(f"Stopped by {interrupts.NAMES[number]}. What was on the page is gone, except for what you saved.")
    if not ended:  # the thread still computes, and Python would wait for it, or crash when it ends
        sys.stdout.flush()
        os._exit(128 + number)
    return 128 + number


def _serve(args: argparse.Namespace, listener: socket.socket, folder: Path) -> tuple[int, bool]:
    """Answer requests until a signal comes. Returns its number, and whether the thread that learns has ended."""
    import uvicorn

    from simnl.data.images import ignore_size_warnings
    from simnl.demo.lesson import Setup
    from simnl.demo.server import Pages
    from simnl.demo.session import Session
    from simnl.demo.teacher import Teacher

    ignore_size_warnings()  # the page says itself that a picture is too large
    session, token = Session(folder / "page"), secrets.token_urlsafe(24)
    if args.head:
        session.use_head(Path(args.head).resolve(), Path(args.head).name)
    teacher = Teacher(session, Setup(args.backbone, args.weights, args.device))
    pages = Pages(session, teacher, Path(args.support_images) if args.support_images else None)
    config = uvicorn.Config(
        pages.app(token), log_config=None, log_level="warning", access_log=False, lifespan="off", ws="none",
        server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    address = f"http://{HOST}:{listener.getsockname()[1]}/{token}/"
    print(f"The page is {address}\nThis machine alone can open it. Ctrl-C ends it.", flush=True)
    teacher.start()
    try:
        if not args.no_browser and _has_windows():
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        uvicorn.Server(config).run(sockets=[listener])  # which raises the signal again when it has ended
    except KeyboardInterrupt:
        pass
    finally:
        ended = teacher.stop(PATIENCE)
    return interrupts.received() or signal.SIGINT, ended


def _has_windows() -> bool:
    """False where a browser would take over the terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@contextmanager
def folder_of_the_page() -> Iterator[Path]:
    """A temporary folder, which is deleted at the end even if a thread still writes into it."""
    with tempfile.TemporaryDirectory(prefix="simnl-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket that listens on the loopback address. Port 0 stands for a free port.

    Raises:
        OSError: the port is in use, or may not be used.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
            advice = "Choose another one, or leave --port out for a free one."
            raise OSError(f"Port {port} cannot be used: {reason}. {advice}") from error
        yield listener
