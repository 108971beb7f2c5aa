"""How a case system subscribes to identifications: keeps each lead once, and only what says that it is a lead.

Needs nothing of rfr-stream, only `aiokafka`:

    python examples/case_system.py --bootstrap-servers 127.0.0.1:9092 --database leads.db --subscriber case-system

The rules every subscriber must keep:

1. The same `ce_id` again is the same lead: at least once is what Kafka promises, once is what you make of it.
2. A lead without `evidential_status: INTELLIGENCE_LEAD` and `requires_corroboration: true` is refused, not stored.
3. A demonstration (`demo: true`, `ce_type` `rfr.demo.*`) never enters a case.
4. A withdrawal marks the lead; nobody may go on relying on it.
5. What was stored is acknowledged, a repeat too: a withdrawal comes again until everybody who was told has it. Whoever
   runs rfr-stream registers the name to acknowledge by: `rfr subscribers add case-system`.
6. The offset is committed after the lead is stored and acknowledged, never before.
"""

import argparse
import asyncio
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

TOPIC = "rfr-identifications-v1"
ACKNOWLEDGEMENTS = "rfr-acknowledgements-v1"
ACKNOWLEDGED = "rfr.lead-acknowledged.v1"
NAMESPACE = UUID("6b1f2a5e-5d0c-5a57-9e0c-3d1b7a4f9c21")
"""Of the ids that rfr-stream derives."""
CONSTANTS = {
    "evidential_status": "INTELLIGENCE_LEAD",
    "requires_corroboration": True,
    "basis": "PERSONAL_ASSESSMENT",
    "derived_from_rfr": True,
    "demo": False,
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS leads (
    ce_id TEXT PRIMARY KEY, submission_id TEXT NOT NULL, case_ref TEXT NOT NULL, person_id TEXT NOT NULL,
    caveat TEXT NOT NULL, withdrawn_because TEXT, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS withdrawals (ce_id TEXT PRIMARY KEY, submission_id TEXT NOT NULL, reason TEXT NOT NULL);
"""


class Refused(Exception):
    """The event is not one that a case system may take in."""


def accept(database: sqlite3.Connection, headers: Mapping[str, str], value: bytes) -> str:
    """Take in one event; return `kept`, `known` (its `ce_id` was seen before) or `withdrawn`.

    Raises:
        Refused: it is no lead by its own words, or a demonstration's.

    """
    body: dict[str, Any] = json.loads(value)
    match headers.get("ce_type"):
        case "rfr.identification-confirmed.v1":
            return _keep(database, headers["ce_id"], body)
        case "rfr.identification-withdrawn.v1" if body.get("demo") is False:
            return _withdraw(database, headers["ce_id"], body)
        case other:
            msg = f"ce_type {other!r} is nothing that a case system takes in"
            raise Refused(msg)


def _keep(database: sqlite3.Connection, ce_id: str, body: Mapping[str, Any]) -> str:
    missing = sorted(name for name, value in CONSTANTS.items() if body.get(name) != value)
    if missing:
        msg = f"not a lead by its own words: {', '.join(missing)}"
        raise Refused(msg)
    with database:
        added = database.execute(
            "INSERT OR IGNORE INTO leads "
            "SELECT ?, ?, ?, ?, ?, (SELECT reason FROM withdrawals WHERE submission_id = ?), ?",
            (
                ce_id,
                body["submission_id"],
                body["case_ref"],
                body["person_id"],
                body["caveat"],
                body["submission_id"],
                json.dumps(body),
            ),
        )
    return "kept" if added.rowcount else "known"


def _withdraw(database: sqlite3.Connection, ce_id: str, body: Mapping[str, Any]) -> str:
    """Mark the lead, also one that is still to come."""
    reason, submission_id = body["reason"], body["submission_id"]
    with database:
        database.execute("INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?)", (ce_id, submission_id, reason))
        database.execute("UPDATE leads SET withdrawn_because = ? WHERE submission_id = ?", (reason, submission_id))
    return "withdrawn"


def open_database(path: str) -> sqlite3.Connection:
    """Open the case system's own store."""
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)
    return database


def acknowledgement(subscriber: str, ce_id: str, submission_id: str, now: datetime) -> dict[str, Any]:
    """Return the record that says that this subscriber has an event; of the same event, always with the same id."""
    body = {"occurred_at": now.isoformat(), "subscriber": subscriber, "submission_id": submission_id}
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid5(NAMESPACE, json.dumps([ACKNOWLEDGED, subscriber, ce_id]))),
        "ce_source": f"/{subscriber}",
        "ce_type": ACKNOWLEDGED,
        "ce_time": now.isoformat(),
        "content-type": "application/json",
    }
    return {
        "key": submission_id.encode(),
        "value": json.dumps({**body, "acknowledged": ce_id}).encode(),
        "headers": [(name, value.encode()) for name, value in headers.items()],
    }


async def subscribe(bootstrap_servers: str, path: str, *, group: str, subscriber: str) -> None:
    """Take in identifications until cancelled."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    with closing(open_database(path)) as database:
        async with consumer, producer:
            async for message in consumer:
                headers = {name: (value or b"").decode(errors="replace") for name, value in message.headers}
                try:
                    said, about = take_in(database, headers, message.value or b"null")
                    mine = acknowledgement(subscriber, headers["ce_id"], about, datetime.now(UTC))
                    await producer.send_and_wait(ACKNOWLEDGEMENTS, **mine)
                except Refused as why:
                    # A real system would keep it for somebody to look at; it must not stop the leads behind it.
                    said = f"refused, {why}"
                print(f"{headers.get('ce_id')}: {said}", flush=True)  # noqa: T201 - its log
                await consumer.commit()


def take_in(database: sqlite3.Connection, headers: Mapping[str, str], value: bytes) -> tuple[str, str]:
    """Take in one event, whatever it is; return what became of it, and the submission that it is about.

    Raises:
        Refused: it cannot be taken in.

    """
    try:
        about = str(UUID(json.loads(value)["submission_id"]))
        return accept(database, headers, value), about
    except sqlite3.OperationalError:
        raise  # the disk is full, or the file is locked: ours, not the event's; it comes again
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, sqlite3.Error) as error:
        msg = f"{type(error).__name__}: {error}"
        raise Refused(msg) from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--database", default="leads.db")
    parser.add_argument("--group", default="case-system")
    parser.add_argument("--subscriber", default="case-system", help="the name to acknowledge by")
    given = parser.parse_args()
    asyncio.run(subscribe(given.bootstrap_servers, given.database, group=given.group, subscriber=given.subscriber))
