import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def pins(lines: list[str]) -> dict[str, str]:
    """Name to exact version; included files are read, as pip reads them."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith("-r "):
            found |= pins((ROOT / line[3:]).read_text().splitlines())
        elif line and not line.startswith(("#", "-e ")):
            name, version = line.split("==")
            found[name.lower().replace("_", "-")] = version
    return found


def dependencies() -> list:
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def bootstrap_torch() -> str:
    text = (ROOT / "tools/bootstrap.py").read_text()
    return re.search(r'^TORCH = "(.+)"$', text, re.MULTILINE).group(1)


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_conda_environment_holds_exactly_the_pins_of_the_lock() -> None:
    (pip,) = [entry["pip"] for entry in dependencies() if isinstance(entry, dict)]
    lock = pins((ROOT / "requirements.lock").read_text().splitlines())
    assert len(lock) > 100
    assert pins(pip) == lock


def test_conda_torch_is_the_version_that_bootstrap_installs() -> None:
    assert f"pytorch-cpu={bootstrap_torch()}" in dependencies()


def test_conda_python_is_one_that_the_package_supports() -> None:
    (python,) = [entry for entry in dependencies() if str(entry).startswith("python=")]
    minor = int(python.split("=3.")[1])
    oldest, newest = re.match(r">=3\.(\d+),<3\.(\d+)", project()["requires-python"]).groups()
    assert int(oldest) <= minor < int(newest)


def test_every_dependency_and_extra_is_in_the_lock() -> None:
    lock = pins((ROOT / "requirements.lock").read_text().splitlines())
    wanted = list(project()["dependencies"])
    for name, extra in project()["optional-dependencies"].items():
        wanted += [] if name == "peers" else extra
    names = {re.split("[=<>]", entry)[0].lower() for entry in wanted} - {"torch"}
    assert names <= set(lock)


def test_lock_leaves_out_torch_and_the_reference_libraries() -> None:
    lock = pins((ROOT / "requirements.lock").read_text().splitlines())
    apart = {"torch", "torchvision", "adversarial-robustness-toolbox", "torchattacks"}
    assert not apart & set(lock)
