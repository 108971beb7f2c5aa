"""A disclosure as one file: a document for machines, the same on paper, their digests, and the seal of the house.

The file is an uncompressed ZIP without dates, its members in order, so that the same record always is the same bytes,
and any other bytes are another file. Whoever gets it needs nothing but the file to check that it holds together, and
the house's public key, come by another way, to know whose it is.
"""

import asyncio
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import Annotated, Final, Literal
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pydantic import Field, ValidationError

from rfr_stream import disclosure
from rfr_stream.adapters import keys, paper
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.desk import Operation
from rfr_stream.disclosure import Disclosure
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import CAVEAT, Prose, Ref, Sha256, Value, canonical

DOCUMENT: Final = "disclosure.json"
PRINT: Final = "disclosure.pdf"
MANIFEST: Final = "manifest.json"

_SEALED: Final = b"rfr-bundle-v1\n"
"""Begins what the house's key signs, so that no signature of it can be taken for one of something else."""
_UNREADABLE: Final = (BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError, struct.error)
"""What `zipfile` may make of bytes that are no ZIP."""


class Member(Value):
    """One file of the bundle."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Contents(Value):
    """What is in the bundle."""

    format: Literal["rfr-bundle-v1"] = "rfr-bundle-v1"
    caveat: Literal["Possible lead. Not evidence of identity. Must be independently corroborated."] = CAVEAT
    printed_by: str
    members: dict[str, Member]

    @property
    def sha256(self) -> str:
        """Of its canonical form."""
        return _digest(canonical(self.model_dump(mode="json")))


class Manifest(Value):
    """What is in the bundle, and whose seal is on it."""

    contents: Contents
    whole: Sha256
    """Of `contents`, in canonical form."""
    sealed_by: str
    """The house's public key, Ed25519, base64."""
    seal: str
    """Its signature of `rfr-bundle-v1`, a newline and `whole`."""


class Asked(Value):
    """Who wants to hand what to whom, and why: what the log says of it."""

    about: Ref
    """A case's reference, or one submission's id."""
    to: Ref
    """The recipient: a reference, no name."""
    reason: Prose
    by: Ref
    log_until: int | None = None
    """The last line of the log to be quoted; None: the newest."""


# --- making one -----------------------------------------------------------------------------------------------------
async def bundle(asked: Asked, *, desk: SqlDesk, key: keys.Ed25519PrivateKey, desk_url: str, now: datetime) -> bytes:
    """Return the bundle, once the log says who is about to get it; what cannot be logged is not disclosed.

    Raises:
        NotPermitted: nothing is on record about this.

    """
    found = await desk.records.about(asked.about, desk_url=desk_url, log_until=asked.log_until)
    if found is None:
        msg = "case: nothing is on record about it; give a case's reference, or a submission's id"
        raise NotPermitted(msg)
    data = await asyncio.to_thread(pack, found, key)
    said = f"bundle {sha256(data).hexdigest()} to {asked.to}: {asked.reason}"
    await desk.log.write(asked.by, Operation.DISCLOSURE, asked.about, said, now)
    return data


def pack(found: Disclosure, key: keys.Ed25519PrivateKey) -> bytes:
    """Return a disclosure as one sealed file."""
    members = {DOCUMENT: disclosure.write(found), PRINT: paper.render(found)}
    contents = Contents(printed_by=paper.PRINTED_BY, members={name: _member(data) for name, data in members.items()})
    manifest = Manifest(
        contents=contents,
        whole=contents.sha256,
        sealed_by=keys.public_text(key),
        seal=keys.sign_bytes(key, _SEALED + contents.sha256.encode()),
    )
    return _zipped({**members, MANIFEST: canonical(manifest.model_dump(mode="json"))})


def _zipped(members: Mapping[str, bytes]) -> bytes:
    file = BytesIO()
    with ZipFile(file, "w", ZIP_STORED) as archive:
        for name, data in sorted(members.items()):
            info = ZipInfo(name)  # of 1980, which is no date
            info.create_system, info.external_attr = 3, 0o600 << 16
            archive.writestr(info, data)
    return file.getvalue()


def _member(data: bytes) -> Member:
    return Member(sha256=_digest(data), bytes=len(data))


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


# --- checking one ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Checked:
    """What a bundle is found to be."""

    faults: tuple[str, ...]
    """In the order in which they were found; none: it holds together."""
    sealed_by: str | None
    """The public key of the house, if the seal is good."""
    found: Disclosure | None


def check(data: bytes, *, public_key: str | None = None) -> Checked:
    """Check a bundle by itself, and hold it to a house's public key, if one is given."""
    try:
        members = _members(data)
        manifest = _manifest(members[MANIFEST])
    except Malformed as fault:
        return Checked((str(fault),), None, None)
    faults = list(_seal_faults(members, manifest))
    sealed_by = None if faults else manifest.sealed_by
    if public_key and sealed_by and sealed_by != public_key:
        faults.append(f"{MANIFEST}: sealed by another key")
    try:
        found = disclosure.read(members[DOCUMENT])
    except Malformed as fault:
        return Checked((*faults, f"{DOCUMENT}: {fault}"), sealed_by, None)
    verifier = keys.KeyVerifier(found.desk_url)
    faults += [f"{DOCUMENT}: {fault}" for fault in disclosure.faults(found, verifier)]
    is_ours = manifest.contents.printed_by == paper.PRINTED_BY
    if is_ours and not faults and paper.render(found) != members[PRINT]:
        faults.append(f"{PRINT}: is not what {DOCUMENT} says, on paper")
    return Checked(tuple(faults), sealed_by, found)


def _members(data: bytes) -> dict[str, bytes]:
    """Return the files of a bundle.

    Raises:
        Malformed: it is none, or not these bytes exactly; nothing is unpacked that takes more room than the bundle.

    """
    try:
        with ZipFile(BytesIO(data)) as archive:
            infos = archive.infolist()
            if any(info.compress_type != ZIP_STORED or info.file_size > len(data) for info in infos):
                msg = "bundle: a member is compressed"
                raise Malformed(msg)
            if [info.filename for info in infos] != [DOCUMENT, PRINT, MANIFEST]:
                msg = f"bundle: must hold {DOCUMENT}, {PRINT} and {MANIFEST}, in this order, and nothing else"
                raise Malformed(msg)
            members = {info.filename: archive.read(info) for info in infos}
    except _UNREADABLE as error:
        msg = f"bundle: cannot be opened: {error}"
        raise Malformed(msg) from None
    if _zipped(members) != data:
        msg = "bundle: was packed by something else, or holds more than its members"
        raise Malformed(msg)
    return members


def _manifest(data: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        msg = f"{MANIFEST}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise Malformed(msg) from None
    if canonical(manifest.model_dump(mode="json")) != data:
        msg = f"{MANIFEST}: not in canonical form"
        raise Malformed(msg)
    return manifest


def _seal_faults(members: Mapping[str, bytes], manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong with the manifest itself, and then with what it names."""
    named = manifest.contents.members
    if manifest.whole != manifest.contents.sha256:
        yield f"{MANIFEST}: whole: not the digest of what it names"
    if not keys.is_signed(manifest.sealed_by, manifest.seal, _SEALED + manifest.whole.encode()):
        yield f"{MANIFEST}: seal: not a signature of this bundle by the key that it names"
    if set(named) != {DOCUMENT, PRINT}:
        yield f"{MANIFEST}: names other files than these"
    for name in (DOCUMENT, PRINT):
        if named.get(name) != _member(members[name]):
            yield f"{name}: not the file that {MANIFEST} names"
