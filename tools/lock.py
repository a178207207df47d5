"""Write requirements.lock from what `.venv` holds, torch and the reference libraries apart."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bootstrap import LOCK, peers

APART = {"armsrace", "pip", "torch", "uv"}


def main() -> None:
    """Keep the comment at the top of the lock and replace its pins."""
    apart = APART | {pin.split("==")[0] for pin in peers()}
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pins = [line for line in frozen.splitlines() if re.split("[= @]", line)[0].lower() not in apart]
    comment = [line for line in LOCK.read_text().splitlines() if line.startswith("#")]
    temporary = Path(f"{LOCK}.new")
    temporary.write_text("\n".join([*comment, *pins]) + "\n")
    temporary.replace(LOCK)


if __name__ == "__main__":
    main()
