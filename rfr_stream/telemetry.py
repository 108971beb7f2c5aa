"""What the house says about itself: one JSON line per log event, and Prometheus metrics. Ids and digests only.

Both vocabularies stand here and are typed, so that a dashboard or an alert never hangs on a word that nobody says.
A log line never quotes a message's value, nor an exception's text unless it is one of ours: either may hold what
identifies a person.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias

from prometheus_client import Counter, Gauge, Histogram

from rfr_stream.errors import RfrError

LogName: TypeAlias = Literal[
    "app.started",  # resources are open and messages may come
    "app.stopped",  # everything was let go in order
    "app.failed",  # the process ends with an error code; a supervisor starts it again
    "stage.started",  # a stage reads its topic
    "stage.stopped",  # finished, published and committed what it had taken
    "task.failed",  # a bug, a failed send or too many dead letters; its offsets stay
    "stage.waiting",  # a dependency is away; the same messages are tried again
    "stage.resumed",  # it is back
    "message.rejected",  # to the dead letters
    "reference.conflicted",  # one face under two persons; `rfr gallery conflicts` lists them
    "message.killed",  # was in flight when the process died; runs alone from now on
    "partitions.assigned",  # by the group's coordinator
    "partitions.revoked",  # drained, or abandoned after the time for that
    "page.refused",  # something that a page of the desk, or a door, needs is away
    "page.failed",  # a bug in a page of the desk, or in a door; nothing was decided by it, or acknowledged
    "upload.taken",  # images of a client are safe here
    "drop.stuck",  # what was taken or refused cannot be moved away; it is passed by until it changes
    "upload.refused",  # a request of a client's; the status says why, and the field which part of it
    "decoder.failed",  # a process that took frames from a video crashed, or had too little memory or time
    "callback.told",  # a client has heard what became of something that it sent
    "callback.failed",  # a client's receiver took it not, however often it was tried; the status says the same
    "session.opened",  # somebody came in at the desk
    "session.refused",  # somebody was not let in; the reason is a phrase of ours
    "session.ended",  # somebody went out
    "account.changed",  # invited, or another password, key, role or standing
    "commit.refused",  # the group has moved on; the messages come again elsewhere
]
"""Every log event, with what it means."""

Fact: TypeAlias = str | int | float | bool | None

MESSAGES: Final = Counter("rfr_messages_received", "Messages taken from a topic", ["group"])
EVENTS: Final = Counter("rfr_events_published", "Events acknowledged by the cluster", ["group"])
REJECTIONS: Final = Counter("rfr_messages_rejected", "Messages sent to the dead letters", ["group", "reason"])
OUTAGES: Final = Counter("rfr_outage_waits", "Times a stage waited for a dependency that was away", ["group"])
CONFLICTS: Final = Counter(
    "rfr_gallery_conflicts", "Times one face was found under two persons of a gallery", ["gallery", "likeness"]
)
CALLBACKS: Final = Counter("rfr_callbacks", "Outcomes that clients were, or were not, told", ["result"])
BATCH: Final = Histogram(
    "rfr_batch_messages", "Messages of one batch", ["group"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
STAGE_SECONDS: Final = Histogram(
    "rfr_stage_seconds",
    "Time in the stage for one batch, outages included",
    ["group"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
LAG: Final = Gauge("rfr_lag_messages", "Messages on the topic that this group has not finished", ["group", "partition"])
READY: Final = Gauge("rfr_ready", "1 while this member has its partitions, polls them and no batch hangs", ["group"])
REBALANCES: Final = Counter("rfr_rebalances", "Times this member was given partitions", ["group"])


class Log:
    """The log of one module: `log.event("message.rejected", reason="malformed", offset=7)`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def event(
        self, name: LogName, /, *, level: int = logging.INFO, error: BaseException | None = None, **facts: Fact
    ) -> None:
        """Write one event with its facts; of a foreign error the class and the places alone, never the text."""
        if not self._logger.isEnabledFor(level):
            return
        if error is not None:
            facts |= _describe(error)
        self._logger.log(level, name, extra={"facts": facts})


def logger(name: str) -> Log:
    """Return the log of a module: `log = telemetry.logger(__name__)`."""
    return Log(name)


class JsonLines(logging.Formatter):
    """One JSON object per line: time (UTC seconds), level, source, event, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "source": record.name,
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line |= _describe(record.exc_info[1])
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(*, file: Path | None = None) -> None:
    """Send every log of this process to stderr, or to a file, as JSON lines; foreign libraries' own from errors up."""
    handler = logging.FileHandler(file, delay=True) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("aiokafka", "alembic", "faststream", "httpx", "uvicorn", "uvicorn.access"):
        logging.getLogger(library).setLevel(logging.ERROR)


def configured() -> bool:
    """Whether this process has said already where its logs go."""
    return bool(logging.getLogger().handlers)


def _describe(error: BaseException) -> dict[str, Fact]:
    facts: dict[str, Fact] = {"error": type(error).__name__, "where": " < ".join(_places(error))}
    if isinstance(error, RfrError):
        facts["message"] = str(error)
    if error.__cause__ is not None:
        facts["cause"] = type(error.__cause__).__name__
    return facts


def _places(error: BaseException) -> Iterator[str]:
    """Name the innermost frames, deepest first."""
    for frame in traceback.extract_tb(error.__traceback__)[:-9:-1]:
        yield f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
