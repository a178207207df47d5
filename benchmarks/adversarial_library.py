"""The attacks of adv-lib, imported without the two packages that it names and we do not need.

adv-lib imports torchvision for a perceptual distance and visdom for live plots. Neither is used by
an attack here, so empty modules stand in for them where they are not installed.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def _stand_in(name: str, **content: object) -> None:
    """Put an empty module where the named one is not installed."""
    if name in sys.modules or importlib.util.find_spec(name.partition(".")[0]) is not None:
        return
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module


_stand_in("visdom", Visdom=None)
_stand_in("torchvision.models")
_stand_in("torchvision", models=sys.modules.get("torchvision.models"))

from adv_lib import attacks  # noqa: E402

__all__ = ["attacks"]
