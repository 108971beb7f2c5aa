"""Why a search is strictly necessary is said in words of one's own, for each case anew."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

MIN_NECESSITY_CHARS: Final = 40
MIN_NECESSITY_WORDS: Final = 6
"""Different ones. Less cannot say why this search, of this image, in this case."""
RECENT_STATEMENTS: Final = 20
"""So many of somebody's last statements a new one is compared with."""

_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Stated:
    """What is kept of a statement of necessity: in which case it was made, and a digest of its words."""

    case_ref: str
    digest: str


def words_of(necessity: str) -> list[str]:
    """Return its words alone, so that marks, numbers, spaces and letters' case make no other statement of it."""
    words = _WORD.findall(unicodedata.normalize("NFKC", necessity).casefold())
    return [word for word in words if word.isalpha()]


def stated(case_ref: str, necessity: str) -> Stated:
    """Return what is kept: a digest of its words."""
    return Stated(case_ref, sha256(" ".join(words_of(necessity)).encode()).hexdigest())


def is_boilerplate(new: Stated, recent: Iterable[Stated]) -> bool:
    """Whether the same was said of another case by whoever made these statements before."""
    return any(old.digest == new.digest and old.case_ref != new.case_ref for old in recent)
