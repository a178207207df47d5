"""A classifier behind a purifier: what MagNet, Defense-GAN and Deep Image Prior have in common."""

from __future__ import annotations

from torch import Tensor, nn


class Purified(nn.Module):
    """Logits of the purified image: classifier(purifier(image)).

    Where the gradient of a purifier is wrong, missing or random, an attack replaces that of this
    part alone, as in `Purified(attacks.adaptive.bpda(purifier), classifier)`.

    Args:
        purifier: images (N, C, H, W) to images of the same shape.
        classifier: those to logits (N, K).

    Raises:
        ValueError: the purifier returns another shape.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> model = defenses.Purified(nn.Hardtanh(0.2, 0.8), model)
        >>> model(digits.images).shape
        torch.Size([8, 10])
    """

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.purifier, self.classifier = purifier, classifier

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, K)."""
        return self.classifier(self.purify(images))

    def purify(self, images: Tensor) -> Tensor:
        """What the classifier sees in place of images (N, C, H, W); the same shape."""
        purified: Tensor = self.purifier(images)
        if purified.shape != images.shape:
            raise ValueError(
                f"purifier must return shape {tuple(images.shape)}, got {tuple(purified.shape)}"
            )
        return purified
