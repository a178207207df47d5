"""A build hook: an installed wheel finds the claims, measurements and weights that a clone has."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIED = ("checkpoints", "claims.yml", "measured")


class DataHook(BuildHookInterface):
    """Put `data/` into the wheel as `armsrace/_data/`; an editable install reads the clone."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to what the builder includes."""
        if version != "editable":
            build_data["force_include"] |= {f"data/{x}": f"armsrace/_data/{x}" for x in CARRIED}
