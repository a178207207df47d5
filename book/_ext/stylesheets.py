"""One style sheet for the site, with the rules and the icons that its pages use."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont

LINK = re.compile(r'<link\b[^>]*rel="stylesheet"[^>]*>\s*')
HREF = re.compile(r'href="([^"?]+)[^"]*"')
IMPORT = re.compile(r'@import (?:url\()?"([^"]+)"\)?;')
RELATIVE = re.compile(r'url\("?(?!data:|#)([^")]+)"?\)')
ICON_FACE = re.compile(r"@font-face\{[^}]*?(?P<name>fa-[a-z]+-\d+)\.woff2[^}]*\}")
ICON = re.compile("\\\\(?P<code>[ef][0-9a-f]{3})|(?P<sign>[\ue000-\uf8ff])")
WORD = re.compile(r"[\w-]+")
BUNDLE = "book.css"
NESTED = ("media", "supports", "layer", "container")


def sheets(texts: Iterable[str]) -> list[str]:
    """The style sheets of the pages below `_static`, in order, without the bundle itself."""
    found = {}
    for text in texts:
        for link in LINK.findall(text):
            href = HREF.search(link)
            path = href.group(1).rpartition("_static/")[2] if href else ""
            if path and path != BUNDLE:
                found[path] = None
    return list(found)


def bundle(static: Path, names: Iterable[str], words: set[str]) -> None:
    """Write the style sheets as one; words: what pages and scripts may call a class."""
    joined = "\n".join(_absolute(static, static / name) for name in names)
    rules = tinycss2.parse_stylesheet(joined, skip_comments=True, skip_whitespace=True)
    text = "".join(_used(rules, words))
    (static / BUNDLE).write_text(_icons(static, text), encoding="utf-8")


def link(text: str, static: Path) -> str:
    """A page's text with the bundle in place of its style sheets."""
    digest = hashlib.sha256((static / BUNDLE).read_bytes()).hexdigest()[:8]
    first = LINK.search(text)
    if first is None:
        return text
    root = (HREF.search(first.group()) or first).group(1).rpartition("_static/")[0]
    one = f'<link href="{root}_static/{BUNDLE}?v={digest}" rel="stylesheet" />\n'
    begin = first.start()
    return text[:begin] + one + LINK.sub("", text[begin:])


def _absolute(static: Path, sheet: Path) -> str:
    """A style sheet with those it imports, its addresses as seen from the bundle."""
    text = sheet.read_text(encoding="utf-8").removeprefix('@charset "UTF-8";')
    text = IMPORT.sub(lambda found: _absolute(static, sheet.parent / found.group(1)), text)

    def seen(found: re.Match[str]) -> str:
        target = (sheet.parent / found.group(1)).resolve()
        return f'url("{target.relative_to(static.resolve()).as_posix()}")'

    return RELATIVE.sub(seen, text)


def _used(rules: Iterable[Any], words: set[str]) -> Iterator[str]:
    """The rules that can match an element, written without space."""
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [one for one in _selectors(rule.prelude) if _can_match(one, words)]
            if selectors:
                body = tinycss2.serialize(rule.content).strip()
                yield f"{','.join(tinycss2.serialize(one).strip() for one in selectors)}{{{body}}}"
        elif rule.type == "at-rule" and rule.content and rule.lower_at_keyword in NESTED:
            inner = tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
            if body := "".join(_used(inner, words)):
                yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{body}}}"
        elif rule.type != "error":
            yield rule.serialize()


def _selectors(prelude: Iterable[Any]) -> list[list[Any]]:
    """A rule's selectors, cut at the commas that stand in no function."""
    found: list[list[Any]] = [[]]
    for token in prelude:
        if token == ",":
            found.append([])
        else:
            found[-1].append(token)
    return found


def _can_match(selector: list[Any], words: set[str]) -> bool:
    """Whether each class that a selector asks for is one of the words; `:not(…)` asks for none."""
    pairs = itertools.pairwise(selector)
    return all(name.value in words for dot, name in pairs if dot == "." and name.type == "ident")


def _icons(static: Path, text: str) -> str:
    """The style sheet with icon fonts that hold its icons only."""
    wanted = {int(code, 16) if code else ord(sign) for code, sign in ICON.findall(text)}

    def cut(found: re.Match[str]) -> str:
        name = found["name"]
        folder = static / "vendor" / "fontawesome" / "webfonts"
        options = subset.Options(flavor="woff", layout_features=[], hinting=False)
        font = TTFont(folder / f"{name}.ttf")
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=wanted)
        cutter.subset(font)
        font.flavor = "woff"
        font.save(static / f"{name}.woff")
        font.close()
        face = found.group().partition("src:")[0]
        return f'{face}src:url("{name}.woff") format("woff")}}'

    return ICON_FACE.sub(cut, text)
