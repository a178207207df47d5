"""A build hook: an installed wheel finds the claims, measurements and weights that a clone has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DataHook(BuildHookInterface):
    """Put `data/` into the wheel as `armsrace/_data/`; an editable install reads the clone."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to what the builder includes; measurements exist once a GPU made them."""
        if version == "editable":
            return
        carried = ["checkpoints", "claims.yml"]
        carried += ["measured"] if Path(self.root, "data", "measured").is_dir() else []
        build_data["force_include"] |= {f"data/{x}": f"armsrace/_data/{x}" for x in carried}
