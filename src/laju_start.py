"""Where the command `laju` begins: Ctrl-C is one line and exit status 130 while laju and NumPy are still being loaded, too.

A module of its own beside the package, since a module inside would be run after the package's imports. SIGTERM, which `timeout`,
`docker stop` and Slurm send, does what Ctrl-C does, and the exit status is 143.
"""

import os
import signal
import sys

_terminated = False


def main() -> None:
    """The command line."""
    loading = []
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:  # a job in the background ignores Ctrl-C
            signal.signal(number, _stop)
            loading.append(number)
    from laju.cli import main as run

    for number in loading:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _terminate)
    try:
        run()
    except SystemExit as error:
        if _terminated and error.code == 130:
            raise SystemExit(143) from None
        raise


def _stop(number: int, *_: object) -> None:
    # At once: an import that is half done may turn the exception into another.
    os.write(sys.stderr.fileno(), b"\nStopped.\n")
    os._exit(128 + number)


def _terminate(number: int, frame: object) -> None:
    """What Ctrl-C would do at this moment."""
    global _terminated
    _terminated = True
    handle = signal.getsignal(signal.SIGINT)
    if not callable(handle):
        raise KeyboardInterrupt
    handle(signal.SIGINT, frame)  # type: ignore[arg-type]
