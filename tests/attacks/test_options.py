"""A bad option of one attack gets an error that names it and the rule."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from armsrace import attacks

IMAGES, LABELS = torch.full((2, 1, 28, 28), 0.5), torch.tensor([3, 4])
NAN = float("nan")
FLAT = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


@pytest.mark.parametrize(
    ("attack", "options", "rule"),
    [
        (attacks.fgsm, {"norm": "l0"}, "norm must be one of linf, l2, l1, got 'l0'"),
        (attacks.pgd, {"norm": "L2"}, "norm must be one of linf, l2, l1, got 'L2'"),
        (attacks.pgd, {"steps": 0}, "steps must be >= 1, got 0"),
        (attacks.pgd, {"steps": 2.5}, "steps must be an integer, got 2.5"),
        (attacks.pgd, {"step_size": -1.0}, "step_size must be >= 0, got -1"),
        (attacks.pgd, {"restarts": 0}, "restarts must be >= 1, got 0"),
        (
            attacks.pgd, {"restarts": 2, "random_start": False},
            "restarts must be 1 without a random start, got 2",
        ),
        (attacks.bim, {"steps": 0}, "steps must be >= 1, got 0"),
        (attacks.bim, {"step_size": 0.0}, "step_size must be >= 1e-06, got 0"),
        (attacks.least_likely, {"steps": 0}, "steps must be >= 1, got 0"),
        (attacks.mi_fgsm, {"steps": True}, "steps must be an integer, got True"),
        (attacks.mi_fgsm, {"step_size": NAN}, "step_size must be >= 0, got nan"),
        (attacks.mi_fgsm, {"decay": -0.5}, "decay must be >= 0, got -0.5"),
        (attacks.rand_fgsm, {"alpha": 0.3}, "alpha must be <= epsilon, got 0.3 > 0.2"),
        (attacks.rand_fgsm, {"alpha": -0.1}, "alpha must be >= 0, got -0.1"),
    ],
)  # fmt: skip
def test_bad_option_is_named(attack: Any, options: dict[str, Any], rule: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(rule)):
        attack(FLAT, IMAGES, LABELS, epsilon=0.2, **options)
