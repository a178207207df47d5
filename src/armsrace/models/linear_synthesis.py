"""Analysis by synthesis with linear decoders: each class is a few affine pieces with a price.

A class explains an image x by one of its pieces, G(u) = m + W u, at the cost
min_u ‖x − G(u)‖² + ½‖u‖² + a. With B = W (½ I + WᵀW)^(−½) the minimum is, exactly,

    q(x) = ‖x − m‖² − ‖Bᵀ(x − m)‖² + a,   explained by   E(x) = m + B Bᵀ(x − m),

so nothing is searched for: cost and explanation are quadratic and linear in x. This is a mixture of
probabilistic principal component analyzers (Tipping and Bishop 1999), whose decision can be proved
(`evaluation.certify`).
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

LARGEST_NORM = 0.97
"""Of B: below 1, the norm at which an explanation would be free."""


class LinearSynthesis(nn.Module):
    """K classes of M pieces with L latents each, of images with P pixels.

    Parameters, with piece i of class i // M: `means` m (K M, P), `factors` B (K M, P, L) and
    `offsets` a (K M,). Of every piece ‖B‖ ≤ 1 is needed, and `project` sees to it.
    """

    means: nn.Parameter
    factors: nn.Parameter
    offsets: nn.Parameter

    def __init__(
        self, classes: int = 10, pieces: int = 10, latents: int = 8, pixels: int = 784
    ) -> None:
        super().__init__()
        self.classes, self.pieces, self.latents = classes, pieces, latents
        count = classes * pieces
        self.means = nn.Parameter(0.5 + 0.1 * torch.randn(count, pixels))
        self.factors = nn.Parameter(0.5 * torch.randn(count, pixels, latents) / pixels**0.5)
        self.offsets = nn.Parameter(torch.zeros(count))

    @classmethod
    def of(cls, means: Tensor, factors: Tensor, offsets: Tensor, *, classes: int) -> Self:
        """A model with these parameters, in their dtype and on their device."""
        count, pixels, latents = factors.shape
        with torch.random.fork_rng(devices=[]):
            model = cls(classes, count // classes, latents, pixels).to(factors)
        model.load_state_dict({"means": means, "factors": factors, "offsets": offsets})
        return model.eval()

    def coordinates(self, images: Tensor) -> Tensor:
        """Bᵀ(x − m) of each piece, (N, K M, L), of images (N, C, H, W) or (N, P)."""
        return _coordinates(images.flatten(1), self.means, self.factors)

    def costs(self, images: Tensor, coordinates: Tensor | None = None) -> Tensor:
        """q(x) of each piece, (N, K M), of images (N, C, H, W) or (N, P).

        The coordinates (N, K M, L) may be given where they are known.
        """
        return _costs(images.flatten(1), self.means, self.factors, self.offsets, coordinates)

    def explanations(self, images: Tensor) -> Tensor:
        """E(x) of each piece, (N, K M, P), of images (N, C, H, W) or (N, P)."""
        return self.means + torch.einsum("ipl,nil->nip", self.factors, self.coordinates(images))

    @torch.no_grad()
    def explain(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Each class's best explanation (N, K, C, H, W) of images (N, C, H, W), its cost (N, K)."""
        exact = self.of(*(part.double() for part in self.parameters()), classes=self.classes)
        flat = images.flatten(1).double()
        inner = exact.coordinates(flat)
        costs, best = exact.costs(flat, inner).unflatten(1, (self.classes, -1)).min(dim=2)
        places = torch.arange(self.classes, device=best.device) * self.pieces + best
        inner = inner.gather(1, places[..., None].expand(-1, -1, self.latents))
        # Of the cheapest pieces alone: `explanations` draws all of them.
        drawn = exact.means[places] + torch.einsum("nkpl,nkl->nkp", exact.factors[places], inner)
        return drawn.unflatten(2, images.shape[1:]).to(images.dtype), costs.to(images.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W): the least cost of all, minus that of each class.

        Computed in float64 whatever the images are, since proofs are about exact costs. What is
        left after the subtraction is rounded to the images' dtype, which keeps the order.
        """
        exact = images.flatten(1).double()
        parts = (part.double() for part in (self.means, self.factors, self.offsets))
        costs = _costs(exact, *parts).view(len(images), self.classes, self.pieces).amin(dim=2)
        return (costs.amin(dim=1, keepdim=True) - costs).to(images.dtype)

    @torch.no_grad()
    def project(self, largest: float = LARGEST_NORM) -> None:
        """Shrink the singular values of each B to at most this."""
        values, vectors = torch.linalg.eigh(self.factors.transpose(1, 2) @ self.factors)
        shrink = (largest / values.clamp_min(1e-12).sqrt()).clamp_max(1)
        self.factors.copy_(self.factors @ (vectors * shrink[:, None]) @ vectors.transpose(1, 2))

    @torch.no_grad()
    def start(self, images: Tensor, labels: Tensor, *, rounds: int = 12) -> None:
        """Set the pieces of each class by k-means, then the principal components of each cluster.

        Draws from torch's global generator, as training may.

        Args:
            images: (N, C, H, W), labeled 0 … K − 1.
            labels: (N,).
            rounds: of k-means.
        """
        flat = images.flatten(1)
        for label in range(self.classes):
            own = flat[labels == label]
            if len(own) < self.pieces:
                raise ValueError(f"labels must have {self.pieces} images of class {label} or more")
            nearest = _clusters(own, self.pieces, rounds)
            for piece in range(self.pieces):
                cluster = own[nearest == piece].double()
                if not len(cluster):
                    cluster = own[torch.randint(len(own), (1,)).to(own.device)].double()
                place = label * self.pieces + piece
                mean = cluster.mean(dim=0)
                values, vectors = torch.linalg.eigh((cluster - mean).T @ (cluster - mean))
                values = values[-self.latents :] / max(len(cluster) - 1, 1)
                self.means[place] = mean.to(flat)
                factors = vectors[:, -self.latents :] * (values / (values + 0.5)).sqrt()
                self.factors[place] = factors.to(flat)
                self.offsets[place] = 0
        self.project()


def _coordinates(flat: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """Bᵀ(x − m) of each piece, (N, I, L), of images (N, P)."""
    along = flat @ factors.transpose(1, 2).flatten(0, 1).T
    return along.view(len(flat), len(means), -1) - torch.einsum("ipl,ip->il", factors, means)


def _costs(
    flat: Tensor, means: Tensor, factors: Tensor, offsets: Tensor, along: Tensor | None = None
) -> Tensor:
    """q(x) of each piece, (N, I), of images (N, P)."""
    along = _coordinates(flat, means, factors) if along is None else along
    distances = (
        flat.square().sum(dim=1, keepdim=True) - 2 * flat @ means.T + means.square().sum(dim=1)
    )
    return distances - along.square().sum(dim=2) + offsets


def _clusters(points: Tensor, count: int, rounds: int) -> Tensor:
    """The cluster (N,) of each point (N, P) by k-means; an empty one begins again at a point."""
    centers = points[torch.randperm(len(points))[:count].to(points.device)]
    nearest = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for _ in range(rounds):
        distances = centers.square().sum(dim=1) - 2 * points @ centers.T
        nearest = distances.argmin(dim=1)
        members = torch.nn.functional.one_hot(nearest, count).to(points)
        sizes = members.sum(dim=0)
        again = points[torch.randint(len(points), (count,)).to(points.device)]
        means = members.T @ points / sizes.clamp_min(1)[:, None]
        centers = torch.where(sizes[:, None] > 0, means, again)
    return nearest
