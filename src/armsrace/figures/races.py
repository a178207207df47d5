"""The stored comparison of our attacks with other libraries, as tables."""

from __future__ import annotations

import json
from typing import Any

from armsrace.figures.interactive import Markup
from armsrace.figures.tables import BALLS, table
from armsrace.resources import data_root


def benchmarks() -> list[Markup]:
    """One table a race of `make bench`: who found what, how far away, for how many queries.

    Raises FileNotFoundError where `make bench` has stored nothing, ValueError where its file is
    damaged.
    """
    path = data_root() / "measured" / "benchmark.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `make bench`")
    try:
        races = json.loads(path.read_text("utf-8"))
        return [_race(name, row) for name, row in races.items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read, run `make bench` again: {error!r}") from error


def _race(name: str, row: dict[str, Any]) -> Markup:
    ours = row["outcomes"]["armsrace"]
    distance = f"median {BALLS[row['norm']]}"
    rows = [
        {
            "library": library,
            "success": f"{found['success']:.0%}",
            distance: float(found["median"]),
            "queries an image": f"{found['queries']:,.0f}",
            "seconds": f"{found['seconds']:.1f}",
            "time, ours = 1": f"{found['seconds'] / ours['seconds']:.1f}",
        }
        for library, found in row["outcomes"].items()
    ]
    threads = "one thread" if row["threads"] == 1 else f"{row['threads']} threads"
    caption = f"{name}: {row['n']} digits, {row['device']}, {threads}, {row['date']}"
    return table(rows, caption=caption, numbers=".4g")
