"""Running the arena's jobs that are not done yet, in this process or on a Dask cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pandas as pd
import torch
from torch import Tensor

import armsrace
from armsrace import datasets
from armsrace.evaluation.arena import store
from armsrace.evaluation.arena.defended import Defended
from armsrace.evaluation.arena.defenses import DEFENSES
from armsrace.evaluation.arena.jobs import NORMS, Job, digits
from armsrace.norms import distances
from armsrace.resources import code_version, device_name

Outcomes = Iterator[tuple[Job, pd.DataFrame]]
Progress = Callable[[int, int, Job], None]
"""Called with the number of jobs done, the number of jobs, and the last job done."""


def run(
    units: Sequence[Job],
    folder: Path,
    *,
    device: str = "cpu",
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Run the jobs whose outcomes `folder` does not have yet, and keep each as it is finished.

    Args:
        units: the jobs.
        folder: where outcomes are kept. A finished job is never run again.
        device: of torch.
        scheduler: the address of a Dask scheduler, whose workers have this package, the same
            weights and the same digits. Another worker takes the job of one that dies. Without a
            scheduler the jobs run in this process.
        progress: called after each job.

    Returns:
        The number of jobs that were run.

    Raises:
        ModuleNotFoundError: a scheduler is given without the extra `scale`.
        OSError: the scheduler does not answer.
    """
    pending = store.pending(units, folder)
    if scheduler is None:
        outcomes = _run_here(pending, device)
    else:
        outcomes = _run_on_cluster(pending, device, scheduler)
    for done, (job, frame) in enumerate(outcomes, start=1):
        store.write(job, frame, folder)
        if progress is not None:
            progress(done, len(pending), job)
    return len(pending)


def _run_here(jobs: Sequence[Job], device: str) -> Outcomes:
    """Each job and its outcomes; an error gets the job's name as a note."""
    for job in jobs:
        try:
            yield job, measure(job, job.key, device)
        except Exception as error:
            error.add_note(f"while measuring {job.name}")
            raise


def _run_on_cluster(jobs: Sequence[Job], device: str, scheduler: str) -> Outcomes:
    """Each job and its outcomes, as the workers finish them."""
    distributed = _distributed()
    with distributed.Client(scheduler) as client:
        # With the job's name as the key, a scheduler that already works on a job does not start
        # it a second time.
        futures = {
            client.submit(measure, job, job.key, device, key=job.name, pure=False): job
            for job in jobs
        }
        for future in distributed.as_completed(list(futures)):
            yield futures.pop(future), future.result()


def _distributed() -> ModuleType:
    """Dask's package, or an error that names the extra."""
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a scheduler needs the extra `scale`: pip install 'armsrace[scale]'"
        ) from error
    return distributed


def measure(unit: Job, key: str, device: str = "cpu") -> pd.DataFrame:
    """Run one job: an attack on a defense, over a few images.

    A clean image that is misclassified or refused counts as adversarial at distance 0 and is not
    attacked; its one query is the clean one. A defense that can refuse is fooled only by images
    that it accepts, and only adaptive attacks try to be accepted.

    Args:
        unit: the job.
        key: its key where it was made.
        device: of torch.

    Returns:
        One row per image: success, ‖δ‖ in each norm, queries, gradients, and the provenance.

    Raises:
        ValueError: this machine computes another key, since its weights or digits differ.
    """
    if unit.key != key:
        raise ValueError(f"{unit.name}: this machine has other weights or digits, key {key} wanted")
    began = time.perf_counter()
    _, columns = attacked(unit, device)
    values = {name: column.cpu().numpy() for name, column in columns.items()}
    seconds = time.perf_counter() - began
    index = pd.RangeIndex(unit.start, unit.stop)
    return pd.DataFrame({"image": index, **values, **_provenance(unit, device), "seconds": seconds})


def _provenance(job: Job, device: str) -> dict[str, object]:
    """The columns that say what was measured, with what, where and when."""
    epsilon = job.column.epsilon
    return {
        "defense": job.defense, "attack": job.column.name, "norm": job.column.norm,
        "epsilon": float("nan") if epsilon is None else float(epsilon), "options": job.options,
        "weights": job.weights, "seed": job.seed, "data": datasets.describe("mnist"),
        "device": device_name(device), "commit": code_version(), "date": date.today().isoformat(),
        "library": f"armsrace {armsrace.__version__}, torch {torch.__version__}", "key": job.key,
    }  # fmt: skip


def attacked(unit: Job, device: str = "cpu") -> tuple[Tensor, dict[str, Tensor]]:
    """The images (N, C, H, W) that one job ends with, and what is measured of each, by name."""
    defended = _built(unit.defense, device)
    images, labels = (part.to(device) for part in digits(unit.start, unit.stop))
    active = defended.clean_correct(images, labels)
    x_adv, success = images.clone(), ~active
    queries, gradients = torch.ones_like(labels), torch.zeros_like(labels)
    if active.any():
        own = images[active], labels[active]
        result = unit.column.attack(defended, *own, unit.seed, unit.row.slow)
        x_adv[active] = result.images
        success[active] = defended.is_adversarial(result.images, own[1])
        queries[active], gradients[active] = result.queries, result.gradients
    columns: dict[str, Tensor] = {"label": labels, "clean": active, "success": success}
    columns |= {str(norm): distances(x_adv - images, norm) for norm in NORMS}
    return x_adv, columns | {"queries": queries, "gradients": gradients}


@lru_cache(maxsize=2)
def _built(defense: str, device: str) -> Defended:
    """The defense on a device; jobs of one defense follow each other."""
    return DEFENSES[defense].on(device)
