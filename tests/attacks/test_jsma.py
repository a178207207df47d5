"""JSMA changes exactly the pixels that a search over all pairs would, and never more than Υ."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from armsrace import attacks
from armsrace.attacks.sparse.jsma import most_salient
from armsrace.norms import distances
from tests.attacks.linear import PIXELS, linear, some_images


class Recorder(nn.Module):
    """Keeps every image that the model is asked about, (PIXELS,) each."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, images: Tensor) -> Tensor:
        self.seen += [image.detach().flatten() for image in images]
        return self.model(images)


def best_sets(alpha: Tensor, beta: Tensor, domain: list[int], size: int) -> list[set[int]]:
    """Every set of pixels with the greatest −αβ, by enumeration; none where none qualifies."""
    scores = {}
    for chosen in combinations(domain, size):
        a, b = alpha[list(chosen)].sum().item(), beta[list(chosen)].sum().item()
        if a > 0 > b:
            scores[chosen] = -a * b
    best = max(scores.values(), default=0)
    return [set(chosen) for chosen, score in scores.items() if score > best * (1 - 1e-12)]


def slopes_of(model: nn.Module, image: Tensor, form: str, own: int) -> tuple[Tensor, Tensor]:
    """The slopes (PIXELS,) of one output and of the sum of all others, each differentiated."""

    def outputs(pixels: Tensor) -> Tensor:
        logits = model(pixels.view(1, 1, 2, 4))[0]
        return logits if form == "logits" else logits.softmax(dim=0)

    rows = jacobian(outputs, image)
    return rows[own], rows.sum(dim=0) - rows[own]


@pytest.mark.parametrize("targeted", [True, False])
@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("form", ["logits", "softmax"])
@pytest.mark.parametrize("theta", [1.0, -1.0, 0.3])
def test_every_step_takes_the_most_salient_pixels(theta, form, pixels, targeted) -> None:
    """Step by step against all sets of eight pixels, until success or until none qualifies."""
    up, end, taken = (1, 1.0, 0) if theta > 0 else (-1, 0.0, 0)
    for seed in range(6):
        model, image = Recorder(linear(4, seed)).eval(), some_images(1, seed)
        logits = model.model(image)[0]
        label, target = logits.argmax(), logits.argsort()[1]
        attacks.jsma(
            model, image, label[None], targets=target[None] if targeted else None, theta=theta,
            form=form, pixels=pixels, gamma=1,
        )  # fmt: skip
        domain = [p for p in range(PIXELS) if model.seen[0][p] != end]
        for before, after in pairwise(model.seen):
            own = slopes_of(model.model, before, form, int(target if targeted else label))
            alpha, beta = own if targeted else own[::-1]
            best = best_sets(up * alpha, up * beta, domain, pixels)
            moved = set((after != before).nonzero()[:, 0].tolist())
            if not moved:
                read = model.model(before.view_as(image)).argmax()
                assert not best or (read == target if targeted else read != label)
                break
            assert moved in best
            places = sorted(moved)
            assert torch.equal(after[places], (before[places] + theta).clamp(0, 1))
            domain, taken = [p for p in domain if p not in moved], taken + 1
    assert taken >= 5


def test_pairs_are_exact_for_many_slopes_and_ties() -> None:
    """Also where slopes repeat, vanish, all point the wrong way, or few pixels may move."""
    draws = torch.Generator().manual_seed(0)
    alpha, beta = torch.randn(2, 60, 14, generator=draws, dtype=torch.float64)
    alpha[:20], beta[:20] = alpha[:20].round(), beta[:20].round()
    alpha[20:25], beta[25:30] = -alpha[20:25].abs(), beta[25:30].abs()
    movable = torch.rand(60, 14, generator=draws) < torch.linspace(0, 1, 60)[:, None]
    for pixels in (1, 2):
        chosen, admissible = most_salient(alpha, beta, movable, pixels)
        for row in range(60):
            domain = movable[row].nonzero()[:, 0].tolist()
            best = best_sets(alpha[row], beta[row], domain, pixels)
            assert bool(admissible[row]) == bool(best)
            assert not best or set(chosen[row].tolist()) in best
        assert 10 < admissible.sum() < 55


@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize(("gamma", "most"), [(0.0, 0), (0.002, 1), (0.016, 12), (10 / 784, 10)])
def test_never_more_than_the_fraction(trained, digits, gamma, most, pixels) -> None:
    """Neither in what is returned nor on the way; pairs leave an odd pixel, 10 / 784 gives ten."""
    images, labels = digits[0][:20], digits[1][:20]
    model = Recorder(trained).eval()
    attacks.jsma(model, images, labels, targets=(labels + 5) % 10, gamma=gamma, pixels=pixels)
    changed = [(image != images.flatten(1)).sum(dim=1).min() for image in model.seen]
    assert max(changed) == most // pixels * pixels


def test_one_more_pixel_only_where_it_helps(trained, digits) -> None:
    """θ = 1 only adds ink, θ = −1 only takes it, each to the end; success costs few pixels."""
    images, labels = digits[0][:30], digits[1][:30]
    targets = (labels + 1) % 10
    for theta, end in ((1.0, 1.0), (-1.0, 0.0)):
        found = attacks.jsma(trained, images, labels, targets=targets, theta=theta, gamma=1)
        assert (found.images[found.images != images] == end).all()
        assert found.success.float().mean() > 0.5
    larger = attacks.jsma(trained, images, labels, targets=targets, gamma=1)
    smaller = attacks.jsma(trained, images, labels, targets=targets, gamma=0.03)
    both = larger.success & smaller.success
    assert torch.equal(larger.images[both], smaller.images[both])
    assert larger.success.sum() > smaller.success.sum()


def test_a_confident_model_has_gradients_too(trained, digits) -> None:
    """The probabilities' own gradients are zero here, in every pixel and every class."""
    images, labels = digits[0][:20], digits[1][:20]

    def sure(batch: Tensor) -> Tensor:
        return 1000 * trained(batch)

    probabilities = jacobian(lambda batch: sure(batch).softmax(dim=1).sum(dim=0), images)
    assert probabilities.abs().amax(dim=(0, 2, 3, 4)).count_nonzero() < 10
    found = attacks.jsma(sure, images, labels, targets=(labels + 1) % 10, gamma=0.3)
    assert found.success.float().mean() > 0.8


def test_a_pixel_moves_with_its_channels() -> None:
    """Three channels are one pixel, of which only two may be moved here."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 5)).double().eval()
    images = torch.full((8, 3, 3, 3), 0.5, dtype=torch.float64)
    labels = model(images).argmax(dim=1)
    seen = Recorder(model).eval()
    found = attacks.jsma(seen, images, labels, gamma=0.25)
    changed = (torch.stack(seen.seen).view(-1, 3, 9) != 0.5).sum(dim=(1, 2))
    assert changed.max() == 6
    assert (distances(found.images - images, "l0") <= 2).all()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"theta": 0.0}, "theta must be finite and not 0, got 0.0"),
        ({"theta": float("nan")}, "theta must be finite and not 0, got nan"),
        ({"gamma": -0.1}, "gamma must be >= 0, got -0.1"),
        ({"gamma": 1.1}, "gamma must be <= 1, got 1.1"),
        ({"form": "probabilities"}, "form must be one of logits, softmax, got 'probabilities'"),
        ({"pixels": 3}, "pixels must be 1 or 2, got 3"),
    ],
)
def test_bad_options(trained, digits, options, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.jsma(trained, digits[0][:2], digits[1][:2], **options)
