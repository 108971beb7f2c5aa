"""Weights on disk: verified before use, installed atomically, downloaded from their publisher only when asked.

A digest that no publisher gives is recorded beside the file (`<name>.sha256`) by whoever installs it, and holds from
then on.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Final, cast
from urllib.error import URLError
from urllib.request import urlopen

from rfr_stream.errors import Unavailable
from rfr_stream.vision.packs import ONNX, PACKS, BadPack, Pack, Part, Role, Weights, locate, pack

MAX_DOWNLOAD_BYTES: Final = 2**30
_CHUNK_BYTES: Final = 2**20
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Status:
    """One file of a pack: `fault` None where it is there and is the file that the pack names."""

    role: Role
    weights: Weights
    path: Path | None
    fault: str | None


def list_packs(pack_file: Path | None = None) -> list[Pack]:
    """Return every pack, by name; the operator's own only where its file is given.

    Raises:
        BadPack: the file does not describe a pack.

    """
    return [pack(name, pack_file) for name in sorted([*PACKS, *([ONNX] if pack_file else [])])]


def status(pack: Pack, weights_dir: Path) -> list[Status]:
    """Say of every file of the pack whether it is ready for use."""
    roles: tuple[Role, ...] = ("detector", "embedder")
    return [_status(role, weights, weights_dir) for role in roles for weights in pack.part(role).weights]


def verify(pack: Pack, weights_dir: Path) -> None:
    """Do nothing where every file of the pack is the one that it names.

    Raises:
        BadPack: a file is absent, or its digest is another; the message names each.

    """
    faults = [f"{found.weights.name}: {found.fault}" for found in status(pack, weights_dir) if found.fault]
    if faults:
        raise BadPack("; ".join(faults))


def identity_sha256(part: Part, weights_dir: Path) -> str:
    """Return the digest that stands for a part's weights: its file's, or the SHA-256 of its files' digests.

    Reads no weights, only digests.

    Raises:
        BadPack: a file needs a digest recorded at its installation, and has none.

    """
    digests = [_expected(weights, weights_dir) for weights in part.weights]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def verified_paths(part: Part, weights_dir: Path) -> list[Path]:
    """Return the part's files after checking every digest.

    Raises:
        BadPack: a file is absent, or its digest is another.

    """
    return [_checked(weights, weights_dir) for weights in part.weights]


def install(pack: Pack, role: Role, file: Path, weights_dir: Path, *, trust_sha256: str | None = None) -> Path:
    """Copy a file that the operator brought into the weights directory, whole or not at all; return its place.

    Args:
        pack: whose weights these are.

        role: which of its parts; a part of several files takes each by its name.

        file: what was brought.

        weights_dir: made if absent.

        trust_sha256: the digest that the operator vouches for, where the pack names none.

    Raises:
        BadPack: the file is not the one that the pack names.

    """
    weights = _wanted(pack.part(role), file)
    with file.open("rb") as source:
        return _store(source, weights, weights_dir, trust_sha256)


def pull(pack: Pack, role: Role, weights_dir: Path, *, trust_sha256: str | None = None) -> list[Path]:
    """Download a part's files from their publisher; return their places. Files of Python packages are only checked.

    Raises:
        BadPack: no address is published, or the bytes are not those that the pack names.

        Unavailable: the publisher cannot be reached.

    """
    return [_pull(weights, weights_dir, trust_sha256) for weights in pack.part(role).weights]


def _pull(weights: Weights, weights_dir: Path, trust_sha256: str | None) -> Path:
    if weights.path:
        return _checked(weights, weights_dir)
    if weights.url is None:
        msg = f"{weights.name}: its publisher offers no direct address; bring the file with --from FILE"
        raise BadPack(msg)
    try:
        with urlopen(weights.url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - an https address of our own table
            return _store(response, weights, weights_dir, trust_sha256)
    except (URLError, TimeoutError, ConnectionError) as error:
        msg = f"{weights.name}: its publisher cannot be reached from here; bring the file with --from FILE"
        raise Unavailable(msg) from error


def _store(source: BinaryIO, weights: Weights, weights_dir: Path, trust_sha256: str | None) -> Path:
    expected = weights.sha256 or trust_sha256
    if expected is None:
        msg = f"{weights.name}: no digest is published; check the file and vouch for it with --trust-digest SHA256"
        raise BadPack(msg)
    weights_dir.mkdir(parents=True, exist_ok=True)
    target = weights_dir / weights.name
    with _atomic(target) as (out, temporary):
        found = _copy(source, out)
        if found != expected:
            msg = f"{weights.name}: the file's SHA-256 is {found}, and {expected} was expected"
            raise BadPack(msg)
        if weights.sha256 is None:
            _recorded_at(target).write_text(found + "\n")
        temporary.replace(target)
    return target


@contextmanager
def _atomic(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as out:
        temporary = Path(out.name)
        try:
            yield cast("BinaryIO", out), temporary
        finally:
            temporary.unlink(missing_ok=True)


def _copy(source: BinaryIO, out: BinaryIO) -> str:
    """Copy to disk and return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    copied = 0
    while chunk := source.read(_CHUNK_BYTES):
        copied += len(chunk)
        if copied > MAX_DOWNLOAD_BYTES:
            msg = f"weights: more than {MAX_DOWNLOAD_BYTES} bytes"
            raise BadPack(msg)
        digest.update(chunk)
        out.write(chunk)
    out.flush()
    os.fsync(out.fileno())
    return digest.hexdigest()


def _wanted(part: Part, file: Path) -> Weights:
    """Return which of the part's files this is: the only one, or the one of the same name."""
    choices = [weights for weights in part.weights if weights.path is None]
    if len(choices) == 1:
        return choices[0]
    for weights in choices:
        if weights.name == file.name:
            return weights
    elsewhere = "its weights come with an installed package, or lie where its pack file says"
    msg = f"{part.architecture}: takes no file of this name; {elsewhere}"
    raise BadPack(msg)


def _status(role: Role, weights: Weights, weights_dir: Path) -> Status:
    try:
        return Status(role, weights, _checked(weights, weights_dir), None)
    except BadPack as error:
        return Status(role, weights, None, str(error).removeprefix(f"{weights.name}: "))


def _checked(weights: Weights, weights_dir: Path) -> Path:
    path = locate(weights, weights_dir)
    if not path.is_file():
        remedy = "install it with `rfr models pull` or `rfr models pull --from FILE`"
        msg = f"{weights.name}: absent; {f'nothing lies at {path}' if weights.path else remedy}"
        raise BadPack(msg)
    expected = _expected(weights, weights_dir)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        msg = f"{weights.name}: SHA-256 is {found}, and {expected} was expected; it must not be used"
        raise BadPack(msg)
    return path


def _expected(weights: Weights, weights_dir: Path) -> str:
    if weights.sha256:
        return weights.sha256
    recorded = _recorded_at(weights_dir / weights.name)
    if not recorded.is_file():
        msg = f"{weights.name}: absent; install it with `rfr models pull --from FILE --trust-digest SHA256`"
        raise BadPack(msg)
    return recorded.read_text().strip()


def _recorded_at(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")
