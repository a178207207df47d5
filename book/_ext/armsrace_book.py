"""What the book adds to Jupyter Book: the strip under each chapter's title, and a site on its own.

The strip tells how long a chapter takes to read, and on what data and device it was executed, and
offers it to be run. `armsrace build` leaves those facts in `_build/records/`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import classroom
from docutils import nodes
from jinja2 import Template
from sphinx.application import Sphinx

from armsrace.publishing import mathematics

WORDS_A_MINUTE = 200
NOTEBOOKS_BRANCH = "notebooks"
STRIP = Template(
    """
<div class="ar-strip">
  <p class="ar-facts">
    <span>{{ minutes }} min read</span>
    {% if record %}<span>executed on {{ record.data }}</span>
    <span>{{ record.device }}, {{ "%.0f" | format(record.seconds) }} s,
      <time datetime="{{ record.date }}">{{ record.date }}</time></span>
    {% if record.profile != "reader" %}<span>profile {{ record.profile }}</span>{% endif %}
    {% else %}<span>not executed in this build</span>{% endif %}
  </p>
  <p class="ar-run">
    <span>Run this:</span>
    <a href="https://colab.research.google.com/github/{{ slug }}/blob/{{ path }}">Colab</a>
    <a href="https://mybinder.org/v2/gh/{{ slug }}/{{ branch }}?labpath={{ file }}">Binder</a>
    <a href="{{ root }}book/how_to_run.html#jupyterhub" class="ar-hub"
       data-repository="{{ repository }}" data-branch="{{ branch }}" data-file="{{ file }}"
       >JupyterHub</a>
    {% if record %}<a href="{{ root }}notebooks/{{ name }}.ipynb" download
       >Notebook with results</a>{% endif %}
  </p>
  {% if classroom %}<p class="ar-run">
    <span>For a class:</span>
    {% for file, label in classroom %}<a href="{{ root }}{{ file }}"
       {% if file.endswith(".ipynb") %}download{% endif %}>{{ label }}</a>
    {% endfor %}</p>{% endif %}
</div>
""",
    autoescape=True,
)


def records(app: Sphinx) -> Path:
    """Where the facts about this build's executions lie."""
    return Path(app.srcdir) / "_build" / "records" / app.config.armsrace_profile


def record_of(app: Sphinx, docname: str) -> dict[str, Any] | None:
    """The facts about a page's execution; None for a page that was not executed."""
    path = records(app) / f"{Path(docname).name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def use_built_files(app: Sphinx, config: Any) -> None:
    """Offer what `armsrace build` made for the pages."""
    built = Path(app.srcdir) / "_build" / "static"
    if built.is_dir():
        config.html_static_path.append(str(built))


def outdated(app: Sphinx, env: Any, added: set, changed: set, removed: set) -> list[str]:
    """Pages whose outputs or style changed while their text did not: Sphinx compares the text."""
    seen = getattr(env, "armsrace_keys", {})
    book = Path(app.srcdir) / "book"
    folders = (book / "_static", book / "_ext", mathematics.FOLDER)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files = sorted(path for path in files if path.suffix != ".pyc")
    style = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    now = {name: (style, (record_of(app, name) or {}).get("key")) for name in env.found_docs}
    env.armsrace_keys = now
    return [name for name, key in now.items() if key != seen.get(name)]


def add_strip(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Put the strip under a chapter's title."""
    if not pagename.startswith("chapters/") or doctree is None:
        return
    repository = app.config.html_theme_options["repository_url"]
    name = Path(pagename).name
    words = sum(len(node.astext().split()) for node in doctree.findall(nodes.paragraph))
    file = f"{NOTEBOOKS_BRANCH}/{name}.ipynb"
    strip = STRIP.render(
        minutes=max(1, round(words / WORDS_A_MINUTE)), record=record_of(app, pagename),
        slug=repository.removeprefix("https://github.com/"), repository=repository, name=name,
        branch=NOTEBOOKS_BRANCH, file=file, path=f"{NOTEBOOKS_BRANCH}/{file}",
        root="../" * pagename.count("/"), classroom=classroom.files_of(app, name),
    )  # fmt: skip
    before, end, after = context["body"].partition("</h1>")
    context["body"] = before + end + strip + after


def drop_thebe(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave out the scripts of sphinx-thebe: Jupyter Book loads them unasked, and they throw."""

    def is_thebe(script: Any) -> bool:
        inline = getattr(script, "attributes", {}).get("body") or ""
        return "THEBE_JS_URL" in inline or "sphinx-thebe" in str(getattr(script, "filename", ""))

    context["script_files"] = [
        script for script in context.get("script_files", ()) if not is_thebe(script)
    ]


def offer_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Copy the executed notebooks to where the strips link to."""
    source = Path(app.srcdir) / "_build" / "notebooks" / app.config.armsrace_profile
    if error is not None or not source.is_dir():
        return
    target = Path(app.outdir) / "notebooks"
    target.mkdir(exist_ok=True)
    for record in records(app).glob("*.json"):
        shutil.copy(source / f"{record.stem}.ipynb", target)


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Connect to Sphinx."""
    app.add_config_value("armsrace_profile", "reader", "env", str)
    app.connect("config-inited", use_built_files)
    app.connect("env-get-outdated", outdated)
    app.connect("html-page-context", add_strip)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", offer_notebooks)
    app.connect("build-finished", classroom.offer)
    return {"version": "1", "parallel_read_safe": True}
