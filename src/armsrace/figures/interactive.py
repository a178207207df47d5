"""Interactive figures, which need a kernel or not, and numbers for the page's sentences."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from armsrace.figures.style import Plot, small_png

BUILD_FLAG = "ARMSRACE_BUILD"
GLUED = "application/papermill.record/"
"""MyST-NB keeps an output of such a mime type for the roles of the prose, and does not show it."""
NOTE = "Run this notebook to move the controls live."
# The handler finds its own figure, so any number of sliders can share a page without names.
HANDLER = (
    "const f=this.closest('figure'),l=JSON.parse(f.dataset.labels)[this.value];"
    "f.querySelectorAll('img').forEach((m,i)=>{m.hidden=i!=this.value});"
    "f.querySelector('output').textContent=l;this.setAttribute('aria-valuetext',l)"
)


@dataclass(frozen=True)
class Markup:
    """HTML that a notebook shows as it is."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def slider(
    frames: Sequence[Plot | bytes],
    labels: Sequence[str],
    name: str,
    caption: str,
    alt: str,
    *,
    start: int = 0,
) -> Markup:
    """A slider over prepared pictures, which works on a static page, by keyboard and touch.

    The same frames give the same markup.

    Args:
        frames: figures or PNG bytes.
        labels: the slider's value at each frame.
        name: what the slider changes.
        caption: of the figure.
        alt: what the pictures show; the name and the label are appended.
        start: the frame that is shown first.
    """
    if not frames or len(frames) != len(labels):
        raise ValueError(
            f"labels must be one per frame, got {len(labels)} for {len(frames)} frames"
        )
    if not 0 <= start < len(frames):
        raise ValueError(f"start must be >= 0 and < {len(frames)}, got {start}")
    pictures = [frame.png() if isinstance(frame, Plot) else small_png(frame) for frame in frames]
    alternatives = [html.escape(f"{alt}; {name} {label}") for label in labels]
    images = "".join(
        f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}" '
        f'alt="{text}"{"" if index == start else " hidden"}>'
        for index, (picture, text) in enumerate(zip(pictures, alternatives, strict=True))
    )
    digest = hashlib.sha256(b"".join(pictures) + json.dumps([name, *labels]).encode()).hexdigest()
    first = html.escape(labels[start])
    return Markup(
        f'<figure class="ar-slider" id="ar-slider-{digest[:12]}" '
        f'data-labels="{html.escape(json.dumps(list(labels)))}">'
        f'<div class="ar-slider-frames">{images}</div>'
        f'<label>{html.escape(name)} <input type="range" min="0" max="{len(frames) - 1}" '
        f'value="{start}" step="1" autocomplete="off" aria-valuetext="{first}" '
        f'oninput="{HANDLER}"> <output>{first}</output></label>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def live(function: Callable[..., Any], **controls: Any) -> Any:
    """A function with an ipywidgets control for each argument; it runs again at every change.

    A built page has no kernel, so it shows a one-line note, as does a notebook without ipywidgets.

    Args:
        function: what to run.
        controls: as for ipywidgets.interactive, such as epsilon=(0.0, 0.3, 0.01).
    """
    note = Markup(f'<p class="ar-live-note">{NOTE}</p>')
    if os.environ.get(BUILD_FLAG) == "1":
        return note
    try:
        import ipywidgets
    except ImportError:
        return note
    return ipywidgets.interactive(function, **controls)


def glue(**values: str) -> None:
    """Make formatted numbers available to the sentences of the page, as {glue:text}`name`.

    A built page shows them in its prose only. A live notebook, whose prose keeps the numbers of the
    build, shows them below the cell. They may be used anywhere on the page.

    Args:
        values: the text of each, without Markdown; a name may be given once on a page.
    """
    from IPython.display import Markdown, display

    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, formatted as the sentence shows it")
    if os.environ.get(BUILD_FLAG) == "1":
        for name, value in values.items():
            record = {"scrapbook": {"name": name, "mime_prefix": GLUED}}
            display({f"{GLUED}text/plain": repr(value)}, raw=True, metadata=record)
    else:
        display(Markdown("; ".join(f"{name.replace('_', ' ')}: {values[name]}" for name in values)))
