"""Is this computer enough for the course? Python, memory, disk, threads and speed."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import time

import torch
from torch.nn.functional import cross_entropy

from armsrace.models.classifiers import s3_cnn
from armsrace.publishing.findings import Finding
from armsrace.resources import CLONE, PACKAGE, in_clone

OLDEST, NEWEST = (3, 11), (3, 13)
GIGABYTE = 1e9
MEMORY_GIGABYTES = 2
DISK_GIGABYTES = 1
PROBE_IMAGES = 100
CHAPTER_PROBES = 1400
"""A chapter's time in units of `probe_seconds`: 51 s, the median of chapters 1 to 9 in a build of
two at once, over 37 ms on the same core."""


def python() -> Finding:
    """Whether the lock file has versions for this Python."""
    version = platform.python_version()
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Finding("Python", "ok", version)
    wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
    return Finding("Python", "missing", version, f"install Python {wanted}")


def memory() -> Finding:
    """Whether a chapter has room beside all that runs already."""
    if importlib.util.find_spec("psutil") is None:
        return Finding("memory", "warning", "cannot be told", "pip install psutil")
    import psutil

    free = psutil.virtual_memory().available / GIGABYTE
    return _room("memory", free, MEMORY_GIGABYTES, "close other programs and notebooks")


def disk() -> Finding:
    """Whether the site, the data and the notebooks have room."""
    free = shutil.disk_usage(CLONE if in_clone() else PACKAGE).free / GIGABYTE
    return _room("disk", free, DISK_GIGABYTES, "make room: the site and the data sets take some")


def _room(check: str, free: float, wanted: float, remedy: str) -> Finding:
    if free >= wanted:
        return Finding(check, "ok", f"{free:.1f} GB free")
    return Finding(check, "warning", f"{free:.1f} GB free, {wanted} GB wanted", remedy)


def threads() -> Finding:
    """Whether torch computes on all cores; a GPU is used where there is one and never needed."""
    used, cores = torch.get_num_threads(), os.cpu_count() or 1
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, none needed"
    detail = f"{torch.__version__}, {used} of {cores} threads, {device}"
    # Half of the logical cores is all the physical ones where each runs two threads.
    if 2 * used >= cores:
        return Finding("torch", "ok", detail)
    return Finding("torch", "warning", detail, "unset OMP_NUM_THREADS, or chapters take longer")


def speed() -> Finding:
    """How long a chapter of the reader profile will take, by a pass through a small network."""
    seconds = probe_seconds()
    minutes = CHAPTER_PROBES * seconds / 60
    detail = f"{1000 * seconds:.0f} ms a pass, about {minutes:.1f} minutes a chapter"
    if minutes <= 3:
        return Finding("speed", "ok", detail)
    return Finding("speed", "warning", detail, "run chapters with profile = 'smoke' in class")


def probe_seconds() -> float:
    """The least of five times for 100 digits forwards and backwards through chapter 1's network."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(PROBE_IMAGES, 1, 28, 28, generator=draws, requires_grad=True)
    with torch.random.fork_rng(devices=[]):
        model = s3_cnn()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        loss = cross_entropy(model(images), torch.zeros(PROBE_IMAGES, dtype=torch.int64))
        torch.autograd.grad(loss, images)
        times.append(time.perf_counter() - began)
    return min(times)
