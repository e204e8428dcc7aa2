"""The completion of bash: one function, that needs no package of bash completions and runs in bash 3.2."""

from collections.abc import Iterator, Sequence

from extauthz.commands.completion.words import Argument, CommandWords, ValueKind

_SCRIPT = """\
# bash completion of extauthz: source <(extauthz completion bash)

_extauthz_found() {
    local each
    while IFS= read -r each; do
        COMPREPLY+=("$each")
    done < <(compgen "$@")
}

_extauthz_files() {
    _extauthz_found "$1" -- "$2"
    type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null
}

_extauthz_words() {
    _extauthz_found -W "$1" -- "$2"
}

_extauthz() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}" path="" each
    COMPREPLY=()
    # Bash splits --option=value at the equals sign.
    if [[ $word == "=" ]]; then
        word=""
    elif [[ $before == "=" ]]; then
        before="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $each" in
%(paths)s) path="$path $each" ;;
        *) break ;;
        esac
    done
    case "$path $before" in
%(values)s    esac
    case "$path" in
%(words)s    esac
}

complete -F _extauthz extauthz
"""


def bash_script(commands: Sequence[CommandWords]) -> str:
    """Return the script."""
    paths = " | ".join(f'"{_path(each)}"' for each in commands if each.path)
    return _SCRIPT % {
        "paths": f"        {paths}",
        "values": "".join(line for each in commands for line in _values(each)),
        "words": "".join(line for each in commands for line in _words(each)),
    }


def _path(command: CommandWords) -> str:
    return "".join(f" {word}" for word in command.path)


def _values(command: CommandWords) -> Iterator[str]:
    """Yield what completes the value of each option that has one."""
    for option in command.options:
        if option.value is ValueKind.NONE:
            continue
        words = " | ".join(f'"{_path(command)} {name}"' for name in option.names)
        yield f"    {words})\n        {_completed(option) or ':'}\n        return\n        ;;\n"


def _words(command: CommandWords) -> Iterator[str]:
    """Yield what completes any other word of a command."""
    options = " ".join(name for option in command.options for name in option.names)
    yield f'    "{_path(command)}")\n'
    yield f'        if [[ $word == -* ]]; then\n            _extauthz_words "{options}" "$word"\n'
    if command.commands:
        names = " ".join(name for name, _ in command.commands)
        # A word that is not a command has none below it.
        yield f"        elif ((COMP_CWORD == {len(command.path) + 1})); then\n"
        yield f'            _extauthz_words "{names}" "$word"\n'
    elif command.arguments and (completed := _completed(command.arguments[0])):
        yield f"        else\n            {completed}\n"
    yield "        fi\n        ;;\n"


def _completed(argument: Argument) -> str:
    if argument.choices:
        return f'_extauthz_words "{" ".join(argument.choices)}" "$word"'
    match argument.value:
        case ValueKind.FILE:
            return '_extauthz_files -f "$word"'
        case ValueKind.FOLDER:
            return '_extauthz_files -d "$word"'
    return ""
