"""Looks names up. One that hangs holds one thread: nobody else's lookup, no other work, and not the process's end."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv6Address, ip_address
from threading import Thread
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Found: TypeAlias = Sequence[Address]


class Names:
    """Has a thread for each name while it is being looked up. A pool's would be waited for when the process ends."""

    def __init__(self) -> None:
        """Look nothing up yet."""
        self._looking: dict[str, asyncio.Future[Found]] = {}

    async def addresses(self, host: str) -> Found:
        """Return where a name leads; whoever asks while it is being looked up hears the same.

        Raises:
            OSError: there is no such name, or nobody who knows.
            UnicodeError: it is none.

        """
        if host not in self._looking:
            self._looking[host] = looking = _begun(host)
            looking.add_done_callback(lambda done: self._forget(host, done))
        return await asyncio.shield(self._looking[host])  # who waits no longer cannot stop the thread

    def _forget(self, host: str, done: "asyncio.Future[Found]") -> None:
        del self._looking[host]
        done.exception()  # has been seen, even if nobody waits for it any more


def _begun(host: str) -> "asyncio.Future[Found]":
    found = Future[Found]()
    found.set_running_or_notify_cancel()  # from here on nobody can cancel it
    Thread(target=_look_up, args=(host, found), name="rfr-name", daemon=True).start()
    return asyncio.wrap_future(found)


def _look_up(host: str, found: "Future[Found]") -> None:
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found.set_result([ip_address(each[4][0]) for each in entries])
    except Exception as error:  # noqa: BLE001 - whoever waits has it
        found.set_exception(error)
