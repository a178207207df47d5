"""Checks of the exercises on robust manifolds: a multiplier, a jump, a bisection, far answers."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace.attacks.generative.overpowered import pair_starts
from armsrace.exercises import Exercise, Metered
from armsrace.models import zoo
from armsrace.models.autoencoders import VariationalAutoencoder


def check_price(answer: object) -> None:
    """Check `price(multiplier, distances, epsilon, rate)`: the next multiplier (N,).

    multiplier, distances: (N,). Each grows by rate · (distance − epsilon), and is never below 0.
    """
    multiplier = torch.tensor([1.0, 1.0, 0.1, 0.0])
    distances = torch.tensor([3.5, 1.5, 0.5, 0.5])
    exercise = Exercise("The price of distance")
    solve = exercise.solution(answer, multiplier.clone(), distances, 1.5, 0.3)
    if solve is None:
        return
    found = solve(multiplier.clone(), distances, 1.5, 0.3)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (4,),
        "return one multiplier per pair, a tensor of shape (4,).",
    )
    exercise.require(
        float(found[0]) > 1, "if a pair is too far apart, its multiplier must increase."
    )
    exercise.require(
        bool((found >= 0).all()),
        "a negative multiplier would reward distance: clamp it at 0.",
    )
    expected = torch.tensor([1.6, 1.0, 0.0, 0.0])
    exercise.require(
        torch.allclose(found, expected, atol=1e-5),
        f"from {multiplier.tolist()} at distances {distances.tolist()}, ε = 1.5 and rate 0.3, "
        f"the result is {[round(value, 2) for value in expected.tolist()]}.",
    )
    exercise.confirm("At a distance of exactly ε it does not change: the constraint is just met.")


def check_jump(answer: object) -> None:
    """Check `largest_jump(probabilities)`: (N, points, K) to the largest total variation (N,)."""
    steady = torch.linspace(1, 0, 5)
    sudden = torch.tensor([1.0, 1.0, 0.1, 0.0, 0.0])
    back = torch.tensor([0.2, 0.2, 0.2, 0.9, 0.9])
    first = torch.stack([steady, sudden, back])
    probabilities = torch.stack([first, 0.5 * (1 - first), 0.5 * (1 - first)], dim=2)
    exercise = Exercise("How hard a boundary is")
    solve = exercise.solution(answer, probabilities)
    if solve is None:
        return
    found = solve(probabilities)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one number per line, a tensor of shape (3,).",
    )
    expected = torch.tensor([0.25, 0.9, 0.7])
    exercise.require(
        not torch.allclose(found, 2 * expected, atol=1e-5),
        "divide the sum by 2: what one class loses, others gain, so each change counts twice.",
    )
    ends = (probabilities[:, -1] - probabilities[:, 0]).abs().sum(dim=1) / 2
    exercise.require(
        not torch.allclose(found, ends, atol=1e-5),
        "compare neighboring points on the line, not its two ends.",
    )
    exercise.require(
        torch.allclose(found, expected, atol=1e-5),
        "for each two neighboring points, sum the absolute differences over classes and divide "
        "by 2; then take the maximum, whether the first class rises or falls.",
    )
    exercise.confirm(
        "A value of 1 is a cliff between two points; on a smooth line it shrinks with the gap."
    )


def check_halving(answer: object) -> None:
    """Check `halve(classifier, decoder, first, second, epsilon)`: two latents (L,).

    Both are on the line between the given ones. Their images are at most epsilon apart and
    classified differently.
    """
    first, second = torch.tensor([-3.0, 1.0]), torch.tensor([2.0, 3.0])
    exercise = Exercise("There is always a pair")

    def decoder(latents: Tensor) -> Tensor:
        return torch.sigmoid(latents @ torch.tensor([[2.0, 0.5, 0.0], [0.0, 0.5, 1.0]]))

    def classifier(images: Tensor) -> Tensor:
        return torch.stack([0.3 - images[:, 0], images[:, 0] - 0.3], dim=1)

    solve = exercise.solution(answer, classifier, decoder, first, second, 0.01)
    if solve is None:
        return
    for epsilon, ends in ((0.01, (first, second)), (0.05, (second, first))):
        found = solve(classifier, decoder, *ends, epsilon)
        exercise.require(
            isinstance(found, (tuple, list, Tensor)) and len(found) == 2,
            "return two latents.",
        )
        one, two = (torch.as_tensor(latents) for latents in found)
        exercise.require(
            one.shape == two.shape == (2,), "return latents of shape (L,), like the given ones."
        )
        images = decoder(torch.stack([one, two]))
        predictions = classifier(images).argmax(dim=1)
        exercise.require(
            bool(predictions[0] != predictions[1]),
            "both of your images are classified alike: keep the half whose ends have two classes.",
        )
        gap = float((images[0] - images[1]).norm())
        exercise.require(
            gap <= epsilon,
            f"the images are {gap:.3f} apart, more than {epsilon}: measure images, not latents.",
        )
        offsets = torch.stack([one, two]) - ends[0]
        line = ends[1] - ends[0]
        cross = offsets[:, 0] * line[1] - offsets[:, 1] * line[0]
        exercise.require(
            bool((cross.abs() < 1e-3).all()), "stay on the line between the two given latents."
        )
    exercise.confirm("It works for any continuous decoder and any classifier with two classes.")


def check_far_apart(answer: object) -> None:
    """Check `far_apart(classifier, decoder, starts, epsilon)`: pairs of latents (N, 2, 20).

    classifier: the network trained with PGD and pairs, which may be queried 160 times per pair.
    decoder: latents (M, 20) to images. starts: (24, 2, 20). At least 15 pairs of images must be at
    most ε = 1.5 apart and be classified differently with a divergence of 0.5 nats or more. The
    first images of any two of them must be more than ε apart.
    """
    exercise, epsilon, least = Exercise("Answers far apart"), 1.5, 0.5
    network = zoo.load("manifold-robust").requires_grad_(False)
    vae = zoo.load("manifold-vae").requires_grad_(False)
    assert isinstance(vae, VariationalAutoencoder)
    decoder = vae.decode
    starts = pair_starts(24, 20, Generator().manual_seed(1801))
    classifier = Metered(exercise, network, 160 * len(starts))
    solve = exercise.solution(answer, classifier, decoder, starts[:2].clone(), epsilon)
    if solve is None:
        return
    classifier.shown = 0
    found = solve(classifier, decoder, starts.clone(), epsilon)
    exercise.require(
        isinstance(found, Tensor) and found.shape == starts.shape,
        f"return two latents per start, a tensor of shape {tuple(starts.shape)}.",
    )
    with torch.no_grad():
        images = decoder(found.detach().flatten(0, 1)).flatten(1)
        log_p, log_q = network(images.view(-1, 1, 28, 28)).log_softmax(1).view(-1, 2, 10).unbind(1)
    first, second = images.view(len(starts), 2, -1).unbind(1)
    near = (first - second).norm(dim=1) <= epsilon + 1e-4
    valid = near & (log_p.argmax(1) != log_q.argmax(1))
    far = (log_p.exp() * (log_p - log_q)).sum(1) >= least
    counted: list[Tensor] = []
    for image in first[valid & far]:
        if all((image - other).norm() > epsilon for other in counted):
            counted.append(image)
    exercise.require(
        len(counted) >= 15,
        f"{int(valid.sum())} of {len(starts)} pairs are valid, and {len(counted)} different ones "
        f"have answers {least} nats apart; the bar is 15. Halving the line makes pairs valid, and "
        "the overpowered attack drives their answers apart: combine the two.",
    )
    exercise.confirm(
        f"{len(counted)} of {len(starts)} pairs: training on pairs does not find what a search "
        "from the boundary finds."
    )
