"""Packs, and the files that they stand on."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from rfr_stream.errors import Unavailable
from rfr_stream.vision import weights
from rfr_stream.vision.packs import PACKS, BadPack, Pack, Part, Weights, locate, pack
from rfr_stream.vision.weights import identity_sha256, install, list_packs, pull, status, verified_paths, verify

CONTENT = b"weights, let us say"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def part(*files: Weights) -> Part:
    return replace(PACKS["retinaface-mobilenet"].embedder, weights=files)


def pack_of(*files: Weights) -> Pack:
    return replace(PACKS["null"], embedder=part(*files))


PINNED = Weights("model.pt", DIGEST)
UNPINNED = Weights("model.pt", None)


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    file = tmp_path / "brought.pt"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_every_pack_is_listed_by_name() -> None:
    assert [listed.name for listed in list_packs()] == ["baseline", "null", "retinaface", "retinaface-mobilenet"]


def test_every_part_says_what_it_is_and_under_which_terms() -> None:
    for listed in list_packs():
        for described in (listed.detector, listed.embedder):
            assert described.licence
            assert described.training_data
            assert described.version
        assert 0 < listed.threshold < 1
        assert listed.embedder.dimension > 0
        assert listed.detector.dimension == 0


def test_an_unknown_pack_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(BadPack, match="baseline, retinaface, retinaface-mobilenet, null"):
        pack("resnet")


def test_the_baseline_needs_nothing_but_installed_packages(weights_dir: Path) -> None:
    verify(pack("baseline"), weights_dir)
    assert not weights_dir.exists()


def test_the_null_pack_needs_nothing(weights_dir: Path) -> None:
    assert status(pack("null"), weights_dir) == []


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(BadPack, match="no_such_package"):
        locate(Weights("x", DIGEST, package="no_such_package", path="x"), Path())


def test_installed_weights_are_verified_and_found(brought: Path, weights_dir: Path) -> None:
    target = install(pack_of(PINNED), "embedder", brought, weights_dir)
    assert target.read_bytes() == CONTENT
    assert verified_paths(part(PINNED), weights_dir) == [target]
    assert [found.fault for found in status(pack_of(PINNED), weights_dir)] == [None]


def test_a_file_of_another_digest_is_not_installed(brought: Path, weights_dir: Path) -> None:
    brought.write_bytes(b"something else")
    with pytest.raises(BadPack, match=f"{DIGEST} was expected"):
        install(pack_of(PINNED), "embedder", brought, weights_dir)
    assert list(weights_dir.iterdir()) == []


def test_a_file_of_another_digest_leaves_the_installed_one_alone(brought: Path, weights_dir: Path) -> None:
    target = install(pack_of(PINNED), "embedder", brought, weights_dir)
    brought.write_bytes(b"something else")
    with pytest.raises(BadPack):
        install(pack_of(PINNED), "embedder", brought, weights_dir)
    assert target.read_bytes() == CONTENT


def test_absent_weights_refuse_to_start(weights_dir: Path) -> None:
    with pytest.raises(BadPack, match=r"model\.pt: absent"):
        verify(pack_of(PINNED), weights_dir)


def test_weights_that_changed_on_disk_refuse_to_start(brought: Path, weights_dir: Path) -> None:
    install(pack_of(PINNED), "embedder", brought, weights_dir).write_bytes(b"tampered with")
    with pytest.raises(BadPack, match="must not be used"):
        verified_paths(part(PINNED), weights_dir)


def test_weights_without_a_published_digest_need_somebody_to_vouch(brought: Path, weights_dir: Path) -> None:
    with pytest.raises(BadPack, match="--trust-digest"):
        install(pack_of(UNPINNED), "embedder", brought, weights_dir)
    with pytest.raises(BadPack, match="--trust-digest"):
        identity_sha256(part(UNPINNED), weights_dir)


def test_a_digest_that_was_vouched_for_holds_from_then_on(brought: Path, weights_dir: Path) -> None:
    target = install(pack_of(UNPINNED), "embedder", brought, weights_dir, trust_sha256=DIGEST)
    assert identity_sha256(part(UNPINNED), weights_dir) == DIGEST
    assert verified_paths(part(UNPINNED), weights_dir) == [target]
    target.write_bytes(b"tampered with")
    with pytest.raises(BadPack, match="must not be used"):
        verified_paths(part(UNPINNED), weights_dir)


def test_vouching_for_another_digest_installs_nothing(brought: Path, weights_dir: Path) -> None:
    with pytest.raises(BadPack, match="was expected"):
        install(pack_of(UNPINNED), "embedder", brought, weights_dir, trust_sha256="0" * 64)
    assert list(weights_dir.iterdir()) == []


def test_vouching_never_overrides_a_published_digest(brought: Path, weights_dir: Path) -> None:
    brought.write_bytes(b"something else")
    other = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(BadPack, match="was expected"):
        install(pack_of(PINNED), "embedder", brought, weights_dir, trust_sha256=other)


def test_a_part_of_several_files_takes_each_by_its_name(brought: Path, weights_dir: Path) -> None:
    several = pack_of(PINNED, replace(PINNED, name="other.pt"))
    with pytest.raises(BadPack, match="no file of this name"):
        install(several, "embedder", brought, weights_dir)
    named = brought.with_name("other.pt")
    named.write_bytes(CONTENT)
    assert install(several, "embedder", named, weights_dir).name == "other.pt"


def test_a_part_that_comes_with_a_package_takes_no_file(brought: Path, weights_dir: Path) -> None:
    with pytest.raises(BadPack, match="come with an installed package"):
        install(pack("baseline"), "embedder", brought, weights_dir)


def test_a_part_of_several_files_has_one_identity_that_depends_on_each(weights_dir: Path) -> None:
    two = identity_sha256(part(PINNED, replace(PINNED, sha256="1" * 64)), weights_dir)
    other = identity_sha256(part(PINNED, replace(PINNED, sha256="2" * 64)), weights_dir)
    assert len({DIGEST, two, other}) == 3


def test_pulling_what_a_package_carries_only_checks_it(weights_dir: Path) -> None:
    assert [path.name for path in pull(pack("baseline"), "detector", weights_dir)] == ["pnet.pt", "rnet.pt", "onet.pt"]


def test_pulling_without_a_published_address_says_what_to_do(weights_dir: Path) -> None:
    with pytest.raises(BadPack, match="bring the file with --from FILE"):
        pull(pack_of(PINNED), "embedder", weights_dir)


def test_a_publisher_who_cannot_be_reached_is_a_plain_message(weights_dir: Path) -> None:
    unreachable = replace(PINNED, url="http://127.0.0.1:9/model.pt")
    with pytest.raises(Unavailable, match="cannot be reached from here; bring the file with --from FILE"):
        pull(pack_of(unreachable), "embedder", weights_dir)


def test_pulled_weights_are_installed(brought: Path, weights_dir: Path) -> None:
    (target,) = pull(pack_of(replace(PINNED, url=brought.as_uri())), "embedder", weights_dir)
    assert target.read_bytes() == CONTENT


def test_a_download_without_end_is_cut_off(brought: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_DOWNLOAD_BYTES", len(CONTENT) - 1)
    with pytest.raises(BadPack, match="more than"):
        install(pack_of(PINNED), "embedder", brought, weights_dir)
    assert list(weights_dir.iterdir()) == []
