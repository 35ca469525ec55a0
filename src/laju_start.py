"""Where the command `laju` begins: Ctrl-C is one line and exit status 130 while laju and NumPy are still being loaded, too.

A module of its own beside the package, since a module inside would be run after the package's imports.
"""

import os
import signal
import sys


def main() -> None:
    """The command line."""
    if ours := signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores Ctrl-C
        signal.signal(signal.SIGINT, _stop)
    from laju.cli import main as run

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _stop(*_: object) -> None:
    # At once: an import that is half done may turn the exception into another.
    os.write(sys.stderr.fileno(), b"\nStopped.\n")
    os._exit(130)
