"""What a command says when it fails: one line on standard error, and exit code 1."""

from __future__ import annotations

import os
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

EXPECTED = (OSError, ValueError, KeyError, ImportError)
"""What a wrong argument, variable, file or disk raises, beside this package's own errors."""


def fail(error: BaseException) -> NoReturn:
    """Print the error in one line and exit with code 1."""
    # A KeyError's text is its argument's repr.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    line = " ".join(str(text).split()) or repr(error)
    Console(stderr=True).print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1) from error


class OneLineGroup(TyperGroup):
    """Commands whose expected errors take one line; ARMSRACE_TRACEBACK=1 shows where they arose."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            ours = type(error).__module__.startswith("armsrace.")
            if os.environ.get("ARMSRACE_TRACEBACK") or not (ours or isinstance(error, EXPECTED)):
                raise
            fail(error)


def _usable(device: str) -> str:
    """The device's name; a usage error if torch does not have it here."""
    import torch  # Here, since it takes seconds, and help needs none.

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise typer.BadParameter(f"torch cannot use {device!r} here: {reason}") from error
    return device


Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …", callback=_usable)]
