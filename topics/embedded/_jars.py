"""Where the broker's jars come from: Maven, once, into the user's cache."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from rich.console import Console

from rfr_stream.errors import Unavailable

JAVA_MIN = 17
MAVEN_S = 600.0
INSTALL = "apt-get install openjdk-17-jre-headless maven"


def find_pom() -> Path:
    """Return the project file that names the artefacts: beside the installed package, or in the checkout."""
    topics = Path(__file__).parents[1]
    places = (topics / "kafka-pom.xml", topics.parent / "deploy" / "kafka" / "pom.xml")
    return next((place for place in places if place.is_file()), places[0])


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that can run the broker."""

    path: str
    build: str
    """Digest of what it says of itself: an archive of classes belongs to one build."""


def find_java() -> Java:
    """Return the Java that the search path names.

    Raises:
        Unavailable: there is none, or it is too old.

    """
    java = _find("java")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 - the Java that was asked for
    version = re.search(r'version "(\d+)', said.stderr)
    if version is None or int(version[1]) < JAVA_MIN:
        msg = f"java: the embedded broker needs Java {JAVA_MIN} or later ({INSTALL})"
        raise Unavailable(msg)
    return Java(java, hashlib.sha256(said.stderr.encode()).hexdigest()[:12])


def broker_jars(cache: Path | None = None) -> Path:
    """Return the folder with the broker's jars; the first time, Maven fetches them (about 45 MB).

    The folder is named after the pom's digest and appears whole or not at all, so that several processes may ask
    at once and an interrupted fetch leaves nothing half done.

    Raises:
        Unavailable: Maven is missing, or could not fetch them.

    """
    pom = find_pom()
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    jars = (cache or Path(platformdirs.user_cache_dir("rfr-stream"))) / "kafka" / digest
    if not jars.is_dir():
        jars.parent.mkdir(parents=True, exist_ok=True)
        _fetch(pom, jars)
    return jars


def _fetch(pom: Path, jars: Path) -> None:
    maven = _find("mvn")
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".fetching-") as folder:
        fetched = Path(folder) / "jars"
        with Console(stderr=True).status("Maven fetches the broker (45 MB, this once) ..."):
            _run_maven(maven, "-f", str(pom), f"-DoutputDirectory={fetched}")
        try:
            fetched.rename(jars)
        except OSError:  # another process was quicker
            if not jars.is_dir():
                raise


def _run_maven(maven: str, *options: str) -> None:
    goal = ("-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime")
    try:
        done = subprocess.run(  # noqa: S603 - arguments of our own
            [maven, *goal, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=MAVEN_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        msg = f"mvn: did not fetch the embedded broker within {MAVEN_S:g} s"
        raise Unavailable(msg) from None
    if done.returncode != 0:
        msg = f"mvn: could not fetch the embedded broker (exit {done.returncode})\n{done.stdout[-2000:]}"
        raise Unavailable(msg)


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        msg = f"{program}: not found; the embedded broker needs it ({INSTALL})"
        raise Unavailable(msg)
    return path
