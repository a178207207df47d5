"""The arena: every defense against every attack in every norm, image by image."""

from armsrace.evaluation.arena.attacks import ATTACKS, BUDGETS, Entry
from armsrace.evaluation.arena.cells import NORMS, Unit, units
from armsrace.evaluation.arena.defended import Defended
from armsrace.evaluation.arena.defenses import DEFENSES, Defense
from armsrace.evaluation.arena.measuring import measure
from armsrace.evaluation.arena.running import run
from armsrace.evaluation.arena.store import OutcomesError, collected, export, read, run_folder

__all__ = [
    "ATTACKS", "BUDGETS", "DEFENSES", "NORMS", "Defended", "Defense", "Entry", "OutcomesError",
    "Unit", "collected", "export", "measure", "read", "run", "run_folder", "units",
]  # fmt: skip
