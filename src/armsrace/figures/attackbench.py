"""What `benchmarks/attackbench.py` recorded: tables of attacks, and optimality against time."""

from __future__ import annotations

import math

import torch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from torch import Tensor

from armsrace.evaluation.robustness import optimality
from armsrace.figures.interactive import Markup
from armsrace.figures.style import PALETTE, Plot, new_plot, styled
from armsrace.figures.tables import BALLS, common_provenance, table
from armsrace.ledger.measurements import Recording, recorded

OURS = "armsrace "
"""How the names of our own attacks begin."""


class Contest:
    """The attacks recorded on one network in one norm.

    sizes: {attack: (N,)}, infinite where it failed. optimality: {attack: its optimality}.
    """

    def __init__(self, network: str, norm: str, found: dict[str, Recording]) -> None:
        self.network, self.norm, self.found = network, norm, found
        # A failure is stored as the distance −1.
        stored = {name: torch.tensor(row.columns["distances"]) for name, row in found.items()}
        self.sizes: dict[str, Tensor] = {
            name: torch.where(size < 0, torch.inf, size) for name, size in stored.items()
        }
        envelope = torch.stack(list(self.sizes.values())).amin(dim=0)
        beaten = envelope.isfinite()
        self.optimality = {
            name: optimality(size[beaten], envelope[beaten]) for name, size in self.sizes.items()
        }

    def seconds(self, name: str) -> float:
        """What the attack took."""
        return self.found[name].columns["seconds"][0]

    def best_so_far(self, names: list[str]) -> tuple[list[float], list[float]]:
        """Seconds, rising, and the best optimality that one of the attacks reaches by then."""
        ordered = sorted(names, key=self.seconds)
        best: list[float] = []
        for name in ordered:
            best.append(max([self.optimality[name], *best[-1:]]))
        return [self.seconds(name) for name in ordered], best


def contests() -> list[Contest]:
    """One per network and norm, in order.

    Raises:
        FileNotFoundError: nothing was recorded.
        ValueError: its file is damaged.
    """
    found: dict[tuple[str, str], dict[str, Recording]] = {}
    for key, recording in recorded("attackbench").items():
        network, norm, attack = key.split(", ", 2)
        found.setdefault((network, norm), {})[attack] = recording
    order = list(BALLS)
    ordered = sorted(found, key=lambda contest: (contest[0], order.index(contest[1])))
    return [Contest(*contest, found[contest]) for contest in ordered]


def minimal_distances() -> list[Markup]:
    """One table per network and norm of `benchmarks/attackbench.py`, the most nearly optimal first.

    Raises:
        FileNotFoundError: nothing was recorded.
        ValueError: its file is damaged.
    """
    return [_table(contest) for contest in contests()]


def _table(contest: Contest) -> Markup:
    ball, rank, sizes = BALLS[contest.norm], contest.optimality, contest.sizes
    rows = [
        {
            "attack": name,
            "optimality": f"{rank[name]:.3f}",
            "success": f"{sizes[name].isfinite().double().mean():.0%}",
            f"median {ball}": sizes[name].median().item(),
            "passes per image": f"{contest.found[name].columns['passes'][0]:,.0f}",
            "seconds": f"{contest.seconds(name):.1f}",
        }
        for name in sorted(rank, key=lambda name: -rank[name])
    ]
    provenance = common_provenance(contest.found)
    return table(rows, caption=f"{contest.network}, {ball}: {provenance}", numbers=".3g")


@styled
def optimality_over_time(columns: int = 2) -> Plot:
    """The best optimality that ours, and that the peers, reach within a time; a panel per contest.

    Each point is an attack. The line is at the best of those that take no longer.

    Args:
        columns: of panels.

    Raises:
        FileNotFoundError: nothing was recorded.
        ValueError: its file is damaged.
    """
    held = contests()
    rows = math.ceil(len(held) / columns)
    plot = new_plot(3.6 * columns, 2.3 * rows + 0.5)
    grid = plot.subplots(rows, columns, squeeze=False)
    for axes, contest in zip(grid.flat, held, strict=False):
        ours = [name for name in contest.found if name.startswith(OURS)]
        peers = [name for name in contest.found if not name.startswith(OURS)]
        sides = (("armsrace", ours, "blue", "o", "-"), ("peers", peers, "vermilion", "s", "--"))
        last = 1.15 * max(map(contest.seconds, contest.found))
        for label, names, color, marker, dash in sides:
            points = [(contest.seconds(name), contest.optimality[name]) for name in names]
            axes.plot(*zip(*points, strict=True), marker, color=PALETTE[color], ms=4)
            times, best = contest.best_so_far(names)
            axes.step(
                [*times, last], [*best, best[-1]], dash, where="post", color=PALETTE[color],
                label=label,
            )  # fmt: skip
        axes.set_title(f"{contest.network}, {BALLS[contest.norm]}", fontsize=10)
        axes.set(xscale="log", ylim=(min(0.8, *contest.optimality.values()) - 0.03, 1.02))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in list(grid.flat)[len(held) :]:
        axes.set_visible(False)
    plot.supxlabel("seconds of the processor", fontsize=11)
    plot.supylabel("optimality", fontsize=11)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    plot.legend(handles, labels, loc="outside upper left", ncols=2)
    return plot
