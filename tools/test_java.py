"""Build and test the Java SDK with Maven, against a running demo.

python tools/test_java.py                       every module, and the samples behind Envoy
python tools/test_java.py -pl extauthz-client   arguments for Maven
python tools/test_java.py --found               say whether a JDK and Maven are found, and run nothing

A JDK of 17 or newer is looked for at JAVA_HOME and then on PATH, Maven on PATH. Maven takes what its local
repository has and fetches the rest from the repository that the user's settings name. The tests get the file
of facts of `extauthz demo` in the system property `demo.facts`. Without arguments,
`sdk/java/tests` then runs the built samples; it gets the file in `EXTAUTHZ_DEMO`. The exit code is that of
what failed; 2 when a JDK or Maven is missing or the demo does not start.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final = ROOT / "sdk/java"
LEAST_JDK: Final = 17

_DEMO_STARTS_S: Final = 180
_DEMO_ENDS_S: Final = 60
_INSTALL: Final = "on Debian: apt-get install openjdk-17-jdk-headless maven"


class Missing(Exception):  # noqa: N818  # reads as what happened
    """What is needed is not installed, or does not start; the text says what, in one line."""


def found_tools(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the JDK's version and the path of Maven.

    Raises:
        Missing: one of them is not found, or the JDK is too old.
    """
    home = environ.get("JAVA_HOME")
    compiler = str(Path(home, "bin", "javac")) if home else shutil.which("javac", path=environ.get("PATH"))
    where = f"JAVA_HOME={home}" if home else "PATH"
    if compiler is None or not Path(compiler).is_file():
        raise Missing(f"the Java SDK needs a JDK of {LEAST_JDK} or newer: no javac at {where}; {_INSTALL}")
    version = _output([compiler, "-version"], environ)
    number = re.search(r"javac (?:1\.)?([0-9]+)", version)
    if number is None or int(number[1]) < LEAST_JDK:
        raise Missing(f"the Java SDK needs a JDK of {LEAST_JDK} or newer: {compiler} is {version.strip()!r}")
    maven = shutil.which("mvn", path=environ.get("PATH"))
    if maven is None:
        raise Missing(f"the Java SDK needs Maven: no mvn on PATH; {_INSTALL}")
    return version.strip(), maven


def _output(command: Sequence[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


@contextmanager
def running_demo() -> Iterator[Path]:
    """Run `extauthz demo` and yield its file of facts.

    Raises:
        Missing: it ended, or was not ready in time; what it said is on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="extauthz-java-") as folder:
        facts, log = Path(folder, "demo.json"), Path(folder, "demo.log")
        command = [str(Path(sys.executable).parent / "extauthz"), "demo", "--ready-file", str(facts)]
        with log.open("wb") as output:
            demo = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            until = time.monotonic() + _DEMO_STARTS_S
            while not facts.exists():
                if demo.poll() is not None or time.monotonic() > until:
                    sys.stderr.write(log.read_text("utf-8", "replace"))
                    raise Missing("extauthz demo, which the tests ask, does not start")
                time.sleep(0.1)
            yield facts
        finally:
            if demo.poll() is None:
                demo.send_signal(signal.SIGTERM)
            demo.wait(_DEMO_ENDS_S)


def class_path(maven: str) -> str:
    """Compile the client with its tests and return what a JVM needs to run them."""
    module = PROJECT / "extauthz-client"
    with tempfile.TemporaryDirectory(prefix="extauthz-java-") as folder:
        file = Path(folder, "classpath")
        command = [maven, "--batch-mode", "--quiet", "--file", str(PROJECT / "pom.xml"), "-pl", module.name]
        command += ["test-compile", "dependency:build-classpath", f"-Dmdep.outputFile={file}"]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
        libraries = file.read_text("utf-8").strip()
    return os.pathsep.join((str(module / "target/classes"), str(module / "target/test-classes"), libraries))


def java_command(environ: Mapping[str, str]) -> str:
    """Return the `java` that goes with the compiler of `found_tools`."""
    home = environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def main(arguments: Sequence[str]) -> int:
    """Run Maven and, without arguments for it, the samples against a demo; return the exit code."""
    try:
        version, maven = found_tools(os.environ)
        print(f"{version}, {maven}", flush=True)
        if "--found" in arguments:
            return 0
        with running_demo() as facts:
            command = [maven, "--batch-mode", "--no-transfer-progress", "-Dstyle.color=never"]
            command += ["--file", str(PROJECT / "pom.xml"), f"-Ddemo.facts={facts}"]
            command += [*(arguments or ["-Psamples"]), "verify"]
            built = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
            if built or arguments:
                return built
            samples = [sys.executable, "-m", "pytest", "-q", "-x", str(PROJECT / "tests")]
            return subprocess.run(
                samples, cwd=ROOT, env={**os.environ, "EXTAUTHZ_DEMO": str(facts)}, check=False
            ).returncode
    except Missing as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
