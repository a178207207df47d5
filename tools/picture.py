"""Draw the pictures of the README: digits under attack, and what a network reads in each.

python tools/picture.py        writes book/_static/picture.png and book/_static/moving.webp

The first has the digits and the same after an attack; it is for readers who want no motion. In the
second ε grows, and the answers change.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from armsrace import attacks, datasets, figures, zoo

DIGITS = (2, 3, 5, 7, 8)
EPSILON = 0.15
BUDGETS = tuple(step / 100 for step in range(0, 21))
FIRST, EACH, LAST = 1600, 220, 2600
"""Milliseconds of the first frame, of each other one, and of the last."""
FOLDER = Path(__file__).resolve().parents[1] / "book" / "_static"


def main() -> None:
    """Attack a digit of each class that is classified correctly, and draw both pictures."""
    model = zoo.load("s3-cnn")
    data = datasets.load("mnist", "test").take(500)
    with torch.no_grad():
        right = model(data.images).argmax(dim=1) == data.labels
    rows = [int((right & (data.labels == digit)).nonzero()[0]) for digit in DIGITS]
    images, labels = data.images[rows], data.labels[rows]
    found = attacks.pgd(model, images, labels, epsilon=EPSILON, steps=100).images
    both = torch.cat([images, found])
    grid = figures.image_grid(both, read(model, both), columns=len(DIGITS), size=1.3)
    grid.savefig(FOLDER / "picture.png", dpi=150, bbox_inches="tight", facecolor="white")
    frames = [frame(model, images, labels, epsilon) for epsilon in BUDGETS]
    times = [FIRST, *[EACH] * (len(frames) - 2), LAST]
    frames[0].save(
        FOLDER / "moving.webp", save_all=True, append_images=frames[1:], duration=times, loop=0,
        quality=70, method=6, minimize_size=True,
    )  # fmt: skip


def read(model: nn.Module, images: Tensor, labels: Tensor | None = None) -> list[str]:
    """What the model reads in each image, how surely, and whether it is the label."""
    with torch.no_grad():
        confidence, answers = model(images).softmax(dim=1).max(dim=1)
    marks = [""] * len(images)
    if labels is not None:
        marks = [" ✓" if right else " ✗" for right in (answers == labels).tolist()]
    return [
        f"“{answer}”{mark}, {share:.0%}"
        for answer, mark, share in zip(answers.tolist(), marks, confidence, strict=True)
    ]


def frame(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Image.Image:
    """The digits at one budget, attacked from the image itself so that little jumps."""
    found = images
    if epsilon:
        size = epsilon / 8
        found = attacks.bim(model, images, labels, epsilon=epsilon, steps=40, step_size=size).images
    grid: Figure = figures.image_grid(
        found, read(model, found, labels), columns=len(DIGITS), size=1.3
    )
    width, height = grid.get_size_inches()
    # A line for ε above the digits, which keep their inches.
    grid.set_size_inches(width, height + 0.3)
    (axes,) = grid.axes
    axes.set_position((0, 0, 1, height / (height + 0.3)))
    grid.text(
        0.5, 1 - 0.16 / (height + 0.3), f"no pixel changes by more than ε = {epsilon:.2f}",
        ha="center", va="center", fontsize=11,
    )  # fmt: skip
    content = io.BytesIO()
    grid.savefig(content, dpi=110, facecolor="white")
    return Image.open(content).convert("RGB")


if __name__ == "__main__":
    main()
