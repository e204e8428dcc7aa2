"""The completion of zsh: a function for each command, in the terms of `_arguments` and `_describe`."""

from collections.abc import Iterator, Sequence

from extauthz.commands.completion.words import Argument, CommandWords, ValueKind

_START = """\
#compdef extauthz
# zsh completion of extauthz: extauthz completion zsh > "${fpath[1]}/_extauthz"
"""
_END = """\

if [[ ${funcstack[1]} == _extauthz ]]; then
    _extauthz "$@"
else
    compdef _extauthz extauthz
fi
"""


def zsh_script(commands: Sequence[CommandWords]) -> str:
    """Return the script."""
    return _START + "".join("\n" + "".join(_function(each)) for each in commands) + _END


def _name(path: Sequence[str]) -> str:
    return "_".join(["_extauthz", *(word.replace("-", "_") for word in path)])


def _function(command: CommandWords) -> Iterator[str]:
    yield f"{_name(command.path)}() {{\n"
    rows = [row for option in command.options for row in _option(option)]
    if command.commands:
        yield "    local curcontext=$curcontext state line\n    local -a commands\n    commands=(\n"
        yield from (f"        {_quoted(f'{_plain(name)}:{meaning}')}\n" for name, meaning in command.commands)
        yield "    )\n"
        rows += ["': :->command'", "'*:: :->rest'"]
    else:
        rows += [_positional(argument) for argument in command.arguments]
    yield "    _arguments -C" + "".join(f" \\\n        {row}" for row in rows) + "\n"
    if command.commands:
        yield "    case $state in\n    command) _describe -t commands command commands ;;\n    rest)\n"
        yield "        case $words[1] in\n"
        yield from (f"        {name}) {_name((*command.path, name))} ;;\n" for name, _ in command.commands)
        yield "        esac\n        ;;\n    esac\n"
    yield "}\n"


def _option(option: Argument) -> Iterator[str]:
    meaning = _plain(option.meaning).replace("[", "\\[").replace("]", "\\]")
    for name in option.names:
        again = "*" if option.repeated else ""
        takes = "" if option.value is ValueKind.NONE else "="
        # name=: the value is the next word, or follows an equals sign.
        yield _quoted(f"{again}{name}{takes if name.startswith('--') else ''}[{meaning}]{_value(option)}")


def _positional(argument: Argument) -> str:
    return _quoted(f"{'*' if argument.repeated else ''}{_value(argument)}")


def _value(argument: Argument) -> str:
    if argument.value is ValueKind.NONE:
        return ""
    if argument.choices:
        return f":value:({' '.join(argument.choices)})"
    match argument.value:
        case ValueKind.FILE:
            return ":file:_files"
        case ValueKind.FOLDER:
            return ":folder:_files -/"
    return ":value: "


def _plain(text: str) -> str:
    """Return a text without the characters that separate the parts of a specification."""
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _quoted(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"
