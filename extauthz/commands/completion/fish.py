"""The completion of fish: one line for each word that can follow."""

from collections.abc import Iterator, Sequence

from extauthz.commands.completion.words import Argument, CommandWords, ValueKind

_START = """\
# fish completion of extauthz: extauthz completion fish > ~/.config/fish/completions/extauthz.fish

function __extauthz_at --description 'whether the command line begins with this command'
    set -l words (commandline -opc)[2..-1]
    test (count $words) -ge (count $argv); or return 1
    for index in (seq (count $argv))
        test $words[$index] = $argv[$index]; or return 1
    end
end

function __extauthz_between --description 'whether the next word is a command below this one'
    __extauthz_at $argv; and test (count (commandline -opc)) -eq (math (count $argv) + 1)
end

complete -c extauthz -f
"""


def fish_script(commands: Sequence[CommandWords]) -> str:
    """Return the script."""
    return _START + "".join(f"{line}\n" for each in commands for line in _lines(each))


def _lines(command: CommandWords) -> Iterator[str]:
    path = " ".join(command.path)
    at = (
        f"complete -c extauthz -n '__extauthz_at {path}'"
        if path
        else "complete -c extauthz -n __extauthz_between"
    )
    between = f"complete -c extauthz -n '__extauthz_between {path}'" if path else at
    for name, meaning in command.commands:
        yield f"{between} -a {name} -d {_quoted(meaning)}"
    # Options of a group of commands stand before the command.
    place = between if command.commands else at
    for option in command.options:
        names = " ".join(
            f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
        )
        yield f"{place} {names}{_value(option)} -d {_quoted(option.meaning)}"
    for argument in command.arguments:
        yield f"{at}{_value(argument)}"


def _value(argument: Argument) -> str:
    required = " -r" if argument.names and argument.value is not ValueKind.NONE else ""
    if argument.choices:
        return f"{required} -f -a '{' '.join(argument.choices)}'"
    match argument.value:
        case ValueKind.FILE:
            return f"{required} -F"
        case ValueKind.FOLDER:
            return f"{required} -f -a '(__fish_complete_directories (commandline -ct))'"
        case ValueKind.TEXT:
            return f"{required} -f"
        case ValueKind.NONE:
            return ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
