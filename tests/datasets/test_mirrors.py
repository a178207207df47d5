"""Downloads from a local server: checked, safe with two processes at once, given up quickly."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from armsrace import datasets
from armsrace.datasets import DatasetNotFound, mirrors, search, sources

FIRST_USE = """
import json, sys
from armsrace import datasets
from armsrace.datasets import sources
url, registry = sys.argv[1], json.loads(sys.argv[2])
sources.MNIST_MIRRORS = (url,)
sources.FILES["mnist"] = {
    split: tuple(sources.DataFile(**file) for file in files) for split, files in registry.items()
}
data = datasets.load("mnist", "test")
print(data.description, data.images.double().sum().item())
"""


def use(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    """Let these be MNIST's mirrors."""
    monkeypatch.setattr(sources, "MNIST_MIRRORS", urls)


def test_mnist_is_downloaded_checked_and_kept(
    tiny_mnist, serve, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = serve(tiny_mnist.write(tmp_path / "mirror", gz=True))
    use(monkeypatch, mirror.url)
    assert datasets.load("mnist").description == "MNIST, 5 official test images"
    names = [f"/{name}.gz" for name in tiny_mnist.contents if name.startswith("t10k")]
    assert mirror.requests == [f"HEAD {names[0]}", *[f"GET {name}" for name in names]]
    assert sorted(p.name for p in cache.iterdir()) == sorted(
        name for name in tiny_mnist.contents if name.startswith("t10k")
    )


def test_a_mirror_with_wrong_content_is_passed_over(
    tiny_mnist, serve, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = serve(tiny_mnist.write(tmp_path / "good", gz=True))
    name = "t10k-images-idx3-ubyte"
    tiny_mnist.contents[name] = tiny_mnist.contents[name][:-1] + b"!"
    bad = serve(tiny_mnist.write(tmp_path / "bad", gz=True))
    monkeypatch.setattr(mirrors, "_answering", lambda urls, name: list(urls))
    use(monkeypatch, bad.url, good.url)
    assert datasets.load("mnist").source == "official"
    assert bad.requests == [f"GET /{name}.gz"]
    for path in cache.iterdir():
        path.unlink()
    use(monkeypatch, bad.url)
    assert datasets.load("mnist").source == "embedded"
    with pytest.raises(DatasetNotFound, match="failed: DatasetCorrupt"):
        datasets.download("mnist")


@pytest.mark.slow
def test_two_processes_may_start_at_once(tiny_mnist, serve, cache: Path, tmp_path: Path) -> None:
    both = threading.Barrier(2)
    folder = tiny_mnist.write(tmp_path / "mirror", gz=True)
    mirror = serve(folder, before_get=lambda: both.wait(timeout=60))
    registry = {s: [asdict(f) for f in files] for s, files in sources.FILES["mnist"].items()}
    command = [sys.executable, "-c", FIRST_USE, mirror.url, json.dumps(registry)]
    pair = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][0].startswith("MNIST, 5 official test images")
    assert sum(request.startswith("GET") for request in mirror.requests) == 4
    assert sorted(p.name for p in cache.iterdir()) == [
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ]


def test_dead_mirrors_cost_less_than_ten_seconds(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARMSRACE_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = silent.getsockname()[1], closed.getsockname()[1]
        use(monkeypatch, *[f"http://127.0.0.1:{port}/" for port in ports])
        start = time.perf_counter()
        assert datasets.load("mnist").source == "embedded"
        assert time.perf_counter() - start < 10
        start = time.perf_counter()
        assert datasets.held_out().source == "embedded"
        assert time.perf_counter() - start < 1


def test_a_mirror_that_stalls_is_dropped(
    tiny_mnist, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    folder = tiny_mnist.write(tmp_path / "mirror", gz=True)
    stalling = serve(folder, before_get=lambda: release.wait(timeout=60))
    use(monkeypatch, stalling.url)
    assert mirrors.ANSWER_SECONDS + 2 * mirrors.STALL_SECONDS < 10
    monkeypatch.setattr(mirrors, "STALL_SECONDS", 0.2)
    assert datasets.load("mnist").source == "embedded"
    release.set()


def test_a_failure_is_remembered_for_ten_minutes(
    tiny_mnist, serve, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mirror"
    folder.mkdir()
    mirror = serve(folder)
    use(monkeypatch, mirror.url)
    assert datasets.load("mnist").source == "embedded"
    assert len(mirror.requests) == 1
    mirrors._given_up.clear()  # as another process sees it
    assert datasets.load("mnist").source == "embedded"
    assert len(mirror.requests) == 1
    eleven_minutes_ago = time.time() - 660
    os.utime(cache / ".mirrors-gave-up", (eleven_minutes_ago,) * 2)
    assert datasets.load("mnist").source == "embedded"
    assert len(mirror.requests) == 2
    os.utime(cache / ".mirrors-gave-up", (eleven_minutes_ago,) * 2)
    tiny_mnist.write(folder, gz=True)
    assert datasets.load("mnist").source == "embedded", "one process, one data set"
    assert datasets.download("mnist") == search.cache_folder("mnist")
    assert datasets.load("mnist").source == "official"
