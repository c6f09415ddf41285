"""Read yaml that a person wrote. What cannot be in a config is refused in one sentence with the file and the key.

Yaml allows more than a config needs: aliases that contain themselves or stand for a billion values, tags that name
Python objects, keys that are numbers or dates, and the same key twice. `read_yaml` accepts none of these.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first needs libyaml and is faster

BYTES = 4_000_000  # the largest config of this program has some 5,000
DEPTH = 20  # keys below keys; configs have four
ALIASES = 30  # the most aliases: with more, a short text can stand for millions of values
VALUES = 100_000


class _Loader(YAML_LOADER):
    """A loader that refuses a key that is given twice. Yaml itself would take the last one silently."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise ValueError(f"the key {key.value} is given twice in one block, the second time in line {line}")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> object:
    """The content of a yaml file: plain dicts with text as keys, lists and scalars; {} for an empty file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the path is not a file, cannot be read, or holds something else. The message names the file, and the
            key if there is one.
    """
    text = _text(path)
    try:
        _require_sane(text)
        body = yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ValueError(f"{path}: not valid yaml: it is nested too deep") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not valid yaml: {' '.join(str(error).split())}") from error
    body = {} if body is None else body
    for number, problem in enumerate(_problems(body, "", 0), 1):
        if problem or number > VALUES:
            raise ValueError(f"{path}: {problem or f'it stands for more than {VALUES:,} values'}")
    return body


def _text(path: Path) -> str:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path}: this is {'a folder' if stat.S_ISDIR(status.st_mode) else 'not a file'}")
        if status.st_size > BYTES:
            raise ValueError(f"{path}: the file has {status.st_size:,} bytes, which is too large for a config")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 text (byte {error.start}). Save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"{path}: the file cannot be read: {error.strerror}") from error


def _require_sane(text: str) -> None:
    """Check the events of the parser, which are not nested, before objects are built from them."""
    depth = aliases = 0
    for event in yaml.parse(text, Loader=YAML_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else "?"
            raise ValueError(f"it is nested more than {DEPTH} deep, in line {line}")
        if aliases > ALIASES:
            raise ValueError(f"it has more than {ALIASES} aliases (*name)")


def _problems(value: object, key: str, depth: int) -> Iterator[str]:
    """The problem of each value; "" for a value without one."""
    if depth > DEPTH:
        yield f"{key[:60]}: an alias (*name) contains itself"
    elif isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                yield f"{key or 'top level'}: the key {name!r} must be text, as KEY in KEY: VALUE"
            yield from _problems(inner, f"{key}.{name}" if key else str(name), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _problems(inner, key, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key}: a finite number is needed, but the value is {value}"
    elif value is None or isinstance(value, str | int | float | bool):
        yield ""
    else:
        kind = type(value).__name__
        yield f"{key}: text or a number is needed, but {str(value)[:40]!r} is read as a {kind}. Put it in quotes"
