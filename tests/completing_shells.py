"""Real shells that complete command lines, and what they offer."""

import os
import pty
import select
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

_BASH: Final = r"""
source "$1"
while IFS= read -r line; do
    words=() word=""
    for ((at = 0; at < ${#line}; at++)); do
        char="${line:at:1}"
        case "$char" in
        " ") words+=("$word"); word="" ;;
        =) words+=("$word" "="); word="" ;;
        *) word+="$char" ;;
        esac
    done
    COMP_WORDS=("${words[@]}" "$word") COMP_CWORD=${#words[@]}
    _extauthz
    printf '%s\n' "${COMPREPLY[@]}" --
done
"""
"""Splits a line as readline does, where words have no quotes."""

_FISH: Final = """
source $argv[1]
while read -l line
    complete -C $line | string replace -r '\t.*' ''
    printf '%s\\n' --
end
"""

_READY: Final = "ready>"
_ZSH: Final = f"""\
unsetopt auto_list auto_menu; setopt no_beep
PS1='{_READY}' zle_bracketed_paste=()
ends() {{ print -r -- -- >>$ZDOTDIR/found; zle kill-whole-line; }}
zle -N ends; bindkey '^T' ends
fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -u -D
compadd() {{
    if [[ ${{@[1,(i)(-|--)]}} != *-[OAD]\\ * ]]; then
        local -a found; builtin compadd -O found "$@"; print -rl -- $found >>$ZDOTDIR/found
    fi
    builtin compadd "$@"
}}
"""
"""Keeps what the completion adds: compadd is where every match goes. ^T ends the matches of a line."""


def bash_offers(script: str, lines: Sequence[str], folder: Path) -> list[set[str]]:
    """Return what bash offers at the end of each line; relative files are those of `folder`."""
    return _of_sources(["bash", "--norc", "--noprofile", "-c", _BASH, "bash"], script, lines, folder)


def fish_offers(script: str, lines: Sequence[str], folder: Path) -> list[set[str]]:
    """Return what fish offers at the end of each line."""
    return _of_sources([*_found("fish"), "--no-config", "-c", _FISH], script, lines, folder)


def zsh_offers(script: str, lines: Sequence[str], folder: Path) -> list[set[str]]:
    """Return what zsh offers at the end of each line, in a terminal: its line editor completes."""
    command = [*_found("zsh"), "-d", "-i"]
    home = folder / "zsh"
    home.mkdir()
    (home / "_extauthz").write_text(script, "utf-8")
    (home / ".zshrc").write_text(_ZSH, "utf-8")
    (home / "found").touch()
    main, terminal = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "ZDOTDIR": str(home), "TERM": "xterm"}
    with subprocess.Popen(
        command,
        stdin=terminal, stdout=terminal, stderr=terminal, cwd=folder, env=environ, start_new_session=True,
    ) as shell:  # fmt: skip
        os.close(terminal)
        typed = "".join(f"{line}\t\x14" for line in lines) + "exit\n"
        try:
            _type(main, typed.encode())
            assert shell.wait(timeout=20) == 0
        finally:
            shell.kill()
            os.close(main)
    return list(_groups((home / "found").read_text("utf-8").splitlines()))


def _type(terminal: int, typed: bytes) -> None:
    """Type a text, and read what the shell shows until it ends: a full terminal would stop it."""
    shown = b""
    while True:
        # Before its first prompt the terminal itself would act on control characters.
        ready = typed and _READY.encode() in shown
        readable, writable, _ = select.select([terminal], [terminal] if ready else [], [], 20)
        assert readable or writable, "the shell neither reads nor writes"
        if readable:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                return
        if writable:
            typed = typed[os.write(terminal, typed[:256]) :]


def _found(shell: str) -> list[str]:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not on PATH; Debian's package {shell} has it")
    return [found]


def _of_sources(command: list[str], script: str, lines: Sequence[str], folder: Path) -> list[set[str]]:
    source = folder / "completion"
    source.write_text(script, "utf-8")
    done = subprocess.run(
        [*command, str(source)],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True, text=True, cwd=folder, timeout=60, check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )  # fmt: skip
    assert done.stderr == ""
    return list(_groups(done.stdout.splitlines()))


def _groups(lines: Sequence[str]) -> Iterator[set[str]]:
    group: set[str] = set()
    for line in lines:
        if line == "--":
            yield group
            group = set()
        elif line:
            group.add(line)
