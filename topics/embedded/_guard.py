"""The broker's guard: starts the JVM, and takes it down as soon as the process that asked for it is gone.

Run as a script, by path, with the standard library alone, so that it costs a few megabytes and starts at once.
Its standard input is a pipe that nobody writes to: its end means "stop", whether the parent closed it on purpose,
was interrupted or was killed. The JVM stands in a session of its own, so that a Ctrl-C in the terminal reaches the
consumers alone and they can still publish while they drain. Should the guard itself be killed, the kernel kills the
JVM (PR_SET_PDEATHSIG).
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
LOOK_EVERY_S = 0.2
STOP_S = 20.0


def main() -> int:
    """Run `_guard.py <parent pid> <output file> <command> ...` and return the command's exit status."""
    parent, output, command = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # only the pipe says when
    with output.open("ab") as sink:
        child = subprocess.Popen(  # noqa: S603 - the broker's command line, built in _broker.py
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=_tie_to_guard,  # noqa: PLW1509 - the guard has one thread
        )
    print(child.pid, flush=True)  # noqa: T201 - how the parent learns it
    while child.poll() is None and os.getppid() == parent:
        if select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
            break
    return _stop(child)


def _tie_to_guard() -> None:
    """Have the kernel kill this child when its parent dies, and give it back the signals the guard ignores."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


def _stop(child: "subprocess.Popen[bytes]") -> int:
    child.terminate()
    try:
        return child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


if __name__ == "__main__":
    sys.exit(main())
