"""Interactive figures, which need a kernel or not, and numbers for the page's sentences."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

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


# As above. `show` puts the disc where the two controls say; `drop` sets the controls to the place
# nearest to the pointer.
SHOW = (
    "const f=this.closest('figure'),[x,y]=f.querySelectorAll('input'),"
    "[t,l,v]=JSON.parse(f.dataset.places),p=f.querySelector('.ar-movable-disc'),"
    "o=t[y.value][x.value];p.style.left=l[x.value]+'%';p.style.top=v[y.value]+'%';"
    "f.querySelector('output').textContent=o;"
    "for(const c of [x,y])c.setAttribute('aria-valuetext',(+c.value+1)+'; '+o)"
)
DROP = (
    "const f=this.closest('figure'),[x,y]=f.querySelectorAll('input'),"
    "[t,l,v]=JSON.parse(f.dataset.places),b=f.querySelector('img').getBoundingClientRect(),"
    "d=f.querySelector('.ar-movable-disc').getBoundingClientRect(),"
    "near=(a,w)=>a.reduce((k,e,i)=>Math.abs(e-w)<Math.abs(a[k]-w)?i:k,0);"
    "x.value=near(l,100*(event.clientX-b.left-d.width/2)/b.width);"
    "y.value=near(v,100*(event.clientY-b.top-d.height/2)/b.height);"
    "x.dispatchEvent(new Event('input'))"
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


def movable(
    image: Tensor,
    disc: Tensor,
    radius: float,
    across: Sequence[float],
    down: Sequence[float],
    texts: Sequence[Sequence[str]],
    caption: str,
    alt: str,
    *,
    start: tuple[int, int] = (0, 0),
) -> Markup:
    """A disc that a reader moves over a picture, with a text for each place, without a kernel.

    It is dragged or put by mouse, pen or touch, and moved by keyboard with two sliders.

    Args:
        image: (C, H, W) in [0, 1].
        disc: (C, S, S) in [0, 1], of which the inscribed disc is shown.
        radius: in pixels of the image.
        across: the disc's possible centers, in pixels from the left.
        down: and from the top.
        texts: what is said at each place: one row for each center in `down`.
        caption: of the figure.
        alt: what the picture shows.
        start: the place shown first, of `across` and of `down`.
    """
    if [len(row) for row in texts] != [len(across)] * len(down) or not texts:
        raise ValueError(f"texts must have {len(down)} rows of {len(across)}, one for each place")
    if not (0 <= start[0] < len(across) and 0 <= start[1] < len(down)):
        raise ValueError(f"start must be a place of {len(across)} by {len(down)}, got {start}")
    height, width = image.shape[1:]
    lefts = [round(100 * (center - radius) / width, 3) for center in across]
    tops = [round(100 * (center - radius) / height, 3) for center in down]
    places, first = json.dumps([texts, lefts, tops]), html.escape(texts[start[1]][start[0]])
    pictures = [_png(image), _png(disc)]
    ground, patch = (base64.b64encode(picture).decode() for picture in pictures)
    digest = hashlib.sha256(b"".join(pictures) + places.encode()).hexdigest()

    def control(name: str, last: int, value: int) -> str:
        return (
            f'<label>{name} <input type="range" min="0" max="{last}" value="{value}" step="1" '
            f'autocomplete="off" aria-valuetext="{value + 1}; {first}" oninput="{SHOW}"></label>'
        )

    return Markup(
        f'<figure class="ar-movable" id="ar-movable-{digest[:12]}" '
        f'data-places="{html.escape(places)}">'
        f'<div class="ar-movable-ground" onclick="{DROP}">'
        f'<img src="data:image/png;base64,{ground}" alt="{html.escape(alt)}">'
        f'<img class="ar-movable-disc" src="data:image/png;base64,{patch}" alt="" '
        f'draggable="false" style="left:{lefts[start[0]]}%;top:{tops[start[1]]}%;'
        f'width:{200 * radius / width:.3f}%" '
        f'onpointerdown="this.setPointerCapture(event.pointerId)" '
        f'onpointermove="if(event.buttons){{{DROP}}}"></div>'
        f'<output aria-live="polite">{first}</output>'
        + control("left to right", len(across) - 1, start[0])
        + control("top to bottom", len(down) - 1, start[1])
        + f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _png(image: Tensor) -> bytes:
    """A picture (C, H, W) in [0, 1] as PNG bytes, pixel by pixel."""
    levels = (255 * image.detach().cpu().float()).round().byte()
    pixels = levels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


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
