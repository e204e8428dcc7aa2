"""The arguments of the commands that serve, of the demo and of `migrate`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.commands.arguments.environment import DATABASE, EVERY_SETTING
from extauthz.commands.arguments.parser import add_json, command
from extauthz.commands.imports import uninterrupted
from extauthz.commands.status import BAD_USAGE, fail

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands

_LOGS: Final = ("LOG_LEVEL", "LOG_FORMAT")
_DEMO: Final = (
    "PORT", "GRPC_PORT", "GRPC_SERVER", "SIDECAR_PORT", "WORKERS", "ADMIN_API_KEY", "DECISION_LOG", *_LOGS
)  # fmt: skip


def add(commands: "Commands") -> None:
    """Add the commands."""
    demo = command(
        commands,
        "demo",
        "run the whole stack on this machine",
        page="README.md",
        variables=_DEMO,
        failed="it did not start, or with --check a call was not answered as expected",
    )
    demo.add_argument("--check", action="store_true", help="run the example calls, then end")
    demo.add_argument("--ready-file", type=Path, metavar="F", help="write F once everything answers")
    demo.add_argument("--mode", default="selfhost", help="selfhost (default) or saas")
    demo.set_defaults(run=_demo, self_check="everything")

    sidecar = command(
        commands, "sidecar", "answer Envoy's checks", page="docs/deploy.md", variables=EVERY_SETTING
    )
    sidecar.set_defaults(run=_sidecar, self_check="everything")

    for name, meaning in (
        ("serve", "the admin REST API and the sidecar's workers together"),
        ("control-plane", "the admin REST API alone"),
    ):
        plane = command(commands, name, meaning, page="docs/deploy.md", variables=EVERY_SETTING)
        plane.set_defaults(run=_control_plane, self_check="everything", with_workers=name == "serve")

    migrate = command(
        commands,
        "migrate",
        "bring the database schema up to date",
        page="docs/deploy.md",
        variables=(*DATABASE, *_LOGS),
        failed="the database cannot be reached",
    )
    migrate.add_argument("--status", action="store_true", help="only say what is applied and what is pending")
    migrate.add_argument("--new-epoch", action="store_true", help="after a restore: every sidecar reloads")
    add_json(migrate)
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

    return migrate(
        os.environ, only_status=parsed.status, with_new_epoch=parsed.new_epoch, as_json=parsed.json
    )
