"""The slider is plain, deterministic and accessible; the live version gives way on a page."""

import base64
import io
import re
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from PIL import Image

from armsrace import figures
from armsrace.figures.interactive import BUILD_FLAG, NOTE

LABELS = ["0.00", "0.10", "0.20"]


class Reader(HTMLParser):
    """Collects every element with its attributes, and the text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


def made(start: int = 1, caption: str = "Digits & noise <b>") -> figures.Markup:
    """Three frames of rising brightness."""
    frames = [figures.image_grid(torch.full((2, 1, 4, 4), 0.1 * level)) for level in range(3)]
    return figures.slider(frames, LABELS, "ε", caption, "two “squares”", start=start)


def test_one_frame_is_seen_and_each_is_described() -> None:
    page = Reader(made()._repr_html_())
    images = page.all("img")
    assert ["hidden" in image for image in images] == [True, False, True]
    assert [image["alt"] for image in images] == [f"two “squares”; ε {label}" for label in LABELS]
    for image in images:
        data = base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,"))
        assert data.startswith(b"\x89PNG")
    assert len({image["src"] for image in images}) == 3


def test_range_covers_the_frames() -> None:
    page = Reader(made().html)
    (control,) = page.all("input")
    assert {key: control[key] for key in ("type", "min", "max", "value")} == {
        "type": "range", "min": "0", "max": "2", "value": "1",
    }  # fmt: skip
    assert control["aria-valuetext"] == "0.10" and "0.10" in page.text
    assert "Digits & noise <b>" in page.text and not page.all("b")


def test_markup_depends_on_the_content_alone() -> None:
    assert made().html == made().html
    first, second = (
        Reader(made().html),
        Reader(figures.slider(list(pngs()), ["a", "b"], "n", "c", "d").html),
    )
    assert first.all("figure")[0]["id"] != second.all("figure")[0]["id"]


def pngs() -> list[bytes]:
    """Two pictures as bytes."""
    return [figures.image_grid(torch.full((1, 1, 4, 4), value)).png() for value in (0.0, 1.0)]


@pytest.mark.parametrize(
    ("labels", "start", "message"),
    [
        (["a"], 0, "one per frame, got 1 for 2"),
        (["a", "b"], 2, "start must be >= 0 and < 2, got 2"),
    ],
)
def test_slider_refuses(labels: list[str], start: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.slider(pngs(), labels, "n", "c", "d", start=start)


PLACES = {"across": [4.0, 8.0, 12.0], "down": [4.0, 12.0]}
TEXTS = [["“toaster”, 90 %", "b", "c"], ["d", "e <i>", "f"]]


def moved(**changed: Any) -> figures.Markup:
    """A white disc of radius 4 on a gray picture of 16 × 16 pixels, at six places."""
    gray, white = torch.full((3, 16, 16), 0.5), torch.ones(3, 9, 9)
    given = PLACES | {"texts": TEXTS, "caption": "Drag & drop", "alt": "a “ball”"} | changed
    return figures.movable(gray, white, 4.0, **given)


def test_a_disc_begins_at_its_place_with_its_text() -> None:
    page = Reader(moved(start=(2, 1))._repr_html_())
    ground, disc = page.all("img")
    assert ground["alt"] == "a “ball”" and disc["alt"] == ""
    assert disc["style"] == "left:50.0%;top:50.0%;width:50.000%"
    assert "f" in page.text and "Drag & drop" in page.text and not page.all("i")
    across, down = page.all("input")
    assert [(c["max"], c["value"]) for c in (across, down)] == [("2", "2"), ("1", "1")]
    assert across["aria-valuetext"] == "3; f"
    for picture, value, side in ((ground, 128, 16), (disc, 255, 9)):
        data = base64.b64decode(str(picture["src"]).removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(data)) as found:
            assert found.size == (side, side) and found.getpixel((0, 0)) == (value,) * 3
    assert moved().html == moved().html != moved(texts=[["a"] * 3] * 2).html


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"texts": TEXTS[:1]}, "texts must have 2 rows of 3"),
        ({"texts": [["a", "b"], ["c", "d"]]}, "texts must have 2 rows of 3"),
        ({"start": (3, 0)}, "start must be a place of 3 by 2, got (3, 0)"),
        ({"start": (0, -1)}, "start must be a place of 3 by 2, got (0, -1)"),
    ],
)
def test_a_disc_needs_a_text_for_each_place(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        moved(**changed)


def test_live_runs_the_function_when_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUILD_FLAG, raising=False)
    calls: list[float] = []
    widget = figures.live(lambda epsilon: calls.append(epsilon), epsilon=(0.0, 1.0, 0.25))
    widget.children[0].value = 0.75
    widget.update()
    assert calls[-1] == 0.75


def test_live_gives_way_on_a_built_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUILD_FLAG, "1")
    assert NOTE in figures.live(print, value=(0, 1))._repr_html_()


def test_live_gives_way_without_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUILD_FLAG, raising=False)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert NOTE in figures.live(print, value=(0, 1))._repr_html_()


def test_glue_tells_a_live_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUILD_FLAG, raising=False)
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda found, **_: shown.append(found))
    figures.glue(mean_distance="1.32", share="8 %")
    assert shown[0].data == "mean distance: 1.32; share: 8 %"


def test_glue_needs_formatted_values() -> None:
    with pytest.raises(TypeError, match="ratio must be a str"):
        figures.glue(ratio=0.5)  # type: ignore[arg-type]
