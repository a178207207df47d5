"""One process imports what every chapter imports; copies of it execute the notebooks.

Importing torch, Jupyter, matplotlib and this package takes four seconds of processor time for each
notebook's engine and kernel, and a copy of a process that has them takes none. Only where
`AVAILABLE`: macOS's own libraries do not survive a fork, and Windows has none; there each notebook
gets processes of its own (`execution.spawned`).

Four processes take part: the build asks the server; the server, which has imported everything, has
one thread and never computes, forks an engine for a notebook; the engine, before it does anything
else, forks the notebook's kernel, which waits until papermill wants it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

AVAILABLE = sys.platform == "linux"
PRELOADED = (
    "armsrace.attacks", "armsrace.datasets", "armsrace.defenses", "armsrace.evaluation",
    "armsrace.evaluation.arena", "armsrace.figures", "armsrace.ledger", "armsrace.models.zoo",
    "armsrace.publishing.engine", "IPython.core.completerlib", "IPython.display",
    "IPython.extensions.storemagic", "ipykernel.debugger", "ipykernel.kernelapp",
    "torch._dynamo",  # which the first optimizer of a process imports, in three seconds
    "sklearn.decomposition", "sklearn.manifold", "sklearn.metrics",
)  # fmt: skip
READY = b"ready"
MESSAGE_BYTES = 65536
PARENT_SECONDS = 1.0


class Server:
    """The process that has imported everything, as the build sees it.

    Raises RuntimeError where it cannot: its standard error says why.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        if self._socket.recv(MESSAGE_BYTES) != READY:
            raise RuntimeError("what every chapter imports could not be imported, see above")

    @contextmanager
    def started(self, arguments: tuple[str, str, str]) -> Iterator[TextIO]:
        """The lines that an engine of its own writes while it executes."""
        reading, writing = os.pipe()
        with open(reading, encoding="utf-8") as told:
            try:
                socket.send_fds(self._socket, [json.dumps(arguments).encode()], [writing])
            finally:
                os.close(writing)
            yield told

    def close(self) -> None:
        """End the process; engines that still run end with it."""
        self._socket.close()
        self._process.wait()


class Kernel:
    """A forked process that becomes a kernel on demand; then it is used as a Popen."""

    stdin = stdout = stderr = None

    def __init__(self, foreign: int) -> None:
        """foreign: the caller's own file, closed in the fork; an open copy would keep it alive."""
        self.returncode: int | None = None
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(foreign)
            os.close(writing)
            with open(reading, encoding="utf-8") as orders:
                order = orders.read()
            if order:
                _become_kernel(**json.loads(order))
            sys.exit()
        os.close(reading)
        self._orders = open(writing, "w", encoding="utf-8")  # noqa: SIM115, closed by `launch`

    def launch(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> None:
        """Become the kernel that this command would start; it must be IPython's own."""
        arguments = [*command[command.index("ipykernel_launcher") + 1 :]]
        # Read from the environment when ipykernel was imported, which was in the server.
        arguments.append(f"--IPKernelApp.parent_handle={os.getpid()}")
        with self._orders:
            json.dump({"arguments": arguments, "cwd": cwd, "env": dict(env)}, self._orders)

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for its end and return the exit status."""
        return self._reap(0)

    def _reap(self, options: int) -> int | None:
        """The exit status, if the process has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def kernel_manager(kernel: Kernel) -> type[Any]:
    """A kernel manager class for nbclient that launches this kernel."""
    from jupyter_client.manager import AsyncKernelManager

    class ForkedKernelManager(AsyncKernelManager):
        async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
            kernel.launch(kernel_cmd, str(options.get("cwd", Path.cwd())), options["env"])
            local: Any = self.provisioner
            # The kernel leads a group of its own, so that its children get its signals.
            local.process, local.pid, local.pgid = kernel, kernel.pid, kernel.pid
            self._reconcile_connection_info(local.connection_info)

        _launch_kernel = _async_launch_kernel

    return ForkedKernelManager


def _become_kernel(arguments: list[str], cwd: str, env: dict[str, str]) -> None:
    """Run IPython's kernel in this process."""
    from ipykernel import kernelapp

    os.setsid()
    os.chdir(cwd)
    os.environ.update(env)
    sys.argv = ["ipykernel_launcher", *arguments]
    kernelapp.launch_new_instance()


def _engine(arguments: tuple[str, str, str], telling: int) -> None:
    """Run the engine of one notebook in this process."""
    from armsrace.publishing import engine

    kernel = Kernel(telling)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with open(telling, "w", encoding="utf-8") as told:
        engine.run(*arguments, told, kernel_manager_class=kernel_manager(kernel))


def _end_with(parent: int) -> None:
    """End this process when its parent ends, which happens when the build is killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _fill_caches() -> None:
    """Compute what each page would compute for itself, the same on all pages."""
    import nbformat

    from armsrace.ledger.claims import load_claims, papers
    from armsrace.resources import code_version

    nbformat.validator.get_validator(nbformat.current_nbformat, nbformat.current_nbformat_minor)
    load_claims()
    papers()
    code_version()


def main() -> None:
    """Import everything, then fork an engine for each message, until the build closes its end."""
    # Nothing must be imported from the folder in which the build was started.
    sys.path.remove(str(Path.cwd()))
    build = socket.socket(fileno=int(sys.argv[1]))
    build.set_inheritable(False)
    for name in PRELOADED:
        importlib.import_module(name)
    _fill_caches()
    gc.collect()
    gc.freeze()  # a collection in a copy would write to, and so copy, every page
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engines get the Ctrl-C
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    build.send(READY)
    while True:
        message, files, _, _ = socket.recv_fds(build, MESSAGE_BYTES, 1)
        if not message:
            return
        if os.fork() == 0:
            build.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _engine(json.loads(message), files[0])
            return
        os.close(files[0])


if __name__ == "__main__":
    main()
