"""Before the pipeline: what the public sent in is opened and grouped, so that an officer looks at each picture once."""

from collections.abc import Sequence
from functools import partial

from rfr_stream.errors import BadImage, Rejected
from rfr_stream.events import AppealImageReceived
from rfr_stream.ports import Appeals, BlobStore, Codec, Contribution, Fingerprint, Fingerprinter, Picture
from rfr_stream.stages._batch import Settled, in_batch, paired
from rfr_stream.stages._faces import Opening


async def gather(
    batch: Sequence[AppealImageReceived],
    *,
    blobs: BlobStore,
    codec: Codec,
    fingerprinter: Fingerprinter,
    appeals: Appeals,
    max_image_bytes: int,
) -> list[Rejected | None]:
    """Keep each contribution with the pictures that it is a copy of. No face is looked for, and nobody is searched for.

    A picture that cannot be opened is a contribution that says so: whoever sent it in can be asked for another.
    """
    pictures = await Opening(blobs, codec, max_image_bytes).pictures([event.image for event in batch])
    fingerprints = await in_batch(partial(_fingerprints, fingerprinter), pictures)
    looked = paired(pictures, fingerprints)
    kept = [_contribution(event, each) for event, each in zip(batch, looked, strict=True)]
    await appeals.contribute([each for each in kept if isinstance(each, Contribution)])
    return [each if isinstance(each, Rejected) else None for each in kept]


async def _fingerprints(fingerprinter: Fingerprinter, pictures: Sequence[Picture]) -> list[Fingerprint]:
    return await fingerprinter.fingerprint([picture.pixels for picture in pictures])


def _contribution(event: AppealImageReceived, looked: tuple[Picture, Fingerprint] | Settled) -> Contribution | Settled:
    said = partial(
        Contribution,
        contribution_id=event.contribution_id,
        appeal_ref=event.appeal_ref,
        portal=event.portal,
        image=event.image,
        received_at=event.occurred_at,
        demo=event.demo,
    )
    if isinstance(looked, BadImage):
        return said(flaw=str(looked))
    if isinstance(looked, Settled):
        return looked  # its blob is missing
    picture, fingerprint = looked
    height, width = picture.pixels.shape[:2]
    return said(fingerprint=fingerprint, pixels=round(height * width * picture.scale**2))
