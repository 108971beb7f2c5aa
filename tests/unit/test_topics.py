"""Encoding, decoding and every way in which a record can be wrong; and which schema changes are allowed."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import builders
import orjson
import pytest

import topics
from rfr_stream.errors import Malformed
from rfr_stream.events import Event
from topics import Record, admin
from topics._topic import MAX_EVENT_BYTES

EVENTS: Sequence[Callable[..., Event]] = (
    builders.appeal_image_received,
    builders.image_submitted,
    builders.subject_unclear,
    builders.face_detected,
    builders.face_embedded,
    builders.candidates_ready,
    builders.decision,
    builders.subject_chosen,
    builders.withdrawal,
    builders.certified,
    builders.lead_acknowledged,
    builders.identification_confirmed,
    builders.identification_withdrawn,
    builders.closed,
    builders.search_ended,
    builders.reference_submitted,
    builders.reference_erased,
)
every_event = pytest.mark.parametrize("build", EVENTS, ids=lambda build: build.__name__)


def record(event: Event | None = None) -> Record:
    event = event or builders.closed()
    return topics.topic_of(event).encode(event)


def with_header(name: str, value: bytes | None, of: Record | None = None) -> Record:
    of = of or record()
    headers = tuple((key, value if key == name else old) for key, old in of.headers)
    return replace(of, headers=headers)  # type: ignore[arg-type]  # a foreign sender may leave a header null


def with_value(**fields: object) -> Record:
    return but(record(), fields)


def but(of: Record, fields: dict[str, Any]) -> Record:
    """Return the record with these fields of its value changed."""
    return replace(of, value=orjson.dumps(orjson.loads(of.value or b"") | fields))


def refusal(wrong: Record) -> str:
    with pytest.raises(Malformed) as refused:
        topics.OUTCOMES.decode(wrong)
    return str(refused.value)


# --- round trips -----------------------------------------------------------------------------------------------------


@every_event
@pytest.mark.parametrize("demo", [False, True])
def test_what_was_encoded_decodes_to_the_same_event(build: Callable[..., Event], *, demo: bool) -> None:
    event = build().model_copy(update={"demo": demo})
    topic = topics.topic_of(event)
    assert topic.decode(topic.encode(event)) == event


def test_a_record_is_a_cloud_event_in_binary_mode() -> None:
    event = builders.closed()
    said = record(event)
    assert said.topic == "rfr-outcomes-v1"
    assert said.key == str(event.submission_id).encode()
    assert dict(said.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": str(event.event_id).encode(),
        "ce_source": b"/rfr",
        "ce_type": b"rfr.submission-closed.v1",
        "ce_time": event.occurred_at.isoformat().encode(),
        "ce_subject": said.key,
        "ce_dataschema": b"urn:rfr-outcomes-v1:SubmissionClosed",
        "content-type": b"application/json",
    }


def test_a_trace_goes_along() -> None:
    said = topics.OUTCOMES.encode(builders.closed(), traceparent="00-aa-bb-01")
    assert said.header("traceparent") == "00-aa-bb-01"


def test_a_demonstrations_event_differs_in_type_and_source() -> None:
    said = record(builders.closed(demo=True))
    assert said.header("ce_type") == "rfr.demo.submission-closed.v1"
    assert said.header("ce_source") == "/rfr/demo"


def test_a_topic_refuses_to_say_what_it_does_not_carry() -> None:
    with pytest.raises(ValueError, match="rfr-faces-v1 does not carry SubmissionClosed"):
        topics.FACES.encode(builders.closed())


def test_an_event_that_nobody_would_read_is_not_sent() -> None:
    event = builders.closed().model_copy(update={"detail": "x" * MAX_EVENT_BYTES})
    with pytest.raises(Malformed, match=f"value: .* bytes, more than {MAX_EVENT_BYTES}"):
        topics.OUTCOMES.encode(event)


def test_dead_letters_are_named_after_topic_and_group() -> None:
    assert topics.SUBMISSIONS.dead("rfr-detection") == "rfr-submissions-v1-detection-dead"


def test_an_event_that_no_topic_carries_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        topics.topic_of(Event(occurred_at=builders.NOW))


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (replace(record(), value=None), "value: must be 1 to"),
        (replace(record(), value=b""), "value: "),
        (replace(record(), value=b"\xff\xfe"), "value: "),
        (replace(record(), value=b"[]"), "value: "),
        (replace(record(), value=b" " * (MAX_EVENT_BYTES + 1)), f"value: must be 1 to {MAX_EVENT_BYTES} bytes"),
        (with_header("ce_type", None), "header ce_type: must be rfr.submission-closed.v1"),
        (with_header("ce_type", b"\xff\xfe"), "header ce_type: must be rfr.submission-closed.v1"),
        (with_header("ce_type", b"rfr.face-detected.v1"), "header ce_type: must be"),
        (with_header("ce_type", b"rfr.demo.face-detected.v1"), "header ce_type: must be"),
        (replace(record(), headers=()), "header ce_type: must be"),
        (with_header("ce_id", b"6b1f2a5e-5d0c-5a57-9e0c-3d1b7a4f9c21"), "ce_id: not the id"),
        (with_header("ce_id", None), "ce_id: not the id"),
        (with_header("ce_id", b"\xff"), "ce_id: not the id"),
        (replace(record(), key=b"somebody else's"), "key: not the key"),
        (replace(record(), key=None), "key: not the key"),
        (with_header("ce_type", b"rfr.demo.submission-closed.v1"), "ce_type: does not agree with the field demo"),
        (with_value(demo=True), "ce_type: does not agree with the field demo"),
        (with_value(hair="auburn"), "?: Extra inputs are not permitted"),
        (with_value(outcome="auburn"), "outcome: Input should be 'refused', 'unreadable'"),
        (with_value(submission_id="auburn"), "submission_id: uuid parsing"),
        (with_value(submission_id=7), "submission_id: uuid type"),
        (with_value(occurred_at="2026-03-01T12:00:00"), "occurred_at: Input should have timezone info"),
        (with_value(detail=""), "detail: String should have at least 1 character"),
    ],
)
def test_what_is_wrong_is_refused_by_the_fields_name(wrong: Record, says: str) -> None:
    message = refusal(wrong)
    assert message.startswith(says)
    assert "auburn" not in message


def test_no_name_that_somebody_wrote_in_a_fields_stead_is_repeated() -> None:
    assert refusal(with_value(**{"Jane Doe": 1})) == "?: Extra inputs are not permitted"


def test_a_wrong_tag_is_refused_without_repeating_it() -> None:
    event = builders.image_submitted()
    wrong = orjson.loads(record(event).value or b"")
    wrong["submission"]["media"]["kind"] = "Jane Doe"
    with pytest.raises(Malformed, match=r"^submission\.media: union tag invalid$"):
        topics.SUBMISSIONS.decode(replace(record(event), value=orjson.dumps(wrong)))


def test_a_list_that_is_not_the_one_digested_is_refused() -> None:
    event = builders.candidates_ready()
    wrong = but(record(event), {"list_digest": "0" * 64})
    with pytest.raises(Malformed, match=r"^value: list_digest: not the digest of this candidate list$"):
        topics.CANDIDATES.decode(wrong)


def test_many_faults_are_named_up_to_eight() -> None:
    assert refusal(with_value(**{f"extra_{n}": n for n in range(20)})).count(";") == 7


def test_of_a_header_that_comes_twice_the_first_with_a_value_counts() -> None:
    twice = replace(record(), headers=(("ce_type", b""), *record().headers, ("ce_type", b"other")))
    assert twice.header("ce_type") == "rfr.submission-closed.v1"


# --- compatibility ---------------------------------------------------------------------------------------------------

OLD: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "kind": {"$ref": "#/$defs/Kind"},
        "people": {"type": "array", "items": {"$ref": "#/$defs/Person"}},
        "note": {"anyOf": [{"type": "string", "maxLength": 10}, {"type": "null"}], "default": None},
    },
    "required": ["kind", "people"],
    "$defs": {
        "Kind": {"type": "string", "enum": ["still", "video"]},
        "Person": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"rank": {"type": "integer", "minimum": 1}},
            "required": ["rank"],
        },
    },
}


def changed(*path: str, to: object) -> dict[str, Any]:
    """Return the schema with one part set, or removed where `to` is None."""
    schema: dict[str, Any] = copy.deepcopy(OLD)
    part: Any = schema
    for step in path[:-1]:
        part = part[step]
    if to is None:
        del part[path[-1]]
    else:
        part[path[-1]] = to
    return schema


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        changed("properties", "colour", to={"type": "string", "default": "grey"}),
        changed("$defs", "Person", "properties", "age", to={"type": "integer", "default": 0}),
        changed("properties", "kind", to={"$ref": "#/$defs/Kind", "description": "said better"}),
        changed("$defs", "Kind", "enum", to=["video", "still"]),
        changed("properties", "kind", to={"type": "string", "enum": ["still", "video"]}),
    ],
)
def test_a_change_that_every_reader_bears_is_compatible(new: dict[str, Any]) -> None:
    assert admin.compatible(OLD, new) == ()


@pytest.mark.parametrize(
    ("new", "fault"),
    [
        (changed("properties", "note", to=None), "note: removed"),
        (changed("properties", "colour", to={"type": "string"}), "colour: new, without a default"),
        (
            {
                **changed("properties", "colour", to={"type": "string", "default": ""}),
                "required": [*OLD["required"], "colour"],
            },
            "colour: new, without a default",
        ),
        (changed("required", to=["kind", "people", "note"]), "note: now required"),
        (changed("required", to=["kind"]), "people: no longer required"),
        (changed("$defs", "Kind", "enum", to=["still"]), "kind: enum changed"),
        (changed("$defs", "Kind", "enum", to=["still", "video", "sketch"]), "kind: enum changed"),
        (changed("$defs", "Person", "properties", "rank", "minimum", to=0), "people[].rank: minimum changed"),
        (changed("$defs", "Person", "properties", "rank", "type", to="number"), "people[].rank: type changed"),
        (
            changed("$defs", "Person", "properties", "age", to={"type": "integer"}),
            "people[].age: new, without a default",
        ),
        (
            changed("properties", "note", "anyOf", to=[{"type": "string"}, {"type": "null"}]),
            "note[]: maxLength changed",
        ),
        (changed("properties", "note", "anyOf", to=[{"type": "null"}]), "note: anyOf changed"),
        (changed("properties", "note", "default", to="none"), "note: default changed"),
        (changed("additionalProperties", to=True), "event: additionalProperties changed"),
    ],
)
def test_any_other_change_is_named(new: dict[str, Any], fault: str) -> None:
    assert fault in admin.compatible(OLD, new)
