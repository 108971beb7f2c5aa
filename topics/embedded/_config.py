"""What the embedded broker is told: its properties, its log, its Java options."""

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from topics.embedded._jars import Java

MAX_MESSAGE_BYTES: Final = 2**20

_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes={max_message_bytes}
# One node: its own bookkeeping cannot be replicated, and needs few partitions.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# A first member need not wait for others, and a short-lived one may say so.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a power cut the controller waits for the old broker's session to end before it lets the new one in.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=1000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
"""

_LOG4J2: Final = """\
rootLogger.level=INFO
rootLogger.appenderRef.file.ref=file
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=16MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
"""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the broker keeps what it needs; all in one folder, readable by its owner alone."""

    folder: Path

    @property
    def data(self) -> Path:
        """Kafka's own log directory: the topics."""
        return self.folder / "data"

    @property
    def properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def log4j2(self) -> Path:
        return self.folder / "log4j2.properties"

    @property
    def log(self) -> Path:
        """What the broker says."""
        return self.folder / "server.log"

    @property
    def output(self) -> Path:
        """What the JVM says when the broker cannot."""
        return self.folder / "jvm.log"

    @property
    def port(self) -> Path:
        return self.folder / "port"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def formatted(self) -> bool:
        return (self.data / "meta.properties").is_file()

    def write(self, port: int, controller_port: int) -> None:
        """Write the broker's configuration for these two ports."""
        self.data.mkdir(exist_ok=True)
        self.properties.write_text(
            _PROPERTIES.format(
                port=port, controller_port=controller_port, data=self.data, max_message_bytes=MAX_MESSAGE_BYTES
            )
        )
        self.log4j2.write_text(_LOG4J2.format(log=self.log))
        self.output.write_bytes(b"")

    def last_words(self, lines: int = 12) -> str:
        """Return the last lines that the JVM and the broker wrote."""
        said = (
            path.read_text(errors="replace").splitlines()[-lines:] for path in (self.output, self.log) if path.exists()
        )
        return "\n".join(line for part in said for line in part)


@dataclass(frozen=True, slots=True)
class Program:
    """The Java to run, the jars of the broker, and the archive of their classes.

    Reading classes from an archive halves the processor time of a start (measured: 4.0 s to 2.2 s). The first broker
    that ends well leaves one behind; without one, or with a changed one, Java loads the jars. A truncated one would
    crash it, so an archive is tried before it is kept, and dropped when a broker fails to start.

    The second compiler is left out: it took as much again while starting (8.1 s to 4.0 s), and a broker of one machine
    waits for disks and clients.
    """

    java: Java
    jars: Path

    @property
    def archive(self) -> Path:
        return self.jars / f"classes-{self.java.build}.jsa"

    @property
    def new_archive(self) -> Path:
        """Where this process's broker writes one, if there is none yet."""
        return self.archive.with_suffix(f".{os.getpid()}.jsa")

    def keep_archive(self) -> None:
        """Put the archive that a broker has left, if any and if Java can use it, where the next ones look."""
        new = self.new_archive
        if not new.exists():
            return
        trial = [*self._java(128), *_use(new), "-Xshare:on", "-cp", self._class_path(), "-version"]
        if subprocess.run(trial, capture_output=True, check=False).returncode != 0:  # noqa: S603 - a command of our own
            new.unlink()
            return
        with new.open("rb") as written:
            os.fsync(written)  # a power cut must not leave the name without the content
        new.replace(self.archive)

    def drop_archive(self) -> None:
        """Do without it: the next broker that ends well leaves another."""
        self.archive.unlink(missing_ok=True)

    def format(self, files: Files) -> list[str]:
        """Return the command that prepares an empty data folder, with a cluster id of its own."""
        storage = ("kafka.tools.StorageTool", "format", "-c", str(files.properties), "-t", _cluster_id())
        return [*self._java(128), *("-cp", self._class_path()), *storage]

    def serve(self, files: Files, *, heap_mb: int) -> list[str]:
        """Return the command that is the broker."""
        options = (
            *(_use(self.archive) if self.archive.exists() else (f"-XX:ArchiveClassesAtExit={self.new_archive}",)),
            f"-XX:ErrorFile={files.folder}/crash.log",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={files.log4j2}",
        )
        return [*self._java(heap_mb), *options, "-cp", self._class_path(), "kafka.Kafka", str(files.properties)]

    def _java(self, heap_mb: int) -> tuple[str, ...]:
        return (self.java.path, f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

    def _class_path(self) -> str:
        """Return every jar by name, in one order: an archive fits no other."""
        return ":".join(str(jar) for jar in sorted(self.jars.glob("*.jar")))


def _use(archive: Path) -> tuple[str, str]:
    return "-XX:+VerifySharedSpaces", f"-XX:SharedArchiveFile={archive}"


def _cluster_id() -> str:
    """Return 16 random bytes as Kafka writes them; never beginning with a dash, which would read as an option."""
    return "r" + base64.urlsafe_b64encode(uuid4().bytes).rstrip(b"=").decode()[1:]
