"""Which pictures are copies of one another: one truth for every ledger. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from rfr_stream.ports import Contribution, Fingerprint

MAX_BITS: Final = 52
"""Of 256 that may differ in copies of one picture (`benches/appeals.py` measures what that groups, rightly or not).

Too few groups hide a picture behind another, and nobody looks at it; too many only show an officer a copy. So the limit
lies well below what different pictures have, and a picture is compared with the first of a group alone, not with others
that resemble it: copies of copies do not drift away.
"""


@dataclass(frozen=True, slots=True)
class Founders:
    """The first picture of each group of one appeal."""

    ids: Sequence[UUID] = ()
    fingerprints: Sequence[Fingerprint] = ()
    sequence: int = 0
    """Of the latest of them, in a ledger that numbers them."""


@dataclass(slots=True)
class Grouping:
    """Contributions on their way into groups: new ones are founded by what is a copy of none."""

    groups: dict[UUID, UUID] = field(default_factory=dict)
    """The group of each contribution that could be opened."""
    founding: dict[UUID, Fingerprint] = field(default_factory=dict)
    """The first picture of each new group, which is named after it."""


def copies(contributions: Sequence[Contribution], founders: Founders) -> dict[UUID, UUID]:
    """Return the group of each contribution that is a copy of one of these; whatever is none, or was not opened, lacks.

    One of two copies may be cropped, and nobody knows which: the whole frame of either is looked for in the other.
    """
    if not founders.ids:
        return {}
    theirs = _as_words(np.stack(founders.fingerprints))  # [N, W, 4]
    found = {}
    for each in contributions:
        if each.fingerprint is not None:
            ours = _as_words(each.fingerprint)  # [W, 4]
            bits = np.minimum(_differing(theirs ^ ours[0]), _differing(theirs[:, :1] ^ ours))  # [N]
            if bits.min() <= MAX_BITS:
                found[each.contribution_id] = founders.ids[int(bits.argmin())]
    return found


def grouped(contributions: Sequence[Contribution], known: Mapping[UUID, UUID]) -> Grouping:
    """Put contributions of one appeal into groups, in their order: those that are known to be copies, and the others.

    Args:
        contributions: of one appeal.
        known: the groups of those that are copies of what came before.

    """
    done = Grouping(dict(known))
    for each in contributions:
        if each.fingerprint is None or each.contribution_id in done.groups:
            continue
        done.groups |= copies([each], Founders(list(done.founding), list(done.founding.values())))
        if each.contribution_id not in done.groups:
            done.groups[each.contribution_id] = each.contribution_id
            done.founding[each.contribution_id] = each.fingerprint
    return done


def _as_words(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes).view(np.uint64)


def _differing(bits: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return the fewest bits that differ in any window of each picture."""
    fewest: NDArray[np.uint16] = np.bitwise_count(bits).sum(axis=-1, dtype=np.uint16).min(axis=-1)
    return fewest
