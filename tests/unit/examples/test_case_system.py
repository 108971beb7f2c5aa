"""The reference subscriber: each lead once, and nothing that is not one."""

import importlib.util
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import builders
import pytest
from builders import LATER

from rfr_stream.events import IdentificationConfirmed, IdentificationWithdrawn
from topics import ACKNOWLEDGEMENTS, IDENTIFICATIONS, Record

ABOUT = str(builders.submission().submission_id).encode()


@pytest.fixture(scope="module")
def case_system() -> ModuleType:
    path = Path(__file__).parents[3] / "examples" / "case_system.py"
    spec = importlib.util.spec_from_file_location("case_system", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def database(case_system: ModuleType) -> Iterator[sqlite3.Connection]:
    connection = case_system.open_database(":memory:")
    yield connection
    connection.close()


def take_in(case_system: ModuleType, database: sqlite3.Connection, record: Record) -> str:
    assert record.value
    headers = {name: value.decode() for name, value in record.headers}
    said, about = case_system.take_in(database, headers, record.value)
    assert about.encode() == ABOUT
    return str(said)


def test_a_lead_that_comes_twice_is_kept_once(case_system: ModuleType, database: sqlite3.Connection) -> None:
    record = IDENTIFICATIONS.encode(builders.identification_confirmed())

    assert take_in(case_system, database, record) == "kept"
    assert take_in(case_system, database, record) == "known"
    assert database.execute("SELECT count(*) FROM leads").fetchone() == (1,)


@pytest.mark.parametrize("constant", ["evidential_status", "requires_corroboration", "basis", "derived_from_rfr"])
def test_an_event_that_does_not_say_it_is_a_lead_is_refused(
    case_system: ModuleType, database: sqlite3.Connection, constant: str
) -> None:
    record = IDENTIFICATIONS.encode(builders.identification_confirmed())
    assert record.value
    mutilated = record.value.replace(f'"{constant}":'.encode(), b'"was":')

    with pytest.raises(case_system.Refused, match=constant):
        take_in(case_system, database, Record(record.topic, record.key, mutilated, record.headers))
    assert database.execute("SELECT count(*) FROM leads").fetchone() == (0,)


def test_a_demonstration_never_enters_a_case(case_system: ModuleType, database: sqlite3.Connection) -> None:
    record = IDENTIFICATIONS.encode(builders.identification_confirmed(demo=True))

    with pytest.raises(case_system.Refused, match="ce_type"):
        take_in(case_system, database, record)


@pytest.mark.parametrize("lead_first", [True, False])
def test_a_withdrawn_lead_is_marked_in_whichever_order_the_two_come(
    case_system: ModuleType, database: sqlite3.Connection, *, lead_first: bool
) -> None:
    lead = builders.identification_confirmed()
    withdrawal = builders.identification_withdrawn()
    assert withdrawal.submission_id == lead.submission_id
    records = [IDENTIFICATIONS.encode(lead), IDENTIFICATIONS.encode(withdrawal)]
    for record in records if lead_first else reversed(records):
        take_in(case_system, database, record)

    assert database.execute("SELECT withdrawn_because FROM leads").fetchone() == (withdrawal.reason,)


@pytest.mark.parametrize(
    "spoilt",
    [
        b'{"submission_id": "%s", "reason": "a"' % ABOUT,
        b'{"submission_id": "%s", "reason": ["a"], "demo": false}' % ABOUT,
        b'{"submission_id": "%s", "reason": 1%s, "demo": false}' % (ABOUT, b"0" * 30),
        b'{"submission_id": "%s", "reason": "\\ud800", "demo": false}' % ABOUT,
        b'{"submission_id": "%s", "reason": %s, "demo": false}' % (ABOUT, b"[" * 100_000),
        b'{"submission_id": 1, "reason": "a", "demo": false}',
        b"\xff",
        b"7",
    ],
    ids=["cut off", "a list", "a large number", "half a character", "nested", "no id", "no text", "a number"],
)
def test_whatever_is_sent_is_refused_and_the_next_lead_is_kept(
    case_system: ModuleType, database: sqlite3.Connection, spoilt: bytes
) -> None:
    withdrawal = IDENTIFICATIONS.encode(builders.identification_withdrawn())
    with pytest.raises(case_system.Refused):
        take_in(case_system, database, replace(withdrawal, value=spoilt))
    assert database.execute("SELECT count(*) FROM withdrawals").fetchone() == (0,)

    assert take_in(case_system, database, IDENTIFICATIONS.encode(builders.identification_confirmed())) == "kept"


@pytest.mark.parametrize("said", [builders.identification_confirmed(), builders.identification_withdrawn()])
def test_what_was_stored_is_acknowledged_in_the_words_of_the_contract(
    case_system: ModuleType, said: IdentificationConfirmed | IdentificationWithdrawn
) -> None:
    """It needs nothing of rfr-stream, and must derive the same ids."""
    mine = case_system.acknowledgement("case-system-1", str(said.event_id), str(said.submission_id), LATER)

    record = Record(ACKNOWLEDGEMENTS.name, mine["key"], mine["value"], tuple(mine["headers"]))
    assert ACKNOWLEDGEMENTS.decode(record) == builders.acknowledged(said, subscriber="case-system-1")
