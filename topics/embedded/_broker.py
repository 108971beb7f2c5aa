"""The broker's life: lock, ports, start, wait until it answers, stop."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from rfr_stream.errors import Unavailable
from topics.embedded._config import Files, Program
from topics.embedded._jars import broker_jars, find_java

HOST: Final = "127.0.0.1"
GUARD: Final = Path(__file__).with_name("_guard.py")
STOP_S: Final = 25.0
"""Longer than the guard gives the JVM."""
LOOK_EVERY_S: Final = 0.1
ENDED_WELL: Final = 128 + signal.SIGTERM
"""How Java exits when it was asked to end and has done so in order."""


class EmbeddedKafka:
    """A real broker for as long as the context lasts; data and address outlive it in the data directory.

    Bound to no event loop: it may be started in one and used from another.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, heap_mb: int = 512, start_s: float = 90.0) -> None:
        """Remember what to start; nothing happens until the context is entered.

        Args:
            data_dir: the installation's data directory; the broker keeps to its folder `kafka`
            port: where to listen on the loopback interface; none: the port of last time if it is free, or any
            heap_mb: of the JVM; it needs about 200 MB beside
            start_s: how long it may take until it answers

        """
        self.data_dir = data_dir.resolve()
        self._files = Files(self.data_dir / "kafka")
        self._wanted_port = port
        self._heap_mb = heap_mb
        self._start_s = start_s
        self._lock: TextIO | None = None
        self._guard: subprocess.Popen[str] | None = None
        self._program: Program | None = None
        self._port: int | None = None
        self.pid: int | None = None
        """The JVM's process id, once started."""

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients."""
        if self._port is None:
            msg = "the embedded broker has not been started"
            raise RuntimeError(msg)
        return f"{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the broker and return once it answers.

        Raises:
            Unavailable: Java or Maven is missing, the data directory has a broker already, the port is taken, or
                the broker did not answer in time; the message says which, with the broker's last words.

        """
        self._files.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._take_lock()
        try:
            await asyncio.to_thread(self._spawn)
            await self._until_it_answers()
        except BaseException:
            await asyncio.shield(self.stop())
            raise

    async def stop(self) -> None:
        """Stop the broker and return once its process has ended; harmless if it has already."""
        await asyncio.to_thread(self._stop_guard)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def restart(self) -> None:
        """Stop, if need be, and start again at the same address with the same data."""
        self._wanted_port = self._port
        await self.stop()
        await self.start()

    def kill(self) -> None:
        """Kill the JVM without a warning, as a power cut would, and return once it is gone."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._stop_guard()

    async def _take_lock(self) -> None:
        """Hold the data directory; the guard inherits the lock, so that it lasts as long as the JVM does."""
        lock = self._files.lock.open("a+")
        deadline = asyncio.get_running_loop().time() + STOP_S
        while not _locked(lock):
            if _alive(_owner(lock)) or asyncio.get_running_loop().time() > deadline:
                lock.close()
                msg = f"{self._files.folder}: another process runs the embedded broker of this data directory"
                raise Unavailable(msg)
            await asyncio.sleep(LOOK_EVERY_S)  # its owner is dead: the guard is just taking the broker down
        lock.seek(0)
        lock.truncate()
        print(os.getpid(), file=lock, flush=True)  # the owner, for the next one's question
        self._lock = lock

    def _spawn(self) -> None:
        self._program = program = Program(find_java(), broker_jars())
        self._port = self._choose_port()
        self._files.write(self._port, _free_port())
        if not self._files.formatted:
            _format(program.format(self._files))
        command = program.serve(self._files, heap_mb=self._heap_mb)
        assert self._lock is not None  # noqa: S101 - taken in start()
        self._guard = subprocess.Popen(  # noqa: S603 - a command line of our own
            [sys.executable, "-I", str(GUARD), str(os.getpid()), str(self._files.output), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=(self._lock.fileno(),),
        )
        assert self._guard.stdout is not None  # noqa: S101 - a pipe was asked for
        self.pid = int(self._guard.stdout.readline())
        self._files.port.write_text(f"{self._port}\n")

    def _choose_port(self) -> int:
        if self._wanted_port is not None:
            if not _is_free(self._wanted_port):
                msg = f"port {self._wanted_port}: already in use on {HOST}; the embedded broker cannot listen there"
                raise Unavailable(msg)
            return self._wanted_port
        remembered = int(self._files.port.read_text()) if self._files.port.exists() else 0
        return remembered if remembered and _is_free(remembered) else _free_port()

    async def _until_it_answers(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._start_s
        while not await _answers(self.bootstrap_servers):
            if self._guard is None or self._guard.poll() is not None:
                if self._program is not None:
                    self._program.drop_archive()
                self._give_up("ended before it answered")
            if asyncio.get_running_loop().time() > deadline:
                self._give_up(f"did not answer within {self._start_s:g} s")
            await asyncio.sleep(LOOK_EVERY_S)

    def _give_up(self, what: str) -> None:
        msg = f"the embedded broker {what}; its last words ({self._files.log}):\n{self._files.last_words()}"
        raise Unavailable(msg)

    def _stop_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            return
        with guard:  # closes the pipe: that is what tells the guard
            try:
                guard.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                guard.kill()  # the kernel takes the JVM with it
        if self._program is not None and guard.returncode == ENDED_WELL:
            self._program.keep_archive()
        self.pid = None


def _format(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a command line of our own
    if done.returncode != 0:
        msg = f"the embedded broker's storage could not be prepared:\n{(done.stdout + done.stderr)[-2000:]}"
        raise Unavailable(msg)


async def _answers(address: str) -> bool:
    """Whether the broker accepts connections and knows the cluster."""
    host, port = address.split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))  # aiokafka would log each refusal as an error
    except OSError:
        return False
    writer.close()
    client = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=5_000)
    try:
        await client.start()
        return bool((await client.describe_cluster())["brokers"])
    except (KafkaError, TimeoutError):
        return False
    finally:
        await client.close()


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(lock: TextIO) -> int:
    lock.seek(0)
    return int(lock.read().strip() or 0)


def _alive(pid: int) -> bool:
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that lingers is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
