"""`rfr demo`, as a newcomer meets it: without a terminal, on one, and interrupted."""

import json
import os
import subprocess
from pathlib import Path

import psutil
import pytest
from terminal import RFR, Terminal, on_terminal

pytestmark = pytest.mark.kafka

CTRL_C = "\x03"
QUESTION = "Who may this be? [none/1] (none): "


def test_without_a_terminal_two_scripted_reviewers_confirm_a_lead(tmp_path: Path) -> None:
    done = subprocess.run(
        [*RFR, "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "120"},  # noqa: TID251 - passed on
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert done.stderr == ""
    released = json.loads(said[said.index("\n{") : said.index("\n}") + 2])
    assert released["evidential_status"] == "INTELLIGENCE_LEAD"
    assert released["requires_corroboration"] is True
    assert released["demo"] is True
    assert {"similarity", "score", "rank"}.isdisjoint(released)
    for end in ("no_candidates", "no_face", "subject_selection_required", "unreadable", "confirmed"):
        assert end in said
    assert said.index("two people must decide") < said.index("named the same person")
    assert "Latency by stage" in said
    assert list(tmp_path.glob("rfr-demo-*")) == []


def test_the_person_at_the_terminal_plays_both_reviewers(tmp_path: Path) -> None:
    with on_terminal(["demo"], folder=tmp_path) as terminal:
        first = _answer(terminal, "1")
        second = _answer(terminal, "1")
        assert terminal.ended() == 0, terminal.seen
    assert "demo-reviewer-a" in first
    assert "demo-reviewer-b" in second
    assert "INTELLIGENCE_LEAD" in terminal.seen


def test_whoever_names_nobody_is_not_outvoted_by_two(tmp_path: Path) -> None:
    with on_terminal(["demo"], folder=tmp_path) as terminal:
        _answer(terminal, "1")
        _answer(terminal, "none")
        assert "demo-reviewer-c" in _answer(terminal, "1")
        assert terminal.ended() == 0, terminal.seen
    assert "nothing was released" in terminal.seen
    assert "INTELLIGENCE_LEAD" not in terminal.seen


@pytest.mark.parametrize("moment", ["Starting Apache Kafka", "Loading the models", QUESTION])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, moment: str) -> None:
    with on_terminal(["demo"], folder=tmp_path) as terminal:
        terminal.wait_for(moment)
        started = psutil.Process(terminal.process.pid).children(recursive=True)
        terminal.type(CTRL_C)
        status = terminal.ended()
    assert status in {1, 130}, terminal.seen
    assert "Traceback" not in terminal.seen
    assert not [process for process in started if process.is_running()]
    assert list(tmp_path.glob("rfr-demo-*")) == []


def test_a_gallery_without_folders_is_refused_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [*RFR, "demo", "--gallery", str(tmp_path), "--probes", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "one for each person" in done.stderr
    assert "Traceback" not in done.stderr


def _answer(terminal: Terminal, answer: str) -> str:
    """Look at what is shown, open every file, and answer."""
    shown = terminal.wait_for(QUESTION)
    files = [Path(word) for word in shown.split() if word.endswith(".jpg")]
    assert [path.stem for path in files] == ["probe", "1"]
    assert all(path.read_bytes().startswith(b"\xff\xd8") for path in files)
    terminal.type(f"{answer}\n")
    return shown
