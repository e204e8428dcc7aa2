"""Reads the Dockerfile, and carries out its build stage without an image engine.

Only the instructions that the Dockerfile uses are understood; any other one is an error, so that nothing in
it goes untested by being skipped.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_METADATA = frozenset({"LABEL", "EXPOSE", "STOPSIGNAL"})


class Instruction(NamedTuple):
    """One instruction with its continuation lines joined."""

    word: str
    rest: str


@dataclass
class Stage:
    """One `FROM` and what follows it."""

    base: str
    name: str | None
    instructions: list[Instruction] = field(default_factory=list)

    def only(self, word: str) -> str:
        (rest,) = (each.rest for each in self.instructions if each.word == word)
        return rest

    def command(self, word: str) -> list[str]:
        """Return an instruction's exec form."""
        rest = self.only(word)
        parsed: list[str] = json.loads(rest[rest.index("[") :])
        return parsed

    def arguments(self) -> dict[str, str]:
        pairs = (each.rest.partition("=") for each in self.instructions if each.word == "ARG")
        return {name: default for name, _, default in pairs}

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in self.instructions:
            if each.word == "ENV":
                for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', each.rest):
                    found[name] = substituted(value.strip('"'), variables)
        return found


def stages(text: str) -> list[Stage]:
    joined = re.sub(r"\\\n(?:[ \t]*#.*\n)*", " ", text)
    found: list[Stage] = []
    for line in joined.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name or None))
        else:
            found[-1].instructions.append(Instruction(word, rest.strip()))
    return found


def substituted(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], text)


def carry_out(stage: Stage, into: Path, *, python: Path, outside: Mapping[str, str]) -> dict[str, str]:
    """Carry out a build stage below `into`, and return its build arguments, which name folders there.

    RUN lines see nothing of this environment but `outside` (where a package index is), the base image's
    `python` and the standard tools.
    """
    tools = into / "bin"
    tools.mkdir(parents=True)
    (tools / "python").symlink_to(python)
    variables = {name: f"{into}{default}" for name, default in stage.arguments().items()}
    environment = dict(outside) | {
        "PATH": f"{tools}:{os.defpath}",
        "HOME": str(into / "home"),
        **variables,
        **stage.environment(variables),
    }
    folder = into
    for word, rest in stage.instructions:
        match word:
            case "ARG" | "ENV":
                pass
            case "WORKDIR":
                folder = Path(f"{into}{rest}")
                folder.mkdir(parents=True)
            case "COPY":
                *sources, target = rest.split()
                for source in _in_context(sources):
                    copy_into(folder / target, source, of_many=len(sources) > 1 or target.endswith("./"))
            case "RUN":
                done = subprocess.run(
                    ["/bin/sh", "-c", rest],
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
            case _:
                raise AssertionError(f"not understood in a build stage: {word} {rest}")
    return variables


def _in_context(sources: list[str]) -> Iterator[str]:
    ignored = dockerignore()
    for source in sources:
        assert not ignored.refuses(source), f"{source} is not in the build context: .dockerignore"
        yield source


def copy_into(target: Path, source: str, *, of_many: bool) -> None:
    """Copy as COPY does: a folder's content into the target, a file into a target that is a folder."""
    origin = ROOT / source
    if origin.is_dir():
        shutil.copytree(origin, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        return
    if of_many:
        target.mkdir(parents=True, exist_ok=True)
        target = target / origin.name
    shutil.copy(origin, target)


class Ignore(NamedTuple):
    """What `.dockerignore` lets through, in the form the project writes it: nothing but what is named."""

    admitted: frozenset[str]

    def refuses(self, source: str) -> bool:
        parts = Path(source).parts
        return not any("/".join(parts[:depth]) in self.admitted for depth in range(1, len(parts) + 1))


def dockerignore() -> Ignore:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*", "everything is ignored first"
    return Ignore(frozenset(line.removeprefix("!") for line in lines if line.startswith("!")))


def unknown_instructions(stage: Stage, known: frozenset[str]) -> list[Instruction]:
    return [each for each in stage.instructions if each.word not in known | _METADATA]
