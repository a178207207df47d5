"""Small data sets in the official formats, a local mirror, and a fresh cache for each test."""

from __future__ import annotations

import gzip
import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from armsrace.datasets import mirrors, search, sources
from armsrace.datasets.formats import digest
from armsrace.datasets.sources import DataFile

COUNTS = {"train": 7, "test": 5}


def idx(array: np.ndarray) -> bytes:
    """The array (uint8) in the idx format."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process as if just started: empty cache, no network, nothing announced or given up."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ARMSRACE_OFFLINE", "1")
    monkeypatch.delenv("ARMSRACE_DATA", raising=False)
    search.announce.cache_clear()
    mirrors._given_up.clear()
    return search.cache_folder("mnist")


@dataclass
class Tiny:
    """A data set of a few random images: its arrays and the plain content of its files."""

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    contents: dict[str, bytes]

    def write(self, folder: Path, gz: bool = False) -> Path:
        """All files into folder, which is returned."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.contents.items():
            path = folder / (f"{name}.gz" if gz else name)
            path.write_bytes(gzip.compress(content) if gz else content)
        return folder


@pytest.fixture
def tiny_mnist(monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """12 random digits that take the place of MNIST, with checksums of their own."""
    rng = np.random.default_rng(0)
    tiny = Tiny({}, {}, {})
    registry: dict[str, tuple[DataFile, ...]] = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        n = COUNTS[split]
        tiny.images[split] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        tiny.labels[split] = rng.integers(0, 10, n, dtype=np.uint8)
        names = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
        contents = idx(tiny.images[split]), idx(tiny.labels[split])
        tiny.contents |= dict(zip(names, contents, strict=True))
        registry[split] = tuple(
            DataFile(name, n, kind, digest(content))
            for name, content, kind in zip(names, contents, ("images", "labels"), strict=True)
        )
    monkeypatch.setitem(sources.FILES, "mnist", registry)
    return tiny


@pytest.fixture
def tiny_cifar(monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """Two training batches and a test batch of 3 random images that take CIFAR-10's place."""
    rng = np.random.default_rng(1)
    tiny = Tiny({}, {}, {})
    registry = {}
    for split, names in (
        ("train", ("data_batch_1.bin", "data_batch_2.bin")),
        ("test", ("test_batch.bin",)),
    ):
        n = 3 * len(names)
        tiny.images[split] = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
        tiny.labels[split] = rng.integers(0, 10, n, dtype=np.uint8)
        records = np.concatenate(
            [tiny.labels[split][:, None], tiny.images[split].reshape(n, -1)], axis=1
        )
        for name, part in zip(names, np.split(records, len(names)), strict=True):
            tiny.contents[name] = part.tobytes()
        registry[split] = tuple(DataFile(name, 3, "batch") for name in names)
    monkeypatch.setitem(sources.FILES, "cifar10", registry)
    return tiny


class Server(http.server.ThreadingHTTPServer):
    """A server that keeps quiet about clients that gave up on it: that is what is tested."""

    def handle_error(self, request: object, client_address: object) -> None: ...


@dataclass
class Mirror:
    """A running HTTP server on a folder: its address and the requests that it has seen."""

    url: str
    requests: list[str] = field(default_factory=list)


Serve = Callable[..., Mirror]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start HTTP servers on folders; `before_get` runs in the handler in front of each download."""
    servers: list[Server] = []
    monkeypatch.delenv("ARMSRACE_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def start(folder: Path, before_get: Callable[[], object] = lambda: None) -> Mirror:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_HEAD(self) -> None:
                mirror.requests.append(f"HEAD {self.path}")
                super().do_HEAD()

            def do_GET(self) -> None:
                mirror.requests.append(f"GET {self.path}")
                before_get()
                super().do_GET()

            def log_message(self, *args: object) -> None: ...

        server = Server(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        servers.append(server)
        mirror = Mirror(f"http://127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return mirror

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
