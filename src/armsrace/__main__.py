"""`python -m armsrace` is the command `armsrace`."""

from armsrace.cli import app

app()
