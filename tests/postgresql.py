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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil

FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")  # for a server that is never killed
KILLABLE = ("fsync=off",)  # what a killed process has written, the operating system keeps


class PostgreSql:
    """A server; it is running unless it was killed and not started again."""

    def __init__(self, programs: Path, directory: Path, user: str | None, settings: Sequence[str]) -> None:
        self._programs = programs
        self._directory = directory
        self._user = user
        self._settings = (f"unix_socket_directories={directory}", "listen_addresses=", *settings)
        self._numbers = count(1)

    def start(self) -> None:
        """Start it and return once it answers; after a kill it first recovers what was committed."""
        options = [part for setting in self._settings for part in ("-c", setting)]
        command: list[str | Path] = [self._programs / "postgres", "-D", self._directory / "data", *options]
        log = self._directory / "log"
        with log.open("ab") as file:
            self._server = subprocess.Popen(command, user=self._user, cwd=self._directory, stdout=file, stderr=file)
        deadline = time.monotonic() + 30
        while subprocess.run([self._programs / "pg_isready", "-h", self._directory, "-q"], check=False).returncode:
            if self._server.poll() is not None or time.monotonic() > deadline:
                msg = f"PostgreSQL did not start: {log.read_text()[-2_000:]}"
                raise RuntimeError(msg)
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill all its processes without a warning, and return once they are gone."""
        workers = psutil.Process(self._server.pid).children(recursive=True)  # each is a session of its own
        self._server.kill()
        self._server.wait(timeout=30)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, timeout=30)

    def stop(self) -> None:
        """Stop it at once: nothing of it is kept."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(timeout=30)

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
def running(settings: Sequence[str] = FAST) -> Iterator[PostgreSql]:
    """Start a server, and stop it in the end.

    Raises:
        FileNotFoundError: no PostgreSQL is installed.

    """
    programs, user = _programs(), _user()
    directory = Path(tempfile.mkdtemp(prefix="rfr-pg-"))
    if user:
        shutil.chown(directory, user)
    initdb: list[str | Path] = [
        programs / "initdb",
        "-D",
        directory / "data",
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
    server = PostgreSql(programs, directory, user, settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
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
