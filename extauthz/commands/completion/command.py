"""`extauthz completion`: print the script of a shell."""

import argparse
import sys
from typing import Final, Literal

from extauthz.commands.completion.bash import bash_script
from extauthz.commands.completion.fish import fish_script
from extauthz.commands.completion.words import words_of
from extauthz.commands.completion.zsh import zsh_script
from extauthz.commands.status import OK

_SCRIPTS: Final = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}


def run(shell: Literal["bash", "zsh", "fish"], parser: argparse.ArgumentParser) -> int:
    """Print the script for the commands of a parser; return OK."""
    sys.stdout.write(_SCRIPTS[shell](words_of(parser)))
    return OK
