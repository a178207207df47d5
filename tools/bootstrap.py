"""Make `.venv` with everything the course needs; standard library only, quick where it is done.

torch is not in the lock, since the right build depends on the machine. Found by this order: the
pinned version that is there already; a wheel folder the user configured (find-links); on macOS the
plain wheel; else uv picks the build for the driver it sees, or the small CPU build.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
WINDOWS = os.name == "nt"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if WINDOWS else "bin/python")
STAMP = ENVIRONMENT / "bootstrap.stamp"
LOCK = ROOT / "requirements.lock"
TORCH = "2.13.0"
OLDEST, NEWEST = (3, 11), (3, 13)


def say(message: str) -> None:
    """Print one line at once, so that it stands before what pip prints."""
    print(f"bootstrap: {message}", flush=True)


def fingerprint() -> str:
    """The hash of all that decides what is in the environment."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (LOCK, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_python() -> None:
    """Stop with one clear line where this Python is too old or too new for the lock."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        have = platform.python_version()
        raise SystemExit(
            f"Python must be {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, got {have}: "
            "name another one, for example `make book PYTHON=python3.12`"
        )


def succeeds(*command: str | Path) -> bool:
    """Whether a command ends well; what it prints is shown."""
    return subprocess.run(command, check=False).returncode == 0


def output_of(*command: str | Path) -> str:
    """What a command prints, without the blanks around it; empty where it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def make_environment(uv: str | None) -> None:
    """Create `.venv` unless it holds a working Python."""
    if PYTHON.exists() and succeeds(PYTHON, "-c", ""):
        return
    say(f"creating {ENVIRONMENT.name} with Python {platform.python_version()}")
    clean = ("--quiet", "--clear", "--seed")
    if uv and succeeds(uv, "venv", *clean, "--python", sys.executable, ENVIRONMENT):
        return
    try:
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit("Python lacks ensurepip: install your system's python3-venv") from error


def install(uv: str | None, *arguments: str) -> None:
    """Install with uv where it is; pip takes over, announced, where uv fails."""
    if uv:
        links = find_links()
        extra = ["--find-links", links] if links else []
        if succeeds(uv, "pip", "install", "--quiet", "--python", PYTHON, *extra, *arguments):
            return
        say("uv failed, pip takes over")
    # Python compiles what it imports; compiling all of it here takes as long as the rest.
    if not succeeds(PYTHON, "-m", "pip", "install", "--quiet", "--no-compile", *arguments):
        raise SystemExit(f"bootstrap: pip could not install {' '.join(arguments)}")


def find_links() -> str:
    """The wheel folder that the user configured for uv or pip, or an empty string."""
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        if os.environ.get(name):
            return os.environ[name]
    return output_of(PYTHON, "-m", "pip", "config", "get", "global.find-links")


def installed_torch() -> str:
    """The version of torch that `.venv` imports, without its local label; empty where it fails."""
    return output_of(PYTHON, "-c", "import torch; print(torch.__version__.split('+')[0])")


def install_torch(uv: str | None) -> None:
    """Install torch at the pin, the build that suits the machine."""
    if installed_torch() == TORCH:
        return
    pin = f"torch=={TORCH}"
    if find_links() or platform.system() == "Darwin":
        install(uv, pin)
        return
    say("torch: choosing the build for this machine")
    chooser = uv or uv_in_environment()
    suited = ("pip", "install", "--quiet", "--python", PYTHON, "--torch-backend", "auto", pin)
    if not (chooser and succeeds(chooser, *suited)):
        say("torch: uv could not choose, taking the index's default build")
        install(None, pin)


def uv_in_environment() -> str | None:
    """The path of a uv installed into `.venv` for this, None where it cannot be had."""
    if not succeeds(PYTHON, "-m", "pip", "install", "--quiet", "uv"):
        return None
    return shutil.which("uv", path=str(PYTHON.parent))


def peers() -> list[str]:
    """The reference libraries that the tests compare with, as pinned in pyproject.toml."""
    import tomllib  # here, so that an older Python gets as far as check_python

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return project["project"]["optional-dependencies"]["peers"]


def main() -> None:
    """Bring `.venv` up to date; nothing is done where its stamp says that it is."""
    if STAMP.is_file() and STAMP.read_text() == fingerprint() and PYTHON.exists():
        return
    check_python()
    uv = shutil.which("uv")
    make_environment(uv)
    say("installing torch, then requirements.lock (minutes the first time)")
    install_torch(uv)
    install(uv, "-r", str(LOCK))
    install(uv, "--no-deps", *peers())
    install(uv, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    STAMP.write_text(fingerprint())
    say(f"ready; `source {PYTHON.parent.relative_to(ROOT)}/activate` puts armsrace on the path")


if __name__ == "__main__":
    main()
