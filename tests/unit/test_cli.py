"""Properties of every command, for all arguments and outputs."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from extauthz.shipped import shipped
from tests.case_files import CASES
from tests.command_line import run_extauthz

EXTAUTHZ = [sys.executable, "-m", "extauthz"]
MODEL = str(shipped("policies/model.conf"))
CASE_FILE = str(min(CASES.glob("*.yaml")))
LINE_COMMANDS = [
    ["path", "canonical"],
    ["token", "verify", "--jwks", os.devnull],
    ["casbin", "enforce", "--model", MODEL, "--policy", os.devnull],
]
NO_KEYS = f"extauthz: '{os.devnull}' has no usable keys: not JSON\n".encode()
PRINTING = [
    *LINE_COMMANDS,
    ["policy", "test", CASE_FILE],
    ["envoy-config"],
    ["doctor", str(shipped("envoy/bootstrap.yaml"))],
    ["logs", "verify", os.devnull],
]


def run(
    *command: str, shell: str = "", environ: Mapping[str, str] | None = None, line: bytes = b"/\n"
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command, `shell` being redirections that a shell makes around it."""
    around = ["sh", "-c", f'exec "$@" {shell}', "sh"] if shell else []
    return subprocess.run(
        [*around, *EXTAUTHZ, *command],
        env={"PATH": os.environ["PATH"], **(environ or {})},
        input=line,
        capture_output=True,
        check=False,
    )


def run_here(*command: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in this process."""
    said = run_extauthz(*command)
    return subprocess.CompletedProcess(said.args, said.returncode, said.stdout.encode(), said.stderr.encode())


def assert_one_line(finished: "subprocess.CompletedProcess[bytes]", status: int) -> str:
    assert finished.returncode == status
    error = finished.stderr.removeprefix(NO_KEYS).decode()
    assert error.startswith("extauthz")
    assert error.endswith("\n")
    assert error[:-1].isprintable()
    return error


@pytest.mark.parametrize(
    "command",
    [
        ["bogus"],
        ["path", "bogus"],
        ["path", "canonical", "more"],
        ["sidecar", "--bogus"],
        ["token", "verify"],
        ["policy", "test"],
        ["envoy-config", "--for", "nginx"],
        ["logs", "verify", "--bogus", "b\nc\x1b[2J"],
        ["health", "--url", "127.0.0.1:80"],
        ["health", "--url", "http://[::1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(command: list[str]) -> None:
    finished = run_here(*command)

    assert "--help" in assert_one_line(finished, 2)
    assert finished.stdout == b""


@pytest.mark.parametrize("command", [[], ["path"], ["token"], ["casbin"], ["policy"], ["logs"]], ids=" ".join)
def test_without_a_command_the_help_is_printed(command: list[str]) -> None:
    finished = run_here(*command)

    assert "a command is missing" in assert_one_line(finished, 2)
    helped = run_here(*command, "--help")
    assert (helped.returncode, helped.stdout) == (0, finished.stdout)
    assert b"commands:" in finished.stdout


def test_no_list_of_commands_has_the_one_that_the_supervisor_starts() -> None:
    for said in (run_here("--help").stdout, run_here("bogus").stderr):
        assert b"serve" in said
        assert b"worker\n" not in said.replace(b" ", b"\n").replace(b"'", b"\n").replace(b",", b"\n")
        assert b"SUPPRESS" not in said
    assert b"report_fd" in run_here("worker", "--help").stdout
    assert_one_line(run_here("worker", "x", "1", "2"), 2)


def test_unknown_arguments_are_reported_with_the_help_of_their_command() -> None:
    for command in (["health"], ["policy", "validate", "."], ["completion", "bash"]):
        error = assert_one_line(run_here(*command, "--jsno"), 2)
        name = " ".join(["extauthz", *[word for word in command if word not in {".", "bash"}]])
        assert error == f"{name}: unrecognized arguments: --jsno; see '{name} --help'\n"
    assert assert_one_line(run_here("--jsno"), 2).endswith("see 'extauthz --help'\n")


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "tab\t"])
def test_a_file_is_quoted_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a case: [")

    for command in (["policy", "test"], ["logs", "verify"], ["token", "verify", "--jwks"]):
        assert_one_line(run_here(*command, str(tmp_path / f"{name} that is not there")), 2)
    assert_one_line(run_here("policy", "test", str(tmp_path / name)), 2)


def test_policies_of_cases_with_a_probable_mistake_have_a_warning(tmp_path: Path) -> None:
    odd = tmp_path / "odd.yaml"
    odd.write_text(
        "policies: {resources: [{name: r, serviceName: s, routes: [{methods: ['*'], path: '/a/*'}]}]}\n"
        "cases: [{name: n, principal: {id: a}, request: {path: /a/x}, expect: {decision: deny}}]\n"
    )
    warned = run_here("policy", "test", str(odd))
    assert (warned.returncode, warned.stdout.count(b"warning")) == (0, 0)
    assert (
        "section 0, policies/resources/0/routes/0/path: the segment '*' is literal" in warned.stderr.decode()
    )


@pytest.mark.parametrize("content", ["", "# nothing but a comment\n", "cases: []\n"])
def test_a_file_without_cases_tests_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "cases.yaml").write_text(content)

    finished = run_here("policy", "test", CASE_FILE, str(tmp_path / "cases.yaml"))

    assert "cases.yaml' holds no cases" in assert_one_line(finished, 2)


@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_a_full_device_is_reported_and_not_as_an_input_error(command: list[str]) -> None:
    finished = run(*command, shell="> /dev/full")

    assert "No space left on device" in assert_one_line(finished, 1)


@pytest.mark.parametrize("command", [*PRINTING, ["migrate"], ["health"]], ids=" ".join)
def test_a_closed_output_is_reported(command: list[str]) -> None:
    finished = run(*command, shell=">&-")

    assert assert_one_line(finished, 1) == "extauthz: standard output is closed\n"


@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_a_closed_pipe_ends_the_command_without_an_error_text(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        finished = subprocess.run(
            [*EXTAUTHZ, *command], input=b"/\n", stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)

    assert (finished.returncode, finished.stderr.removeprefix(NO_KEYS)) == (1, b"")


@pytest.mark.parametrize("command", LINE_COMMANDS, ids=" ".join)
def test_a_closed_input_has_no_lines(command: list[str]) -> None:
    finished = run(*command, shell="<&-")

    assert (finished.returncode, finished.stdout) == (0, b"")
    assert b"Traceback" not in finished.stderr


def test_errors_are_not_written_to_the_output_when_stderr_is_closed() -> None:
    finished = run("token", "verify", "--jwks", os.devnull, shell="2>&-", line=b"a\nb\n")

    assert [json.loads(line)["valid"] for line in finished.stdout.splitlines()] == [False, False]


@pytest.mark.parametrize("command", LINE_COMMANDS, ids=" ".join)
def test_a_line_is_answered_before_the_next_one_is_asked(command: list[str]) -> None:
    with subprocess.Popen(
        [*EXTAUTHZ, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as asked:
        assert asked.stdin is not None
        assert asked.stdout is not None
        for _ in range(2):
            asked.stdin.write(b"/a\n")
            asked.stdin.flush()
            assert asked.stdout.readline().endswith(b"\n")
        asked.stdin.close()
        assert asked.wait() == 0


def test_an_unreachable_database_is_a_failure_and_not_wrong_usage() -> None:
    finished = run("migrate", environ={"POSTGRES_PORT": "1"})

    assert "127.0.0.1:1/extauthz cannot be used" in assert_one_line(finished, 1)


def test_a_model_with_missing_parts_is_refused_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "model.conf").write_text("[request_definition]\nr = sub\n[matchers]\nm2 = r.sub == 'x'\n")

    finished = run_here("casbin", "enforce", "--model", str(tmp_path / "model.conf"), "--policy", os.devnull)

    assert assert_one_line(finished, 2).endswith(
        "cannot be used: it does not define [policy_definition], [policy_effect], [matchers]\n"
    )
