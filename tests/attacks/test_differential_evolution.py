"""Differential evolution over pixels: genes, partners, and how far it gets beside SciPy's."""

from __future__ import annotations

from typing import Any

import torch
from scipy.optimize import differential_evolution
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.sparse.one_pixel import TUTORIAL, inside, painted, partners
from armsrace.contracts import UNIT, Bounds
from armsrace.losses import log_odds
from armsrace.randomness import Keys

PIXELS, POPULATION, GENERATIONS = 120, 40, 20


def test_of_two_genes_for_one_pixel_the_last_wins() -> None:
    genes = torch.tensor([[[0.3, 0.9, 0.2], [0.0, 0.0, 1.0], [0.3, 0.9, 0.7]]])
    image = painted(torch.zeros(1, 1, 4, 4), genes, Bounds(-1.0, 1.0))
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 1, 3], expected[0, 0, 0, 0] = 0.4, 1.0
    torch.testing.assert_close(image, expected)


def test_places_come_in_again_and_colors_stop() -> None:
    genes = inside(torch.tensor([[[[1.25, -0.25, 1.5, -0.5]]]]))
    torch.testing.assert_close(genes, torch.tensor([[[[0.25, 0.75, 1.0, 0.0]]]]))
    edge = torch.tensor([[[1.0, 1.0, 0.5]]])
    assert painted(torch.zeros(1, 1, 4, 4), edge, UNIT)[0, 0, 3, 3] == 0.5


def test_partners_are_distinct_and_every_choice_is_as_likely() -> None:
    keys, generator = Keys(torch.rand(1000, 1, 2, 2).double()), torch.Generator().manual_seed(0)
    chosen = torch.stack(partners(5, 3, keys, generator), dim=2)
    own = torch.arange(5).expand(1000, 5)[..., None]
    together = torch.cat([own, chosen], dim=2).sort(dim=2).values
    assert (together.diff(dim=2) > 0).all() and together.min() == 0 and together.max() == 4
    for place in range(3):
        counts = torch.bincount((5 * own + chosen)[..., place].flatten(), minlength=25)
        counts = counts.view(5, 5)[~torch.eye(5, dtype=torch.bool)]
        assert (counts - 250).abs().max() < 5 * 250**0.5


def test_it_gets_as_far_as_scipy(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    """The same strategy with as many candidates: log odds against the label, mean of four."""
    with torch.no_grad():
        right = (trained(digits[0]).argmax(dim=1) == digits[1]).nonzero()[:4, 0]
    images, labels = digits[0][right], digits[1][right]
    options = {key: TUTORIAL[key] for key in ("base", "mutation", "colors")}
    result = attacks.one_pixel(
        trained, images, labels, pixels=PIXELS, population=POPULATION, generations=GENERATIONS,
        label_below=0.0, **options,
    )  # fmt: skip
    assert result.success.all(), "a failure gives the clean image: nothing to compare"
    with torch.no_grad():
        ours = log_odds(trained(result.images), labels)
    theirs = torch.tensor([_scipys(trained, *each) for each in zip(images, labels, strict=True)])
    assert ours.mean() > theirs.mean() - 0.5


def _scipys(model: nn.Module, image: Tensor, label: Tensor) -> float:
    """The log odds that SciPy reaches, from as many first candidates."""

    def loss(genes: Any) -> Any:
        candidates = torch.from_numpy(genes.T.copy()).float().unflatten(1, (PIXELS, 3))
        with torch.no_grad():
            logits = model(painted(image.expand(len(candidates), -1, -1, -1), candidates, UNIT))
        return -log_odds(logits, label.expand(len(candidates))).double().numpy()

    first = torch.rand(POPULATION, 3 * PIXELS, generator=torch.Generator().manual_seed(0))
    found = differential_evolution(
        loss, [(0.0, 1.0)] * (3 * PIXELS), init=first.numpy(), maxiter=GENERATIONS,
        recombination=1, tol=0, polish=False, vectorized=True, updating="deferred", rng=0,
    )  # fmt: skip
    assert found.nit == GENERATIONS and found.population.shape[0] == POPULATION
    return -found.fun
