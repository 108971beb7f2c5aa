"""Every route, fuzzed by everybody: no answer is a 500, none shows where it was written, none tells of a case.

What the OpenAPI document says of a route is schemathesis's to vary; forms are read whole, so they are varied here.
"""

import asyncio
import queue
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import desk_house
import desk_pages
import httpx
import pytest
import schemathesis
import uvicorn
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from rfr_stream.policy import Role

LEAKS: Final = re.compile(r"Traceback|File \"|\.py\b|sqlalchemy|pydantic|SELECT |person-\d|0\.8\d|case-1\b")
"""Words that only our own insides, or a case's secrets, would bring to a page."""
NOBODY: Final = "nobody"
WHO: Final = (NOBODY, *Role)
LEAVING: Final = "/sign-out"
FIELD: Final = re.compile(r'name="([a-z_-]+)"')
TEMPLATES: Final = Path(desk_house.__file__).parents[1] / "producers/console/templates"
FUZZED: Final = settings(max_examples=12, suppress_health_check=list(HealthCheck), database=None)


@dataclass(frozen=True, slots=True)
class Target:
    """A desk on a port, with a case in it, and sessions of everybody."""

    url: str
    cookies: dict[str, dict[str, str]]
    case_id: str
    sent_id: str
    document: dict[str, Any]
    writes: tuple[str, ...]


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Serve a desk from a thread of its own: the requests come from this one."""
    found: queue.Queue[tuple[_Server, Target]] = queue.Queue()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(tmp_path_factory.mktemp("fuzzed"), found)))
    thread.start()
    server, served = found.get(timeout=60)
    assert server.ready.wait(60)
    yield served
    server.should_exit = True
    thread.join(30)


async def _serve(folder: Path, found: "queue.Queue[tuple[_Server, Target]]") -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with desk_house.opened(folder) as house:
            case = await desk_pages.held(house, desk_pages.listed())
            sent = await desk_pages.contributed(house)
            sessions: dict[str, dict[str, str]] = {NOBODY: {}}
            for role in Role:
                account = await (house.reviewer() if role is Role.REVIEWER else house.account(f"a-{role}", role))
                sessions[role] = {house.desk.cookie: await house.session(account)}
            routes = [each for each in house.app.routes if isinstance(each, APIRoute)]
            writes = [each.path for each in routes if "POST" in (each.methods or ())]
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            case_id = str(case.submission.submission_id)
            sent_id = str(sent.contribution_id)
            server = _Server(uvicorn.Config(house.app, log_level="critical", log_config=None, lifespan="off"))
            found.put((server, Target(url, sessions, case_id, sent_id, house.app.openapi(), tuple(writes))))
            await server.serve(sockets=[listening])


def client(target: Target, who: str) -> httpx.Client:
    """Return somebody's browser, as far as the desk can tell."""
    headers = {"sec-fetch-site": "same-origin", "host": urlsplit(desk_house.PUBLIC_URL).netloc}
    return httpx.Client(base_url=target.url, headers=headers, cookies=target.cookies[who], timeout=60)


def check(answer: httpx.Response, who: str) -> None:
    """Hold an answer to what every answer must be."""
    assert answer.status_code < 500, answer.request
    is_page = answer.headers.get("content-type", "").startswith("text/html")
    leak = LEAKS.search(answer.text) if is_page else None
    assert leak is None or who == Role.REVIEWER, (answer.request, leak)
    assert "content-security-policy" in answer.headers
    if who == NOBODY and answer.request.url.path.startswith("/cases/"):
        assert answer.status_code in {303, 400, 401, 403, 404, 405, 422}, answer.request


@pytest.mark.parametrize("who", WHO)
def test_documented_requests(target: Target, who: str) -> None:
    with client(target, who) as browser:
        for result in schemathesis.openapi.from_dict(target.document).get_all_operations():
            operation = cast("Ok[Any]", result).ok()

            @FUZZED
            @given(case=operation.as_strategy())
            def fuzz(case: "schemathesis.Case[Any]") -> None:
                body = case.body if isinstance(case.body, list | dict) else None
                answer = browser.request(case.method, case.formatted_path, params=case.query or None, json=body)
                check(answer, who)

            fuzz()


def _fields() -> list[str]:
    names = {name for file in TEMPLATES.glob("*.html") for name in FIELD.findall(file.read_text())}
    return sorted(names | {"finding-eyes", "note-eyes", "seen-eyes", "major-eyes", "draft"})


HOSTILE: Final = st.text(max_size=200) | st.sampled_from(
    [
        *("", "none", "1", "99", "-1", "on", "{}", "[]", "null", "strong_support_same", "\x00", "A" * 10_000),
        *("' OR 1=1 --", "../../etc/passwd", "<script>alert(1)</script>"),
    ]
)
KINDS: Final = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json")


@pytest.mark.parametrize("who", [NOBODY, Role.SUBMITTER, Role.REVIEWER, Role.SUPERVISOR])
def test_forms(target: Target, who: str) -> None:
    forms = st.dictionaries(st.sampled_from(_fields()) | st.text(max_size=20), HOSTILE, max_size=12)
    with client(target, who) as browser:
        for path in target.writes:
            there = re.sub(r"{[a-z_]+}", target.sent_id if path.startswith("/appeals/") else target.case_id, path)

            @FUZZED
            @given(form=forms, raw=st.none() | st.binary(max_size=300), kind=st.sampled_from(KINDS))
            def fuzz(form: dict[str, str], raw: bytes | None, kind: str, there: str = there) -> None:
                if raw is None:
                    check(browser.post(there, data=form), who)
                else:
                    check(browser.post(there, content=raw, headers={"content-type": kind}), who)

            if path != LEAVING:
                fuzz()
