"""A disclosure on paper, for people: the same bytes for the same record."""

from collections.abc import Sequence
from hashlib import sha256

from rfr_stream.adapters.paper import _words as say
from rfr_stream.adapters.paper._layout import (
    PRINTED_BY,
    Code,
    Pages,
    Story,
    chapter,
    facts,
    grid,
    items,
    print_pages,
    section,
    title,
    warning,
    words,
)
from rfr_stream.adapters.paper._search import printed
from rfr_stream.disclosure import Disclosure, Line, Search, write
from rfr_stream.events import CAVEAT, IdentificationConfirmed

__all__ = ["PRINTED_BY", "render"]

_COVER = "cover"
_ANNEX = "annex"
_SEARCHES = {
    "No.": 5,
    "Submitted (UTC)": 18,
    "Whom to find": 13,
    "List": 6,
    "Decisions": 10,
    "How it stands": 40,
    "Page": 6,
}
_LOG = {"Line": 6, "When (UTC)": 18, "Who": 14, "What": 12, "In words": 22, "Digest": 28}
_CHECKS = (
    "`rfr verify BUNDLE` computes every digest again and verifies everything signed, with the keys above.",
    "It says which key sealed the bundle; `--key` holds the bundle to a key that came another way.",
    "`rfr disclose --log-until LINE`, with the line below, makes it again byte for byte while only the log has grown.",
    "disclosure.json says all that stands here, and more, for machines; this document is printed from it.",
)


def render(disclosure: Disclosure) -> bytes:
    """Return the PDF."""
    numbered = list(enumerate(disclosure.searches, start=1))
    head = f"Disclosure: {disclosure.about}"
    heads = {
        _COVER: head,
        **{_name(number): f"{head}: search {number} of {len(numbered)}" for number, _ in numbered},
        _ANNEX: f"{head}: annex",
    }

    def story(pages: Pages) -> Story:
        yield from _cover(disclosure, pages)
        for number, search in numbered:
            yield from chapter(f"Search {number}: {say.standing(search.case)}", _name(number))
            yield from printed(search)
        yield from chapter("Annex", _ANNEX)
        yield from _annex(disclosure)

    return print_pages(story, heads, about=head)


def _name(number: int) -> str:
    return f"search {number}"


def _cover(disclosure: Disclosure, pages: Pages) -> Story:
    yield from title("Disclosure", "Facial recognition searches and their review")
    yield warning(CAVEAT)
    if any(search.case.demo for search in disclosure.searches):
        yield warning("Demonstration. No operational case.")
    yield facts(
        {
            "Case" if disclosure.is_of_case else "Submission": disclosure.about,
            "Scope": "every search of the case that is on record, those that found nobody included"
            if disclosure.is_of_case
            else "one submission; other searches of its case, if there are any, are not in this bundle",
            "Searches": str(len(disclosure.searches)),
            "Leads given out": str(_leads(disclosure)),
            "SHA-256 of disclosure.json": Code(sha256(write(disclosure)).hexdigest()),
        }
    )
    yield from section("The searches")
    rows = [_row(number, search, pages) for number, search in enumerate(disclosure.searches, start=1)]
    yield grid(_SEARCHES, rows)
    yield from section("Before any of this is relied on")
    yield from items(disclosure.limits, numbered=True)


def _leads(disclosure: Disclosure) -> int:
    said = (told.event for search in disclosure.searches for told in search.told)
    return sum(isinstance(event, IdentificationConfirmed) for event in said)


def _row(number: int, search: Search, pages: Pages) -> tuple[object, ...]:
    case = search.case
    about = case.candidates or case.faces
    return (
        str(number),
        say.stamp(about.submission.submitted_at) if about else "",
        say.plain(about.submission.purpose) if about else "",
        str(len(case.candidates.candidates)) if case.candidates else "",
        str(len(case.decisions)),
        say.standing(case),
        str(pages.get(_name(number), "")),
    )


def _annex(disclosure: Disclosure) -> Story:
    yield from section("Whose keys signed")
    yield words(
        "Ed25519 keys, 32 bytes in base64; of a passkey, its COSE key. Everything signed is verified with these."
    )
    yield grid(
        {"Reviewer": 20, "May": 12, "Public key": 68},
        [(each.reviewer_id, each.duty, Code(each.public_key)) for each in disclosure.signers],
    )
    yield from section("The access log, where it is about this")
    yield words(
        "Who looked at what, and did what. Each line's digest covers the digest of the line before it; both are in "
        "disclosure.json."
    )
    yield grid(_LOG, _log(disclosure.log))
    yield from section("How this bundle is checked")
    yield from items(_CHECKS, numbered=True)
    yield facts({"The log is quoted up to": f"line {disclosure.log_until}", "Where people signed": disclosure.desk_url})


def _log(lines: Sequence[Line]) -> list[tuple[object, ...]]:
    entries = [line.entry for line in lines]
    return [
        (str(e.sequence), say.stamp(e.at), e.account_id, say.plain(e.operation), e.detail, Code(e.digest))
        for e in entries
    ]
