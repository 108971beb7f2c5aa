"""Why a search is strictly necessary is said in words of one's own."""

import pytest

from rfr_stream.policy import Stated, is_boilerplate, stated

SAID = "Nobody on the street knew them; no other image."


def test_the_same_words_about_another_case_are_boilerplate() -> None:
    assert is_boilerplate(stated("case-2", SAID), [stated("case-9", "something else"), stated("case-1", SAID)])


def test_the_same_words_about_the_same_case_are_not() -> None:
    assert not is_boilerplate(stated("case-1", SAID), [stated("case-1", SAID)])


def test_nothing_said_before_is_nothing_said_again() -> None:
    assert not is_boilerplate(stated("case-1", SAID), [])


@pytest.mark.parametrize(
    "again",
    [
        "nobody on the STREET knew them, no other image",
        "  Nobody on the street\nknew them -- no other image!  ",
        "Nobody on the street knew them; no other image. (77/26)",
        "\uff2eobody on the street knew them; no other image.",
    ],
)
def test_marks_capitals_spaces_and_numbers_make_no_other_words(again: str) -> None:
    assert is_boilerplate(stated("case-2", again), [stated("case-1", SAID)])


def test_what_is_kept_is_no_text() -> None:
    kept = stated("case-1", SAID)
    assert kept == Stated("case-1", kept.digest)
    assert len(kept.digest) == 64
