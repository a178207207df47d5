"""Plots and players of sounds."""

from __future__ import annotations

import base64
import html
import io
import wave
from collections.abc import Mapping

import torch
from torch import Tensor

from armsrace.figures.interactive import Markup
from armsrace.figures.style import INK, PALETTE, Plot, new_plot, styled


@styled
def spectrograms(
    panels: Mapping[str, tuple[Tensor, Tensor | None]],
    *,
    rate: int,
    hop: int,
    columns: int = 2,
    lowest: float = 0.0,
) -> Plot:
    """Levels over time and frequency.

    Args:
        panels: {title: (levels, threshold)}, both (F, S) in dB; the threshold may be None. Cells
            above the threshold are vermilion.
        rate: samples per second.
        hop: samples from one column to the next.
        columns: of panels.
        lowest: the level in dB that is white; the loudest cell of all panels is black.
    """
    if not panels:
        raise ValueError("panels must hold at least one")
    for title, (levels, threshold) in panels.items():
        if threshold is not None and threshold.shape != levels.shape:
            raise ValueError(f"threshold of {title!r} must have shape {tuple(levels.shape)}")
    rows = -(-len(panels) // columns)
    plot = new_plot(3.6 * columns, 2.5 * rows)
    grid = plot.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    loudest = max(float(levels.max()) for levels, _ in panels.values())
    images = []
    for axes, (title, (levels, threshold)) in zip(grid.flat, panels.items(), strict=False):
        extent = (0.0, levels.shape[1] * hop / rate, 0.0, rate / 2000)
        look = {"origin": "lower", "aspect": "auto", "extent": extent}
        values = levels.detach().cpu().float()
        images.append(axes.imshow(values.numpy(), vmin=lowest, vmax=loudest, **look))
        if threshold is not None:
            audible = (values > threshold.detach().cpu()).float()[..., None]
            color = torch.tensor([int(PALETTE["vermilion"][i : i + 2], 16) for i in (1, 3, 5)])
            tint = torch.cat([(color / 255).expand(*values.shape, 3), 0.75 * audible], dim=2)
            axes.imshow(tint.numpy(), **look)
        axes.set_title(title)
        axes.grid(False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    plot.supxlabel("time (s)", fontsize=11)
    plot.supylabel("frequency (kHz)", fontsize=11)
    plot.colorbar(images[-1], ax=grid, label="level (dB)", shrink=0.8)
    return plot


def players(sounds: Mapping[str, Tensor], *, rate: int, caption: str) -> Markup:
    """Audio players on the page, with the sounds as 16-bit WAV files.

    Loudness is not normalized, so differences in loudness stay audible.

    Args:
        sounds: {title: samples (T,) in [-1, 1]}.
        rate: samples per second.
        caption: of the figure.
    """
    if not sounds:
        raise ValueError("sounds must hold at least one")
    items = "".join(
        f"<li><span>{html.escape(title)}</span> "
        f'<audio controls preload="metadata" aria-label="{html.escape(title)}" '
        f'src="data:audio/wav;base64,{_wav(title, samples, rate)}"></audio></li>'
        for title, samples in sounds.items()
    )
    return Markup(
        f'<figure class="ar-players"><ul>{items}</ul>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _wav(title: str, samples: Tensor, rate: int) -> str:
    """Samples (T,) in [-1, 1] as a WAV file in base64."""
    values = samples.detach().cpu().double().flatten()
    if float(values.abs().max()) > 1:
        raise ValueError(f"samples of {title!r} must lie in [-1, 1]")
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((32767 * values).round().short().numpy().astype("<i2").tobytes())
    return base64.b64encode(written.getvalue()).decode()


@styled
def masking_curve(
    hertz: Tensor,
    sound: Tensor,
    threshold: Tensor,
    changes: Mapping[str, Tensor],
    *,
    lowest: float = -20.0,
) -> Plot:
    """The spectrum of a sound at one moment, its masking threshold, and perturbations.

    The sound is a gray area, the threshold a black line. A perturbation is audible where it exceeds
    the threshold.

    Args:
        hertz: (F,), the frequencies.
        sound: (F,), levels in dB.
        threshold: (F,), levels in dB.
        changes: {name: (F,)}, levels of at most three perturbations in dB.
        lowest: the bottom of the plot, in dB.
    """
    rows = {"sound": sound, "threshold": threshold, **changes}
    for name, row in rows.items():
        if row.shape != hertz.shape:
            raise ValueError(f"{name} must have shape {tuple(hertz.shape)}, got {tuple(row.shape)}")
    if len(changes) > 3:
        raise ValueError(f"changes must be at most 3, got {len(changes)}")
    axes = (plot := new_plot()).subplots()
    kilo = (hertz / 1000).numpy()
    heights = {name: row.detach().cpu().clamp_min(lowest).numpy() for name, row in rows.items()}
    axes.fill_between(kilo, heights["sound"], lowest, color="#cbd2d9", lw=0, label="the sound")
    axes.plot(kilo, heights["threshold"], color=INK, lw=2.2, label="its masking threshold")
    looks = (("vermilion", "--"), ("blue", "-"), ("amber", "-."))
    for name, (color, dash) in zip(changes, looks, strict=False):
        axes.plot(kilo, heights[name], color=PALETTE[color], ls=dash, lw=1.2, label=name)
    axes.set(xlabel="frequency (kHz)", ylabel="level (dB)", ylim=(lowest, 100))
    axes.margins(x=0)
    plot.legend(loc="outside upper left", ncols=2)
    return plot
