"""Change the code that decides, one small place at a time, and see whether the tests notice.

python tools/mutate.py                                     every target, one line for each survivor, the score
python tools/mutate.py extauthz/decide/tokens/reader.py            one target
python tools/mutate.py --seconds 480 --json mutation.json  stop after this long; keep the survivors

A mutant is killed when a test fails or the tests do not end. One that survives is a hole in the tests unless
`mutation_survivors.yaml` says why no test can tell it from the original; the exit code is 1 when it does not,
or when that file excuses what is killed by now. Each mutant runs in a fork of a process that has
imported everything which does not import the changed module, so that it costs no more than its tests.

What is changed: comparisons, boolean operators, their operands, negations, conditions, constants (numbers,
booleans, texts, the ends of character sets and patterns), arithmetic, returned values, ends of loops, and
members of `Reason` and `Effect`. What is not: annotations, docstrings, and messages for people.
"""

import argparse
import ast
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import grimp
import yaml

from tools.mutants import mutants

ROOT: Final = Path(__file__).resolve().parent.parent
JUDGEMENTS: Final = Path(__file__).with_name("mutation_survivors.yaml")
_CACHE: Final = ROOT / ".pytest_cache"
DEFAULT_SECONDS: Final = 900.0
MUTANT_SECONDS: Final = 40
"""A mutant whose tests run longer loops for ever."""
_DECISIONS: Final = (
    "tests/unit/decide/test_judge.py",
    "tests/unit/decide/test_staleness.py",
    "tests/unit/cases/test_decision_cases.py",
    "tests/unit/decide/test_record.py",
    "tests/property/test_decision_against_reference.py",
)
TARGETS: Final = {
    "extauthz/decide/tokens/reader.py": (
        "tests/unit/decide/tokens/test_token_bounds.py",
        "tests/unit/decide/tokens/test_reader.py",
        "tests/unit/decide/tokens/test_registered_claims.py",
        "tests/unit/decide/test_identity.py",
        "tests/unit/decide/test_unknown_keys.py",
        "tests/unit/decide/tokens/test_verified_tokens.py",
        "tests/unit/commands/test_token_verify.py",
    ),
    "extauthz/decide/identity.py": (
        "tests/unit/decide/tokens/test_token_bounds.py",
        "tests/unit/decide/tokens/test_registered_claims.py",
        "tests/unit/decide/test_identity.py",
        "tests/unit/decide/test_unknown_keys.py",
        "tests/unit/decide/tokens/test_verified_tokens.py",
        "tests/unit/commands/test_token_verify.py",
        "tests/unit/decide/test_service_keys.py",
        "tests/wire/test_credential_sources.py",
        "tests/wire/test_metadata_claims.py",
    ),
    "extauthz/decide/bearer_token.py": (
        "tests/unit/decide/tokens/test_token_bounds.py",
        "tests/unit/decide/tokens/test_registered_claims.py",
        "tests/unit/decide/test_identity.py",
        "tests/unit/decide/test_unknown_keys.py",
        "tests/unit/decide/tokens/test_verified_tokens.py",
        "tests/unit/commands/test_token_verify.py",
        "tests/unit/decide/test_service_keys.py",
        "tests/wire/test_credential_sources.py",
        "tests/wire/test_metadata_claims.py",
    ),
    "extauthz/decide/tokens/jwks.py": (
        "tests/unit/decide/tokens/test_jwks.py",
        "tests/unit/decide/tokens/test_key_set_shapes.py",
        "tests/unit/decide/tokens/test_token_bounds.py",
        "tests/unit/decide/test_identity.py",
        "tests/unit/decide/test_unknown_keys.py",
        "tests/unit/decide/tokens/test_verified_tokens.py",
        "tests/unit/commands/test_token_verify.py",
    ),
    "extauthz/decide/tokens/roca.py": ("tests/unit/decide/tokens/test_roca.py",),
    "extauthz/decide/service_keys.py": ("tests/unit/decide/test_service_keys.py",),
    "extauthz/check/envoy_response.py": (
        "tests/wire/test_write_response.py",
        "tests/property/test_wire_properties.py",
    ),
    "extauthz/domain/path.py": (
        "tests/unit/domain/test_path.py",
        "tests/wire/test_read_request.py",
        "tests/property/test_path_properties.py",
    ),
    "extauthz/decide/authorize.py": _DECISIONS,
    "extauthz/decide/routes.py": _DECISIONS,
    "extauthz/decide/judge.py": _DECISIONS,
}
"""What is mutated, and the tests that answer for it: quick ones first."""
_OPTIONS: Final = (
    *("-x", "-q", "-o", "addopts=", "--import-mode=importlib", "-p", "no:xdist", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # what is imported beforehand
)


class _Mutated(SourceFileLoader):
    """Loads one module from a tree instead of its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        super().__init__(name, str(path))
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - importlib's signature
        code: CodeType = compile(self._tree, self.path, "exec")
        return code


class _Finder(MetaPathFinder):
    """Finds the mutated module before its file is found."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(
        self,
        fullname: str,
        _path: Sequence[str] | None,
        _target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return spec_from_file_location(
            fullname, self._path, loader=_Mutated(fullname, self._path, self._tree)
        )


def _pass_with(tests: Sequence[str], finder: _Finder | None) -> bool:
    """Run the tests in a fork, with the finder's module in place; say whether all of them passed."""

    def run() -> int:
        if finder is not None:
            sys.meta_path.insert(0, finder)
        pytest: ModuleType = importlib.import_module("pytest")
        # One file after the other: whatever the first kills need not wait for the last to be collected.
        return next((code for test in tests if (code := int(pytest.main([*_OPTIONS, test])))), 0)

    return _forked(run) == 0


def _forked(work: Callable[[], int], *, seconds: int = MUTANT_SECONDS) -> int:
    """Do the work in a fork without output; return its exit code, negative when a signal ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        signal.alarm(seconds)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        code = work()
    finally:
        os._exit(code)


def _import_beforehand(target: str, tests: Sequence[str]) -> None:
    """Import what the tests import, except the target, what imports it, and the tests."""
    listing = _CACHE / f"modules-{os.getpid()}"
    changed = {target} | grimp.build_graph("extauthz").find_downstream_modules(target)

    def list_modules() -> int:
        pytest: ModuleType = importlib.import_module("pytest")
        code = int(pytest.main([*_OPTIONS, *tests]))
        listing.write_text("\n".join(sys.modules))
        return code

    _forked(list_modules, seconds=300)
    imported = listing.read_text().splitlines()
    listing.unlink()
    for name in imported:
        if name not in changed and name.partition(".")[0] not in {"tests", "conftest", "tools", "__main__"}:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def main(arguments: list[str] | None = None) -> int:
    """Mutate the targets, print survivors and score."""
    parser = argparse.ArgumentParser(description="mutation testing of the code that decides")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help="source files, all by default")
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="stop after this long")
    parser.add_argument("--json", type=Path, help="write the score and the survivors here")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    ends = time.monotonic() + options.seconds
    examined = {target: _examined_apart(target, ends) for target in options.targets}
    killed = sum(each.killed for each in examined.values())
    survived = sum(len(each.survivors) for each in examined.values())
    score = round(100 * killed / (killed + survived), 1) if killed + survived else 0.0
    print(f"{score} %: {killed} killed, {survived} survived")
    unjudged, stale = _against_judgements(examined)
    for label, changes in (("survives, and no reason is given", unjudged), ("excused, but killed", stale)):
        for change in changes:
            print(f"{label}: {change}")
    if options.json:
        targets = {target: asdict(each) for target, each in examined.items()}
        numbers = {"commit": _commit(), "score": score, "not_judged": len(unjudged), "targets": targets}
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return 1 if unjudged or stale else 0


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _against_judgements(examined: Mapping[str, "Examined"]) -> tuple[list[str], list[str]]:
    """Return the survivors that no judgement covers, and the judgements that cover no survivor."""
    judgements: dict[str, dict[str, str]] = yaml.safe_load(JUDGEMENTS.read_text("utf-8"))
    unjudged: list[str] = []
    stale: list[str] = []
    for target, each in examined.items():
        # Without the line, which other changes move.
        survivors = {survivor.partition(": ")[2] for survivor in each.survivors}
        judged = judgements.get(target, {})
        unjudged += [f"{target}: {change}" for change in sorted(survivors - judged.keys())]
        if not each.not_run:
            stale += [f"{target}: {change}" for change in sorted(judged.keys() - survivors)]
    return unjudged, stale


@dataclass(frozen=True, slots=True)
class Examined:
    """What the tests made of the mutants of one file."""

    killed: int
    not_run: int
    seconds: float
    survivors: list[str]


def _examined_apart(target: str, ends: float) -> Examined:
    """Examine a target in a process of its own: what one target had imported must not hide the next."""
    result = _CACHE / f"mutation-{os.getpid()}"
    _CACHE.mkdir(exist_ok=True)
    child = os.fork()
    if not child:
        code = 70
        try:
            result.write_text(json.dumps(asdict(_examine(target, ends))))
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"{target} was not examined")
    examined = Examined(**json.loads(result.read_text()))
    result.unlink()
    return examined


def _examine(target: str, ends: float) -> Examined:
    began = time.monotonic()
    path = ROOT / target
    name = target.removesuffix(".py").replace("/", ".")
    tests = [test for test in TARGETS[target] if (ROOT / test).exists()]
    _import_beforehand(name, tests)
    source = path.read_text("utf-8")
    if not _pass_with(tests, _Finder(name, path, ast.parse(source))):
        print("the tests do not pass without a change: " + " ".join(tests), file=sys.stderr, flush=True)
        sys.exit(1)
    killed, not_run = 0, 0
    survivors: list[str] = []
    for mutant in mutants(source):
        if time.monotonic() > ends:
            not_run += 1
        elif _pass_with(tests, _Finder(name, path, mutant.tree)):
            survivors.append(f"{mutant.line}: {mutant.before} -> {mutant.after}")
            print(f"{target}:{survivors[-1]}", flush=True)
        else:
            killed += 1
    print(f"{target}: {killed} killed, {len(survivors)} survived, {not_run} not run", flush=True)
    return Examined(killed, not_run, round(time.monotonic() - began, 1), survivors)


if __name__ == "__main__":
    sys.exit(main())
