"""A bundle is its own bytes and no others; whatever was done to it is named, and its pages say what it is not."""

import json
import re
import stat
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from itertools import groupby
from pathlib import Path
from threading import Thread, get_ident
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import authenticator
import builders
import dossier
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfbase import ttfonts  # type: ignore[import-untyped]

from rfr_stream import disclosure
from rfr_stream.adapters import bundles, keys, paper
from rfr_stream.disclosure import Disclosure, Signer
from rfr_stream.errors import NotPermitted
from rfr_stream.events import CAVEAT, Support, canonical
from rfr_stream.ports import Duty

HOUSE: Final = builders.private_key("the house")
STRANGER: Final = builders.private_key("a stranger")
DOCUMENT: Final = dossier.document()
BUNDLE: Final = bundles.pack(DOCUMENT, HOUSE)
NAMES: Final = (bundles.DOCUMENT, bundles.PRINT, bundles.MANIFEST)


def opened(data: bytes = BUNDLE) -> dict[str, bytes]:
    with ZipFile(BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: Mapping[str, bytes], *, how: int = ZIP_STORED, comment: bytes = b"") -> bytes:
    """Pack members as a bundle is packed, in the order in which they come."""
    file = BytesIO()
    with ZipFile(file, "w", how) as archive:
        archive.comment = comment
        for name, data in members.items():
            info = ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, 0o600 << 16, how
            archive.writestr(info, data)
    return file.getvalue()


def first_fault(data: bytes, **options: Any) -> str:  # noqa: ANN401 - of `check`
    checked = bundles.check(data, **options)
    assert checked.faults, "it was taken for good"
    return checked.faults[0]


# --- as it is -------------------------------------------------------------------------------------------------------
def test_a_bundle_holds_together_and_says_who_sealed_it() -> None:
    checked = bundles.check(BUNDLE)

    assert checked == bundles.Checked((), keys.public_text(HOUSE), DOCUMENT)


def test_the_same_record_is_the_same_bytes() -> None:
    again = disclosure.read(disclosure.write(DOCUMENT))

    assert bundles.pack(again, HOUSE) == BUNDLE


def test_several_at_once_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """ReportLab's typefaces know one place at a time: two that read in turns would read each other's glyphs."""
    seek, turns = ttfonts.TTFontParser.seek, list[int]()

    def note_whose_turn_it_is(face: object, position: int) -> None:
        turns.append(get_ident())
        time.sleep(0.001)
        seek(face, position)

    monkeypatch.setattr(ttfonts.TTFontParser, "seek", note_whose_turn_it_is)
    several = [Thread(target=paper.render, args=(DOCUMENT,)) for _ in range(3)]
    for one in several:
        one.start()
    for one in several:
        one.join()

    assert len([whose for whose, _ in groupby(turns)]) == len(set(turns)) == len(several)


def test_it_is_held_to_a_key_that_came_another_way() -> None:
    assert bundles.check(BUNDLE, public_key=keys.public_text(HOUSE)).faults == ()
    assert "sealed by another key" in first_fault(BUNDLE, public_key=keys.public_text(STRANGER))


def test_the_manifest_names_every_file_and_all_of_them() -> None:
    manifest = json.loads(opened()[bundles.MANIFEST])

    assert manifest["contents"]["caveat"] == CAVEAT
    assert set(manifest["contents"]["members"]) == {bundles.DOCUMENT, bundles.PRINT}
    assert manifest["whole"] == bundles._digest(canonical(manifest["contents"]))  # noqa: SLF001


def test_what_a_passkey_signed_is_verified_where_the_desk_was() -> None:
    key, desk = authenticator.Es256(), authenticator.DESK
    search = DOCUMENT.searches[0]
    first, second = search.case.decisions
    by_passkey = replace(search.case, parked=(authenticator.signed(first, key),), decisions=(second,), withdrawal=None)
    signer = Signer(reviewer_id="reviewer-a", duty=Duty.REVIEW, public_key=authenticator.public_text(key))
    found = DOCUMENT.model_copy(
        update={
            "searches": (search.model_copy(update={"case": by_passkey, "told": (), "acknowledged": ()}),),
            "signers": (signer, *DOCUMENT.signers[1:]),
            "desk_url": desk,
        }
    )

    assert bundles.check(bundles.pack(found, HOUSE)).faults == ()
    elsewhere = found.model_copy(update={"desk_url": "https://elsewhere.example"})
    assert "waiting decision 1: the signature" in first_fault(bundles.pack(elsewhere, HOUSE))


# --- what was done to it --------------------------------------------------------------------------------------------
@settings(max_examples=300)
@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(place: int, flip: int) -> None:
    changed = bytearray(BUNDLE)
    changed[place] ^= flip

    assert first_fault(bytes(changed))


@settings(max_examples=60)
@given(st.sampled_from(NAMES), st.data())
def test_any_changed_byte_of_a_member_is_found_however_well_it_is_packed(name: str, data: st.DataObject) -> None:
    members = opened()
    changed = bytearray(members[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))

    assert first_fault(zipped({**members, name: bytes(changed)})).startswith(name)


@settings(max_examples=40)
@given(st.integers(0, len(BUNDLE) - 1))
def test_a_bundle_that_was_cut_off_is_found(length: int) -> None:
    assert first_fault(BUNDLE[:length])


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (zipped({name: opened()[name] for name in NAMES[:2]}), "must hold"),
        (zipped({name: opened()[name] for name in NAMES[1:]}), "must hold"),
        (zipped({name: opened()[name] for name in reversed(NAMES)}), "must hold"),
        (zipped({**opened(), "notes.txt": b"more"}), "must hold"),
        (zipped(opened(), how=ZIP_DEFLATED), "compressed"),
        (zipped(opened(), comment=b"more"), "packed by something else"),
        (b"more" + BUNDLE, "packed by something else"),
        (BUNDLE + b"more", "packed by something else"),
        (b"", "cannot be opened"),
        (b"no ZIP", "cannot be opened"),
    ],
    ids=[
        "no manifest",
        "no document",
        "reordered",
        "more",
        "compressed",
        "comment",
        "before",
        "behind",
        "empty",
        "none",
    ],
)
def test_what_is_packed_otherwise_is_no_bundle(data: bytes, named: str) -> None:
    assert named in first_fault(data)


def test_changed_words_in_the_old_wrapping_are_found() -> None:
    members = opened()
    words = members[bundles.DOCUMENT].replace(b"person-1", b"person-9")

    named = first_fault(zipped({**members, bundles.DOCUMENT: words}))

    assert named == "disclosure.json: not the file that manifest.json names"


def test_new_digests_do_not_carry_the_old_seal() -> None:
    other = bundles.pack(DOCUMENT.model_copy(update={"desk_url": "https://other.test"}), STRANGER)
    manifest = json.loads(opened(other)[bundles.MANIFEST])
    old = json.loads(opened()[bundles.MANIFEST])
    mended = canonical({**manifest, "sealed_by": old["sealed_by"], "seal": old["seal"]})

    checked = bundles.check(zipped({**opened(other), bundles.MANIFEST: mended}))

    assert "seal: not a signature" in checked.faults[0]
    assert checked.sealed_by is None


def test_a_manifest_that_says_more_than_was_sealed_is_found() -> None:
    manifest = json.loads(opened()[bundles.MANIFEST])
    manifest["contents"]["printed_by"] = "somebody else"

    assert "whole: not the digest" in first_fault(zipped({**opened(), bundles.MANIFEST: canonical(manifest)}))


def test_a_file_that_is_named_and_not_there_is_missed() -> None:
    manifest = json.loads(opened()[bundles.MANIFEST])
    manifest["contents"]["members"]["images.zip"] = {"sha256": "0" * 64, "bytes": 1}

    checked = bundles.check(zipped({**opened(), bundles.MANIFEST: canonical(manifest)}))

    assert "manifest.json: names other files than these" in checked.faults


def forged() -> Disclosure:
    """Return the record with one decision turned into its opposite, behind its reviewer's back."""
    search = DOCUMENT.searches[0]
    first, second = search.case.decisions
    case = replace(search.case, decisions=(first, second.model_copy(update={"support": Support.STRONG_DIFFERENT})))
    return DOCUMENT.model_copy(update={"searches": (search.model_copy(update={"case": case}),)})


def test_a_forged_decision_is_named_though_a_stranger_sealed_it_well() -> None:
    checked = bundles.check(bundles.pack(forged(), STRANGER))

    assert checked.faults == (
        "disclosure.json: search 1: decision 2: the signature is not reviewer-b's signature of these words",
    )
    assert checked.sealed_by == keys.public_text(STRANGER)


def test_paper_that_says_something_else_is_found_though_a_stranger_sealed_it_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        render = paper.render
        patched.setattr(paper, "render", lambda _: render(forged()))
        lying = bundles.pack(DOCUMENT, STRANGER)

    assert bundles.check(lying).faults == ("disclosure.pdf: is not what disclosure.json says, on paper",)


def test_paper_of_another_layout_is_not_printed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(paper, "PRINTED_BY", "layout 0")
        patched.setattr(paper, "render", lambda _: b"%PDF-1.4 as it was printed then")
        old = bundles.pack(DOCUMENT, HOUSE)

    assert bundles.check(old).faults == ()


# --- on paper -------------------------------------------------------------------------------------------------------
def pages(pdf: bytes) -> list[str]:
    """Return what each page draws; nothing is compressed, so that anybody can read it."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    return [stream.decode("latin-1") for stream in streams if b" Tj" in stream]


def test_the_caveat_is_on_every_page() -> None:
    pdf = opened()[bundles.PRINT]
    drawn = pages(pdf)

    assert len(drawn) == len(re.findall(rb"/Type /Page\b", pdf)) > len(DOCUMENT.searches) + 1
    assert all(f"({CAVEAT}) Tj" in page for page in drawn)
    assert [f"Page {n} of {len(drawn)}" in page for n, page in enumerate(drawn, start=1)] == [True] * len(drawn)


def test_what_people_wrote_is_no_markup_and_breaks_no_page() -> None:
    foreign = "<b>bold</b> & <img src='file:///etc/passwd'/> \N{CJK UNIFIED IDEOGRAPH-4E2D} " + "x" * 900 + "\n" * 40
    search = DOCUMENT.searches[0]
    order = builders.withdrawal(dossier.LEAD.submission).model_copy(update={"reason": foreign})
    case = replace(search.case, withdrawal=order, decisions=search.case.decisions * 3)
    found = DOCUMENT.model_copy(update={"searches": (search.model_copy(update={"case": case}),) * 2})

    drawn = "".join(re.findall(r"\((.*?)\) Tj", "".join(pages(paper.render(found)))))

    assert "<b>bold</b> & <img src='file:///etc/passwd'/>" in drawn


def test_every_step_of_every_copy_and_what_found_whom_is_on_paper() -> None:
    search = DOCUMENT.searches[0]
    varied = builders.candidates_of_variants()
    case = replace(search.case, candidates=varied, decisions=(), submission_id=varied.submission.submission_id)
    found = DOCUMENT.model_copy(update={"searches": (search.model_copy(update={"case": case, "told": ()}),)})

    drawn = " ".join(re.findall(r"\((.*?)\) Tj", "".join(pages(paper.render(found))).replace("\\", "")))

    for said in ("exposure (gain 2, gamma 1.8)", "sharpen (radius px 1.5, amount 1)", "Passed over: no face"):
        assert said in re.sub(r"\s+", " ", drawn)
    for digest in (builders.sha256("copy"), builders.sha256("copys-crop"), builders.sha256("second-image")):
        assert digest in drawn.replace(" ", "")
    assert "original, 1" in drawn


def test_without_variants_paper_says_nothing_of_them() -> None:
    assert "beside the original" not in "".join(pages(paper.render(DOCUMENT)))


def test_a_demonstration_says_so_on_its_cover() -> None:
    search = DOCUMENT.searches[0]
    demo = search.model_copy(update={"case": replace(search.case, demo=True)})

    assert (
        "Demonstration. No operational case."
        in pages(paper.render(DOCUMENT.model_copy(update={"searches": (demo,)})))[0]
    )


# --- the key --------------------------------------------------------------------------------------------------------
def test_the_houses_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "seal.pem"

    first = keys.of_house(file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert keys.public_text(keys.of_house(file)) == keys.public_text(first)
    assert list(file.parent.iterdir()) == [file]


def test_whoever_asks_at_once_gets_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: keys.public_text(keys.of_house(tmp_path / "seal.pem")), range(32)))

    assert len(set(made)) == 1


def test_a_file_that_is_no_such_key_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "seal.pem"
    keys.save(HOUSE, file, passphrase="secret")  # noqa: S106 - of a test
    before = file.read_bytes()

    with pytest.raises(NotPermitted, match="without a passphrase"):
        keys.of_house(file)
    assert file.read_bytes() == before
