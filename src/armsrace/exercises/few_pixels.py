"""Checks of the exercises on few pixels: counting, the most salient pair, restoring, fewer."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.attacks import jsma
from armsrace.attacks.sparse.jsma import most_salient
from armsrace.exercises import Exercise, Metered, require_budget
from armsrace.models import zoo
from armsrace.norms import distances


def check_count_pixels(answer: object) -> None:
    """Check `count_pixels(clean, adversarial)`: images (N, C, H, W) to changed pixels (N,)."""
    draws = Generator().manual_seed(5)
    clean = torch.rand(3, 3, 4, 4, generator=draws)
    adversarial = clean.clone()
    adversarial[0, :, 1, 2] = 1 - clean[0, :, 1, 2]
    adversarial[1, 0, 0, :2] += 1e-3
    adversarial[1, 1, 3, 3] -= 0.5
    exercise = Exercise("Count pixels")
    solve = exercise.solution(answer, clean, adversarial)
    if solve is None:
        return
    found = solve(clean, adversarial)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one count per image, (3,) here.",
    )
    values = [float(value) for value in found]
    exercise.require(
        values[0] != 3,
        "the first image has one changed pixel: its three channels belong to one pixel.",
    )
    exercise.require(
        values[1] == 3,
        f"the second image has three changed pixels: one is darker, and two change by only 0.001; "
        f"you count {values[1]:g}.",
    )
    right = distances(adversarial - clean, "l0").tolist()
    exercise.require(values == right, f"the counts are {right}, yours are {values}.")
    exercise.confirm("Only whether a pixel changes matters, not how much.")


def check_best_pair(answer: object) -> None:
    """Check `best_pair(a, b)`: derivatives (P,) and (P,) to the two pixels of the best pair.

    The best pair has the largest −(a_i + a_j)(b_i + b_j), the first sum being positive and the
    second negative.
    """
    draws = Generator().manual_seed(8)
    alpha, beta = torch.randn(2, 12, generator=draws, dtype=torch.float64)
    # Pixel 0 is so good that it would be its own best partner. Pixels 1 and 2 have a large product
    # because both signs are wrong. Pixel 3 is admissible only in a pair.
    alpha[0], beta[0] = 4.0, -4.0
    alpha[1:3], beta[1:3] = -9.0, 9.0
    alpha[3], beta[3] = -0.1, -9.0
    exercise = Exercise("The best pair")
    solve = exercise.solution(answer, alpha, beta)
    if solve is None:
        return
    pair = [int(pixel) for pixel in solve(alpha, beta)]
    exercise.require(len(pair) == 2, "return two pixels.")
    exercise.require(pair[0] != pair[1], "a pixel is not a pair with itself: mask the diagonal.")
    exercise.require(
        set(pair) != {1, 2},
        "both signs are wrong there: the target's output decreases, and the others increase. The "
        "product is large anyway: mask it.",
    )
    everywhere = torch.ones(1, 12, dtype=torch.bool)
    best = set(most_salient(alpha[None], beta[None], everywhere, pixels=2)[0][0].tolist())
    exercise.require(
        set(pair) == best,
        f"the best pair is {sorted(best)}, yours is {sorted(pair)}. The conditions are on the "
        "sums, not on each pixel, and the score is the product of the sums.",
    )
    exercise.confirm(
        "One pixel may even lower the target's output if its partner compensates for it."
    )


def check_restore(answer: object) -> None:
    """Check `restore(fooled, clean, adversarial)`: reset pixels while the model stays fooled.

    fooled: an image (H, W) to bool. clean and adversarial: (H, W). The result still fools the
    model, and no single changed pixel can be reset.
    """
    clean = torch.full((3, 4), 0.25)
    adversarial = torch.ones(3, 4)

    def fooled(image: Tensor) -> bool:
        on = image != clean
        # Pixel (0, 1) and one of (2, 2) and (2, 3) fool the model. Pixel (0, 0) can be reset only
        # after (2, 0), and (1, 3) only after (1, 0), so one round in either order is not enough.
        needed = on[0, 1] & (on[2, 2] | on[2, 3])
        return bool(needed & (on[0, 0] | ~on[2, 0]) & (on[1, 3] | ~on[1, 0]))

    exercise = Exercise("Take back what is not needed")
    solve = exercise.solution(answer, fooled, clean.clone(), adversarial.clone())
    if solve is None:
        return
    given = adversarial.clone()
    found = solve(fooled, clean, given)
    exercise.require(
        isinstance(found, Tensor) and found.shape == clean.shape, "return an image (3, 4)."
    )
    exercise.require(torch.equal(given, torch.ones(3, 4)), "do not change the given image.")
    exercise.require(fooled(found), "your image no longer fools the model.")
    changed = found != clean
    for pixel in changed.nonzero().tolist():
        trial = found.clone()
        trial[tuple(pixel)] = clean[tuple(pixel)]
        exercise.require(
            not fooled(trial),
            f"pixel {tuple(pixel)} can still be reset: {int(changed.sum())} of them are changed.",
        )
    exercise.confirm("Decisions alone are enough, without gradients or scores.")


def check_fewer(answer: object) -> None:
    """Check `attack(model, images, labels)`: adversarial images (N, 1, 28, 28), few pixels changed.

    Each of 25 digits may be shown to the model 150 times. The mean number of changed pixels must be
    at most three quarters of what JSMA on the softmax needs.
    """
    exercise = Exercise("A quarter fewer pixels")
    model = zoo.load("s3-cnn")
    drawn = datasets.load("mnist", "test").take(60, Generator().manual_seed(617))
    with torch.no_grad():
        right = (model(drawn.images).argmax(dim=1) == drawn.labels).nonzero()[:25, 0]
    images, labels = drawn.images[right], drawn.labels[right]
    metered = Metered(exercise, model, 150 * len(images))
    solve = exercise.solution(answer, metered, images[:2], labels[:2])
    if solve is None:
        return
    metered.shown = 0
    moved = require_budget(
        exercise, images, solve(metered, images.clone(), labels.clone()), epsilon=1.0
    )
    with torch.no_grad():
        missed = int((model(moved).argmax(dim=1) == labels).sum())
    exercise.require(
        missed == 0, f"{missed} of {len(images)} digits are still classified correctly."
    )
    mean = float(distances(moved - images, "l0").mean())
    found = jsma(model, images, labels)
    bar = 0.75 * float(distances(found.images - images, "l0").mean())
    exercise.require(
        mean <= bar,
        f"you change {mean:.2f} pixels on average; the bar is {bar:.2f}. A greedy choice is never "
        "taken back: let all pixels move first, and remove the least useful ones.",
    )
    exercise.confirm(f"{mean:.2f} pixels on average; three quarters of JSMA's are {bar:.2f}.")
