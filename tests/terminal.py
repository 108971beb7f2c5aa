"""A command on a pseudo terminal: what a person at a keyboard would see, and what they would type."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RFR: Final = (sys.executable, "-m", "rfr_stream")
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


@dataclass
class Terminal:
    """The person's side of it."""

    process: "subprocess.Popen[bytes]"
    descriptor: int
    seen: str = ""

    def wait_for(self, words: str, *, within_s: float = 90.0) -> str:
        """Read until these words have appeared; return what came before them since the last time."""
        deadline = time.monotonic() + within_s
        while words not in (plain := _CONTROL.sub("", self.seen)):
            assert time.monotonic() < deadline, f"never said {words!r}:\n{plain[-3000:]}"
            assert self._read(), f"ended before it said {words!r}:\n{plain[-3000:]}"
        before, _, self.seen = plain.partition(words)
        return before

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def ended(self, *, within_s: float = 60.0) -> int:
        """Read to the end; return the exit status."""
        deadline = time.monotonic() + within_s
        while self._read():
            assert time.monotonic() < deadline, self.seen[-3000:]
        self.seen = _CONTROL.sub("", self.seen)
        return self.process.wait(within_s)

    def _read(self) -> bool:
        """Read what there is, if anything comes; return whether more may come."""
        if not select.select([self.descriptor], [], [], 0.2)[0]:
            return self.process.poll() is None
        try:
            new = os.read(self.descriptor, 65_536)
        except OSError:  # what Linux says at the end of a terminal
            return False
        self.seen += new.decode(errors="replace")
        return bool(new)


@contextmanager
def on_terminal(arguments: Sequence[str], *, folder: Path) -> Iterator[Terminal]:
    """Run `rfr` with these arguments on a terminal of its own, with its temporary files in this folder."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*RFR, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "120", "TERM": "xterm"},  # noqa: TID251 - passed on
        start_new_session=True,
        preexec_fn=_lead,  # noqa: PLW1509 - no threads here
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ours)


def _lead() -> None:
    """Make standard input the controlling terminal, so that its Ctrl-C is a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
