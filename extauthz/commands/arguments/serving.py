"""The arguments of the commands that serve, of the demo and of `migrate`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.imports import uninterrupted
from extauthz.commands.status import BAD_USAGE, fail

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the commands."""
    demo = commands.add_parser("demo", help="run the whole stack on this machine")
    demo.add_argument("--check", action="store_true", help="run the example calls, then end")
    demo.add_argument("--ready-file", type=Path, metavar="F", help="write F once everything answers")
    demo.add_argument("--mode", default="selfhost", help="selfhost (default) or saas")
    demo.set_defaults(run=_demo, self_check="everything")

    sidecar = commands.add_parser("sidecar", help="answer Envoy's checks")
    sidecar.set_defaults(run=_sidecar, self_check="everything")

    for name, meaning in (
        ("serve", "the admin REST API and the sidecar's workers together"),
        ("control-plane", "the admin REST API alone"),
    ):
        plane = commands.add_parser(name, help=meaning)
        plane.set_defaults(run=_control_plane, self_check="everything", with_workers=name == "serve")

    migrate = commands.add_parser("migrate", help="bring the database schema up to date")
    migrate.add_argument("--status", action="store_true", help="only say what is applied and what is pending")
    migrate.add_argument("--new-epoch", action="store_true", help="after a restore: every sidecar reloads")
    migrate.set_defaults(run=_migrate)


def _demo(parsed: argparse.Namespace) -> int:
    try:
        with uninterrupted():
            from extauthz.demo import command
    except ImportError as error:
        return fail(f"the demo needs its extra, install 'extauthz[demo]': {error}", BAD_USAGE)
    return command.run(check=parsed.check, ready_file=parsed.ready_file, mode=parsed.mode)


def _sidecar(_: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands.serving import sidecar

    return sidecar(os.environ)


def _control_plane(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands.serving import control_plane

    return control_plane(os.environ, with_workers=parsed.with_workers)


def _migrate(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands.serving import migrate

    return migrate(os.environ, only_status=parsed.status, with_new_epoch=parsed.new_epoch)
