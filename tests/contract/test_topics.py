"""The table is tested data: every topic has specimens, schemas on file, and a name that Kafka and metrics can bear."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

import topics
from rfr_stream.errors import Malformed, RfrError
from rfr_stream.events import Event, ReviewDecided
from topics import Record, Topic, acls, admin

NOW = datetime(2026, 3, 1, tzinfo=UTC)

ROOM = Path(topics.__file__).parent
SPECIMENS = sorted((ROOM / "examples").glob("*/*.json"))
EVENTS = [(topic, event) for topic in topics.ALL for event in topic.events]
RETENTION_DAYS_ALLOWED = {7, 30}

every_topic = pytest.mark.parametrize("topic", topics.ALL, ids=lambda topic: topic.name)
every_event = pytest.mark.parametrize(("topic", "event"), EVENTS, ids=lambda each: getattr(each, "__name__", ""))
every_specimen = pytest.mark.parametrize("path", SPECIMENS, ids=lambda path: path.stem)


def load(path: Path) -> dict[str, Any]:
    specimen: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return specimen


def topic_of(path: Path) -> Topic:
    return next(topic for topic in topics.ALL if topic.name == path.parent.name)


def record_of(path: Path, specimen: dict[str, Any]) -> Record:
    headers = tuple((name, value.encode()) for name, value in specimen["headers"].items())
    return Record(path.parent.name, specimen["key"].encode(), json.dumps(specimen["value"]).encode(), headers)


def decode(path: Path, specimen: dict[str, Any]) -> Event:
    return topic_of(path).decode(record_of(path, specimen))


def texts(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401 - any JSON
    """Yield the place of every text inside a JSON value."""
    if isinstance(value, str):
        yield at
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from texts(part, (*at, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from texts(part, (*at, index))


def repeats(new: Any, old: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether all that the old value says stands in the new one, which may say more: the defaults of later fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and repeats(new[key], part) for key, part in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(repeats, new, old))
    return bool(new == old)


def put(value: Any, at: tuple[str | int, ...], text: str) -> None:  # noqa: ANN401 - any JSON
    for step in at[:-1]:
        value = value[step]
    value[at[-1]] = text


# --- the table -------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_legal() -> None:
    names = [spec.name for spec in admin.specs()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"rfr-[a-z]+(-[a-z]+)*-v[1-9]\d*(-[a-z]+(-[a-z]+)*-dead)?", name) for name in names)
    assert all(len(name) <= 80 for name in names)


def test_every_event_belongs_to_one_topic() -> None:
    assert len({event for _, event in EVENTS}) == len(EVENTS)
    assert all(topics.topic_of(event.model_construct(occurred_at=NOW)) is topic for topic, event in EVENTS)


def test_every_event_of_the_house_is_carried() -> None:
    def leaves(kind: type[Event]) -> Iterator[type[Event]]:
        below = kind.__subclasses__()
        yield from (leaf for child in below for leaf in leaves(child)) if below else (kind,)

    assert {each for each in leaves(Event) if each.__module__.startswith("rfr_stream.events.")} == {
        event for _, event in EVENTS
    }


@every_event
def test_a_type_names_its_event_and_its_topics_version(topic: Topic, event: type[Event]) -> None:
    words = "-".join(word.lower() for word in re.findall(r"[A-Z][a-z]+", event.__name__))
    assert event.ce_type == f"rfr.{words}.v{topic.version}"


@every_topic
def test_a_topic_is_kept_for_an_allowed_time_and_read_by_groups_with_legal_names(topic: Topic) -> None:
    assert topic.retention_days in RETENTION_DAYS_ALLOWED
    assert 1 <= topic.partitions <= 24
    assert all(re.fullmatch(r"rfr-[a-z]+(-[a-z]+)*", group) for group in topic.groups)


def test_dead_letters_outlive_their_topics_and_hold_their_largest_record() -> None:
    configs = {spec.name: spec.configs for spec in admin.specs()}
    for topic in topics.ALL:
        for group in topic.groups:
            main, dead = configs[topic.name], configs[topic.dead(group)]
            assert int(dead["retention.ms"]) >= int(main["retention.ms"])
            assert int(dead["max.message.bytes"]) > int(main["max.message.bytes"])


# --- specimens -------------------------------------------------------------------------------------------------------


@every_event
def test_every_event_has_a_specimen(topic: Topic, event: type[Event]) -> None:
    assert list((ROOM / "examples" / topic.name).glob(f"{event.__name__}-*.json"))


def test_there_is_a_demonstrations_specimen() -> None:
    assert any(decode(path, load(path)).demo for path in SPECIMENS)


@every_specimen
def test_a_specimen_decodes_and_says_the_same_again(path: Path) -> None:
    specimen = load(path)
    event = decode(path, specimen)
    assert type(event).__name__ == path.stem.split("-")[0]
    headers = specimen["headers"]
    again = topic_of(path).encode(event, traceparent=headers.get("traceparent"))
    assert {name: value.decode() for name, value in again.headers} == headers
    assert again.key == specimen["key"].encode()
    assert repeats(json.loads(again.value or b""), specimen["value"])
    assert decode(path, {**specimen, "value": json.loads(again.value or b"")}) == event


def test_there_is_a_specimen_from_before_and_after_each_later_field() -> None:
    """Old specimens stay: they prove that what was said then is read, and stays signed, now."""
    values = [load(path)["value"] for path in SPECIMENS if path.stem.startswith("ReviewDecided-")]
    for field in ReviewDecided.later:
        assert {field in value for value in values} == {False, True}


@every_specimen
def test_a_field_that_nobody_agreed_on_is_refused_and_neither_name_nor_value_is_repeated(path: Path) -> None:
    specimen = load(path)
    specimen["value"]["hair_colour"] = "auburn"
    with pytest.raises(Malformed, match=r"^\?: ") as refused:
        decode(path, specimen)
    assert "hair" not in str(refused.value)
    assert "auburn" not in str(refused.value)


@every_specimen
def test_a_missing_field_is_refused_by_name(path: Path) -> None:
    specimen = load(path)
    del specimen["value"]["occurred_at"]
    with pytest.raises(Malformed, match=r"^occurred_at: "):
        decode(path, specimen)


@every_specimen
def test_no_refusal_quotes_a_value_whichever_field_it_stands_in(path: Path) -> None:
    name = "Jane Doe"
    refusals = [refusal for at in texts(load(path)["value"]) if (refusal := refusal_of(path, at, name))]
    assert refusals
    assert not [refusal for refusal in refusals if re.search("Jane|Doe|`J`", str(refusal))]
    assert {refusal.__cause__ for refusal in refusals} == {None}, "a traceback would print it, input and all"


def refusal_of(path: Path, at: tuple[str | int, ...], text: str) -> Malformed | None:
    """Return how the specimen is refused with this text in that place, if it is."""
    specimen = load(path)
    put(specimen["value"], at, text)
    try:
        decode(path, specimen)
    except Malformed as refusal:
        return refusal
    return None


# --- documents on file -----------------------------------------------------------------------------------------------


def test_the_documents_on_file_are_those_that_the_table_makes(tmp_path: Path) -> None:
    made = {path.relative_to(tmp_path): path.read_bytes() for path in admin.export(tmp_path)}
    filed = {
        path.relative_to(ROOM / "schemas"): path.read_bytes()
        for path in (ROOM / "schemas").rglob("*")
        if path.is_file()
    }
    assert made == filed, "run `rfr topics export`"


def test_the_rights_on_file_are_those_that_the_table_of_principals_says() -> None:
    filed = ROOM.parent / "deploy" / "kafka" / "acls" / "rights.md"
    assert filed.read_text(encoding="utf-8") == acls.in_words() + "\n", "run `rfr topics acls show`"


def test_a_change_that_the_version_on_file_forbids_is_not_written(tmp_path: Path) -> None:
    admin.export(tmp_path)
    filed = tmp_path / topics.OUTCOMES.name / "SubmissionClosed.json"
    before = load(filed)
    del before["properties"]["detail"]["maxLength"]
    filed.write_text(json.dumps(before))
    with pytest.raises(RfrError, match=r"detail: maxLength changed: this needs a new version"):
        admin.export(tmp_path)
    assert load(filed) == before


def schema_of(topic: Topic, event: type[Event]) -> dict[str, Any]:
    return load(ROOM / "schemas" / topic.name / f"{event.__name__}.json")


@every_event
def test_a_schema_on_file_is_valid_and_closed(topic: Topic, event: type[Event]) -> None:
    schema = schema_of(topic, event)
    Draft202012Validator.check_schema(schema)
    objects = [schema, *(each for each in schema["$defs"].values() if each["type"] == "object")]
    assert all(each["additionalProperties"] is False for each in objects)


@every_specimen
def test_the_schema_on_file_accepts_the_specimen_and_refuses_an_unknown_field(path: Path) -> None:
    schema = load(ROOM / "schemas" / path.parent.name / f"{path.stem.split('-')[0]}.json")
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    value = load(path)["value"]
    validator.validate(value)
    assert not validator.is_valid(value | {"hair_colour": "auburn"})


@every_specimen
def test_the_asyncapi_document_describes_the_specimens_headers(path: Path) -> None:
    messages = load(ROOM / "schemas" / "asyncapi.json")["components"]["messages"]
    validator = Draft202012Validator(messages[path.stem.split("-")[0]]["headers"])
    headers = load(path)["headers"]
    validator.validate(headers)
    for name in headers.keys() - {"traceparent"}:
        assert not validator.is_valid({key: value for key, value in headers.items() if key != name})


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = load(ROOM / "schemas" / "asyncapi.json")

    def references(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            yield from (part for key, part in value.items() if key == "$ref")
            yield from (each for part in value.values() for each in references(part))

    found = list(references(document))
    assert len(found) > 2 * len(EVENTS)
    for reference in found:
        if reference.startswith("#/"):
            target: Any = document
            for step in reference.removeprefix("#/").split("/"):
                target = target[step]
        else:
            assert (ROOM / "schemas" / reference).is_file()


def test_the_asyncapi_document_names_every_topic_and_reader() -> None:
    document = load(ROOM / "schemas" / "asyncapi.json")
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]) == {topic.name for topic in topics.ALL}
    receivers = {
        (operation["bindings"]["kafka"]["groupId"]["const"], operation["channel"]["$ref"].rsplit("/", 1)[-1])
        for operation in document["operations"].values()
        if operation["action"] == "receive"
    }
    assert receivers == {(group, topic.name) for topic in topics.ALL for group in topic.groups}
