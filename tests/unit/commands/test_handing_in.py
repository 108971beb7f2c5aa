"""What `rfr enrol` says of many files, and which of its options go together."""

import json
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
import typer

from producers._intake import Report, Verdict
from rfr_stream.commands import _handing_in, enrolling


def test_what_was_rejected_is_written_down_line_by_line_and_only_a_hundred_are_shown() -> None:
    tally, rejects = _handing_in.Tally(), StringIO()
    for number in range(1, 251):
        report = Report(Path(f"{number}.png"), Verdict.REJECTED, reason="image: empty", line=number)
        _handing_in._take_note(tally, rejects, report)  # noqa: SLF001
    _handing_in._take_note(tally, rejects, Report(None, Verdict.REJECTED, reason="line: not UTF-8", line=251))  # noqa: SLF001
    _handing_in._take_note(tally, rejects, Report(Path("251.png"), Verdict.ACCEPTED, line=252))  # noqa: SLF001
    written = [json.loads(line) for line in rejects.getvalue().splitlines()]
    assert written[0] == {"line": 1, "file": "1.png", "field": "image", "fix": "empty"}
    assert written[-1] == {"line": 251, "file": None, "field": "line", "fix": "not UTF-8"}
    assert len(written) == 251
    assert (len(tally.rejected), len(tally.taken)) == (_handing_in.SHOWN, 1)
    assert tally.counts == {Verdict.REJECTED: 251, Verdict.ACCEPTED: 1}


def test_of_what_is_held_too_the_reference_is_said() -> None:
    searched, held, tally = uuid4(), uuid4(), _handing_in.Tally()
    for ids in ((searched, None), (searched, held), (held, held)):
        derived_id, reference_id = ids
        report = Report(Path("a.png"), Verdict.ACCEPTED, derived_id, reference_id=reference_id)
        _handing_in._take_note(tally, None, report)  # noqa: SLF001
    assert tally.taken == [
        f"accepted: a.png: {searched}",
        f"accepted: a.png: {searched}, reference {held}",
        f"accepted: a.png: reference {held}",
    ]


def test_a_manifest_says_itself_what_the_options_say_of_one_person() -> None:
    with pytest.raises(typer.BadParameter, match="the manifest says it"):
        enrolling._refuse(images=None, person="person-1")  # noqa: SLF001


def test_without_a_manifest_all_must_be_said() -> None:
    with pytest.raises(typer.BadParameter) as raised:
        enrolling._all_given(images=[Path()], captured_at=None)  # noqa: SLF001
    assert raised.value.param_hint == "--captured-at"
