"""The arguments of `extauthz`. What a command does is in `extauthz/commands/`.

A command exits with 0, 1 (it failed) or 2 (wrong arguments or settings); an error is one line on stderr.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from extauthz import __version__
from extauthz.commands.imports import uninterrupted
from extauthz.commands.status import BAD_USAGE, FAILED, fail
from extauthz.domain.one_line import one_line

_SETTINGS = "a file of the service's settings, lines of NAME=VALUE (default: the environment)"


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its status."""
    if not _open_streams():
        sys.exit(fail("standard output is closed"))
    given = sys.argv[1:] if arguments is None else arguments
    parser, given = (_worker_parser(), given[1:]) if given[:1] == ["worker"] else (_parser(), given)
    parsed = parser.parse_args(given)
    try:
        status: int = _self_check(parsed) or parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has closed it; a message would reach it as little.
        _drop_output()
        status = FAILED
    except OSError as error:
        _drop_output()
        status = fail(f"the system refuses to go on: {error.strerror or error}")
    except KeyboardInterrupt:
        status = FAILED
    sys.exit(status)


def _open_streams() -> bool:
    """Open /dev/null for closed standard streams; return whether stdout is open.

    For a closed stream Python has None: what is printed to a closed stderr goes to stdout, and the next file
    that is opened takes its descriptor.
    """
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115  # they live as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    return sys.stdout is not None


def _drop_output() -> None:
    """Discard what is left in the buffer of stdout: the flush at exit would fail a second time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser whose error is one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit."""
        self.exit(BAD_USAGE, f"{self.prog}: {one_line(message)}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="extauthz", description="Envoy external authorization.")
    parser.add_argument("--version", action="version", version=f"extauthz {__version__}")
    commands = _subcommands(parser)

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

    health = commands.add_parser("health", help="ask a running process whether it lives")
    health.add_argument(
        "--url", type=_http_url, metavar="URL", help="ask this instead of SIDECAR_PORT and PORT here"
    )
    health.add_argument("--ready", action="store_true", help="ask whether it is ready")
    health.set_defaults(run=_health)

    token = _subcommands(commands.add_parser("token", help="judge tokens"))
    verify = token.add_parser("verify", help="one compact token per line in, one JSON verdict per line out")
    keys = verify.add_mutually_exclusive_group(required=True)
    keys.add_argument("--jwks", type=Path, metavar="FILE", help="the keys")
    keys.add_argument("--settings", type=Path, metavar="FILE", help=_SETTINGS)
    verify.add_argument("--issuer", help="the issuer that tokens must name")
    verify.add_argument("--audience", help="the audience that tokens must name")
    verify.add_argument("--signature-only", action="store_true", help="judge header, key and signature only")
    verify.set_defaults(run=_token_verify, self_check="tokens")
    explain = token.add_parser(
        "explain", help="judge the token on stdin check by check, by a service's settings"
    )
    given = explain.add_mutually_exclusive_group()
    given.add_argument("--settings", type=Path, metavar="FILE", help=_SETTINGS)
    given.add_argument("--providers", type=Path, metavar="FILE", help="a file of IDENTITY_PROVIDERS alone")
    explain.add_argument(
        "--tenant", metavar="T", help="the tenant of the target, whose provider introspects opaque tokens"
    )
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(run=_token_explain, self_check="tokens")

    path = _subcommands(commands.add_parser("path", help="judge paths"))
    canonical = path.add_parser("canonical", help="one raw path per line in, one JSON verdict per line out")
    canonical.set_defaults(run=_path_canonical, self_check="paths")

    casbin = _subcommands(commands.add_parser("casbin", help="try Casbin policies"))
    enforce = casbin.add_parser("enforce", help="one request, a JSON array, per line in; true or false out")
    enforce.add_argument("--model", type=Path, required=True, metavar="F", help="any Casbin model")
    enforce.add_argument("--policy", type=Path, required=True, metavar="F", help="its policy, CSV")
    enforce.set_defaults(run=_casbin_enforce, self_check="casbin")

    policy = _subcommands(commands.add_parser("policy", help="try policies"))
    test = policy.add_parser("test", help="run decision cases")
    test.add_argument("files", nargs="+", type=Path, metavar="FILE")
    test.set_defaults(run=_policy_test, self_check="everything")
    replay = policy.add_parser("replay", help="what a draft changes for the requests of a decision log")
    replay.add_argument("--log", type=Path, required=True, metavar="FILE", help="a decision log")
    replay.add_argument(
        "--policies", type=Path, required=True, metavar="DIR", help="the policies that were in force"
    )
    replay.add_argument("--draft", type=Path, required=True, metavar="DIR", help="the policies to try")
    replay.add_argument(
        "--max-newly-allowed", type=int, metavar="N", help="fail above N newly allowed requests"
    )
    replay.add_argument("--tenant", metavar="T", default="default", help="whose lines are judged (default)")
    replay.add_argument(
        "--masked", action="append", default=[], metavar="FIELD", help="a field whose values are masked"
    )
    replay.add_argument("--json", action="store_true", help="print JSON")
    replay.set_defaults(run=_policy_replay, self_check="everything")

    snapshot = _subcommands(commands.add_parser("snapshot", help="sign policies for followers over HTTP"))
    publish = snapshot.add_parser("publish", help="write signed policies as files for a static server")
    publish.add_argument("folder", type=Path, metavar="DIR")
    publish.add_argument(
        "--every", type=_seconds, metavar="N", help="go on, and look for changes every N seconds"
    )
    publish.set_defaults(run=_snapshot_publish)
    public_key = snapshot.add_parser("public-key", help="print the public key of POLICY_SIGNING_KEY")
    public_key.set_defaults(run=_snapshot_public_key)

    _add_proxy_commands(commands)

    logs = _subcommands(commands.add_parser("logs", help="read decision logs"))
    log_verify = logs.add_parser("verify", help="count lines, gaps and schema errors")
    log_verify.add_argument("file", type=Path, metavar="FILE")
    log_verify.set_defaults(run=_logs_verify)
    return parser


def _worker_parser() -> argparse.ArgumentParser:
    """Return the parser of the command that the supervisor starts; the help does not list it."""
    worker = _Parser(prog="extauthz worker")
    worker.add_argument("index", type=int)
    worker.add_argument("report_fd", type=int)
    worker.add_argument("lock_fd", type=int)
    worker.add_argument("--again", action="store_true")
    worker.set_defaults(run=_worker, self_check="everything")
    return worker


def _subcommands(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction[_Parser]":
    """Return where a parser's commands are added. Without a command it prints its help: BAD_USAGE."""

    def without_command(_: argparse.Namespace) -> int:
        parser.print_help()
        print(f"{parser.prog}: a command is missing; see '{parser.prog} --help'", file=sys.stderr)
        return BAD_USAGE

    parser.set_defaults(run=without_command)
    return parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)


def _add_proxy_commands(commands: "argparse._SubParsersAction[_Parser]") -> None:
    config = commands.add_parser("envoy-config", help="print a proxy configuration for the current settings")
    config.add_argument("--for", dest="proxy", choices=("envoy", "istio"), default="envoy")
    config.add_argument(
        "--transport", choices=("grpc", "http"), default="grpc", help="how Envoy asks; http: HTTP_AUTHZ_PORT"
    )
    config.add_argument("--listen", metavar="HOST:PORT", help="where Envoy listens (127.0.0.1:10000)")
    config.add_argument("--upstream", metavar="HOST:PORT", help="the protected workload (127.0.0.1:8000)")
    for option, meaning in (
        ("--tls-ca", "the CA of GRPC_TLS_CERT, as the proxy sees the file; without it that very certificate"),
        ("--tls-cert", "the proxy's own certificate, for GRPC_TLS_CLIENT_CA"),
        ("--tls-key", "its private key"),
    ):
        config.add_argument(option, type=Path, metavar="FILE", help=meaning)
    config.set_defaults(run=_envoy_config)

    doctor = commands.add_parser("doctor", help="examine settings, database, identity provider and files")
    doctor.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    doctor.add_argument(
        "--strict", action="store_true", help="fail also for objects and checks that cannot be examined"
    )
    doctor.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="Envoy, Istio or Kubernetes files, or folders"
    )
    doctor.set_defaults(run=_doctor)


def _self_check(parsed: argparse.Namespace) -> int:
    """Judge the known input that the command depends on; the first wrong answer ends the command."""
    if "self_check" not in parsed:
        return 0
    with uninterrupted():
        from extauthz.commands.self_check.subjects import Subject, interpreter, wrong_rows

        for wrong in wrong_rows(Subject(parsed.self_check)):
            return fail(f"the self-check failed on {interpreter()}: {wrong}")
    return 0


# Each command imports its own module: `extauthz health` runs every few seconds and needs little.


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


def _worker(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands.serving import worker

    return worker(
        os.environ, parsed.index, report_fd=parsed.report_fd, lock_fd=parsed.lock_fd, again=parsed.again
    )


def _health(parsed: argparse.Namespace) -> int:
    from extauthz.commands import health

    return health.run(os.environ, url=parsed.url, ready=parsed.ready)


def _snapshot_publish(parsed: argparse.Namespace) -> int:
    from extauthz.commands import snapshot

    return snapshot.publish(os.environ, parsed.folder, every=parsed.every)


def _snapshot_public_key(_: argparse.Namespace) -> int:
    from extauthz.commands import snapshot

    return snapshot.public_key(os.environ)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 86400")
    return value


def _http_url(text: str) -> str:
    from extauthz.commands.health import is_http_url

    if not is_http_url(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https URL")
    return text


def _token_verify(parsed: argparse.Namespace) -> int:
    if parsed.settings is not None:
        from extauthz.commands import token_verify_service

        if parsed.issuer is not None or parsed.audience is not None or parsed.signature_only:
            return fail("--settings goes with no other option: the settings have them", BAD_USAGE)
        return token_verify_service.run(parsed.settings)
    from extauthz.commands import token_verify

    return token_verify.run(
        parsed.jwks, issuer=parsed.issuer, audience=parsed.audience, signature_only=parsed.signature_only
    )


def _token_explain(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import token_explain

    return token_explain.run(parsed.settings, parsed.providers, tenant=parsed.tenant, as_json=parsed.json)


def _casbin_enforce(parsed: argparse.Namespace) -> int:
    from extauthz.commands import casbin_enforce

    return casbin_enforce.run(parsed.model, parsed.policy)


def _path_canonical(_: argparse.Namespace) -> int:
    from extauthz.commands import path_canonical

    return path_canonical.run()


def _policy_test(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_test

    return policy_test.run(parsed.files)


def _policy_replay(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_replay

    given = policy_replay.ReplayArguments(
        log=parsed.log,
        policies=parsed.policies,
        draft=parsed.draft,
        max_newly_allowed=parsed.max_newly_allowed,
        tenant=parsed.tenant,
        masked=frozenset(parsed.masked),
        as_json=parsed.json,
    )
    return policy_replay.run(os.environ, given)


def _envoy_config(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import envoy_config
        from extauthz.proxyconfig.tls import ProxyTls

    tls = ProxyTls(parsed.tls_ca, parsed.tls_cert, parsed.tls_key)
    return envoy_config.run(
        os.environ,
        parsed.proxy,
        listen=parsed.listen,
        upstream=parsed.upstream,
        tls=tls,
        transport=parsed.transport,
    )


def _doctor(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands.doctor import command

    return command.run(os.environ, parsed.files, strict=parsed.strict, as_json=parsed.json)


def _logs_verify(parsed: argparse.Namespace) -> int:
    from extauthz.commands import logs_verify

    return logs_verify.run(parsed.file)
