"""Attacks on neural networks, the defenses against them, and the evaluation that judges both."""

from armsrace import attacks, datasets, defenses, evaluation
from armsrace.models import zoo

__version__ = "0.1.0"
__all__ = ["attacks", "datasets", "defenses", "evaluation", "zoo"]
