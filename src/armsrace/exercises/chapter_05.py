"""Checks of chapter 5: counting pixels, the most salient pair, back towards the clean image."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace.attacks.norms import distances
from armsrace.attacks.saliency import most_salient
from armsrace.exercises import Exercise


def check_count_pixels(answer: object) -> None:
    """Judge `count_pixels(clean, adversarial)`: (N, C, H, W) twice to the changed pixels (N,)."""
    draws = Generator().manual_seed(5)
    clean = torch.rand(3, 3, 4, 4, generator=draws)
    adversarial = clean.clone()
    adversarial[0, :, 1, 2] = 1 - clean[0, :, 1, 2]
    adversarial[1, 0, 0, :2] += 1e-3
    adversarial[1, 1, 3, 3] -= 0.5
    exercise = Exercise("5.1")
    solve = exercise.solution(answer, clean, adversarial)
    if solve is None:
        return
    found = solve(clean, adversarial)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one count an image, (3,) here.",
    )
    values = [float(value) for value in found]
    exercise.require(
        values[0] != 3,
        "the first image has one changed pixel: its three channels belong to one place.",
    )
    exercise.require(
        values[1] == 3,
        f"the second image has three changed pixels, one of them darker and two changed by only "
        f"0.001; you count {values[1]:g}.",
    )
    right = distances(adversarial - clean, "l0").tolist()
    exercise.require(values == right, f"the counts are {right}, yours are {values}.")
    exercise.confirm("How far a pixel moves does not matter, only whether it does.")


def check_best_pair(answer: object) -> None:
    """Judge `best_pair(alpha, beta)`: slopes (P,) twice to the two pixels of the best pair.

    The best pair has the greatest −(α_p + α_q)(β_p + β_q) with the first sum positive and the
    second negative.
    """
    draws = Generator().manual_seed(8)
    alpha, beta = torch.randn(2, 12, generator=draws, dtype=torch.float64)
    # One pixel so good that it would like to be its own partner, two bad ones whose product is
    # great because both signs are wrong, and a partner that alone is not admissible.
    alpha[0], beta[0] = 4.0, -4.0
    alpha[1:3], beta[1:3] = -9.0, 9.0
    alpha[3], beta[3] = -0.1, -9.0
    exercise = Exercise("5.2")
    solve = exercise.solution(answer, alpha, beta)
    if solve is None:
        return
    pair = [int(pixel) for pixel in solve(alpha, beta)]
    exercise.require(len(pair) == 2, "return two pixels.")
    exercise.require(pair[0] != pair[1], "a pixel is no pair with itself: mask the diagonal.")
    exercise.require(
        set(pair) != {1, 2},
        "both signs are wrong there: the target's output falls, the others rise. Their product "
        "is great all the same; mask it.",
    )
    everywhere = torch.ones(1, 12, dtype=torch.bool)
    best = set(most_salient(alpha[None], beta[None], everywhere, pixels=2)[0][0].tolist())
    exercise.require(
        set(pair) == best,
        f"the best pair is {sorted(best)}, yours is {sorted(pair)}. The conditions are on the "
        "sums, not on each pixel, and the score is the product of the sums.",
    )
    exercise.confirm("One pixel may even push the target down, if its partner makes up for it.")


def check_restore(answer: object) -> None:
    """Judge `restore(fooled, clean, adversarial)`: as many pixels clean again as one by one can be.

    fooled: an image (H, W) to bool. clean and adversarial: (H, W). The answer is an image that
    still fools and in which no single changed pixel can be clean again.
    """
    clean = torch.full((3, 4), 0.25)
    adversarial = torch.ones(3, 4)

    def fooled(image: Tensor) -> bool:
        on = image != clean
        # The second pixel and one of two others fool; but two pixels that are not needed can be
        # clean only after a later and an earlier one, so that a single round is not enough.
        needed = on[0, 1] & (on[2, 2] | on[2, 3])
        return bool(needed & (on[0, 0] | ~on[2, 0]) & (on[1, 3] | ~on[1, 0]))

    exercise = Exercise("5.3")
    solve = exercise.solution(answer, fooled, clean.clone(), adversarial.clone())
    if solve is None:
        return
    given = adversarial.clone()
    found = solve(fooled, clean, given)
    exercise.require(
        isinstance(found, Tensor) and found.shape == clean.shape, "return an image (3, 4)."
    )
    exercise.require(torch.equal(given, torch.ones(3, 4)), "do not change the image you are given.")
    exercise.require(fooled(found), "the image that you return no longer fools the model.")
    changed = found != clean
    for place in changed.nonzero().tolist():
        trial = found.clone()
        trial[tuple(place)] = clean[tuple(place)]
        exercise.require(
            not fooled(trial),
            f"pixel {tuple(place)} can still be clean again: {int(changed.sum())} are left.",
        )
    exercise.confirm("Decisions alone were enough: no gradient, no score.")
