"""Where the broker's jars come from: Maven, once, and nothing half done."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rfr_stream.errors import Unavailable
from topics.embedded._config import Program
from topics.embedded._jars import Java, broker_jars, find_java, find_pom

FAILING_MAVEN = "#!/bin/sh\necho 'the artefact could not be resolved'\nexit 3\n"
OLD_JAVA = """#!/bin/sh
echo 'openjdk version "11.0.2"' >&2
"""


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the search path; empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_maven_fetches_a_whole_broker_even_when_several_ask_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(broker_jars, (tmp_path, tmp_path))
    assert first == second
    names = {jar.name for jar in first.iterdir()}
    assert {"kafka_2.13-4.4.0.jar", "kafka-clients-4.4.0.jar", "log4j-core-2.25.5.jar"} <= names
    assert [each.name for each in first.parent.iterdir()] == [first.name], "nothing else is left behind"


def test_what_is_in_the_cache_needs_no_maven(tmp_path: Path, path: Path) -> None:
    with pytest.raises(Unavailable, match=r"mvn: not found.*apt-get install"):
        broker_jars(tmp_path)
    program(path, "mvn", FAILING_MAVEN)
    with pytest.raises(Unavailable):
        broker_jars(tmp_path)
    cached = tmp_path / "kafka" / hashlib.sha256(find_pom().read_bytes()).hexdigest()[:12]
    cached.mkdir(parents=True)
    assert broker_jars(tmp_path) == cached


def test_a_maven_that_fails_is_quoted_and_leaves_nothing(tmp_path: Path, path: Path) -> None:
    program(path, "mvn", FAILING_MAVEN)
    with pytest.raises(Unavailable, match=r"(?s)exit 3.*the artefact could not be resolved"):
        broker_jars(tmp_path)
    assert list((tmp_path / "kafka").iterdir()) == []


def test_a_java_that_is_too_old_is_refused(path: Path) -> None:
    program(path, "java", OLD_JAVA)
    with pytest.raises(Unavailable, match=r"Java 17 or later \(apt-get install"):
        find_java()


def test_an_archive_of_classes_belongs_to_one_build_of_java(tmp_path: Path) -> None:
    one, other = (Program(Java("/usr/bin/java", build), tmp_path) for build in ("a", "b"))
    assert one.archive != other.archive


def test_only_an_archive_that_java_can_use_is_kept(tmp_path: Path) -> None:
    program = Program(find_java(), tmp_path)
    program.new_archive.write_bytes(b"the disk was full")
    program.keep_archive()
    assert list(tmp_path.iterdir()) == []


def test_the_pom_is_the_checkouts() -> None:
    assert find_pom() == Path(__file__).parents[2] / "deploy" / "kafka" / "pom.xml"
