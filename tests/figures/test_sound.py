"""Players hold the very samples; spectrograms mark what is heard."""

from __future__ import annotations

import base64
import io
import re
import wave

import pytest
import torch

from armsrace import figures


def test_a_player_holds_the_samples_as_sixteen_bits() -> None:
    samples = torch.tensor([0.0, 0.5, -1.0, 1.0])
    markup = figures.players({"a <b>": samples}, rate=8000, caption="C & D").html
    assert "a &lt;b&gt;" in markup and "C &amp; D" in markup and "controls" in markup
    assert 'aria-label="a &lt;b&gt;"' in markup
    data = re.search(r"base64,([^\"]+)", markup)
    assert data is not None
    with wave.open(io.BytesIO(base64.b64decode(data[1]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        found = torch.frombuffer(bytearray(file.readframes(4)), dtype=torch.int16)
    assert found.tolist() == [0, 16384, -32767, 32767]


def test_half_a_second_is_small() -> None:
    assert len(figures.players({"one": torch.zeros(4096)}, rate=8000, caption="").html) < 12_000


@pytest.mark.parametrize(
    ("sounds", "rule"), [({}, "at least one"), ({"x": torch.tensor([1.5])}, "'x' must lie in")]
)
def test_bad_sounds_are_named(sounds: dict[str, torch.Tensor], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        figures.players(sounds, rate=8000, caption="")


def test_cells_above_the_threshold_are_tinted() -> None:
    levels = torch.zeros(4, 5)
    threshold = torch.full((4, 5), 1.0)
    threshold[2, 3] = -1
    plot = figures.spectrograms({"x": (levels, threshold)}, rate=8000, hop=100)
    tint = plot.axes[0].images[1].get_array()
    assert (tint[..., 3] > 0).sum() == 1 and tint[2, 3, 3] > 0
    assert plot.axes[0].images[0].get_extent() == [0.0, 0.0625, 0.0, 4.0]


@pytest.mark.parametrize(
    ("panels", "rule"),
    [({}, "at least one"), ({"x": (torch.zeros(2, 2), torch.zeros(2, 3))}, "threshold of 'x'")],
)
def test_bad_panels_are_named(panels, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        figures.spectrograms(panels, rate=8000, hop=100)


def test_a_moment_shows_the_sound_its_threshold_and_the_changes() -> None:
    hertz = torch.linspace(0, 4000, 9)
    levels = torch.arange(9.0)
    plot = figures.masking_curve(hertz, 50 + levels, 40 - levels, {"a": levels, "b": -90 - levels})
    threshold, first, second = plot.axes[0].lines
    assert threshold.get_ydata().tolist() == (40 - levels).tolist()
    assert first.get_xdata()[-1] == 4 and first.get_linestyle() != second.get_linestyle()
    assert set(second.get_ydata().tolist()) == {-20.0}
    names = [text.get_text() for text in plot.legends[0].get_texts()]
    assert names == ["the sound", "its masking threshold", "a", "b"]


def test_bad_moments_are_named() -> None:
    flat = torch.zeros(9)
    with pytest.raises(ValueError, match=r"a must have shape \(9,\), got \(8,\)"):
        figures.masking_curve(flat, flat, flat, {"a": torch.zeros(8)})
    with pytest.raises(ValueError, match="changes must be at most 3, got 4"):
        figures.masking_curve(flat, flat, flat, dict.fromkeys("abcd", flat))
