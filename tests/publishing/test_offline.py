"""A notebook of the course executes where no network is, and says on what data."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.publishing.small_book import chapter, execute

# Python runs it at the start of every process: the build's, and each kernel's.
BLOCK = """
import socket

def refused(*arguments, **options):
    raise OSError("the network is off")

socket.getaddrinfo = refused
connect = socket.socket.connect

def local(self, address):
    return connect(self, address) if self.family == socket.AF_UNIX else refused()

socket.socket.connect = local
"""
OFF = """
import socket
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    print(error)
"""
COURSE = """
from armsrace import attacks, datasets, zoo
digits = datasets.load("mnist", "test").take(20)
found = attacks.fgsm(zoo.load("softmax"), digits.images, digits.labels, epsilon=0.2)
print(digits.description, int(found.success.sum()) > 10)
"""


@pytest.mark.slow
def test_a_notebook_needs_no_network(
    project: Path, processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "off").mkdir()
    (tmp_path / "off" / "sitecustomize.py").write_text(BLOCK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "off"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Not ARMSRACE_OFFLINE: whoever has no network has not said so.
    for name in ("ARMSRACE_DATA", "ARMSRACE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    (project / "chapters/01_one.md").write_text(chapter(OFF, COURSE))
    execute(project)
    cells = nbformat.read(project / "_build/notebooks/reader/01_one.ipynb", 4).cells
    printed = ["".join(o.get("text", "") for o in c.get("outputs", ())) for c in cells[-2:]]
    assert printed[0] == "the network is off\n"
    assert "embedded training digits" in printed[1] and printed[1].endswith(" True\n")
