"""Refuse regular expressions that supported interpreters read differently; exit 1 if there is one.

python tools/check_patterns.py [FILE...]

Every call of a function of `re` in the source is found in the syntax tree, its pattern is evaluated in the
imported module (so that f-strings, constants of the module and `other.pattern` count), and what `re` itself
parses is examined. Refused are:

- possessive groups, `(...)++`, `(...)*+`, `(...)?+`, `(...){m,n}+`: CPython 3.11.0 to 3.11.4 match them
  wrongly (gh-106052). A possessive quantifier of one character or one set is right on every version.
- atomic groups, `(?>...)`: captures inside are lost, or raise, before CPython 3.13.1 (gh-101955).
- `\\w`, `\\d`, `\\b` and their negations in a text pattern without `re.ASCII`: they mean the interpreter's
  table of Unicode, which differs from version to version. `[0-9]` and `[A-Za-z0-9_]` do not.
- a pattern that exists only at run time: nothing can examine it. What an author writes is for RE2.
"""

import ast
import importlib.util
import re
import re._constants as constants  # type: ignore[import-not-found]  # typeshed leaves the parser of `re` out
import re._parser as parser  # type: ignore[import-not-found]
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CLIENT: Final = ROOT / "sdk/python"
SCANNED: Final = ("extauthz", "sdk/python/extauthz_client", "tools")
FUNCTIONS: Final = frozenset(
    {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer", "template"}
)
EXAMINED_BY_TESTS: Final = {
    # Starlette's own, of which there are five; tests/unit/tools/test_check_patterns.py examines them.
    ("sdk/python/extauthz_client/paths.py", "CONVERTOR_TYPES[convertor].regex"),
    # Converters of a Django application, as Django itself matches them.
    ("sdk/python/extauthz_client/django_patterns.py", "regex"),
}
_UNICODE_CATEGORIES: Final = {
    constants.CATEGORY_WORD, constants.CATEGORY_NOT_WORD,
    constants.CATEGORY_DIGIT, constants.CATEGORY_NOT_DIGIT,
}  # fmt: skip
_UNICODE_BOUNDARIES: Final = {constants.AT_BOUNDARY, constants.AT_NON_BOUNDARY}
_ONE_CHARACTER: Final = {
    constants.LITERAL, constants.NOT_LITERAL, constants.ANY, constants.IN, constants.RANGE, constants.CATEGORY
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """A pattern, where it stands, and why it is refused."""

    file: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}"


def pattern_problems(pattern: str | bytes | re.Pattern[Any], flags: int = 0) -> list[str]:
    """Return why a pattern is refused; nothing when every supported interpreter reads it alike."""
    if isinstance(pattern, re.Pattern):
        flags, pattern = pattern.flags, pattern.pattern
    parsed = parser.parse(pattern, flags)
    of_unicode = isinstance(pattern, str) and not parsed.state.flags & re.ASCII
    return list(dict.fromkeys(_problems(parsed, of_unicode=of_unicode)))


def _problems(parsed: Any, *, of_unicode: bool) -> Iterator[str]:
    for operation, argument in parsed:
        if operation is constants.POSSESSIVE_REPEAT and not _is_one_character(argument[2]):
            yield "a possessive group; write a plain one, or possess single characters inside"
        elif operation is constants.ATOMIC_GROUP:
            yield "an atomic group; write a plain one"
        elif of_unicode and operation is constants.AT and argument in _UNICODE_BOUNDARIES:
            yield r"\b or \B without re.ASCII; write a look-around with the characters that are meant"
        elif of_unicode and operation is constants.CATEGORY and argument in _UNICODE_CATEGORIES:
            yield r"\w, \d or a negation without re.ASCII; write [A-Za-z0-9_] or [0-9]"
        for part in _parts(argument):
            yield from _problems(part, of_unicode=of_unicode)


def _is_one_character(parsed: Any) -> bool:
    return len(parsed) == 1 and parsed[0][0] in _ONE_CHARACTER


def _parts(argument: Any) -> Iterator[Any]:
    """Yield the parsed parts that stand in the argument of an operation, in whatever form."""
    if isinstance(argument, parser.SubPattern):
        yield argument
    elif isinstance(argument, list) and argument and all(isinstance(each, tuple) for each in argument):
        yield argument  # the members of a set
    elif isinstance(argument, list | tuple):
        for each in argument:
            yield from _parts(each)


def findings(file: Path, module: ModuleType) -> Iterator[Finding]:
    """Yield what is refused in one file, which `module` is the import of."""
    name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
    tree = ast.parse(file.read_bytes())
    for call in _calls(tree):
        arguments = dict(zip(("pattern", "flags"), [*call.args[:1], *_flags(call)], strict=False))
        arguments |= {each.arg: each.value for each in call.keywords if each.arg in {"pattern", "flags"}}
        written = ast.unparse(arguments["pattern"]) if "pattern" in arguments else ""
        if (name, written) in EXAMINED_BY_TESTS:
            continue
        try:
            # The source is our own, and importing it has run it already.
            values = {each: _evaluated(node, vars(module)) for each, node in arguments.items()}
            problems = pattern_problems(values["pattern"], int(values.get("flags", 0)))
        except (NameError, KeyError, AttributeError, TypeError) as error:
            problems = [f"a pattern that exists only at run time ({error}); make it a constant of the module"]
        for problem in problems:
            yield Finding(name, call.lineno, problem)


def _flags(call: ast.Call) -> list[ast.expr]:
    """Return the positional flags of a call; their place depends on the function."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    place = {"compile": 1, "template": 1, "sub": 4, "subn": 4, "split": 3}.get(name, 2)
    return call.args[place : place + 1]


def _evaluated(node: ast.expr, names: Mapping[str, Any]) -> Any:
    code = compile(ast.Expression(node), "pattern", "eval")
    return eval(code, dict(names))  # noqa: S307 - an expression of our own source


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    modules, functions = {"re"}, set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                modules |= {each.asname or each.name for each in node.names if each.name == "re"}
            case ast.ImportFrom(module="re"):
                functions |= {each.asname or each.name for each in node.names if each.name in FUNCTIONS}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=function)):
                if name in modules and function in FUNCTIONS:
                    yield node
            case ast.Call(func=ast.Name(id=name)) if name in functions:
                yield node


def imported(file: Path) -> ModuleType:
    """Return the module of a file below the project's root, or of any other file."""
    if file.is_relative_to(ROOT):
        root = CLIENT if file.is_relative_to(CLIENT) else ROOT
        parts = file.relative_to(root).with_suffix("").parts
        return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sources() -> Iterator[Path]:
    """Yield the files of the project that use `re`; what protoc generates does not."""
    for folder in SCANNED:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if re.search(rb"^\s*(?:import re\b|from re import)", file.read_bytes(), re.MULTILINE):
                yield file


def main(arguments: Iterable[str]) -> int:
    """Examine the given files, or all of the project's."""
    sys.path.insert(0, str(ROOT))
    files = [Path(each).resolve() for each in arguments] or list(sources())
    found = [finding for file in files for finding in findings(file, imported(file))]
    for finding in found:
        print(finding, file=sys.stderr)
    print(f"{len(files)} files with regular expressions: {len(found) or 'nothing'} refused")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
