"""Pictures of the built pages: compressed files of known size instead of data within the text."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path
from urllib.parse import unquote

from PIL import Image

from armsrace.resources import replacing

IMG = re.compile(r'<img\b(?:[^>"]|"[^"]*")*>')
ATTRIBUTE = re.compile(r'([\w-]+)(?:="([^"]*)")?')
WIDTH = re.compile(r"^\s*width:\s*([\d.]+)px;?\s*$")
DATA = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,(.+)", re.DOTALL)
SVG_SIZE = re.compile(r'<svg[^>]*\bviewBox="0 0 ([\d.]+) ([\d.]+)"')
INLINE = 4096
"""Characters of a picture that may stay within a page: a file of its own would cost a request."""
LARGE = 100
"""Pixels from which a picture counts as one that readers wait for."""


class Pictures:
    """Rewrites the `<img>` tags of one page of the site.

    Large inlined pictures and PNG files become WebP files, named by their content: without loss,
    but for photographs.
    Each picture gets its width and height, so that nothing moves when it comes. The first large
    one is asked for at once, the others when they come into view; the logo, of the page's frame,
    is left at that.
    """

    def __init__(self, site: Path, page: Path) -> None:
        self.site, self.page = site, page
        self.first = True

    def lighten(self, text: str) -> str:
        """The page's text with its pictures made light; a text that was, comes back as it is."""
        return IMG.sub(lambda found: self._tag(found.group()), text)

    def _tag(self, tag: str) -> str:
        given = dict(ATTRIBUTE.findall(tag.removeprefix("<img").rstrip("/>")))
        if "width" in given and "height" in given:
            self.first = self.first and "fetchpriority" not in given
            return tag
        content = self._content(given["src"])
        width, height = size(content)
        if not given["src"].startswith("data:") or len(given["src"]) > INLINE:
            given["src"] = self._compressed(given["src"], content)
        shown = float(given.get("width", width))
        if found := WIDTH.match(given.get("style", "")):
            shown = float(found.group(1))
            del given["style"]
        given |= {"width": f"{shown:.0f}", "height": f"{shown * height / width:.0f}"}
        if width >= LARGE and "_static/" not in given["src"]:
            given |= {"decoding": "async"} | self._priority("hidden" in given)
        written = (f'{name}="{value}"' if value or name == "alt" else name
                   for name, value in given.items())  # fmt: skip
        return f"<img {' '.join(written)}>"

    def _priority(self, hidden: bool) -> dict[str, str]:
        if hidden or not self.first:
            return {"loading": "lazy"}
        self.first = False
        return {"fetchpriority": "high"}

    def _content(self, source: str) -> bytes:
        if found := DATA.match(source):
            return base64.b64decode(found.group(1))
        return self._file(source).read_bytes()

    def _file(self, source: str) -> Path:
        return self.page.parent / unquote(source.partition("?")[0])

    def _compressed(self, source: str, content: bytes) -> str:
        """The address of the picture as WebP; its own where it is no PNG."""
        if not content.startswith(b"\x89PNG"):
            return source
        name = f"{hashlib.sha256(content).hexdigest()[:24]}.webp"
        target = self.site / "_images" / name
        if not target.is_file():
            picture = Image.open(io.BytesIO(content))
            mode = "RGBA" if picture.has_transparency_data else "RGB"
            # Figures have a palette unless they show photographs, of which a copy without loss
            # would weigh ten times as much. Without loss, quality is the effort: 50 takes a
            # quarter off, 100 hardly more.
            how = {"quality": 75} if picture.mode == "RGB" else {"lossless": True, "quality": 50}
            with replacing(target) as temporary:
                picture.convert(mode).save(temporary, "WEBP", **how, method=4)
        up = "../" * (len(self.page.relative_to(self.site).parts) - 1)
        return f"{up}_images/{name}"


def size(content: bytes) -> tuple[float, float]:
    """Width and height of a picture in pixels, of an SVG in its own units."""
    if found := SVG_SIZE.search(content[:1000].decode("utf-8", "ignore")):
        return float(found.group(1)), float(found.group(2))
    with Image.open(io.BytesIO(content)) as picture:
        return picture.size
