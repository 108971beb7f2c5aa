"""What a person at the terminal is told: which option, and what to do; never a stack trace."""

from pathlib import Path

import builders
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from producers.officer import OfficerRequest
from rfr_stream import __main__
from rfr_stream.commands._sentences import sentences
from rfr_stream.errors import Unavailable
from rfr_stream.settings import Settings
from topics.bus import SendFailed

NECESSITY = "Nobody on the street knew them, and there is no other image."


def said(error: BaseException) -> str:
    return "\n".join(sentences(error))


def test_a_field_is_called_by_its_option_and_its_value_is_not_quoted() -> None:
    with pytest.raises(ValidationError) as caught:
        OfficerRequest(submitted_by="Jane Doe", **builders.asked())
    assert said(caught.value).startswith("--by: a reference, no name")
    assert "Jane" not in said(caught.value)


def test_a_setting_is_called_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFR_KAFKA__REPLICATION_FACTOR", "many")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert said(caught.value).startswith("RFR_KAFKA__REPLICATION_FACTOR: ")


def test_a_file_is_named_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        (tmp_path / "key.pem").read_bytes()
    assert said(caught.value) == f"{tmp_path / 'key.pem'}: No such file or directory"


def test_an_unacknowledged_send_says_that_it_may_be_repeated() -> None:
    assert "same command again is safe" in said(SendFailed("RequestTimedOutError"))


def test_an_error_of_ours_speaks_for_itself() -> None:
    assert said(Unavailable("no cluster: start one")) == "no cluster: start one"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["submit", "{file}", "--subject", "1,2,3"], "give x,y or x1,y1,x2,y2"),
        (["submit", "{file}", "--frame-time-s", "3"], "needs both"),
        (["submit", "{folder}/absent.jpg"], "does not exist"),
        (["submit", "{file}", "--by", "Jane Doe"], "--by: a reference, no name"),
        (["submit", "{file}", "--necessity", "We need it."], "--necessity: String should have at least 40 characters"),
        (["submit", "{file}", "--origin", "sketch"], "Invalid value for '--origin'"),
        (["submit", "{file}", "--obtained", ""], "--origin, --obtained, --exhibit: "),
        (["submit", "{file}", "--found-where", "a river bank"], "--found-where, --found-at: "),
        (
            ["submit", "{file}", "--source", "missing_person", "--purpose", "missing"],
            "regime: for purpose missing, say",
        ),
        (["submit", "{file}"], "start one with"),
        (["cases"], "no such data directory"),
        (["up", "--stage", "detction"], "no such stage: detction; there are appeals, detection"),
        (["models", "verify", "basline"], "must be one of baseline"),
        (["gallery", "compact"], "holds no gallery"),
        (["replay", "faecs", "rfr-embedding"], "no such topic: faecs"),
        (["demo", "--gallery", "{folder}"], "give both"),
    ],
)
def test_a_mistake_gets_a_sentence_and_a_status(
    command: list[str],
    words: str,
    *,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "still.jpg").write_bytes(b"\xff\xd8\xff")
    given = [part.format(file=tmp_path / "still.jpg", folder=tmp_path) for part in command]
    with pytest.raises(SystemExit) as ended:
        __main__.main(["--data-dir", str(tmp_path / "data"), *_with_defaults(given)])
    assert ended.value.code in {1, 2}
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


def _with_defaults(command: list[str]) -> list[str]:
    """Add what `submit` demands and the test does not care about."""
    if command[0] != "submit":
        return command
    defaults = {
        "--source": "officer",
        "--case": "C-1",
        "--purpose": "suspect",
        "--basis": "s.35",
        "--by": "officer-31",
        "--harm": "other",
        "--necessity": NECESSITY,
        "--origin": "cctv",
        "--obtained": "Seized from the shop's recorder.",
        "--exhibit": "AB/1",
    }
    return [*command, *(part for name, value in defaults.items() if name not in command for part in (name, value))]


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(__main__.app, ["--data-dir", str(tmp_path / "nowhere"), "down"])
    assert done.exit_code == 0
    assert "Nothing is running here" in done.output
    assert not (tmp_path / "nowhere").exists()


def test_down_never_signals_a_stranger_who_got_the_pid_of_a_dead_house(tmp_path: Path) -> None:
    (tmp_path / "house.json").write_text('{"pid": 1, "bootstrap_servers": "127.0.0.1:1"}')
    done = CliRunner().invoke(__main__.app, ["--data-dir", str(tmp_path), "down"])
    assert done.exit_code == 0
    assert "ended already" in done.output
    assert not (tmp_path / "house.json").exists()
