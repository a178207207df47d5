"""Tables of computed numbers, each with the threat model that its numbers hold for."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from armsrace.contracts import check_at_least, check_choice
from armsrace.figures.interactive import Markup

ENDLESS = re.compile(r"\binf\b%?")
"""What Python writes for infinity, be it alone or one of a cell's numbers."""
BALLS = {"linf": "‖δ‖∞", "l2": "‖δ‖₂", "l1": "‖δ‖₁", "l0": "‖δ‖₀"}


@dataclass(frozen=True)
class ThreatModel:
    """What an attacker knows, wants and may do: without it a robustness number says nothing.

    knowledge: what is known, and whose gradient is used. goal: what counts as success. norm and
    epsilon: the budget in pixel units; None where the number runs over budgets, "least" where the
    attack looks for the smallest perturbation and nothing bounds it. queries: forward and backward
    passes an image. images: how many and which. Raises ValueError for another norm, another word
    or a negative epsilon.
    """

    knowledge: str
    goal: str
    norm: str
    epsilon: float | Literal["least"] | None
    queries: str
    images: str

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, tuple(BALLS))
        if isinstance(self.epsilon, str):
            check_choice("epsilon", self.epsilon, ("least",))
        elif self.epsilon is not None:
            check_at_least("epsilon", self.epsilon, 0)

    @property
    def budget(self) -> str:
        """The set of allowed perturbations as a formula, or the size that is minimized."""
        if self.epsilon == "least":
            return f"the least {BALLS[self.norm]}"
        size = "ε" if self.epsilon is None else f"{self.epsilon:g}"
        return f"{BALLS[self.norm]} ≤ {size}"

    @property
    def sentence(self) -> str:
        """The card in one line, to stand under a table."""
        parts = (self.knowledge, self.goal, self.budget, self.queries, self.images)
        return "Threat model: " + "; ".join(parts) + "."

    def _repr_html_(self) -> str:
        rows = {
            "Knows": self.knowledge, "Wants": self.goal, "May change": self.budget,
            "May ask": self.queries, "Measured on": self.images,
        }  # fmt: skip
        cells = "".join(
            f'<tr><th scope="row">{name}</th><td>{html.escape(text)}</td></tr>'
            for name, text in rows.items()
        )
        return f'<table class="ar-threat"><tbody>{cells}</tbody></table>'


def table(
    rows: Sequence[Mapping[str, object]],
    *,
    caption: str,
    threat: ThreatModel | None = None,
    numbers: str = ",.4g",
) -> Markup:
    """Rows with the same keys as an HTML table, the caption and the threat model with it.

    numbers is the format of every float and of every tensor with one entry: ".1%" prints fractions
    as percentages. Raises ValueError where there is no row or the rows' keys differ.
    """
    if not rows or any(list(row) != list(rows[0]) for row in rows):
        raise ValueError("rows must be at least one, all with the same keys in the same order")
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in rows[0])
    body = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(_text(cell, numbers))}</td>" for cell in row.values())
        + "</tr>"
        for row in rows
    )
    note = f'<p class="ar-threat-line">{html.escape(threat.sentence)}</p>' if threat else ""
    return Markup(
        f'<div class="ar-scroll" tabindex="0"><table class="ar-table">'
        f"<caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _text(cell: object, numbers: str) -> str:
    cell = cell.item() if isinstance(cell, Tensor) else cell
    text = format(cell, numbers) if isinstance(cell, float) else str(cell)
    return ENDLESS.sub("∞", text)
