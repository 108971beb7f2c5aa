"""Each stage as a process of its own, started as in production and stopped by its supervisor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lab
import pytest

from rfr_stream.settings import KafkaSettings
from topics import admin
from topics.embedded import EmbeddedKafka

FASTSTREAM = (sys.executable, "-m", "faststream", "run", "--factory")
RFR = (sys.executable, "-m", "rfr_stream")


@pytest.fixture
async def served(broker: EmbeddedKafka, tmp_path: Path) -> dict[str, str]:
    """The environment of a process that works on the shared broker, which has all topics."""
    await admin.apply(KafkaSettings(bootstrap_servers=broker.bootstrap_servers))
    return {
        **os.environ,  # noqa: TID251 - passed on
        "RFR_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "RFR_DATA_DIR": str(tmp_path),
        "RFR_VISION__PACK": "null",  # its models cost nothing to load; that real ones load is shown elsewhere
    }


@pytest.mark.parametrize("stage", ["appeals", "detection", "embedding", "search", "enrolment", "review", "callbacks"])
def test_a_stage_of_its_own_starts_and_ends_well_on_sigterm(stage: str, served: dict[str, str], tmp_path: Path) -> None:
    _starts_and_ends([*FASTSTREAM, f"consumers.{stage}:create_app"], served, tmp_path)


def test_some_stages_share_a_process(served: dict[str, str], tmp_path: Path) -> None:
    servers = served.pop("RFR_KAFKA__BOOTSTRAP_SERVERS")
    some = ["--bootstrap-servers", servers, "up", "--stage", "detection", "--stage", "embedding"]
    _starts_and_ends([*RFR, *some], served, tmp_path)
    assert not (tmp_path / "house.json").exists(), "a cluster of somebody else's is no house"


def _starts_and_ends(command: list[str], environment: dict[str, str], folder: Path) -> None:
    said = folder / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait_for("app.started", said, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(lab.GRACE_S) == 0, said.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "app.stopped" in said.read_text()
    assert "Traceback" not in said.read_text()


def _wait_for(words: str, said: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while words not in said.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.1)
