"""A python that has imported what others wrote (PyTorch takes seconds) and forks for each script that it is to run.

What it runs imports this program itself anew, from the folder of the script, and ends as any process does. The client
is started as `PYTHON tools/NAME.py WORDS`, in any folder, environment and streams; without a script it is a plain one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = (
    "open_clip", "torchvision", "torch.utils.tensorboard", "torch.utils.data", "safetensors.torch", "yacs.config",
    "scipy.stats", "sklearn.linear_model", "sklearn.metrics", "rich.progress", "tabulate", "submitit", "jinja2",
)  # fmt: skip
FAILED = 120  # the exit code where the python behind the client has ended without one


@contextlib.contextmanager
def warm_python(folder: Path) -> Iterator[Path]:
    """The path of a client, which is as good as `sys.executable` until the context ends."""
    address, client = folder / "socket", folder / "python"
    words = [sys.executable, "-I", "-S", __file__, str(address)]
    client.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    client.chmod(0o755)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = [sys.executable, __file__, "--serve", str(address)]
    with subprocess.Popen(server, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield client  # then, or where this process is killed, the server's standard input ends, and so does the server


def ask(address: str, words: list[str]) -> int:
    """Have the words run; the exit code."""
    if not words or not words[0].endswith(".py"):
        os.execv(sys.executable, [sys.executable, *words])
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"."], [0, 1, 2])
        connection.sendall(json.dumps({"words": words, "cwd": os.getcwd(), "env": dict(os.environ)}).encode())
        connection.shutdown(socket.SHUT_WR)
        return int(connection.makefile().read() or FAILED)


def serve(address: str) -> None:
    """Fork for each connection, until standard input ends; only what is forked returns."""
    for name in PACKAGES:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                return answer(connection)
            connection.close()
    os._exit(0)


def answer(connection: socket.socket) -> None:
    """Run the script in a process of its own, which returns when it is done; the other one tells its exit code."""
    _, streams, *_ = socket.recv_fds(connection, 1, 3)
    job = json.loads(connection.makefile().read())
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(str(code if code >= 0 else 128 - code).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.argv[:] = job["words"]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
