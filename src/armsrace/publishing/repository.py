"""The address of the book's repository, for launch buttons, links and `git clone`."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

VARIABLE = "ARMSRACE_REPOSITORY"
SWITCH_ON = (
    f"give the clone a git remote `origin` with a public address, or set `{VARIABLE}`, such as "
    f"`{VARIABLE}=https://github.com/OWNER/NAME`, and build again"
)
SCP = re.compile(r"^(?:[\w.-]+@)?([\w-]+(?:\.[\w-]+)+):(?!/)(.+)$")
"""git@host:owner/name. A host has a dot: one without is a name in the user's own ssh configuration,
or a drive of Windows."""
NEEDS_NO_KERNEL = "Sliders and the playground work on the page itself."


@dataclass(frozen=True)
class Repository:
    """A public repository, by the address under which a browser opens it."""

    url: str

    @property
    def host(self) -> str:
        """The server, such as github.com."""
        return urlsplit(self.url).netloc

    @property
    def path(self) -> str:
        """The path on the server, such as owner/name."""
        return urlsplit(self.url).path.strip("/")

    @property
    def name(self) -> str:
        """The folder that a clone makes."""
        return self.path.rpartition("/")[2]

    @property
    def has_theme_buttons(self) -> bool:
        """Whether the theme knows how this host addresses a repository and its issues."""
        return self.host in ("github.com", "gitlab.com") and self.path.count("/") == 1

    def colab(self, path: str) -> str | None:
        """Colab's address of a file, branch first; None if Colab cannot read from the host."""
        if self.host != "github.com":
            return None
        return f"https://colab.research.google.com/github/{self.path}/blob/{path}"

    def binder(self, branch: str, path: str) -> str:
        """Binder's address of a file in a branch."""
        kind, slug = {
            "github.com": ("gh", self.path), "gitlab.com": ("gl", quote(self.path, safe="")),
        }.get(self.host, ("git", quote(self.url, safe="")))  # fmt: skip
        return f"https://mybinder.org/v2/{kind}/{slug}/{branch}?labpath={quote(path)}"


def find_repository(root: Path) -> Repository | None:
    """The repository of a clone: `$ARMSRACE_REPOSITORY`, else git's remote `origin`.

    None if there is neither, or if the remote is not a public address, such as a folder. Raises
    ValueError if the variable is not one.
    """
    if named := os.environ.get(VARIABLE):
        url = public_address(named)
        if url is None:
            rule = "must be a repository's public address, such as https://github.com/OWNER/NAME"
            raise ValueError(f"{VARIABLE} {rule}, got {named!r}")
        return Repository(url)
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "remote", "get-url", "origin"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:  # no git here
        return None
    url = public_address(answer.stdout.strip()) if answer.returncode == 0 else None
    return Repository(url) if url else None


def public_address(remote: str) -> str | None:
    """The https address of a git remote, without credentials; None for a folder or this machine."""
    remote = remote.strip()
    if found := SCP.match(remote):
        host, path = found.groups()
    else:
        parts = urlsplit(remote)
        if parts.scheme not in ("https", "http", "ssh", "git"):
            return None
        host, path = parts.hostname or "", parts.path
        if parts.port and parts.scheme in ("https", "http"):
            host = f"{host}:{parts.port}"
    path = path.strip("/").removesuffix(".git")
    plain = host.partition(":")[0]
    if "." not in plain or plain.startswith("127.") or not path:
        return None
    return f"https://{host.lower()}/{path}"


def substitutions(repository: Repository | None) -> dict[str, str]:
    """The passages of `book/how_to_run.md` that depend on the repository, as MyST."""
    commands = (
        "make book     # executes the chapters and builds this site\n"
        "make lab      # opens the chapters as notebooks\n"
        "make test     # checks the code\n```"
    )
    if repository is None:
        off = "This site was built without a public address, so its pages have no such buttons. To "
        return {
            "ar_browser": f"{off}switch them on, {SWITCH_ON}. {NEEDS_NO_KERNEL}",
            "ar_hub": f"{off}switch on the one that opens a chapter on a class's hub, {SWITCH_ON}.",
            "ar_clone": f"In a clone of the course:\n\n```shell\n{commands}",
        }
    where = "**Colab** and **Binder** open" if repository.colab("") else "**Binder** opens"
    return {
        "ar_browser": f"{where} from the buttons under a chapter's title. The first cell installs "
        f"the package where it is missing. {NEEDS_NO_KERNEL}",
        "ar_hub": "The **JupyterHub** button asks for your hub's address, fetches all chapters "
        "into your home folder and opens the one you came from. The hub needs the extension "
        "[nbgitpuller](https://nbgitpuller.readthedocs.io), which most teaching hubs have.",
        "ar_clone": f"```shell\ngit clone {repository.url}\ncd {repository.name}\n{commands}",
    }
