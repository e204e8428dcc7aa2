"""Run a step of `make install`, with a line for each package and never more than some seconds of silence.

python tools/install_progress.py [--every S] [--packages FOLDER --total N] WORDS -- COMMAND...

WORDS are printed first. What the command prints on stdout is read as pip's lines; its stderr is passed on.
Standard library only: it runs before anything is installed.
"""

import argparse
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_FILE: Final = re.compile(r"^ {0,2}(?:Downloading|Using cached) (\S+?)(?:\.metadata)? \(([^)]+)\)$")
_COLLECTED: Final = "Installing collected packages: "
_LINES: Final = {
    "  Installing build dependencies: started": "  preparing to build extauthz",
    "  Preparing editable metadata (pyproject.toml): started": "  reading what extauthz needs",
    "Building wheels for collected packages": "  building extauthz",
}
_SHOWN_BYTES: Final = 256 * 1024
"""A smaller file that is being written is not worth a word."""


class Progress:
    """The lines of one command, made from pip's."""

    def __init__(self, packages: Path | None, total: int, downloads: Path) -> None:
        """`packages` is below where packages end up, `downloads` where they are written before."""
        self._packages = packages
        self._total = total
        self._downloads = downloads
        self._begun = time.monotonic()
        self._found: set[str] = set()
        self._installing = 0

    def lines(self, line: str) -> Iterator[str]:
        """Yield what is said about a line of pip."""
        file = _FILE.match(line)
        if file is not None and ".metadata" not in line:
            name, version = [*file[1].rpartition("/")[2].split("-"), "", ""][:2]
            self._found.add(name)
            of = f"/{self._total}" if self._total else ""
            yield f"  {len(self._found)}{of} {name.replace('_', '-')} {version} ({file[2]})"
        elif line.startswith(_COLLECTED):
            self._installing = line.count(",") + 1
            yield f"  unpacking {self._installing} packages"
        else:
            yield from (said for begin, said in _LINES.items() if line.startswith(begin))

    def waiting(self) -> str:
        """Return the line for a command that has said nothing for a while."""
        return f"  {self._doing()} ({time.monotonic() - self._begun:.0f} s)"

    def _doing(self) -> str:
        name, size = max(self._sizes(), key=lambda each: each[1], default=("", 0))
        if self._installing:
            return f"unpacked {min(self._unpacked(), self._installing)} of {self._installing} packages"
        if size > _SHOWN_BYTES:
            return f"downloading {name.split('-')[0].replace('_', '-')}, {size / 1e6:.1f} MB so far"
        return "still at it"

    def _sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the wheels that pip has written or is writing."""
        for file in self._downloads.glob("pip-*/*.whl"):
            try:
                found = file.stat()
            except OSError:
                continue
            # One that is complete is not written any more.
            if time.time() - found.st_mtime < 5:
                yield file.name, found.st_size

    def _unpacked(self) -> int:
        if self._packages is None:
            return 0
        return sum(1 for _ in self._packages.glob("lib/*/site-packages/*.dist-info"))


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description="Run a command, and say what it does.")
    parser.add_argument("--every", type=float, default=5, metavar="S", help="seconds of silence at most")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="where packages are installed")
    parser.add_argument("--total", type=int, default=0, metavar="N", help="how many packages there are")
    parser.add_argument("words")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    say(given.words)
    with tempfile.TemporaryDirectory(prefix="extauthz-install-") as downloads:
        progress = Progress(given.packages, given.total, Path(downloads))
        try:
            return run(given.command, progress, given.every, downloads)
        except OSError as error:
            say(f"{given.command[0]} cannot be run: {error.strerror}")
            return 1
        except KeyboardInterrupt:
            return 130


def run(command: Sequence[str], progress: Progress, every: float, downloads: str) -> int:
    """Run the command, with TMPDIR `downloads`; return its exit status."""
    environ = os.environ | {"TMPDIR": downloads, "PYTHONUNBUFFERED": "1"}
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        rest = b""
        said_at = time.monotonic()
        while True:
            if selector.select(max(0.0, said_at + every - time.monotonic())):
                read = os.read(process.stdout.fileno(), 65536)
                if not read:
                    return process.wait()
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    for said in progress.lines(line.decode("utf-8", "replace")):
                        say(said)
                        said_at = time.monotonic()
            else:
                say(progress.waiting())
                said_at = time.monotonic()


def say(line: str) -> None:
    """Print a line on stderr: stdout is for what a command answers."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
