"""A PostgreSQL server of this suite's own, in a temporary directory, reached through a Unix socket.

PostgreSQL refuses to run as root; then the suite runs it as `postgres` or `nobody`.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")  # the server itself is never killed here


class PostgreSql:
    """A running server."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self._directory = directory
        self._numbers = count(1)

    def fresh(self) -> str:
        """Return the SQLAlchemy URL of an empty schema with a user of its own, who sees nothing else."""
        name = f"test_{next(self._numbers)}"
        self.execute(
            f"CREATE ROLE {name} LOGIN; CREATE SCHEMA {name} AUTHORIZATION {name}; "
            f"ALTER ROLE {name} SET search_path = {name}"
        )
        return f"postgresql+asyncpg://{name}@/postgres?host={self._directory}"

    def execute(self, statements: str) -> None:
        """Do as the server's owner what the statements say."""
        psql = [f"{self._programs}/psql", "-h", f"{self._directory}", "-U", "rfr", "-d", "postgres", "-qc", statements]
        subprocess.run(psql, check=True, timeout=60)


@contextmanager
def running() -> Iterator[PostgreSql]:
    """Start a server, and stop it in the end.

    Raises:
        FileNotFoundError: no PostgreSQL is installed.

    """
    programs, user = _programs(), _user()
    directory = Path(tempfile.mkdtemp(prefix="rfr-pg-"))
    if user:
        shutil.chown(directory, user)
    data = directory / "data"
    initdb: list[str | Path] = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "rfr",
        "-A",
        "trust",
        "--no-sync",
        "--no-locale",
        "-E",
        "UTF8",
    ]
    subprocess.run(initdb, user=user, cwd=directory, check=True, capture_output=True, timeout=60)
    settings = [f"unix_socket_directories={directory}", "listen_addresses=", *FAST]
    options = [part for setting in settings for part in ("-c", setting)]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], user=user, cwd=directory, stdout=log, stderr=log
        )
    try:
        _await_ready(programs, directory, server)
        yield PostgreSql(programs, directory)
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
        server.wait(timeout=30)
        shutil.rmtree(directory)


def _programs() -> Path:
    on_path = shutil.which("postgres")
    found = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        msg = "this suite needs a PostgreSQL server: apt-get install postgresql"
        raise FileNotFoundError(msg)
    return found[-1]


def _user() -> str | None:
    """Return whom to run the server as, where this process is root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _await_ready(programs: Path, directory: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while subprocess.run([programs / "pg_isready", "-h", directory, "-q"], check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            msg = f"PostgreSQL did not start: {(directory / 'log').read_text()[-2_000:]}"
            raise RuntimeError(msg)
        time.sleep(0.05)
