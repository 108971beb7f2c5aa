"""Whatever is sent to the house, it ends where it should and says why, and the next good message passes.

One chain lives for the whole file. After each bad message a good one must reach its candidate list, so that no fault
can hide behind a stage that has quietly stopped.
"""

import base64
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final, TypeAlias
from uuid import uuid4

import builders
import leaks
import numpy as np
import pytest
import pytest_asyncio
from chain import ALL_NAMES, Chain, Talk, running, same_bytes, saved
from PIL import Image
from skimage import data as pictures

import topics
from rfr_stream.events import ImageSubmitted, Outcome, Purpose, Source, Submission
from rfr_stream.settings import VisionSettings
from topics import Record, Topic

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME: Final = "Jane Roe"
"""Somebody's name, sent where no name belongs: it may lie in the sender's own bytes, and nowhere else."""
PORTRAIT: Final = Image.fromarray(pictures.astronaut()).crop((120, 0, 330, 270))
PERSON: Final = "person-1"
Spoil: TypeAlias = Callable[[Record], Record]

_cases = count()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("bad"), vision=VisionSettings(pack="baseline")) as (chain, _):
        chain.start()
        yield chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(chain: Chain) -> AsyncIterator[Talk]:
    async with chain.talking() as talk:
        await talk.register_reviewers()
        await talk.enrol({PERSON: saved(PORTRAIT, "PNG")}, within_s=120)
        yield talk


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def lives_on(chain: Chain, talk: Talk) -> AsyncIterator[None]:
    """After every test: the one process still runs, and a good message goes all the way."""
    yield
    found = await talk.searched(saved(PORTRAIT, "PNG"), fresh_case())
    assert [candidate.person_id for candidate in found.candidates] == [PERSON]
    assert [each.alive for each in chain.started] == [True]


def fresh_case() -> str:
    return f"case-{next(_cases)}"


# --- spoiling -------------------------------------------------------------------------------------------------------
def field(path: str, value: object) -> Spoil:
    """Set one field of the JSON, by its path."""

    def spoil(record: Record) -> Record:
        body = json.loads(record.value or b"")
        *parents, last = path.split(".")
        inner = body
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
        return replace(record, value=json.dumps(body).encode())

    return spoil


def asking(path: str, value: object) -> Spoil:
    """Set one field of the submission, and all that derives from it: a request that is well formed and wrong."""

    def spoil(record: Record) -> Record:
        body = json.loads(field(f"submission.{path}", value)(record).value or b"")
        asked = body["submission"]
        own = {name: asked[name] for name in ("source", "purpose", "case_ref", "submitted_by")}
        asked["submission_id"] = str(Submission.derive(image_sha256=asked["image"]["sha256"], **own))
        return topics.SUBMISSIONS.encode(ImageSubmitted.model_validate(body))

    return spoil


def value(change: Callable[[bytes], bytes | None]) -> Spoil:
    return lambda record: replace(record, value=change(record.value or b""))


def header(name: str, text: bytes | None) -> Spoil:
    """Set a header; None takes it away."""

    def spoil(record: Record) -> Record:
        others = tuple(pair for pair in record.headers if pair[0] != name)
        return replace(record, headers=others if text is None else ((name, text), *others))

    return spoil


def key(new: bytes | None) -> Spoil:
    return lambda record: replace(record, key=new)


@dataclass(frozen=True)
class Bad:
    """One way to spoil a good submission; where it must end, and what must be said."""

    name: str
    spoil: Spoil
    reason: str
    says: str
    outcome: Outcome | None = None
    """What the submission's sender hears; nothing where it was never a submission."""


LOST: Final = Outcome.UNREADABLE

RECORDS: Final = (
    Bad("malformed JSON", value(lambda _: b'{"submission": {'), "malformed", "value: Invalid JSON"),
    Bad("no JSON at all", value(lambda _: b"\x00\xff\xfe" * 40), "malformed", "value: Invalid JSON"),
    Bad("another kind of JSON", value(lambda _: b"[1, 2, 3]"), "malformed", "value: "),
    Bad("cut off", value(lambda good: good[:-20]), "malformed", "value: Invalid JSON"),
    Bad("null value", value(lambda _: None), "malformed", "value: must be 1 to"),
    Bad("empty value", value(lambda _: b""), "malformed", "value: "),
    Bad("an unknown field", field("submission.suspect_name", NAME), "malformed", "submission.?: "),
    Bad("an unknown field that is a name", field(f"submission.{NAME}", 1), "malformed", "submission.?: "),
    Bad("a wrong type", field("submission.submitted_at", NAME), "malformed", "submission.submitted_at: "),
    Bad("a name for a choice", field("submission.purpose", NAME), "malformed", "submission.purpose: "),
    Bad("a name for a kind", field("submission.media.kind", NAME), "malformed", "submission.media: "),
    Bad("a name for a reference", field("submission.submitted_by", NAME), "malformed", "submission.submitted_by: "),
    Bad("a clock without a zone", field("occurred_at", "2026-03-01T12:00:00"), "malformed", "occurred_at: "),
    Bad("a point nowhere", field("submission.subject", {"x": 1, "y": None}), "malformed", "submission.subject"),
    Bad(
        "pixels on the bus",
        field("submission.image.pixels", base64.b64encode(saved(PORTRAIT, "PNG")).decode()),
        "malformed",
        "submission.image.?: ",
    ),
    Bad("a template on the bus", field("template", [0.125] * 128), "malformed", "?: "),
    Bad(
        "larger than any event",
        field("submission.legal_basis", "a" * 300_000),
        "malformed",
        "value: must be 1 to 262144",
    ),
    Bad(
        "nearly as large as Kafka takes", value(lambda good: good + b" " * 500_000), "malformed", "value: must be 1 to"
    ),
    Bad("no key", key(None), "malformed", "key: "),
    Bad("a key that is no id", key(b"\xff\xfe"), "malformed", "key: "),
    Bad("another submission's key", key(str(uuid4()).encode()), "malformed", "key: "),
    Bad("a foreign ce_type", header("ce_type", b"rfr.face-detected.v1"), "malformed", "ce_type: must be"),
    Bad("a ce_type that is no text", header("ce_type", b"\xff\xfe\xfd"), "malformed", "ce_type: must be"),
    Bad("no ce_type", header("ce_type", None), "malformed", "ce_type: must be"),
    Bad("a foreign ce_id", header("ce_id", str(uuid4()).encode()), "malformed", "ce_id: "),
    Bad("no ce_id", header("ce_id", None), "malformed", "ce_id: "),
    Bad("a demonstration that hides", field("demo", True), "malformed", "ce_type: "),  # noqa: FBT003 - the value of a field
    Bad("a path that climbs", field("submission.image.uri", "file://rfr/../../etc/passwd"), "malformed", "image.uri: "),
    Bad("a path from the root", field("submission.image.uri", "file:///etc/passwd"), "malformed", "image.uri: "),
    Bad("a hidden folder", field("submission.image.uri", "file://rfr/.incoming/x"), "malformed", "image.uri: "),
    Bad("an escaped path", field("submission.image.uri", "file://rfr/%2e%2e/x"), "malformed", "image.uri: "),
    Bad("a page on the web", field("submission.image.uri", "http://rfr/originals/x"), "malformed", "image.uri: "),
    Bad("another store", field("submission.image.uri", "s3://rfr/originals/x"), "missing_blob", "uri: ", LOST),
    Bad("another bucket", field("submission.image.uri", "file://other/originals/x"), "missing_blob", "uri: ", LOST),
    Bad(
        "no such blob",
        field("submission.image.uri", "file://rfr/originals/gone"),
        "missing_blob",
        "uri: there is no",
        LOST,
    ),
    Bad("another picture's digest", asking("image.sha256", "0" * 64), "missing_blob", "sha256: ", LOST),
    Bad("another picture's size", field("submission.image.bytes", 17), "missing_blob", "bytes: ", LOST),
    Bad(
        "a purpose behind the wrong door",
        asking("source", Source.DECEASED_PERSON),
        "not_permitted",
        "purpose: ",
        outcome=Outcome.REFUSED,
    ),
    Bad(
        "a purpose that nobody authorised",
        asking("purpose", Purpose.WITNESS),
        "not_permitted",
        "authoriser: ",
        outcome=Outcome.REFUSED,
    ),
)


@pytest.mark.parametrize("bad", RECORDS, ids=lambda bad: bad.name)
async def test_a_bad_message_is_kept_whole_with_its_reason_and_its_sender_is_told(talk: Talk, bad: Bad) -> None:
    good = topics.SUBMISSIONS.encode(await talk.request(saved(PORTRAIT, "PNG"), fresh_case()))
    sent = bad.spoil(good)
    sent = replace(sent, headers=(*sent.headers, ("test", bad.name.encode())))

    letter = await refused(talk, sent)

    assert letter.header("x-rfr-reason") == bad.reason
    assert bad.says in letter.header("x-rfr-error")
    await told(talk, sent, bad.outcome, bad.says)


async def refused(talk: Talk, sent: Record, topic: Topic = topics.SUBMISSIONS) -> Record:
    """Send a record and return its dead letter, which holds the original byte for byte."""
    before = len(talk.ear.dead(topic))
    await talk.send(sent)
    await talk.ear.until(lambda: len(talk.ear.dead(topic)) > before)
    (letter,) = talk.ear.dead(topic)[before:]
    assert same_bytes(letter, sent)
    return letter


async def told(talk: Talk, sent: Record, outcome: Outcome | None, says: str) -> None:
    """Check what the submission's sender hears, if the key says which submission it was."""

    def about() -> list[Record]:
        return [record for record in talk.ear.records[topics.OUTCOMES.name] if record.key == sent.key]

    if outcome:
        await talk.ear.until(about)
    assert [json.loads(record.value or b"")["outcome"] for record in about()] == ([outcome] if outcome else [])
    assert all(says in json.loads(record.value or b"")["detail"] for record in about())


async def test_a_demonstration_never_enters_an_operational_chain(talk: Talk) -> None:
    asked = await talk.request(saved(PORTRAIT, "PNG"), fresh_case())

    letter = await refused(talk, topics.SUBMISSIONS.encode(asked.model_copy(update={"demo": True})))

    assert letter.header("x-rfr-reason") == "not_permitted"
    assert letter.header("x-rfr-error").startswith("demo: ")


async def test_headers_that_nobody_knows_do_no_harm(talk: Talk) -> None:
    asked = await talk.request(saved(PORTRAIT, "PNG"), fresh_case())
    good = topics.SUBMISSIONS.encode(asked, traceparent="not a trace")
    garbage = (
        ("test", b"ours"),
        ("null", None),
        ("bytes", b"\xff\xfe\x00"),
        ("large", b"x" * 200_000),
        ("ce_id", b"later ones do not count"),
    )

    await talk.send(replace(good, headers=(*good.headers, *garbage)))  # type: ignore[arg-type] # null is legal in Kafka

    assert (await talk.ear.listed(asked)).candidates


# --- every other topic ----------------------------------------------------------------------------------------------
INNER: Final = {
    topics.FACES: builders.face_detected,
    topics.TEMPLATES: builders.face_embedded,
    topics.CANDIDATES: builders.candidates_ready,
    topics.DECISIONS: builders.decision,
    topics.OUTCOMES: builders.closed,
    topics.ACKNOWLEDGEMENTS: builders.lead_acknowledged,
    topics.ENROLMENTS: builders.reference_submitted,
}
SPOILT: Final[tuple[tuple[Spoil, str], ...]] = (
    (value(lambda _: b"{"), "value: Invalid JSON"),
    (field("suspect_name", NAME), "?: "),
    (field("occurred_at", NAME), "occurred_at: "),
    (header("ce_id", str(uuid4()).encode()), "ce_id: "),
)


@pytest.mark.parametrize("topic", INNER, ids=lambda topic: topic.noun)
async def test_every_stage_sets_aside_what_is_malformed(talk: Talk, topic: Topic) -> None:
    for spoil, says in SPOILT:
        event = INNER[topic]()  # type: ignore[operator] # builders of several signatures
        letter = await refused(talk, spoil(topic.encode(event)), topic)

        assert letter.header("x-rfr-reason") == "malformed"
        assert says in letter.header("x-rfr-error")


async def test_a_list_that_was_tampered_with_is_set_aside(talk: Talk) -> None:
    record = topics.CANDIDATES.encode(builders.candidates_ready())
    tampered = value(lambda good: good.replace(b'"person-1"', b'"person-9"'))(record)

    letter = await refused(talk, tampered, topics.CANDIDATES)

    assert "list_digest: " in letter.header("x-rfr-error")


async def test_templates_of_another_model_are_never_compared(talk: Talk) -> None:
    letter = await refused(talk, topics.TEMPLATES.encode(builders.face_embedded()), topics.TEMPLATES)

    assert letter.header("x-rfr-reason") == "not_permitted"
    assert "template.embedder: " in letter.header("x-rfr-error")


@pytest.mark.parametrize("numbers", [np.full(128, np.nan), np.zeros(128), np.ones(64)], ids=["nan", "zero", "short"])
async def test_a_template_that_is_none_is_set_aside(talk: Talk, numbers: Any) -> None:  # noqa: ANN401
    found = await talk.searched(saved(PORTRAIT, "PNG"), fresh_case())
    stored = await talk.keep(numbers.astype("<f4").tobytes(), key=f"templates/{fresh_case()}")
    template = found.template.model_copy(update={"template": stored})
    event = builders.face_embedded(builders.submission(case_ref=fresh_case())).model_copy(update={"template": template})

    letter = await refused(talk, topics.TEMPLATES.encode(event), topics.TEMPLATES)

    assert letter.header("x-rfr-reason") == "malformed"
    assert letter.header("x-rfr-error").startswith("template: ")


# --- pictures -------------------------------------------------------------------------------------------------------
def png_of(width: int, height: int) -> bytes:
    """Return a few bytes that claim to be a picture of this size."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(10_000))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def corrupt(file: bytes) -> bytes:
    """Return the file with a hole in the middle."""
    middle = len(file) // 2
    return file[:middle] + bytes(64) + file[middle + 64 :]


BAD_FILES: Final = {
    "truncated JPEG": (saved(PORTRAIT, "JPEG")[:4_000], "truncated or corrupt"),
    "corrupt PNG": (corrupt(saved(PORTRAIT, "PNG")), "truncated or corrupt"),
    "decompression bomb": (png_of(50_000, 50_000), "pixels"),
    "a row of pixels too long": (png_of(2**31 - 1, 1), "pixels"),
    "empty": (b"", "the file is empty"),
    "text": (f"{NAME} was seen at the station".encode(), "not one of"),
    "a script in a drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "not one of"),
    "HEIC": (struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(64), "HEIC cannot be opened"),
    "GIF": (saved(PORTRAIT.convert("P"), "GIF"), "not one of"),
    "an archive": (b"PK\x03\x04" + bytes(200), "not one of"),
}


@pytest.mark.parametrize("name", BAD_FILES)
async def test_a_file_that_is_no_picture_is_set_aside_and_its_sender_is_told(talk: Talk, name: str) -> None:
    file, says = BAD_FILES[name]
    sent = topics.SUBMISSIONS.encode(await talk.request(file, fresh_case()))

    letter = await refused(talk, sent)

    assert letter.header("x-rfr-reason") == "bad_image"
    assert letter.header("x-rfr-error").startswith("image: ")
    assert says in letter.header("x-rfr-error")
    await told(talk, sent, Outcome.UNREADABLE, says)


def animated(kind: str) -> bytes:
    """Return an animation that begins with the portrait."""
    return saved(PORTRAIT, kind, save_all=True, append_images=[Image.new("RGB", PORTRAIT.size, "grey")], duration=100)


def turned() -> bytes:
    """Return the portrait as a camera held sideways writes it, with the photographer's name."""
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, NAME
    return saved(PORTRAIT.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


def sixteen_bit() -> bytes:
    grey = np.asarray(PORTRAIT.convert("L")).astype(np.uint16) * 257
    return saved(Image.fromarray(grey), "PNG")


GOOD_FILES: Final = {
    "CMYK": saved(PORTRAIT.convert("CMYK"), "JPEG", quality=95),
    "grey": saved(PORTRAIT.convert("L"), "JPEG", quality=95),
    "16 bits": sixteen_bit(),
    "palette": saved(PORTRAIT.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
    "transparent": saved(PORTRAIT.convert("RGBA"), "PNG"),
    "animated PNG": animated("PNG"),
    "animated WebP": animated("WEBP"),
    "turned by EXIF": turned(),
    "TIFF": saved(PORTRAIT, "TIFF"),
    "BMP": saved(PORTRAIT, "BMP"),
}


@pytest.mark.parametrize("name", GOOD_FILES)
async def test_every_kind_of_picture_finds_the_person_in_it(talk: Talk, name: str) -> None:
    found = await talk.searched(GOOD_FILES[name], fresh_case())

    assert [candidate.person_id for candidate in found.candidates] == [PERSON]
    turned_away = abs(found.face.quality.roll_deg)
    assert turned_away < 30, "the face is upright in the picture that was measured"


@pytest.mark.parametrize("size", [(1, 1), (1, 3_000), (3_000, 1), (8, 8), (13, 2_000)], ids=str)
async def test_a_picture_in_which_nobody_fits_shows_nobody(talk: Talk, size: tuple[int, int]) -> None:
    asked = await talk.request(saved(Image.new("RGB", size, "grey"), "PNG"), fresh_case())
    await talk.say(asked)

    about = asked.submission.submission_id
    await talk.ear.until(lambda: talk.ear.outcome_of(about))
    outcome = talk.ear.outcome_of(about)
    assert outcome
    assert outcome.outcome is Outcome.NO_FACE


@pytest.mark.parametrize("name", ["empty", "truncated JPEG", "decompression bomb", "nobody", "two people"])
async def test_a_reference_that_cannot_be_enrolled_is_set_aside(talk: Talk, name: str) -> None:
    both = Image.new("RGB", (2 * PORTRAIT.width, PORTRAIT.height))
    both.paste(PORTRAIT, (0, 0))
    both.paste(PORTRAIT, (PORTRAIT.width, 0))
    others = {"nobody": saved(Image.new("RGB", (200, 200), "grey"), "PNG"), "two people": saved(both, "PNG")}
    file = others.get(name) or BAD_FILES[name][0]

    letter = await refused(talk, topics.ENROLMENTS.encode(await talk.reference("person-2", file)), topics.ENROLMENTS)

    assert letter.header("x-rfr-reason") == "bad_image"
    assert letter.header("x-rfr-error").startswith("image: ")


# --- last: what all of this left behind -------------------------------------------------------------------------------
async def test_nothing_that_shows_or_names_a_person_leaks_anywhere(chain: Chain, talk: Talk) -> None:
    """Scan every topic and every log; a sender's own bytes are the one place where a leak may be theirs."""
    await talk.searched(saved(PORTRAIT, "PNG"), fresh_case())
    ours = [record for name in ALL_NAMES for record in map(written_by_us, talk.ear.records[name]) if record]

    found = [leak for record in ours for leak in leaks.leaks_of(record, names=(NAME,))]
    assert found == []
    unsaid = {topics.IDENTIFICATIONS, topics.APPEALS, topics.DISPOSALS, topics.STANDING}
    assert {record.topic for record in ours} >= {topic.name for topic in topics.ALL if topic not in unsaid}
    assert list(leaks.leaks(chain.logs().encode(), names=(NAME,))) == []
    assert "message.rejected" in chain.logs()


def written_by_us(record: Record) -> Record | None:
    """Return what the house wrote of a record: nothing of a spoilt one, and of a dead letter what was added."""
    if "-dead" in record.topic:
        added = tuple(pair for pair in record.headers if pair[0].startswith("x-rfr-"))
        return replace(record, key=None, value=None, headers=added)
    return None if record.header("test") or NAME.encode() in (record.value or b"") else record


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        (base64.b64encode(saved(PORTRAIT, "PNG")), "base64"),
        (saved(PORTRAIT, "JPEG"), "picture"),
        (json.dumps({"template": [0.1] * 128}).encode(), "numbers"),
        (b'{"who": "JANE ROE"}', "name"),
    ],
    ids=["base64", "pixels", "template", "name"],
)
async def test_the_scan_finds_what_is_planted(planted: bytes, says: str) -> None:
    assert any(says in leak for leak in leaks.leaks(planted, names=(NAME,)))
