"""Cards show the pictures they are given; the page forgets no attack and no defense."""

from __future__ import annotations

import base64
import io
import re

import jupytext
import numpy as np
import pytest
import torch
from PIL import Image

from armsrace import attacks, defenses, figures
from armsrace.publishing.layout import notebooks
from armsrace.resources import CLONE, chapter_file

PAGE = CLONE / "book" / "gallery.md"
# What defenses are put together from, what proves, and one of whose networks none is shipped.
PARTS = {
    "adversarial_loss", "trades", "epsilon_warmup", "TemperatureScaled", "at_temperature",
    "soft_labels",
    "divergence_apart", "Purified", "Inversion", "LatentSearch", "invert", "inversion_path",
    "Detected", "detection_rate", "divergence", "jensen_shannon", "threshold_at",
    "RandomizedSmoothing", "SmoothedCertificate", "lower_confidence_bound",
    "certified", "interval_bounds", "interval_margins", "interval_schedule",
    "AdamSearch", "LevenbergMarquardt", "PolishedSearch", "Explanation", "fitted_factors",
}  # fmt: skip
DARK, FAINT = torch.ones(1, 4, 4), torch.full((1, 4, 4), 0.25)
CHANGE = torch.zeros(1, 4, 4)
CHANGE[0, 0, 0], CHANGE[0, 3, 3] = 0.5, -0.5


def card(**more: str) -> str:
    pictures = {"read “7”": DARK, "the change": CHANGE, "now “1”": FAINT}
    exhibit = figures.Exhibit(attacks.fgsm, "attacks.fgsm", "fgsm", pictures, **more)
    return figures.gallery([exhibit]).html


def drawn(markup: str) -> list[np.ndarray]:
    """The pixels of the pictures, in order."""
    encoded = re.findall(r'src="data:image/png;base64,([^"]+)"', markup)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in encoded]


def test_a_card_has_its_sentence_and_both_links() -> None:
    markup = card()
    sentence = attacks.fgsm.__doc__.splitlines()[0]
    assert f"<p>{sentence}</p>" in markup
    file = chapter_file("fgsm").stem
    assert f'href="../chapters/{file}.html">Chapter {int(file[:2])}</a>' in markup
    assert 'href="api.html#armsrace.attacks.fgsm"' in markup


def test_every_picture_has_alternative_text_and_a_caption() -> None:
    markup = card()
    assert re.findall(r'alt="([^"]*)"', markup)[2] == "attacks.fgsm: now “1”"
    assert markup.count("alt=") == markup.count("<img") == markup.count("<figcaption>") == 3


def test_ink_is_dark_and_a_change_is_blue_white_or_red() -> None:
    first, change, last = drawn(card(change="the change"))
    assert (first == 0).all() and (last == 191).all()
    (red, _, less_blue), (less_red, _, blue) = change[0, 0], change[3, 3]
    assert red > less_blue and blue > less_red and (change[1, 1] > 250).all()


def test_backticks_become_code_and_signs_are_escaped() -> None:
    def thing() -> None:
        """As `pgd`, for x < y."""

    exhibit = figures.Exhibit(thing, "attacks.thing", "iterated", {"<b>": DARK})
    markup = figures.gallery([exhibit]).html
    assert "As <code>pgd</code>, for x &lt; y." in markup and "<b>" not in markup


def test_without_a_chapter_there_is_no_link_to_one() -> None:
    exhibit = figures.Exhibit(attacks.fgsm, "attacks.fgsm", "", {"read “7”": DARK})
    markup = figures.gallery([exhibit]).html
    assert "Chapter" not in markup and "Reference</a>" in markup


def test_what_has_no_sentence_is_refused() -> None:
    exhibit = figures.Exhibit(lambda: None, "attacks.nothing", "fgsm", {"read “7”": DARK})
    with pytest.raises(ValueError, match="must have a docstring whose first line is a sentence"):
        figures.gallery([exhibit])
    with pytest.raises(ValueError, match="at least one exhibit"):
        figures.gallery([])


def test_the_page_shows_every_attack_and_defense_and_names_chapters_that_exist() -> None:
    code = "\n".join(cell.source for cell in jupytext.read(PAGE).cells if cell.cell_type == "code")
    assert set(defenses.__all__) >= PARTS
    shown = {"distal", "overpowered", *attacks.__all__, *defenses.__all__} - PARTS
    assert {name for name in shown if not re.search(rf'"(\w+\.)*{name}"', code)} == set()
    assert re.search(r'(?<!")""(?!")', code) is None, "each card names a chapter"
    topics = {page.topic for page in notebooks(CLONE) if page.is_chapter}
    assert len(topics & set(re.findall(r'"(\w+)"', code))) > 6
