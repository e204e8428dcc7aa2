"""Imports of a command, in a process of their own: this one has imported everything long ago."""

import json
import subprocess
import sys

import pytest


def printed(program: str) -> object:
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("subject", ["paths", "tokens", "casbin", "everything"])
def test_the_self_check_loads_no_http_client_and_no_database_driver(subject: str) -> None:
    program = f"""
import json, sys
from extauthz.commands.self_check.subjects import Subject, wrong_rows
assert list(wrong_rows(Subject({subject!r}))) == []
print(json.dumps(sorted({{"aiohttp", "asyncpg", "fastapi", "uvicorn"}} & sys.modules.keys())))
"""
    assert printed(program) == []


def test_imported_modules_are_left_out_of_searches_for_garbage() -> None:
    program = """
import gc, json
from extauthz.commands.imports import uninterrupted
with uninterrupted():
    import extauthz.settings
    inside = gc.isenabled()
print(json.dumps([inside, gc.isenabled(), gc.get_freeze_count() > 1000]))
"""
    assert printed(program) == [False, True, True]


def test_nothing_is_left_out_where_nothing_was_imported() -> None:
    program = """
import gc, json
from extauthz.commands.imports import uninterrupted
gc.disable()
before = gc.get_freeze_count()
with uninterrupted():
    import gc
print(json.dumps([gc.isenabled(), gc.get_freeze_count() - before]))
"""
    assert printed(program) == [False, 0]


@pytest.mark.parametrize(
    ("first", "loaded"),
    [
        ("migrate", ["serving"]),
        ("doctor", ["proxies"]),
        ("snapshot", ["snapshots"]),
    ],
)
def test_a_command_loads_the_arguments_of_its_group_alone(first: str, loaded: list[str]) -> None:
    program = f"""
import json, sys
import extauthz.cli
from extauthz.commands.arguments import command_parser
command_parser({first!r})
own = "extauthz.commands.arguments."
print(json.dumps(sorted(name.removeprefix(own) for name in sys.modules if name.startswith(own))))
"""
    assert printed(program) == sorted(["environment", "parser", *loaded])
