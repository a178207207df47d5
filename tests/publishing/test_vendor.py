from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from armsrace.publishing import vendor

CONTENT = b"// mathematics"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for npm that packs CONTENT, and an empty user cache."""
    member = tmp_path / vendor.MEMBER
    member.parent.mkdir(parents=True)
    member.write_bytes(CONTENT)
    with tarfile.open(tmp_path / "packed.tgz", "w:gz") as packed:
        packed.add(member, vendor.MEMBER)
    npm = tmp_path / "npm"
    npm.write_text(f'#!/bin/sh\necho called >> {tmp_path}/calls\ncp {tmp_path}/packed.tgz "$5"\n')
    npm.chmod(0o755)
    monkeypatch.setattr(vendor.shutil, "which", lambda name: str(npm))
    monkeypatch.setattr(vendor.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    return tmp_path


def test_script_is_fetched_once_and_put_into_each_site(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    for name in ("one", "two"):
        assert vendor.mathjax(registry / name)
        assert (registry / name / "vendor/tex-svg-full.js").read_bytes() == CONTENT
    assert (registry / "calls").read_text() == "called\n"


def test_another_script_than_the_pinned_one_is_refused(registry: Path) -> None:
    with pytest.raises(ValueError, match="must hold package/es5/tex-svg-full.js with sha256"):
        vendor.mathjax(registry / "one")
    assert not (registry / "one").exists()


@pytest.mark.parametrize("npm", [None, "false"])
def test_without_npm_or_network_nothing_is_packed(
    registry: Path, monkeypatch: pytest.MonkeyPatch, npm: str | None
) -> None:
    monkeypatch.setattr(vendor.shutil, "which", lambda name: npm)
    assert not vendor.mathjax(registry / "one")
