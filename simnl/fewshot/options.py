"""Options: the constants of a method or of a part of one, as a frozen dataclass that a config node fills.

The fields are the keys of the node in small letters, with their default values. A field whose type is a `Literal`, or a
tuple of one, takes only the values that the type names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from simnl.clip.recipe import Rebuildable

Own = TypeVar("Own", bound="Options")


@dataclass(frozen=True)
class Options(Rebuildable):
    """The base class of options, which head files hold. A subclass is a frozen dataclass and names its node in `NODE`.

    Raises:
        ValueError: the type of a field does not allow its value. The message names the key and the choices.
    """

    NODE: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, allowed in _choices(type(self)).items():
            value = getattr(self, name)
            if not set(value if isinstance(value, list | tuple) else [value]) <= set(allowed):
                shown, choose = (f"'{value}'", "one of") if isinstance(value, str) else (list(value), "from")
                raise ValueError(f"{self.NODE}.{name.upper()} is {shown}. Choose {choose} {', '.join(allowed)}.")

    @classmethod
    def defaults(cls, without: tuple[str, ...] = ()) -> dict[str, Any]:
        """The keys and default values of the config node. `without` names the fields for which it has no keys."""
        return {name.upper(): value for name, value in asdict(cls()).items() if name not in without}

    @classmethod
    def of(cls: type[Own], node: Mapping[str, Any]) -> Own:
        """The options that a config node holds; a field without a key keeps its default value.

        Raises:
            ValueError: a value is not allowed. The message names the key.
        """
        return cls(**{field.name: node[key] for field in fields(cls) if (key := field.name.upper()) in node})


def _choices(options: type[Options]) -> dict[str, tuple[str, ...]]:
    """The allowed values of each field whose type is a `Literal` or a tuple of one."""
    found = {}
    for name, kind in get_type_hints(options).items():
        inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
        if get_origin(inner) is Literal:
            found[name] = get_args(inner)
    return found
