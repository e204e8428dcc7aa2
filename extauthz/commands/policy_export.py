"""`extauthz policy export`: the live policies as a folder of policy files. docs/folders.md has the rules."""

import sys
from collections.abc import Mapping
from pathlib import Path

from extauthz.commands.rest_access import rest_client
from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail, print_json
from extauthz.folders.exporting import ExportError, files, write
from extauthz.folders.files import FolderLimitError
from extauthz.folders.live_rows import LiveRows, live_rows
from extauthz.folders.rest_client import RestError
from extauthz.folders.rows import KINDS, TABLES


def run(environ: Mapping[str, str], folder: Path, *, as_json: bool) -> int:
    """Write the folder.

    FAILED: the server refuses, or does not answer. BAD_USAGE: the folder cannot be written.
    """
    client = rest_client(environ)
    if isinstance(client, int):
        return client
    try:
        live = live_rows(client)
        texts = files(live)
    except RestError as error:
        return fail(str(error))
    except ExportError as error:
        for problem in error.problems:
            fail(problem)
        return FAILED
    finally:
        client.close()
    try:
        exported = write(folder, texts)
    except ExportError as error:
        for problem in error.problems:
            fail(f"{folder}: {problem}")
        return BAD_USAGE
    except (OSError, FolderLimitError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return fail(f"{str(folder)!r} cannot be written: {why}", BAD_USAGE)
    if live.hidden:
        print("extauthz: resources are not shown to this caller; the folder has none", file=sys.stderr)
    if as_json:
        return print_json(
            True,
            revision=live.revision,
            written=exported.written,
            unchanged=exported.unchanged,
            rows=_counts(live),
            hidden=sorted(TABLES[kind] for kind in live.hidden),
        )
    for name in exported.written:
        print(f"wrote {folder / name}")
    for name in exported.unchanged:
        print(f"unchanged {folder / name}")
    counts = ", ".join(f"{count} {table.replace('_', ' ')}" for table, count in _counts(live).items())
    print(f"revision {live.revision}: {counts}")
    return OK


def _counts(live: LiveRows) -> dict[str, int]:
    return {
        TABLES[kind]: sum(row.kind == kind for row in live.rows) for kind in KINDS if kind not in live.hidden
    }
