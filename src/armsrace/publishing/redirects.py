"""Old addresses of chapters: a small page at each leads to where the chapter is now."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Template

from armsrace.publishing.layout import numbering
from armsrace.resources import CLONE, replacing

MOVED = {
    "05_few_pixels": "few_pixels",
    "06_shortest_distance": "shortest_distance",
    "07_carlini_wagner": "carlini_wagner",
    "08_without_gradients": "without_gradients",
    "09_inside": "inside",
    "10_adversarial_training": "one_step_training",
    "11_distillation": "distillation",
    "12_detection": "detection",
    "13_magnet": "magnet",
    "14_defense_gan": "defense_gan",
    "15_robust_manifold": "robust_manifold",
    "16_deep_image_prior": "deep_image_prior",
    "17_analysis_by_synthesis": "analysis_by_synthesis",
    "18_synthesis_bounds": "synthesis_bounds",
    "19_the_arena": "arena",
    "22_arena": "arena",
    "21_beyond_images": "beyond_images",
    "24_beyond_images": "beyond_images",
}
"""The name that each page once had, and the topic of the chapter that it is now."""

SECTIONS = {
    "08_without_gradients": {
        "the-break-masks-that-stop-the-gradient": "when_attacks_fail#masks-that-stop-the-gradient",
    },
    "10_adversarial_training": {
        "does-the-evaluation-notice": "when_attacks_fail#does-the-evaluation-notice",
        "many-steps": "pgd_training#many-steps",
        "where-it-fails-beyond-its-budget": "pgd_training#where-it-fails-beyond-its-budget",
        "the-break-restoring-the-gradient": "pgd_training#the-break-restoring-the-gradient",
        "in-l2": "pgd_training#in-l2",
        "few-pixels": "pgd_training#few-pixels",
        "give-a-slope-back": "pgd_training#give-a-slope-back",
    },
    "21_beyond_images": {
        "back-to-digits-an-ensemble": "when_attacks_fail#attacks-with-nothing-to-tune",
        "a-loss-without-a-scale": "when_attacks_fail#a-loss-without-a-scale",
        "comparison-with-the-papers": "beyond_images#comparison-with-the-paper",
    },
}
"""Of an old page, the anchors of sections that are elsewhere now: the topic and the anchor there.

The sections that left a page whose address is the same have their old anchor at the sentence there
that leads to them.
"""

FOLDERS = {"chapters": "chapter", "slides": "chapter's slides"}
PAGE = Template(
    """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>This page has moved</title>
<link rel="canonical" href="{{ target }}">
<script>
const sections = {{ sections }};
const anchor = location.hash.slice(1);
location.replace(sections[anchor] ?? "{{ target }}" + location.hash);
</script>
<noscript><meta http-equiv="refresh" content="0; url={{ target }}"></noscript>
</head>
<body><main><h1>This page has moved</h1>
<p><a href="{{ target }}">Go to the {{ what }}</a></p></main></body>
</html>
"""
)


def write_all(site: Path, root: Path = CLONE) -> list[Path]:
    """Write a page at each old address whose chapter the built site has; return the pages."""
    entries = {topic: Path(entry).name for topic, (_, entry) in numbering(root).items()}
    written = []
    for folder, what in FOLDERS.items():
        for old, topic in MOVED.items():
            target = f"{entries.get(topic)}.html"
            if not (site / folder / target).is_file():
                continue
            sections = {}
            if folder == "chapters":
                for anchor, place in SECTIONS.get(old, {}).items():
                    other, _, there = place.partition("#")
                    sections[anchor] = f"{entries[other]}.html#{there}"
            page = site / folder / f"{old}.html"
            text = PAGE.render(target=target, what=what, sections=json.dumps(sections))
            with replacing(page) as temporary:
                temporary.write_text(text, encoding="utf-8")
            written.append(page)
    return written
