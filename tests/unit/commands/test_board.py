"""What `rfr watch` and the demonstration say about what passes."""

from datetime import timedelta

import builders
from rich.console import Console

import topics
from rfr_stream.commands._board import Board
from rfr_stream.events import Event, Outcome
from topics import Record, topic_of
from topics.tail import Kept


def kept(event: Event, *, after_ms: float = 0) -> Kept:
    return Kept(topic_of(event).encode(event), 0, 0, builders.NOW + timedelta(milliseconds=after_ms))


def seen(*passing: Kept) -> Board:
    board = Board()
    for record in passing:
        board.see(record)
    return board


def drawn(board: Board) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(board.table())
        console.print(board.latencies())
    return capture.get()


def test_times_count_from_the_submission() -> None:
    board = seen(
        kept(builders.image_submitted()),
        kept(builders.face_detected(), after_ms=20),
        kept(builders.face_embedded(), after_ms=50),
        kept(builders.candidates_ready(), after_ms=90),
    )
    (line,) = board.lines.values()
    assert [line.span_ms("submitted", step) for step in ("face", "template", "candidates")] == [20, 50, 90]
    assert line.settled


def test_latency_is_of_each_stage_and_review_counts_from_the_last_decision() -> None:
    found = builders.candidates_ready()
    board = seen(
        kept(builders.image_submitted()),
        kept(builders.face_detected(), after_ms=20),
        kept(builders.decision(found), after_ms=1_000),
        kept(builders.decision(found, by="reviewer-b"), after_ms=5_000),
        kept(builders.closed(outcome=Outcome.CONFIRMED), after_ms=5_007),
    )
    said = drawn(board)
    assert [line.split() for line in said.splitlines() if "detection" in line] == [["detection", "20", "20", "1"]]
    assert [line.split() for line in said.splitlines() if "review" in line] == [["review", "7", "7", "1"]]


def test_a_repeated_event_does_not_move_its_time() -> None:
    detected = builders.face_detected()
    board = seen(kept(builders.image_submitted()), kept(detected, after_ms=20), kept(detected, after_ms=900))
    (line,) = board.lines.values()
    assert line.span_ms("submitted", "face") == 20


def test_a_list_is_held_and_nobody_is_told_whether_somebody_has_decided() -> None:
    found = builders.candidates_ready()
    board = seen(kept(builders.image_submitted()), kept(found), kept(builders.decision(found)))
    before = drawn(seen(kept(builders.image_submitted()), kept(found)))
    assert "held for review" in before
    assert drawn(board) == before


def test_a_refused_reference_is_no_submission() -> None:
    event = builders.reference_submitted()
    letter = topics.ENROLMENTS.encode(event)
    dead = Record(
        topics.ENROLMENTS.dead("rfr-enrolment"),
        letter.key,
        letter.value,
        (*letter.headers, ("x-rfr-reason", b"bad_image")),
    )
    board = seen(Kept(dead, 0, 0, builders.NOW))
    assert board.refused == {event.reference_id: "bad_image"}
    assert board.lines == {}


def test_an_empty_list_is_an_honest_blank() -> None:
    assert "honest blank" in (Board().see(kept(builders.candidates_ready(people=()))) or "")


def test_what_is_released_is_called_a_lead() -> None:
    board = Board()
    said = board.see(kept(builders.identification_confirmed()))
    assert said is not None
    assert "intelligence lead" in said
    assert len(board.confirmed) == 1


def test_what_is_no_event_is_passed_over() -> None:
    assert Board().see(Kept(Record(topics.FACES.name, b"k", b"nonsense"), 0, 0, builders.NOW)) is None


def test_every_event_that_passes_is_a_line_or_about_no_submission() -> None:
    """A word that the board does not know would end it, and nothing more would be said."""
    board = Board()
    unclear, chosen = builders.subject_unclear(), builders.subject_chosen()

    said = [board.see(kept(each)) or "" for each in (unclear, chosen, builders.withdrawal(), builders.certified())]

    assert "2 faces" in said[0]
    assert [bool(each) for each in said] == [True, True, True, False]
