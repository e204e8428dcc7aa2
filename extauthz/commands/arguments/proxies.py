"""The arguments of `extauthz envoy-config` and `extauthz doctor`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.environment import EVERY_SETTING, PROXY
from extauthz.commands.arguments.parser import add_json, command
from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the commands."""
    config = command(
        commands,
        "envoy-config",
        "print a proxy configuration for the current settings",
        page="docs/gateways.md",
        variables=PROXY,
    )
    config.add_argument(
        "--for",
        dest="proxy",
        choices=("envoy", "istio", "envoy-gateway", "gateway-api", "contour", "http"),
        default="envoy",
        help="the proxy or gateway; http: Envoy that asks over HTTP, as --transport http",
    )
    config.add_argument(
        "--transport", choices=("grpc", "http"), default="grpc", help="how Envoy asks; http: HTTP_AUTHZ_PORT"
    )
    config.add_argument(
        "--bodies",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether checks include the body; auto: where policies of files read it (auto)",
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

    doctor = command(
        commands,
        "doctor",
        "examine settings, database, identity provider and files",
        page="docs/doctor.md",
        variables=EVERY_SETTING,
        failed="there is an error among the findings",
    )
    add_json(doctor)
    doctor.add_argument(
        "--strict", action="store_true", help="fail also for objects and checks that cannot be examined"
    )
    doctor.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="files of Envoy, Istio, gateways or Kubernetes, or folders",
    )
    doctor.set_defaults(run=_doctor)


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
        bodies=parsed.bodies,
    )


def _doctor(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands.doctor import command

    return command.run(os.environ, parsed.files, strict=parsed.strict, as_json=parsed.json)
