"""The reference subscriber: each lead once, and nothing that is not one."""

import importlib.util
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import builders
import pytest
from bus import as_message

from topics import IDENTIFICATIONS, Record


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
    return str(case_system.accept(database, {name: value.decode() for name, value in record.headers}, record.value))


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
        b'{"submission_id": {}, "reason": ["a"]',
        b'{"submission_id": {}, "reason": ["a"], "demo": false}',
        b'{"submission_id": 1' + b"0" * 30 + b', "reason": "a", "demo": false}',
        b"[" * 100_000,
        b'{"submission_id": "\\ud800", "reason": "a", "demo": false}',
        b"\xff",
        b"7",
    ],
    ids=["cut off", "an object", "a large number", "nested", "half a character", "no text", "a number"],
)
def test_whatever_is_sent_is_refused_and_the_next_lead_is_kept(
    case_system: ModuleType, database: sqlite3.Connection, spoilt: bytes
) -> None:
    withdrawal = IDENTIFICATIONS.encode(builders.identification_withdrawn())
    said = case_system._take_in(database, as_message(replace(withdrawal, value=spoilt)))  # noqa: SLF001
    assert ": refused, " in said

    lead = IDENTIFICATIONS.encode(builders.identification_confirmed())
    assert case_system._take_in(database, as_message(lead)).endswith(": kept")  # noqa: SLF001
