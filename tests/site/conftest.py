from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from armsrace.publishing.playground import export
from armsrace.resources import CLONE
from tests.site.playground_page import opened
from tests.site.site_browser import served, started


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The playground as the site has it, without the rest."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(CLONE / "book" / "_static", site / "_static")
    export(site / "_static" / "playground")
    return site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = opened(browser, address)
    yield page
    page.close()
