"""The arena: every defense against every attack in every norm, image by image.

`DEFENSES` are its rows, `ATTACKS` its columns, and `BUDGETS` the budget of each norm.
"""

from armsrace.deprecation import renamed
from armsrace.evaluation.arena.attacks import ATTACKS, BUDGETS, Entry
from armsrace.evaluation.arena.defended import Defended
from armsrace.evaluation.arena.defenses import DEFENSES, Defense
from armsrace.evaluation.arena.jobs import NORMS, Job, arena_jobs
from armsrace.evaluation.arena.judging import compared, judge, submitted
from armsrace.evaluation.arena.running import measure, run
from armsrace.evaluation.arena.store import (
    OutcomesError,
    collected,
    export,
    publish,
    publish_images,
    read,
    run_folder,
)

__all__ = [
    "ATTACKS",
    "BUDGETS",
    "DEFENSES",
    "NORMS",
    "Defended",
    "Defense",
    "Entry",
    "Job",
    "OutcomesError",
    "arena_jobs",
    "collected",
    "compared",
    "export",
    "judge",
    "measure",
    "publish",
    "publish_images",
    "read",
    "run",
    "run_folder",
    "submitted",
]  # fmt: skip

__getattr__ = renamed(
    __name__,
    {
        "Unit": "armsrace.evaluation.arena.Job",
        "units": "armsrace.evaluation.arena.arena_jobs",
    },
)
