"""Old public names: they work for one release, and warn with the new name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module


def renamed(package: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """A module's `__getattr__` that finds old names under their new ones.

    package: the module's `__name__`. names: each old name, to the dotted path of the new one, a
    module or something in one.
    """

    def find(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        path = names[name]
        message = f"{package}.{name} is now {path}; the old name leaves in the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        module, _, attribute = path.rpartition(".")
        try:
            return getattr(import_module(module), attribute)
        except AttributeError:
            return import_module(path)

    return find
