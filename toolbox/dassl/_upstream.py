"""What upstream Dassl 0.6.3 has and this engine leaves out, and the message that says so.

The engine carries what few-shot work needs. Trainers and data sets for domain adaptation (`da`), domain
generalisation (`dg`) and semi-supervised learning (`ssl`) are left out, and so are backbones that only they use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

__all__ = ["ABSENT_MODULES", "ABSENT_NAMES", "install_finder", "refusing", "where"]

URL = "https://github.com/KaiyangZhou/Dassl.pytorch"

# Package -> names that upstream offers there and that are not here.
ABSENT_NAMES: dict[str, tuple[str, ...]] = {
    "dassl.engine.da": ("ADDA", "AdaBN", "CDAC", "DAEL", "DANN", "M3SDA", "MCD", "MME", "SE", "SourceOnly"),
    "dassl.engine.dg": ("CrossGrad", "DAELDG", "DDAIG", "DomainMix"),
    "dassl.engine.ssl": ("EntMin", "FixMatch", "MeanTeacher", "MixMatch", "SupBaseline"),
    "dassl.data.datasets.da": (
        "CIFARSTL", "Digit5", "DomainNet", "Office31", "OfficeHome", "VisDA17", "miniDomainNet",
    ),
    "dassl.data.datasets.dg": (
        "CIFAR100C", "CIFAR10C", "Camelyon17", "DigitSingle", "DigitsDG", "FMoW", "IWildCam", "OfficeHomeDG", "PACS",
        "VLCS",
    ),
    "dassl.data.datasets.ssl": ("CIFAR10", "CIFAR100", "STL10", "SVHN"),
    "dassl.modeling.backbone": (
        "alexnet", "cnn_digit5_m3sda", "cnn_digitsdg", "cnn_digitsingle", "preact_resnet18", "resnet50_dynamic",
        "resnet101_dynamic", "wide_resnet_16_4", "wide_resnet_28_2",
        *(f"efficientnet_b{number}" for number in range(8)),
    ),
    "dassl.modeling.network": ("fcn_3x32_gctx", "fcn_3x32_gctx_stn", "fcn_3x64_gctx", "fcn_3x64_gctx_stn"),
    "dassl.modeling.ops": ("Conv2dDynamic",),
}  # fmt: skip

# Modules that are not here, with all that is below them.
ABSENT_MODULES: tuple[str, ...] = (
    "dassl.engine.da",
    *(f"dassl.engine.dg.{name}" for name in ("crossgrad", "daeldg", "ddaig", "domain_mix")),
    "dassl.engine.ssl",
    "dassl.data.datasets.da",
    "dassl.data.datasets.dg",
    "dassl.data.datasets.ssl",
    *(
        f"dassl.modeling.backbone.{name}"
        for name in (
            "alexnet", "cnn_digit5_m3sda", "cnn_digitsdg", "cnn_digitsingle", "efficientnet", "preact_resnet18",
            "resnet_dynamic", "wide_resnet",
        )
    ),
    "dassl.modeling.network.ddaig_fcn",
    "dassl.modeling.ops.conv",
)  # fmt: skip


def where(name: str) -> str:
    """A sentence that says where a name that is left out can be found; empty for any other name."""
    for package, names in ABSENT_NAMES.items():
        if name in names:
            return _sentence(f"{name} ({package})")
    return ""


def refusing(packages: Sequence[str], otherwise: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make a module's `__getattr__` that refuses, with an ImportError, the names left out of some packages.

    Args:
        packages: keys of ABSENT_NAMES.
        otherwise: the module's `__getattr__` for all other names.
    """

    def __getattr__(name: str) -> Any:
        for package in packages:
            if name in ABSENT_NAMES[package]:
                raise ImportError(_sentence(f"{name} ({package})"), name=package)
        return otherwise(name)

    return __getattr__


class _Finder(MetaPathFinder):
    """Says of modules that are left out that they are, instead of "No module named ...". Finds no module."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Raise a ModuleNotFoundError for an absent module; leave all others alone."""
        if fullname.startswith("dassl.") and f"{fullname}.".startswith(tuple(f"{name}." for name in ABSENT_MODULES)):
            names = ABSENT_NAMES.get(fullname)
            named = f"{fullname} ({', '.join(names)})" if names else fullname
            raise ModuleNotFoundError(_sentence(named), name=fullname)


def install_finder() -> None:
    """Ask the finder last, once: it is reached only by modules that no other finder knows."""
    if not any(type(finder).__name__ == "_Finder" and type(finder).__module__ == __name__ for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _sentence(what: str) -> str:
    return (
        f"{what} is part of upstream Dassl 0.6.3, not of this engine, which leaves out domain adaptation, domain "
        f"generalisation and semi-supervised learning. It is at {URL}: install that in place of this package to use it"
    )
