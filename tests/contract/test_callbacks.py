"""Clients are told at their own address what became of what they sent: signed, and nowhere else."""

import asyncio
import hmac
import json
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import builders
import pytest
from receiver import DOWN, OK, Receiver, Told, receiving
from secured import Authority

from rfr_stream.adapters._names import Address
from rfr_stream.adapters.callbacks import HttpCallbacks
from rfr_stream.errors import Malformed, Undelivered
from rfr_stream.events import Outcome
from rfr_stream.reception import Client, Door, require_callback, token_of
from rfr_stream.settings import CallbackSettings

KEY: Final = bytes(range(32))
QUICK: Final = {"first_wait_s": 0.01, "longest_wait_s": 0.02, "timeout_s": 0.5, "attempts": 3}
CLOSED: Final = builders.closed(Outcome.NO_FACE)


@asynccontextmanager
async def callbacks(*addresses: str, **settings: Any) -> AsyncIterator[HttpCallbacks]:  # noqa: ANN401
    """Open them; names lead to these addresses, if any are given."""

    async def resolve(_: str) -> Sequence[Address]:
        return [ip_address(each) for each in addresses]

    with_defaults = CallbackSettings(**{**QUICK, **settings})
    async with HttpCallbacks(with_defaults, key=KEY, resolve=resolve if addresses else None) as opened:
        yield opened


def client(receiver: Receiver, name: str = "portal-1", *, path: str = "/outcomes", host: str = "127.0.0.1") -> Client:
    return Client(name, Door.OFFICER, callback=f"http://{host}:{receiver.port}{path}")


def signature(client: Client, told: Told) -> str:
    """Return what a receiver that has the token expects, by hand."""
    digest = f"sha-256=:{b64encode(sha256(told.body).digest()).decode()}:"
    lines = f"callback {told.headers['RFR-Id']}\n{told.headers['RFR-Timestamp']}\n{digest}"
    return hmac.new(token_of(client, KEY).encode(), lines.encode(), "sha256").hexdigest()


# --- what is told -----------------------------------------------------------------------------------------------------
async def test_a_client_is_told_once_and_by_us() -> None:
    async with receiving(Receiver()) as receiver, callbacks() as opened:
        about = client(receiver, path="/outcomes?of=us")
        await opened.tell(about, CLOSED)
    (told,) = receiver.told
    assert told.path == "/outcomes?of=us"
    assert json.loads(told.body) == {
        "submission_id": str(CLOSED.submission_id),
        "state": "no_face",
        "at": CLOSED.occurred_at.isoformat(),
    }
    assert told.headers["RFR-Signature"] == signature(about, told)
    assert abs(int(told.headers["RFR-Timestamp"]) - time.time()) < 60
    assert told.headers["Host"] == f"127.0.0.1:{receiver.port}"


async def test_the_same_outcome_again_has_the_same_id_and_another_one_another() -> None:
    async with receiving(Receiver()) as receiver, callbacks() as opened:
        for closed in (CLOSED, CLOSED, builders.closed(Outcome.EXPIRED)):
            await opened.tell(client(receiver), closed)
    first, again, other = [told.headers["RFR-Id"] for told in receiver.told]
    assert first == again != other


async def test_another_clients_token_signs_otherwise() -> None:
    async with receiving(Receiver()) as receiver, callbacks() as opened:
        await opened.tell(client(receiver), CLOSED)
    (told,) = receiver.told
    for other in (client(receiver, "portal-2"), Client("portal-1", Door.OFFICER, 2), Client("portal-1", Door.UNIT)):
        assert told.headers["RFR-Signature"] != signature(other, told)


# --- receivers that are away, slow or mean --------------------------------------------------------------------------
async def test_a_receiver_that_comes_back_in_time_is_told() -> None:
    async with receiving(Receiver(lambda n: OK if n == 2 else DOWN)) as receiver, callbacks() as opened:
        await opened.tell(client(receiver), CLOSED)
    assert len(receiver.told) == 3
    assert len({told.headers["RFR-Id"] for told in receiver.told}) == 1


async def test_one_that_does_not_is_left_alone_for_a_while_and_then_tried_again() -> None:
    async with receiving(Receiver(lambda n: DOWN if n < 3 else OK)) as receiver, callbacks(away_s=1) as opened:
        with pytest.raises(Undelivered, match=r"^callback of portal-1: answered 503, 3 times$"):
            await opened.tell(client(receiver), CLOSED)
        with pytest.raises(Undelivered, match="not tried"):
            await opened.tell(client(receiver), CLOSED)
        await opened.tell(client(receiver, "portal-2"), CLOSED)
        await asyncio.sleep(1.1)
        await opened.tell(client(receiver), CLOSED)
    assert len(receiver.told) == 5


async def test_one_that_hangs_has_its_time_and_no_more() -> None:
    async with receiving(Receiver(lambda _: None)) as receiver, callbacks(attempts=2, timeout_s=0.2) as opened:
        began = time.monotonic()
        with pytest.raises(Undelivered, match="TimeoutError, 2 times"):
            await opened.tell(client(receiver), CLOSED)
    assert time.monotonic() - began < 5
    assert len(receiver.told) == 2


async def test_where_nobody_listens_nobody_is_told() -> None:
    async with receiving(Receiver()) as receiver:
        pass
    async with callbacks() as opened:
        with pytest.raises(Undelivered, match="ConnectError"):
            await opened.tell(client(receiver), CLOSED)


async def test_nothing_is_followed() -> None:
    async with receiving(Receiver()) as elsewhere:
        there = f"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:{elsewhere.port}/\r\n\r\n".encode()
        async with receiving(Receiver(lambda _: there)) as receiver, callbacks() as opened:
            with pytest.raises(Undelivered, match="answered 307"):
                await opened.tell(client(receiver), CLOSED)
    assert elsewhere.told == []


async def test_of_an_answer_the_status_is_all_that_counts_however_long_it_is() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + b"x" * 2**20
    async with receiving(Receiver(lambda _: endless)) as receiver, callbacks() as opened:
        await opened.tell(client(receiver), CLOSED)
    assert len(receiver.told) == 1


async def test_a_receiver_leaves_no_cookie_with_whoever_is_told_next_at_its_address() -> None:
    keep = b"HTTP/1.1 204 No Content\r\nSet-Cookie: kept=1; Path=/\r\n\r\n"
    async with receiving(Receiver(lambda _: keep)) as receiver, callbacks() as opened:
        await opened.tell(client(receiver), CLOSED)
        await opened.tell(client(receiver, "portal-2"), CLOSED)
    assert [told.headers["Cookie"] for told in receiver.told] == [None, None]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2**18, b"\x00" * 100, b"", b"HTTP/9 what"])
async def test_what_is_no_answer_is_none(answer: bytes) -> None:
    async with receiving(Receiver(lambda _: answer)) as receiver, callbacks() as opened:
        with pytest.raises(Undelivered):
            await opened.tell(client(receiver), CLOSED)


# --- where ------------------------------------------------------------------------------------------------------------
INSIDE: Final = (
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd00::1",
    "fec0::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
)
NOWHERE: Final = (
    *("127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "240.0.0.1"),  # noqa: S104
    *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:169.254.169.254"),
)


@pytest.mark.parametrize("address", [*INSIDE, *NOWHERE])
async def test_a_name_of_the_internet_leads_to_no_address_inside(address: str) -> None:
    async with callbacks(address) as opened:
        with pytest.raises(Undelivered, match="no address of the public internet"):
            await opened.tell(Client("portal-1", Door.OFFICER, callback="https://portal.example/"), CLOSED)


@pytest.mark.parametrize("address", NOWHERE)
async def test_ones_own_networks_do_not_include_this_machine_and_what_only_its_neighbours_have(address: str) -> None:
    async with callbacks(address, private_networks=True) as opened:
        with pytest.raises(Undelivered, match="no address"):
            await opened.tell(Client("portal-1", Door.OFFICER, callback="https://portal.example/"), CLOSED)


@pytest.mark.parametrize("address", INSIDE)
async def test_ones_own_networks_are_let_in_by_a_setting_and_others_always_are(address: str) -> None:
    async with callbacks(address, private_networks=True) as opened:
        assert opened._may_connect("portal.example", ip_address(address))  # noqa: SLF001 - nobody is there to be told
    async with callbacks() as opened:
        assert opened._may_connect("portal.example", ip_address("93.184.216.34"))  # noqa: SLF001 - as above
        assert not opened._may_connect("localhost", ip_address("93.184.216.34"))  # noqa: SLF001 - as above


async def test_the_connection_goes_to_the_address_that_was_looked_at() -> None:
    async with callbacks("127.0.0.2") as opened:
        server = await asyncio.start_server((receiver := Receiver()).serve, "127.0.0.2", 0)
        async with server:
            receiver.port = server.sockets[0].getsockname()[1]
            await opened.tell(client(receiver, host="localhost"), CLOSED)
    (told,) = receiver.told
    assert told.headers["Host"] == f"localhost:{receiver.port}"


async def test_each_attempt_goes_to_the_next_address_that_may_be_told_and_then_to_the_first_again() -> None:
    async with receiving(Receiver(lambda n: OK if n else DOWN)) as receiver:
        async with callbacks("10.1.2.3", "127.0.0.1", "127.0.0.2", attempts=3) as opened:  # at the last nobody listens
            await opened.tell(client(receiver, host="localhost"), CLOSED)
        assert len(receiver.told) == 2
        async with callbacks("127.0.0.2", "127.0.0.1", attempts=2) as opened:
            await opened.tell(client(receiver, host="localhost"), CLOSED)
    assert len(receiver.told) == 3


HANGS: Final = Client("portal-2", Door.OFFICER, callback="https://hangs.example/")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.Thread]]:
    """Let one name hang; return the threads that look it up."""
    threads, go, look_up = [], threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        if host == "hangs.example":
            threads.append(threading.current_thread())
            go.wait(10)
            raise socket.gaierror
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield threads
    go.set()
    for each in threads:
        each.join(10)


async def test_a_name_that_hangs_holds_one_thread_of_its_own_that_nobody_waits_for(
    hanging: list[threading.Thread],
) -> None:
    with ThreadPoolExecutor(1) as everybodys:
        asyncio.get_running_loop().set_default_executor(everybodys)
        async with receiving(Receiver()) as receiver, callbacks(timeout_s=1) as opened:
            told = [asyncio.create_task(opened.tell(HANGS, CLOSED)) for _ in range(3)]
            await asyncio.sleep(0.05)
            await opened.tell(client(receiver, host="localhost"), CLOSED)
            await asyncio.wait_for(asyncio.to_thread(lambda: None), 10)
            faults = await asyncio.gather(*told, return_exceptions=True)
        (thread,) = hanging
        assert thread.daemon
    assert [str(each) for each in faults] == ["callback of portal-2: TimeoutError, 3 times"] * 3
    assert len(receiver.told) == 1


async def test_a_name_that_nobody_knew_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[Any] = socket.getaddrinfo("127.0.0.1", None, type=socket.SOCK_STREAM)
    answers = iter([[], socket.gaierror(), entries])

    def getaddrinfo(*_: Any, **__: Any) -> Any:  # noqa: ANN401
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with receiving(Receiver()) as receiver, callbacks() as opened:
        about = client(receiver, host="localhost")
        with pytest.raises(Undelivered, match="no address"):
            await opened.tell(about, CLOSED)
        await opened.tell(about, CLOSED)
    assert len(receiver.told) == 1


@pytest.mark.parametrize(("host", "is_told"), [("127.0.0.1", True), ("localhost", False)])
async def test_a_certificate_is_of_the_name_and_not_of_the_address_behind_it(
    tmp_path: Path, host: str, *, is_told: bool
) -> None:
    authority = Authority.founded(tmp_path / "authority")
    mine = authority.certify("receiver")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(mine.certificate, mine.key)
    trusting = callbacks("127.0.0.1", ca_file=authority.file)
    async with receiving(Receiver(), tls=tls) as receiver, trusting as opened:
        about = Client("portal-1", Door.OFFICER, callback=f"https://{host}:{receiver.port}/")
        if is_told:
            await opened.tell(about, CLOSED)
        else:
            with pytest.raises(Undelivered, match="ConnectError"):
                await opened.tell(about, CLOSED)
    assert len(receiver.told) == is_told


async def test_nobody_is_told_whose_authority_nobody_trusts(tmp_path: Path) -> None:
    mine = Authority.founded(tmp_path / "authority").certify("receiver")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(mine.certificate, mine.key)
    async with receiving(Receiver(), tls=tls) as receiver, callbacks() as opened:
        with pytest.raises(Undelivered, match="ConnectError"):
            await opened.tell(Client("portal-1", Door.OFFICER, callback=f"https://127.0.0.1:{receiver.port}/"), CLOSED)
    assert receiver.told == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://portal.example/",
            "ftp://portal.example/",
            "portal.example",
            "https:///",
            "https://",
            "",
            "https://[::1",
        ),
        *("https://jane@portal.example/", "https://jane:doe@portal.example/", "https://portal.example/#there"),
        *("https://portal.example:99999/", "https://portal.example:0/", "https://portal.example/a b", "file:///etc"),
        *("https://port\N{LATIN SMALL LETTER A WITH ACUTE}l.example/", "https://portal.example/\r\nX: y"),
        f"https://portal.example/{'a' * 2048}",
    ],
)
async def test_what_is_no_place_to_be_told_at_is_refused_now_and_later(url: str) -> None:
    with pytest.raises(Malformed, match=r"^callback: "):
        require_callback(url)
    async with callbacks("93.184.216.34") as opened:
        with pytest.raises(Undelivered, match="no address that may be told"):
            await opened.tell(Client("portal-1", Door.OFFICER, callback=url), CLOSED)


@pytest.mark.parametrize(
    "url", ["https://portal.example/a?b=c", "http://127.0.0.1:80/", "http://[::1]:8080/", "http://localhost"]
)
def test_what_is_one_is_taken(url: str) -> None:
    require_callback(url)
