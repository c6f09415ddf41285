"""What methods declare about themselves, read from the cache folder instead of importing the methods if possible.

Importing the methods imports PyTorch, which takes seconds, and a table or the name of a run needs only a few plain
values of each method. These values follow from the source of the methods and of the library alone. So they are stored
in the cache folder together with a digest of that source, and are read from the classes again when the source has
changed. If the classes are imported already, the values always come from the classes.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import util
from pathlib import Path
from typing import Any

from dassl.engine import TRAINER_REGISTRY
from simnl import plugins
from simnl.files import make_cache
from simnl.locations import PACKAGE, ROOT, default_cache
from simnl.sealed import read_sealed, write_sealed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Declared:
    """Declarations of a method, as its class has them; their meanings are in `simnl.fewshot.trainer.VLTrainer`.

    Attributes:
        defaults: the method's own config node as a plain dictionary, with its keys in order.
        stands_alone: False if the config decides what the method declares, so that the class has to be asked
            (`Declarations.of`).
    """

    uses_support: bool
    training_free: bool
    inference: str
    prompt_sets: tuple[str, ...]
    image_encoder_frozen: bool
    text_features_cached: bool
    needs_vit: bool
    needs_class_token: bool
    needs_text: str
    before_projection: bool
    with_patches: bool
    base_to_new: bool
    revision: int
    defaults: dict[str, Any]
    stands_alone: bool

    @classmethod
    def of(cls, method: Any) -> Declared:
        """The declarations of a class."""
        alone = not {"of", "base_of"} & {name for kind in method.__mro__[:-1] for name in _own(kind)}
        flags = {field.name: getattr(method, field.name) for field in fields(cls) if hasattr(method, field.name)}
        return cls(**flags, defaults=plain(method.default_cfg()), stands_alone=alone)


def _own(kind: type) -> set[str]:
    """The names that a class defines itself; none for the base class of all methods."""
    return set() if kind.__module__ == "simnl.fewshot.inference" else set(vars(kind))


def plain(node: Mapping) -> dict[str, Any]:
    """A config node as dictionaries of plain values."""
    return {key: plain(value) if isinstance(value, Mapping) else value for key, value in node.items()}


def declared() -> dict[str, Declared]:
    """The declarations of all methods, by their registered names. Trainers of another kind declare nothing."""
    if plugins.methods_are_loaded():
        return _of_classes()
    plugins.load_datasets()
    return _of_this_program() | _of_classes()


def method(name: str) -> Declared:
    """The declarations of one method.

    Raises:
        KeyError: no such method.
    """
    return Declared.of(TRAINER_REGISTRY.get(name)) if plugins.methods_are_loaded() else declared()[name]


def is_method(name: str) -> bool:
    """Whether a method has this name."""
    return name in TRAINER_REGISTRY.registered_names() if plugins.methods_are_loaded() else name in declared()


def loaded(name: str) -> Any:
    """The class of a method, for questions that the plain values do not answer. This imports all methods.

    Raises:
        KeyError: no such method.
    """
    plugins.load_plugins()
    return TRAINER_REGISTRY.get(name)


def _of_classes() -> dict[str, Declared]:
    classes = ((name, TRAINER_REGISTRY.get(name)) for name in TRAINER_REGISTRY.registered_names())
    return {name: Declared.of(kind) for name, kind in classes if hasattr(kind, "default_cfg")}


@functools.cache
def _of_this_program() -> dict[str, Declared]:
    """The declarations of the methods in `trainers/`, from the cache folder or from the imported classes."""
    digest, path = source_digest(), _path()
    known = _remembered(path, digest)
    if known is None:
        plugins.load_plugins()
        mine = {name for name in TRAINER_REGISTRY.registered_names() if _is_of_this_program(name)}
        known = {name: one for name, one in _of_classes().items() if name in mine}
        _remember(path, digest, known)
    return known


def _is_of_this_program(name: str) -> bool:
    return TRAINER_REGISTRY.get(name).__module__.startswith(f"{plugins.METHODS}.")


def source_digest() -> str:
    """SHA-256 (hex) of the source of the methods, the library and the engine, and of Python's version."""
    summed = hashlib.sha256(sys.version.encode())
    for name in (plugins.METHODS, "simnl", "dassl"):
        spec = util.find_spec(name)
        for folder in sorted(spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                summed.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return summed.hexdigest()


def _path() -> Path:
    """The file of this copy of the program. Other copies have files of their own in the same folder."""
    place = hashlib.sha256(f"{ROOT} {PACKAGE}".encode()).hexdigest()[:12]
    return Path(os.environ.get("CACHE") or default_cache()).expanduser() / "methods" / f"{place}.json"


def _remembered(path: Path, digest: str) -> dict[str, Declared] | None:
    """The declarations that the file has for this source; None if it has none, or is damaged."""
    try:
        content: Any = read_sealed(path)
        if content["source"] != digest:
            return None
        return {name: Declared(**values) for name, values in ast.literal_eval(content["methods"]).items()}
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        return None


def _remember(path: Path, digest: str, known: Mapping[str, Declared]) -> None:
    """Write the file. Nothing is written if a value is not a plain one, or if the folder cannot be written."""
    values = {name: asdict(one) for name, one in known.items()}
    text = repr(values)  # Python's literals: json has no tuples, and sealed objects lose the order of keys
    try:
        if ast.literal_eval(text) != values:
            return
        make_cache(path.parent)
        write_sealed(path, {"source": digest, "methods": text})
    except (OSError, ValueError, SyntaxError) as error:
        log.debug("The declarations of methods cannot be stored, so they are read again next time: %s", error)
