"""A reception that runs in a process of its own, and what is asked at its doors."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rfr_stream.adapters import keys
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.reception import SqlReception
from rfr_stream.reception import Door, token_of
from rfr_stream.settings import Settings


@dataclass(frozen=True, slots=True)
class Running:
    """A house in a process of its own."""

    pid: int
    url: str
    """Where its reception answers, if it has one."""


@contextmanager
def running(
    settings: Settings, *stages: str, doors: Sequence[Door] = (), name: str = "0", **environment: str
) -> Iterator[Running]:
    """Run these stages, and with doors a reception that has them, on a port that is free."""
    command = [sys.executable, "-m", "rfr_stream", "--data-dir", str(settings.data_dir)]
    command += ["--bootstrap-servers", str(settings.kafka.bootstrap_servers), "up"]
    for stage in [*stages, *(["reception"] if doors else [])]:
        command += ["--stage", stage]
    said = {"RFR_INSTANCE": name, "RFR_VISION__PACK": settings.vision.pack}
    if doors:
        said |= {"RFR_INTAKE__PORT": "0", "RFR_INTAKE__DOORS": json.dumps(doors)}
    environ = {**os.environ, **said, **environment}  # noqa: TID251 - passed on
    with (
        (settings.data_dir / f"log-{name}").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environ) as process,  # noqa: S603 - ours
    ):
        try:
            spoken = iter(process.stdout.readline, "") if process.stdout else iter(())
            ready = r"The reception: (\S+)" if doors else r"Running: (\S+)"
            url = next(found[1] for line in spoken if (found := re.search(ready, line)))
            yield Running(process.pid, url)
        finally:
            process.terminate()


async def tokens(settings: Settings, *doors: Door) -> dict[Door, str]:
    """Add a client for each door; return how they show who they are."""
    key = keys.secret_of_house(settings.intake_key_file)
    async with SqlLedger(f"sqlite:///{settings.data_dir.absolute() / 'ledger.db'}") as ledger:
        store = SqlReception(ledger)
        return {door: token_of(await store.add(door, door), key) for door in doors}


def asking(image: bytes, **fields: object) -> list[tuple[str, Any]]:
    """Return an officer's upload of this image, as parts of a form."""
    request: Mapping[str, object] = {
        "purpose": "suspect",
        "harm": "serious_harm",
        "case_ref": "C-1",
        "legal_basis": "investigation of an offence",
        "necessity": "the recording is the only lead, and nobody on the street knew them",
        "provenance": {"origin": "cctv", "obtained": "seized from the recorder", "exhibit_ref": "EX-1"},
        "submitted_by": "officer-1",
        **fields,
    }
    return [("request", (None, json.dumps(request), "application/json")), ("image", ("x", image, "image/jpeg"))]
