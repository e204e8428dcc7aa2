"""The commands. Each exits 0, 1 (it failed) or 2 (bad usage or settings); errors are one line on stderr."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import orjson

from extauthz import __version__
from extauthz.domain.one_line import one_line

FAILED: Final = 1
BAD_USAGE: Final = 2


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its status."""
    if not _open_streams():
        sys.exit(_fail("standard output is closed"))
    given = sys.argv[1:] if arguments is None else arguments
    parser, given = (_worker_parser(), given[1:]) if given[:1] == ["worker"] else (_parser(), given)
    parsed = parser.parse_args(given)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        status = _self_check(parsed) or run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone, and knows it.
        _drop_output()
        status = FAILED
    except OSError as error:
        _drop_output()
        status = _fail(f"the system refuses to go on: {error.strerror or error}")
    except KeyboardInterrupt:
        status = FAILED
    sys.exit(status)


def _open_streams() -> bool:
    """Give closed standard streams a place; tell whether there is an output.

    Python leaves None for a closed one, prints to the output what is meant for closed errors, and the next
    file that is opened takes its number.
    """
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115  # they live as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    return sys.stdout is not None


def _drop_output() -> None:
    """Let what is left in the buffer go nowhere: the flush at exit would complain a second time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments and exit."""
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
    verify.add_argument("--jwks", type=Path, required=True, metavar="FILE", help="the keys")
    verify.add_argument("--issuer", help="the issuer that tokens must name")
    verify.add_argument("--audience", help="the audience that tokens must name")
    verify.add_argument("--signature-only", action="store_true", help="judge header, key and signature only")
    verify.set_defaults(run=_token_verify, self_check="tokens")

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

    _add_proxy_commands(commands)

    logs = _subcommands(commands.add_parser("logs", help="read decision logs"))
    log_verify = logs.add_parser("verify", help="count lines, gaps and schema errors")
    log_verify.add_argument("file", type=Path, metavar="FILE")
    log_verify.set_defaults(run=_logs_verify)
    return parser


def _worker_parser() -> argparse.ArgumentParser:
    """Return the parser of the command that the supervisor starts; no list of commands for people has it."""
    worker = _Parser(prog="extauthz worker")
    worker.add_argument("index", type=int)
    worker.add_argument("report_fd", type=int)
    worker.add_argument("lock_fd", type=int)
    worker.add_argument("--again", action="store_true")
    worker.set_defaults(run=_worker, self_check="everything")
    return worker


def _subcommands(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction[_Parser]":
    """Return the place for a parser's commands. Called without one, it prints its help; that is bad usage."""

    def without_command(_: argparse.Namespace) -> int:
        parser.print_help()
        print(f"{parser.prog}: a command is missing; see '{parser.prog} --help'", file=sys.stderr)
        return BAD_USAGE

    parser.set_defaults(run=without_command)
    return parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)


def _add_proxy_commands(commands: "argparse._SubParsersAction[_Parser]") -> None:
    config = commands.add_parser("envoy-config", help="print a proxy configuration for the current settings")
    config.add_argument("--for", dest="proxy", choices=("envoy", "istio"), default="envoy")
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


def _fail(message: str, status: int = FAILED) -> int:
    print(f"extauthz: {one_line(message)}", file=sys.stderr)
    return status


def _self_check(parsed: argparse.Namespace) -> int:
    """Judge the built-in rows that the command depends on; one that comes out wrong ends it."""
    if "self_check" not in parsed:
        return 0
    from extauthz.runtime.self_check import Subject, interpreter, wrong_rows

    for wrong in wrong_rows(Subject(parsed.self_check)):
        return _fail(f"the self-check failed on {interpreter()}: {wrong}")
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    try:
        from extauthz.demo import command
    except ImportError as error:
        return _fail(f"the demo needs its extra, install 'extauthz[demo]': {error}", BAD_USAGE)
    return command.run(check=parsed.check, ready_file=parsed.ready_file, mode=parsed.mode)


def _sidecar(_: argparse.Namespace) -> int:
    from extauthz.runtime.processes import sidecar

    return sidecar(os.environ)


def _control_plane(parsed: argparse.Namespace) -> int:
    from extauthz.runtime.processes import control_plane

    return control_plane(os.environ, with_workers=parsed.with_workers)


def _migrate(parsed: argparse.Namespace) -> int:
    from extauthz.runtime.processes import migrate

    return migrate(os.environ, only_status=parsed.status, with_new_epoch=parsed.new_epoch)


def _health(parsed: argparse.Namespace) -> int:
    from extauthz.runtime.health_probe import health_problem

    problem = health_problem(os.environ, url=parsed.url, ready=parsed.ready)
    if problem is not None:
        return _fail(problem)
    print("ok")
    return 0


def _http_url(text: str) -> str:
    from extauthz.runtime.health_probe import is_http_url

    if not is_http_url(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https URL")
    return text


def _worker(parsed: argparse.Namespace) -> int:
    from extauthz.runtime.processes import worker

    return worker(
        os.environ, parsed.index, report_fd=parsed.report_fd, lock_fd=parsed.lock_fd, again=parsed.again
    )


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield LF-separated lines without their end; an unfinished last line counts too."""
    for line in stream:
        yield line.removesuffix(b"\n")


def _answer_lines(answer: Callable[[bytes], bytes]) -> int:
    """Answer every line at once: whoever waits for an answer before the next question gets it."""
    for line in _lines(sys.stdin.buffer):
        sys.stdout.buffer.write(answer(line) + b"\n")
        sys.stdout.buffer.flush()
    return 0


def _token_verify(parsed: argparse.Namespace) -> int:
    import time

    from extauthz.decide.tokens.jwks import JwksRejected, KeySet, parse_jwks
    from extauthz.runtime.token_lines import verdict_line

    try:
        document = parsed.jwks.read_bytes()
    except OSError as error:
        return _fail(f"{str(parsed.jwks)!r} cannot be read: {error.strerror}", BAD_USAGE)
    keys = parse_jwks(document, accept_private=True)
    if isinstance(keys, JwksRejected):
        # Every line still gets its verdict: with no usable key no token is valid.
        print(f"extauthz: {str(parsed.jwks)!r} has no usable keys: {keys.problem}", file=sys.stderr)
        keys = KeySet()
    return _answer_lines(
        lambda line: verdict_line(
            line,
            keys,
            issuer=parsed.issuer,
            audience=parsed.audience,
            signature_only=parsed.signature_only,
            now=time.time(),
        )
    )


def _casbin_enforce(parsed: argparse.Namespace) -> int:
    from datetime import datetime

    from extauthz.casbin_enforce.engine import Refused, load_engine

    try:
        engine = load_engine(parsed.model.read_text("utf-8"), parsed.policy.read_bytes())
    except OSError as error:
        return _fail(f"{str(error.filename)!r} cannot be read: {error.strerror}", BAD_USAGE)
    except UnicodeDecodeError as error:
        return _fail(f"{str(parsed.model)!r} is not UTF-8 at byte {error.start}", BAD_USAGE)
    if isinstance(engine, Refused):
        file = parsed.model if engine.part == "model" else parsed.policy
        return _fail(f"{str(file)!r} cannot be used: {engine.message}", BAD_USAGE)
    for complaint in engine.complaints[:10]:
        print(f"extauthz: {one_line(complaint)}; it is refused", file=sys.stderr)
    return _answer_lines(
        # Casbin's times are local and have no zone.
        lambda line: engine.answer(line, datetime.now()).encode("utf-8", "backslashreplace")  # noqa: DTZ005
    )


def _path_canonical(_: argparse.Namespace) -> int:
    from extauthz.domain.path import canonical_verdict

    return _answer_lines(lambda line: orjson.dumps(canonical_verdict(line)))


def _policy_test(parsed: argparse.Namespace) -> int:
    from extauthz.compile.role_model import ModelRefused, compile_model
    from extauthz.decide.cases import CaseFormatError, case_warnings, run_case_text
    from extauthz.shipped import shipped

    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    if isinstance(model, ModelRefused):
        return _fail(model.message)
    differing = total = 0
    for file in parsed.files:
        try:
            cases = file.read_bytes()
        except OSError as error:
            return _fail(f"{str(file)!r} cannot be read: {error.strerror}", BAD_USAGE)
        before = total
        try:
            for result in run_case_text(cases, model):
                total += 1
                differing += bool(result.differences)
                outcome = "; ".join(result.differences) or "ok"
                print(f"{'FAIL' if result.differences else 'ok  '} {file}: {result.name}: {outcome}")
        except CaseFormatError as error:
            return _fail(f"{file}: {error}", BAD_USAGE)
        if total == before:
            return _fail(f"{str(file)!r} holds no cases", BAD_USAGE)
        for warning in case_warnings(cases):
            print(f"warning: {file}: {warning}", file=sys.stderr)
    print(f"{total - differing} of {total} cases as expected")
    return FAILED if differing else 0


def _envoy_config(parsed: argparse.Namespace) -> int:
    from extauthz.proxyconfig.addresses import HostPort, is_address
    from extauthz.proxyconfig.envoy import DEFAULT_LISTEN, DEFAULT_UPSTREAM, envoy_yaml
    from extauthz.proxyconfig.istio import istio_yaml
    from extauthz.proxyconfig.tls import ProxyTls
    from extauthz.settings import Settings

    listen = HostPort.parse(parsed.listen) if parsed.listen else DEFAULT_LISTEN
    upstream = HostPort.parse(parsed.upstream) if parsed.upstream else DEFAULT_UPSTREAM
    if listen is None or upstream is None:
        return _fail("--listen and --upstream are HOST:PORT, an IPv6 address in brackets", BAD_USAGE)
    if not is_address(listen.host):
        return _fail(f"--listen {parsed.listen!r} is a name; Envoy listens on an IP address", BAD_USAGE)
    if (parsed.tls_cert is None) != (parsed.tls_key is None):
        return _fail("--tls-cert and --tls-key go together; give both or none", BAD_USAGE)
    settings = Settings.load(os.environ, serving=False)
    if not isinstance(settings, Settings):
        return _fail("; ".join(settings), BAD_USAGE)
    tls = ProxyTls(parsed.tls_ca, parsed.tls_cert, parsed.tls_key)
    if parsed.proxy == "istio":
        text = istio_yaml(settings, tls=tls)
    else:
        text = envoy_yaml(settings, listen=listen, upstream=upstream, tls=tls)
    if not isinstance(text, str):
        return _fail("; ".join(text), BAD_USAGE)
    sys.stdout.write(text)
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    from extauthz.proxyconfig.files import FileProblem
    from extauthz.runtime.doctor.command import diagnose

    report = diagnose(os.environ, parsed.files, strict=parsed.strict)
    if isinstance(report, FileProblem):
        return _fail(report.message, BAD_USAGE)
    sys.stdout.write(report.as_json().decode() + "\n" if parsed.json else report.as_text())
    return FAILED if report.failed else 0


def _logs_verify(parsed: argparse.Namespace) -> int:
    from extauthz.decisionlog.verify import verify

    try:
        with parsed.file.open("rb") as stream:
            report = verify(stream)
    except OSError as error:
        return _fail(f"{str(parsed.file)!r} cannot be read: {error.strerror}", BAD_USAGE)
    sys.stdout.buffer.write(report.as_json() + b"\n")
    return 0 if report.ok else FAILED
