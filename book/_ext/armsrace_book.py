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
import embargo
from chapter_times import ChapterTimes
from docutils import nodes
from jinja2 import Template
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from armsrace.publishing import mathematics
from armsrace.publishing.repository import Repository

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
  {% if repository or record %}<p class="ar-run">
    <span>Run this:</span>
    {% if repository %}
    {% if repository.colab(path) %}<a href="{{ repository.colab(path) }}">Colab</a>{% endif %}
    <a href="{{ repository.binder(branch, file) }}">Binder</a>
    <a href="{{ root }}book/how_to_run.html#jupyterhub" class="ar-hub"
       data-repository="{{ repository.url }}" data-branch="{{ branch }}" data-file="{{ file }}"
       >JupyterHub</a>
    {% endif %}
    {% if record %}<a href="{{ root }}notebooks/{{ name }}.ipynb" download
       >Notebook with results</a>{% endif %}
  </p>{% endif %}
  {% if classroom %}<p class="ar-run">
    <span>For a class:</span>
    {% for file, label in classroom %}<a href="{{ root }}{{ file }}"
       {% if file.endswith(".ipynb") %}download{% endif %}>{{ label }}</a>
    {% endfor %}</p>{% endif %}
</div>
""",
    autoescape=True,
)

FAILURE = Template(
    """
<div class="admonition danger ar-failed" role="note">
  {% if error %}<p class="admonition-title">This page failed when the site was built</p>
  <p>It shows no results; what it says about them may be wrong. The error:</p>
  <pre>{{ error }}</pre>
  {% endif %}
  {% if others %}<p class="admonition-title">Pages that failed when the site was built</p>
  <p>They show no results, and the claims that they measure count as not measured:
  {% for page in others %}<a href="{{ root }}{{ page }}.html">{{ titles[page] }}</a>{{
    "." if loop.last else ", " }}{% endfor %}</p>{% endif %}
</div>
""",
    autoescape=True,
)


class CommandsAsWritten(SphinxTransform):
    """Keeps hyphens and quotes of a command in a sentence, so that it can be copied."""

    default_priority = 740  # before Sphinx makes dashes and curly quotes of them

    def apply(self, **kwargs: Any) -> None:
        """Mark the glued texts that have one."""
        for node in self.document.findall(nodes.inline):
            if "pasted-text" in node["classes"] and "python benchmarks/" in node.astext():
                node["support_smartquotes"] = False


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
    failed = failures(app)
    shown = {
        name: failed if name in notice_pages(app) else failed.get(name) for name in env.found_docs
    }
    now = {
        name: (style, (record_of(app, name) or {}).get("key"), shown[name])
        for name in env.found_docs
    }
    env.armsrace_keys = now
    return [name for name, key in now.items() if key != seen.get(name)]


def allow_parallel_reading(app: Sphinx, env: Any, docnames: list[str]) -> None:
    """Say for extensions of Jupyter Book what they leave out, so that Sphinx reads in parallel.

    One numbers pages when all are read, the other changes nothing but LaTeX.
    """
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        app.extensions[name].parallel_read_safe = True


def add_strip(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Put the strip under a chapter's title."""
    if not pagename.startswith("chapters/") or doctree is None:
        return
    address = app.config.armsrace_repository
    name = Path(pagename).name
    words = sum(len(node.astext().split()) for node in doctree.findall(nodes.paragraph))
    file = f"{NOTEBOOKS_BRANCH}/{name}.ipynb"
    strip = STRIP.render(
        minutes=max(1, round(words / WORDS_A_MINUTE)), record=record_of(app, pagename),
        repository=Repository(address) if address else None, name=name,
        branch=NOTEBOOKS_BRANCH, file=file, path=f"{NOTEBOOKS_BRANCH}/{file}",
        root="../" * pagename.count("/"), classroom=classroom.files_of(app, name),
    )  # fmt: skip
    before, end, after = context["body"].partition("</h1>")
    context["body"] = before + end + strip + after


def failures(app: Sphinx) -> dict[str, str]:
    """The pages whose last execution failed, and their errors."""
    names = {Path(page).name: page for page in app.env.found_docs}
    return {
        names[path.stem]: path.read_text(encoding="utf-8")
        for path in sorted(records(app).glob("*.failure"))
        if path.stem in names
    }


def notice_pages(app: Sphinx) -> tuple[str, str]:
    """The pages that tell of all failures."""
    return app.config.root_doc, "book/ledger"


def add_failures(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Say under a page's title that it failed; on the landing page and the ledger, which did."""
    failed = failures(app)
    others = {page: error for page, error in failed.items() if page != pagename}
    if doctree is None or not (pagename in failed or (others and pagename in notice_pages(app))):
        return
    notice = FAILURE.render(
        error=failed.get(pagename),
        others=others if pagename in notice_pages(app) else (),
        titles={page: app.env.titles[page].astext() for page in others},
        root="../" * pagename.count("/"),
    )
    before, end, after = context["body"].partition("</h1>")
    context["body"] = before + end + notice + after


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
    for old in target.glob("*.ipynb"):
        old.unlink()
    for record in records(app).glob("*.json"):
        shutil.copy(source / f"{record.stem}.ipynb", target)


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Connect to Sphinx."""
    app.add_config_value("armsrace_profile", "reader", "env", str)
    app.add_config_value("armsrace_repository", "", "env", str)
    app.add_config_value("armsrace_solutions_from", "", "env", str)
    app.add_directive("chapter-times", ChapterTimes)
    app.add_transform(CommandsAsWritten)
    app.connect("config-inited", use_built_files)
    app.connect("env-get-outdated", outdated)
    app.connect("env-before-read-docs", allow_parallel_reading)
    app.connect("html-page-context", add_strip)
    app.connect("html-page-context", add_failures, priority=600)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("doctree-read", embargo.hide)
    app.connect("build-finished", offer_notebooks)
    app.connect("build-finished", classroom.offer)
    app.connect("build-finished", embargo.clean, priority=600)
    return {"version": "1", "parallel_read_safe": True}
