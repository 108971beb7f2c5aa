"""`rfr gallery migrate`: what stands in the way of a switch, and one meaning at a time."""

from dataclasses import dataclass, field

import pytest
import typer
from house import FakeVision

from rfr_stream.adapters.memory.vision import FakeAligner
from rfr_stream.commands.migrating import NotSwitched, _require_one_meaning, require_no_crops_on_their_way
from rfr_stream.ports import Aligner


class OtherAligner(FakeAligner):
    """Cuts faces for another model."""

    name = "other-aligner"


@dataclass
class OtherVision(FakeVision):
    """A pack with another aligner."""

    aligner: Aligner = field(default_factory=OtherAligner)


def test_faces_that_were_cut_for_another_model_are_not_left_behind() -> None:
    with pytest.raises(NotSwitched, match="3 faces, cut for fake-aligner, wait for embedding: stop detection"):
        require_no_crops_on_their_way(FakeVision(), OtherVision(), 3)
    require_no_crops_on_their_way(FakeVision(), OtherVision(), 0)


def test_faces_that_the_new_model_takes_as_they_are_may_wait() -> None:
    require_no_crops_on_their_way(FakeVision(), FakeVision(), 3)


def test_where_nobody_says_whether_faces_wait_it_is_said_what_becomes_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    require_no_crops_on_their_way(FakeVision(), OtherVision(), None)
    assert "will be refused" in capsys.readouterr().out


FLAGS = {"compare": False, "switch": False, "back": False, "finish": False}


@pytest.mark.parametrize("flags", [{"switch": True}, {"switch": True, "finish": True}, {"compare": True}, {}])
def test_without_a_pack_one_can_only_go_back_or_finish(flags: dict[str, bool]) -> None:
    with pytest.raises(typer.BadParameter):
        _require_one_meaning(None, None, **(FLAGS | flags))


@pytest.mark.parametrize("flags", [{"back": True}, {"finish": True}, {"compare": True}, {"switch": True, "back": True}])
def test_with_a_pack_one_goes_there_and_does_one_thing(flags: dict[str, bool]) -> None:
    with pytest.raises(typer.BadParameter):
        _require_one_meaning("other", None, **(FLAGS | flags))


@pytest.mark.parametrize(("to", "flags"), [("other", {}), ("other", {"switch": True}), (None, {"back": True})])
def test_what_has_one_meaning_is_done(to: str | None, flags: dict[str, bool]) -> None:
    _require_one_meaning(to, None, **(FLAGS | flags))
