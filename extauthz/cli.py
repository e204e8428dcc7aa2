"""The command line of `extauthz`: reads the arguments, checks itself, runs one command.

The arguments are in `extauthz/commands/arguments/`, what a command does is in `extauthz/commands/`.

A command exits with 0, 1 (it failed) or 2 (wrong arguments or settings); an error is one line on stderr.
"""

import argparse
import io
import os
import sys
from pathlib import Path

from extauthz.commands.arguments import command_parser
from extauthz.commands.imports import uninterrupted
from extauthz.commands.status import FAILED, fail


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its status."""
    if not _open_streams():
        sys.exit(fail("standard output is closed"))
    given = sys.argv[1:] if arguments is None else arguments
    parsed = _parsed(given)
    try:
        status: int = _self_check(parsed) or parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has closed it; a message would reach it as little.
        _drop_output()
        status = FAILED
    except OSError as error:
        _drop_output()
        status = fail(f"the system refuses to go on: {_named(error)}")
    except KeyboardInterrupt:
        status = FAILED
    sys.exit(status)


def _named(error: OSError) -> str:
    """Return what the system says, with the file that it says it of."""
    said = error.strerror or str(error)
    if not isinstance(error.filename, str):
        return said
    # Python opens this file for the TLS of libraries, wherever they are imported.
    of = "SSLKEYLOGFILE " if error.filename == os.environ.get("SSLKEYLOGFILE") else ""
    return f"{of}{error.filename!r}: {said}"


def _parsed(given: list[str]) -> argparse.Namespace:
    if given[:1] == ["worker"]:
        from extauthz.commands.arguments import worker

        return worker.parser().parse_args(given[1:])
    parsed, unknown = command_parser(*given[:1]).parse_known_args(given)
    if unknown:
        # argparse reports these as the top level's, whose help does not have the options of the command.
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return parsed


def _open_streams() -> bool:
    """Open /dev/null for closed standard streams; return whether stdout is open.

    For a closed stream Python has None: what is printed to a closed stderr goes to stdout, and the next file
    that is opened takes its descriptor.
    """
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115  # they live as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files and of policies may have characters that the terminal's encoding has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout is not None


def _drop_output() -> None:
    """Discard what is left in the buffer of stdout: the flush at exit would fail a second time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _self_check(parsed: argparse.Namespace) -> int:
    """Judge the known input that the command depends on; the first wrong answer ends the command."""
    if "self_check" not in parsed:
        return 0
    with uninterrupted():
        from extauthz.commands.self_check.subjects import Subject, interpreter, wrong_rows

        for wrong in wrong_rows(Subject(parsed.self_check)):
            return fail(f"the self-check failed on {interpreter()}: {wrong}")
    return 0
