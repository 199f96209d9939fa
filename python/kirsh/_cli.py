"""The ``kirsh`` command, as the wheel installs it. It is written in Rust, once for everybody."""

from __future__ import annotations

import signal
import sys

from . import _kirsh


def main() -> int:
    """Run the command with the arguments of this process, and return its exit code."""
    # Python would only take a note of Ctrl-C, and look at it when the command is over.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _kirsh.cli_main(["kirsh", *sys.argv[1:]])
