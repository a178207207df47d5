from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/bootstrap.py with its stamp in a temporary folder, and commands noted, not run."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools/bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STAMP", tmp_path / "stamp")
    module.ran = []
    monkeypatch.setattr(module, "succeeds", lambda *c: module.ran.append(c[1:]) or True)
    monkeypatch.setattr(module.shutil, "which", lambda *a, **k: None)
    monkeypatch.setattr(module, "installed_torch", lambda: "")
    monkeypatch.setattr(module, "find_links", lambda: "")
    return module


def installed(bootstrap: ModuleType) -> list[str]:
    return [" ".join(map(str, command)) for command in bootstrap.ran]


def test_nothing_is_done_where_the_stamp_fits(bootstrap: ModuleType) -> None:
    bootstrap.STAMP.write_text(bootstrap.fingerprint())
    bootstrap.main()
    assert bootstrap.ran == []


def test_torch_comes_before_the_lock_which_would_pull_another_build(bootstrap: ModuleType) -> None:
    bootstrap.main()
    commands = installed(bootstrap)
    torch = next(i for i, command in enumerate(commands) if "torch==" in command)
    lock = next(i for i, command in enumerate(commands) if "requirements.lock" in command)
    assert torch < lock
    assert bootstrap.STAMP.read_text() == bootstrap.fingerprint()


def test_torch_at_the_pin_is_left_alone(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "installed_torch", lambda: bootstrap.TORCH)
    bootstrap.install_torch(None)
    assert bootstrap.ran == []


def test_configured_wheels_are_taken_by_plain_pip(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "find_links", lambda: "wheels")
    bootstrap.install_torch(None)
    assert installed(bootstrap) == [f"-m pip install --quiet --no-compile torch=={bootstrap.TORCH}"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has one build")
def test_uv_chooses_the_build_and_pip_takes_over_aloud_where_it_fails(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.install_torch("uv")
    assert "--torch-backend auto" in installed(bootstrap)[0]

    def without_uv(*command: str) -> bool:
        bootstrap.ran.append(command[1:])
        return command[0] != "uv"

    monkeypatch.setattr(bootstrap, "succeeds", without_uv)
    bootstrap.install_torch("uv")
    by_pip = f"-m pip install --quiet --no-compile torch=={bootstrap.TORCH}"
    assert installed(bootstrap)[-1] == by_pip
    assert "uv could not choose" in capsys.readouterr().out


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 14, 0)])
def test_unsupported_python_is_named(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", version)
    with pytest.raises(SystemExit, match=r"Python must be 3.11 to 3.13, got"):
        bootstrap.main()


def test_failed_installation_leaves_no_stamp(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "succeeds", lambda *c: "requirements.lock" not in str(c[-1]))
    with pytest.raises(SystemExit, match="pip could not install -r"):
        bootstrap.main()
    assert not bootstrap.STAMP.exists()
