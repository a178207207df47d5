from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BOOK:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import armsrace
from armsrace import attacks, datasets, figures, ledger, zoo
from armsrace.cli import app
from armsrace.resources import in_clone

assert not in_clone()
assert ledger.load_claims()
digits = datasets.load("mnist", "test").take(8)
found = attacks.fgsm(zoo.load("softmax"), digits.images, digits.labels, epsilon=0.3)
assert found.success.any() and figures.image_grid(found.images).png()
print(armsrace.__file__)
app(["train", "--help"])
"""
BOOK = ("ipykernel", "ipywidgets", "jupyter_book", "jupytext", "nbformat", "papermill", "sphinx")
"""What the extras `book` and `widgets` install, which a plain install does not."""


@pytest.mark.slow
def test_wheel_works_outside_a_clone_and_without_the_book(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*command, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    done = subprocess.run(
        [sys.executable, "-c", f"BOOK = {BOOK}\n{PROGRAM}"],
        cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(tmp_path / "installed"), "ARMSRACE_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
