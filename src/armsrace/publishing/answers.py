"""The process in which `armsrace grade` runs a student's notebook; it judges nothing.

It runs cells and hands out the functions that they define, by `remote`; the checks are in the
process that started it. What a notebook does to the modules here is seen by that notebook alone.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from IPython.core.interactiveshell import InteractiveShell
from torch import Tensor
from traitlets.config import Config

from armsrace.publishing.remote import ConnectionBroken, End, pack, unpack

PARENT_SECONDS = 1.0


class Shell(InteractiveShell):
    """IPython without a screen or a kernel."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing: `%matplotlib` in any form is accepted."""


def main() -> None:
    """Run what comes through standard input, and reply through standard output, until it ends."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # What cells print, and what they ask the user.
        os.dup2(nowhere, standard)

    def write(content: bytes) -> None:
        outgoing.write(content)
        outgoing.flush()

    end = End(write, lambda: unpack(incoming.read))
    silent = Config({"HistoryManager": {"enabled": False}})
    shell = Shell.instance(config=silent)
    while True:
        try:
            message, tensors = unpack(incoming.read)
        except ConnectionBroken:
            sys.exit()
        reply = {"do": "return", "id": message["id"]}
        if message["do"] == "run":
            write(pack(reply | {"value": _run(shell, message["source"])}, ()))
        elif message["do"] == "value":
            found: list[Tensor] = []
            encoded = end.encode(shell.user_ns.get(message["name"]), found)
            write(pack(reply | {"value": encoded}, found))
        else:
            write(end.answer(message, tensors))


def _run(shell: InteractiveShell, source: str) -> str:
    """Run a cell; returns its error, or nothing."""
    result = shell.run_cell(source, store_history=False)
    error = result.error_before_exec or result.error_in_exec
    return f"{type(error).__name__}: {error}" if error else ""


def _end_with(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
