"""The directive `chapter-times`: how long each page took to execute in the build at hand."""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from armsrace.publishing.layout import notebooks


class ChapterTimes(SphinxDirective):
    """A table of the pages in their order, and on what they were executed."""

    def run(self) -> list[nodes.Node]:
        """The table; without any execution, a sentence that says so."""
        root = Path(self.env.srcdir)
        found = []
        for page in notebooks(root):
            path = root / "_build/records" / self.config.armsrace_profile / f"{page.name}.json"
            # Sphinx reads the page anew where one of these files changed.
            self.env.note_dependency(str(path))
            if path.is_file():
                found.append((page, json.loads(path.read_text(encoding="utf-8"))))
        if not found:
            return self.parse_text_to_nodes("No page was executed in this build.")
        rows = [f"| [](/{page.label}) | {record['seconds']:.0f} |" for page, record in found]
        total = sum(record["seconds"] for _, record in found)
        # One device for all, unless the build was moved between executions.
        devices = {
            f"{record.get('processor', 'an unnamed processor')} ({record['device']})"
            for _, record in found
        }
        text = "\n".join(["| page | seconds |", "| --- | ---: |", *rows])
        made = f"{total:.0f} seconds of work in all, on {'; '.join(sorted(devices))}."
        return self.parse_text_to_nodes(f"{text}\n\n{made}")
