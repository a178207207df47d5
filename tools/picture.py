"""Draw the picture of the README: digits, the same after an attack, and what a network reads.

python tools/picture.py        writes book/_static/picture.png
"""

from __future__ import annotations

from pathlib import Path

import torch

from armsrace import attacks, datasets, figures, zoo

DIGITS = (2, 3, 5, 7, 8)
EPSILON = 0.15


def main() -> None:
    """Attack a digit of each class that is classified correctly, and draw both rows."""
    model = zoo.load("s3-cnn")
    data = datasets.load("mnist", "test").take(500)
    with torch.no_grad():
        right = model(data.images).argmax(dim=1) == data.labels
    rows = [int((right & (data.labels == digit)).nonzero()[0]) for digit in DIGITS]
    images, labels = data.images[rows], data.labels[rows]
    found = attacks.pgd(model, images, labels, epsilon=EPSILON, steps=100).images
    both = torch.cat([images, found])
    with torch.no_grad():
        confidence, read = model(both).softmax(dim=1).max(dim=1)
    titles = [f"“{k}”, {p:.0%}" for p, k in zip(confidence, read.tolist(), strict=True)]
    figure = figures.image_grid(both, titles, columns=len(DIGITS), size=1.3)
    target = Path(__file__).resolve().parents[1] / "book" / "_static" / "picture.png"
    figure.savefig(target, dpi=150, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main()
