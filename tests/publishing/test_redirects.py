"""Each address that a chapter ever had leads to where it is now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docutils.nodes import make_id

from armsrace.publishing.layout import notebooks, numbering
from armsrace.publishing.redirects import FOLDERS, MOVED, SECTIONS, write_all
from armsrace.resources import CLONE

# The chapters as they were first published.
FIRST = [
    "01_observation",
    "02_evaluation",
    "03_fgsm",
    "04_iterated",
    "05_few_pixels",
    "06_shortest_distance",
    "07_carlini_wagner",
    "08_without_gradients",
    "09_inside",
    "10_adversarial_training",
    "11_distillation",
    "12_detection",
    "13_magnet",
    "14_defense_gan",
    "15_robust_manifold",
    "16_deep_image_prior",
    "17_analysis_by_synthesis",
    "18_synthesis_bounds",
    "19_the_arena",
    "21_beyond_images",
]
CHAPTERS = {page.topic: page for page in notebooks(CLONE) if page.is_chapter}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with an empty page for each chapter."""
    folder = tmp_path_factory.mktemp("site")
    for page in CHAPTERS.values():
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{page.name}.html").touch()
    write_all(folder)
    return folder


@pytest.mark.parametrize("old", FIRST)
def test_an_old_address_leads_to_the_chapter(site: Path, old: str) -> None:
    assert (old in MOVED) != (old in {page.name for page in CHAPTERS.values()})
    if old in MOVED:
        for folder in FOLDERS:
            text = (site / folder / f"{old}.html").read_text()
            target = f"{CHAPTERS[MOVED[old]].name}.html"
            assert f'<link rel="canonical" href="{target}">' in text
            assert f'http-equiv="refresh" content="0; url={target}"' in text


def test_no_page_of_the_book_is_overwritten(site: Path) -> None:
    assert not set(MOVED) & {page.name for page in CHAPTERS.values()}
    for page in CHAPTERS.values():
        assert (site / "chapters" / f"{page.name}.html").read_text() == ""


def test_a_section_that_moved_is_found_where_it_is_now(site: Path) -> None:
    for old, sections in SECTIONS.items():
        script = (site / "chapters" / f"{old}.html").read_text()
        for anchor, place in sections.items():
            topic, _, there = place.partition("#")
            text = CHAPTERS[topic].path.read_text(encoding="utf-8")
            assert there in map(make_id, re.findall(r"^#+ (.+)$", text, re.MULTILINE)), there
            assert f'"{anchor}": "{CHAPTERS[topic].name}.html#{there}"' in script


def test_where_the_chapter_was_not_built_nothing_is_written(tmp_path: Path) -> None:
    assert write_all(tmp_path) == []


def test_a_number_is_in_a_file_name_and_counts_the_table_of_contents() -> None:
    for topic, (number, entry) in numbering(CLONE).items():
        if entry.startswith("chapters/"):
            assert entry == f"chapters/{number:02}_{topic}"
