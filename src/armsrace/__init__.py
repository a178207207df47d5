"""Attacks on neural networks, the defenses against them, and the evaluation that judges both."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armsrace.models import zoo

__version__ = "0.1.0"
__all__ = ["attacks", "datasets", "defenses", "evaluation", "zoo"]


def __getattr__(name: str) -> ModuleType:
    """The part of that name, imported when it is first asked for: torch alone takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("armsrace.models.zoo" if name == "zoo" else f"armsrace.{name}")


def __dir__() -> list[str]:
    """The names of the parts too, before they are imported."""
    return sorted({*globals(), *__all__})
