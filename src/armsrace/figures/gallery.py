"""Cards that show what each attack or defense does: pictures, one sentence, two links."""

from __future__ import annotations

import base64
import html
import inspect
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from armsrace.figures.interactive import Markup
from armsrace.figures.style import DIVERGING
from armsrace.resources import chapter_file, chapter_number

CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Exhibit:
    """One card.

    Args:
        thing: the function or class; its docstring's first sentence is printed.
        name: as it is imported, such as "attacks.fgsm"; the reference has it under this name.
        chapter: the chapter's topic, such as "fgsm"; empty if there is none.
        pictures: {caption: image (C, H, W) in [0, 1]}.
        change: the caption of the picture that is a perturbation; it is drawn from blue through
            white, which is 0, to red, on its own scale.
    """

    thing: Callable[..., Any]
    name: str
    chapter: str
    pictures: Mapping[str, Tensor]
    change: str = ""


def gallery(exhibits: Sequence[Exhibit]) -> Markup:
    """The cards as HTML, each with its pictures and links to its chapter and its reference.

    Args:
        exhibits: at least one; each has a docstring whose first line is a sentence.
    """
    if not exhibits:
        raise ValueError("exhibits must hold at least one exhibit")
    return Markup(f'<div class="ar-gallery">{"".join(map(_card, exhibits))}</div>')


def first_sentence(thing: Callable[..., Any]) -> str:
    """The first line of a docstring, which must be a sentence."""
    line = (inspect.getdoc(thing) or "").partition("\n")[0].strip()
    if not line.endswith((".", "?")):
        raise ValueError(f"{thing!r} must have a docstring whose first line is a sentence")
    return line


def _card(exhibit: Exhibit) -> str:
    """One card as HTML."""
    name, link = html.escape(exhibit.name), ""
    if exhibit.chapter:
        page, number = chapter_file(exhibit.chapter).stem, chapter_number(exhibit.chapter)
        link = f'<a href="../chapters/{page}.html">Chapter {number}</a> · '
    drawn = {
        caption: _diverging(image) if caption == exhibit.change else _ink(image)
        for caption, image in exhibit.pictures.items()
    }
    pictures = "".join(
        f"<figure>{_image(colors, f'{exhibit.name}: {caption}')}"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, colors in drawn.items()
    )
    sentence = CODE.sub(r"<code>\1</code>", html.escape(first_sentence(exhibit.thing)))
    return (
        f'<section class="ar-card" id="{name.replace(".", "-")}" aria-label="{name}">'
        f'<p class="ar-card-name"><code>{name}</code></p>'
        f'<div class="ar-card-pictures">{pictures}</div>'
        f"<p>{sentence}</p>"
        f'<p class="ar-card-links">{link}<a href="api.html#armsrace.{name}">Reference</a></p>'
        "</section>"
    )


def _image(colors: Tensor, alt: str) -> str:
    """An image (H, W, 3) as HTML, without scaling: the page enlarges it without smoothing."""
    encoded = io.BytesIO()
    values = (255 * colors.clamp(0, 1)).round().to(torch.uint8).numpy()
    Image.fromarray(values).save(encoded, format="PNG", optimize=True)
    data = base64.b64encode(encoded.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'


def _ink(image: Tensor) -> Tensor:
    """Colors (H, W, 3) of an image (C, H, W); digits are ink on paper: 0 is white, 1 black."""
    values = image.detach().cpu().float()
    drawn = 1 - values.expand(3, -1, -1) if len(values) == 1 else values
    return drawn.permute(1, 2, 0)


def _diverging(image: Tensor) -> Tensor:
    """Colors (H, W, 3) of a perturbation (C, H, W), averaged over the channels."""
    mean = image.detach().cpu().float().mean(dim=0)
    scaled = 0.5 + 0.5 * mean / mean.abs().max().clamp_min(1e-12)
    return torch.from_numpy(DIVERGING(scaled.numpy()))[..., :3]
