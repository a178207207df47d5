"""A classifier behind a purifier: what all purifying defenses are."""

from __future__ import annotations

from torch import Tensor, nn


class Purified(nn.Module):
    """Logits of the purified image: classifier(purifier(image)).

    purifier: images (N, C, H, W) to images of the same shape. classifier: those to logits (N, K).

    Raises ValueError where the purifier answers another shape. An attack through a purifier whose
    gradient is wrong, missing or random wraps that part alone, as in
    `Purified(straight_through(purifier), classifier)`.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> model = defenses.Purified(nn.Hardtanh(0.2, 0.8), model)
    >>> model(digits.images).shape
    torch.Size([8, 10])
    """

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.purifier, self.classifier = purifier, classifier

    def purify(self, images: Tensor) -> Tensor:
        """What the classifier sees in place of images (N, C, H, W); the same shape."""
        purified: Tensor = self.purifier(images)
        if purified.shape != images.shape:
            raise ValueError(
                f"purifier must return shape {tuple(images.shape)}, got {tuple(purified.shape)}"
            )
        return purified

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, K)."""
        return self.classifier(self.purify(images))
