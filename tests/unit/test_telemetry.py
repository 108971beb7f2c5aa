"""Logs say what happened in words that stand in the catalogue, and nothing that identifies a person."""

import json
import logging

import pytest

from rfr_stream import telemetry
from rfr_stream.errors import Malformed


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(telemetry.JsonLines())
    return caplog


def only_line(lines: pytest.LogCaptureFixture) -> dict[str, object]:
    (record,) = lines.records
    line: dict[str, object] = json.loads(telemetry.JsonLines().format(record))
    return line


def test_a_log_event_is_one_line_of_json_with_its_facts(lines: pytest.LogCaptureFixture) -> None:
    telemetry.logger("consumers.x").event("message.rejected", level=logging.WARNING, reason="malformed", offset=7)
    line = only_line(lines)
    assert line.pop("time")
    assert line == {
        "level": "warning",
        "source": "consumers.x",
        "event": "message.rejected",
        "reason": "malformed",
        "offset": 7,
    }


def fail_with(error: Exception) -> Exception:
    try:
        raise error  # noqa: TRY301 - here, so that there is a place to tell
    except Exception as raised:  # noqa: BLE001 - it is what was asked for
        return raised


def test_of_a_foreign_error_the_class_and_the_place_are_told_and_never_the_text(
    lines: pytest.LogCaptureFixture,
) -> None:
    telemetry.logger("x").event("task.failed", error=fail_with(KeyError("Jane Doe")))
    line = only_line(lines)
    assert line["error"] == "KeyError"
    assert "fail_with" in str(line["where"])
    assert "Jane" not in json.dumps(line)


def test_of_an_error_of_the_house_the_message_is_told(lines: pytest.LogCaptureFixture) -> None:
    telemetry.logger("x").event("message.rejected", error=fail_with(Malformed("value: not JSON")))
    assert only_line(lines)["message"] == "value: not JSON"


def test_a_librarys_exception_is_described_the_same_way(lines: pytest.LogCaptureFixture) -> None:
    logging.getLogger("aiokafka").error("failed", exc_info=fail_with(KeyError("Jane Doe")))
    line = only_line(lines)
    assert line["error"] == "KeyError"
    assert "Jane" not in json.dumps(line)


def test_what_is_below_the_level_costs_nothing_and_says_nothing(lines: pytest.LogCaptureFixture) -> None:
    telemetry.logger("x").event("stage.started", level=logging.DEBUG, group="g")
    assert not lines.records
