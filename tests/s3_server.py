"""An S3 server over HTTP in a process of its own, on the loopback alone; it forgets everything when it is stopped."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.request import Request, urlopen

import aioboto3
from pydantic import SecretStr

from rfr_stream.settings import BlobSettings

_RUNNING = re.compile(rb"Running on http://127\.0\.0\.1:(\d+)")


class S3Server:
    """Starts when entered. The keys are any words: this server believes everybody."""

    def __init__(self, port: int = 0) -> None:
        """Choose the port; 0 lets the system choose."""
        self.port = port
        self._session = aioboto3.Session("any", "any", region_name="eu-west-2")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the same port as before if it ran already, and wait until it answers."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        said = b""
        while not (running := _RUNNING.search(said)):
            line = self._process.stderr.readline()
            assert line, f"the S3 server ended: {said.decode()}"
            said += line
        self.port = int(running[1])
        # Nobody reads what it logs from here on, and a full pipe would stop it.
        self._drain = subprocess.Popen(["cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it at once; what it held is gone."""
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._drain.wait()

    def settings(self, bucket: str, **more: Any) -> BlobSettings:  # noqa: ANN401 - any field of the section
        return BlobSettings(
            kind="s3",
            bucket=bucket,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region="eu-west-2",
            access_key_id="any",
            secret_access_key=SecretStr("any"),
            **more,
        )

    async def make_only(self, bucket: str, *, versions: bool = False) -> None:
        """Forget everything and make one empty bucket."""
        await asyncio.to_thread(self._post_reset)
        async with self.client(bucket) as client:
            await client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
            if versions:
                await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    @asynccontextmanager
    async def client(self, bucket: str) -> AsyncIterator[Any]:
        """Enter a client of our own, to see what the store really did."""
        async with self._session.client("s3", endpoint_url=self.settings(bucket).endpoint_url) as client:
            yield client

    def _post_reset(self) -> None:
        with urlopen(Request(f"http://127.0.0.1:{self.port}/moto-api/reset", method="POST")):
            pass
