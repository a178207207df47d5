"""The nearest image that a decoder draws: what Defense-GAN and invert-and-classify put in place.

Samangouei, Kabkab and Chellappa 2018 (§3); Jalal, Ilyas et al. 2017 (§3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from armsrace.contracts import check_images
from armsrace.defenses.latent_descent import Descent, Inversion
from armsrace.defenses.latent_search import Decoder, LatentSearch


def invert(
    decoder: Decoder,
    images: Tensor,
    search: LatentSearch,
    *,
    starts: Tensor | None = None,
    generator: torch.Generator | None = None,
    differentiable: bool = False,
) -> Inversion:
    """The latents whose image has the least mean squared error to each image, plus the penalty.

    Args:
        decoder: latents (M, L) to images (M, C, H, W), each row by itself; a module is held in
            evaluation mode. The rows are the restarts of the first image, then of the second …,
            less those that are done or have lost: with one restart and no tolerance, the images.
        images: (N, C, H, W) in [0, 1].
        search: the settings.
        starts: (N, R, L), in place of drawn ones.
        generator: where starts are drawn from; by default a new one seeded 0.
        differentiable: what is found depends on the images, through every step, where a gradient
            is asked for. The starts and the choice of the best have none. Memory grows with the
            steps.

    A start follows from the generator, the pixels of its image and the number of its restart:
    neither other images nor more restarts change it. A restart that diverges loses to the others.
    Device and dtype follow the images. Raises ValueError or TypeError where images or starts break
    the contract, the decoder answers another shape or a constant, or every restart of an image
    diverges.

    >>> vae, digits = zoo.load("manifold-vae"), datasets.load("mnist").take(4)
    >>> search = defenses.LatentSearch(latents=20, restarts=2, steps=20)
    >>> found = defenses.invert(vae.decode, digits.images, search)
    >>> found.latents.shape, found.distances.shape
    (torch.Size([4, 20]), torch.Size([4]))
    """
    at = [search.steps]
    return _search(decoder, images, search, at, starts, generator, differentiable)[0]


def inversion_path(
    decoder: Decoder,
    images: Tensor,
    search: LatentSearch,
    at: Sequence[int],
    *,
    starts: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> list[Inversion]:
    """What one search has found after each of the numbers of steps in `at`, which rise.

    Decoder, images, search, starts, generator and errors are those of `invert`; each of `at` is
    between 1 and the steps of the search. Without halving and without a schedule, what is found
    after k steps is what a search of k steps finds.

    >>> vae, digits = zoo.load("manifold-vae"), datasets.load("mnist").take(4)
    >>> search = defenses.LatentSearch(latents=20, restarts=2, steps=20)
    >>> early, late = defenses.inversion_path(vae.decode, digits.images, search, at=[5, 20])
    >>> (late.distances < early.distances).all()
    tensor(True)
    """
    at = list(at)
    if not at or at != sorted(set(at)) or at[0] < 1 or at[-1] > search.steps:
        raise ValueError(f"at must hold rising numbers from 1 to {search.steps} steps, got {at}")
    return _search(decoder, images, search, at, starts, generator, False)


def _search(
    decoder: Decoder,
    images: Tensor,
    search: LatentSearch,
    at: Sequence[int],
    starts: Tensor | None,
    generator: torch.Generator | None,
    differentiable: bool,
) -> list[Inversion]:
    check_images(images)
    wanted = differentiable and images.requires_grad and torch.is_grad_enabled()
    with _evaluating(decoder), torch.inference_mode(False), torch.enable_grad():
        images = images if wanted else images.detach().clone()
        if starts is None:
            starts = search.starts(images, generator)
        search.check_starts(starts, images)
        descent, stations = Descent(decoder, images, starts, search, wanted), []
        for step, kept in enumerate(search.survivors()[: at[-1]], start=1):
            if len(descent.left):
                descent.step()
                descent.stop_finished()
            if len(descent.left):
                descent.drop_losers(kept)
            if step in at:
                stations.append(descent.finish())
    return stations


class LatentProjection(nn.Module):
    """A purifier: each image becomes the nearest one found that the decoder draws.

    decoder: latents (M, L) to images (M, C, H, W). search: the settings. starts: images
    (N, C, H, W) to starts (N, R, L), such as an encoder's latents, in place of drawn ones.
    generator: where starts are drawn from, call by call; None starts a new one, seeded 0, at each
    call, so that an image is always purified alike.

    `Purified(LatentProjection(…), classifier)` is Defense-GAN or invert-and-classify. What it
    returns hangs on no graph: an attack goes through `attacks.composition.straight_through`, or
    through `unrolled`, which asks for differentiable=True. Raises as `invert` does.

    >>> vae, search = zoo.load("manifold-vae"), defenses.LatentSearch(latents=20, steps=10)
    >>> defenses.LatentProjection(vae.decode, search)(torch.ones(2, 1, 28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        decoder: Decoder,
        search: LatentSearch,
        *,
        starts: Callable[[Tensor], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.decoder, self.search = decoder, search
        self.starts, self.generator = starts, generator

    def invert(self, images: Tensor, *, differentiable: bool = False) -> Inversion:
        """The search itself, for who wants the latents, distances or work of it."""
        starts = None
        if self.starts is not None:
            with torch.no_grad():
                starts = self.starts(images.detach())
        return invert(
            self.decoder, images, self.search,
            starts=starts, generator=self.generator, differentiable=differentiable,
        )  # fmt: skip

    def forward(self, images: Tensor, *, differentiable: bool = False) -> Tensor:
        """Images (N, C, H, W) to the nearest ones drawn, of the same shape."""
        return self.invert(images, differentiable=differentiable).images


@contextmanager
def _evaluating(decoder: Decoder) -> Iterator[None]:
    """Hold a module in evaluation mode: batch statistics would mix images, dropout add chance."""
    modes: dict[nn.Module, bool] = {}
    if isinstance(decoder, nn.Module):
        modes = {part: part.training for part in decoder.modules()}
        decoder.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
