"""The arguments of `extauthz policy import`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import add_json, command
from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    importing = command(
        policy,
        "import",
        "write policies of Casbin or Istio as a folder of policies, and name what cannot be taken",
        page="docs/coming-from.md",
        variables=("CASBIN_MODEL_PATH",),
        failed="something could not be taken, or not exactly; without what denies nothing is written",
    )
    importing.add_argument(
        "--from", dest="source", choices=("casbin", "istio"), required=True, help="whose policies they are"
    )
    importing.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE|DIR",
        help="casbin: a model and policies; istio: files or folders of AuthorizationPolicy objects",
    )
    importing.add_argument(
        "--out", type=Path, metavar="DIR", help="write a new folder instead of one document on stdout"
    )
    importing.add_argument(
        "--service", default="imported", metavar="NAME", help="the service of the resources (imported)"
    )
    add_json(importing, "print the report, and without --out the policies, as one JSON object")
    casbin = importing.add_argument_group("casbin")
    casbin.add_argument("--model", type=Path, metavar="FILE", help="the model, instead of as a FILE")
    casbin.add_argument(
        "--policy",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a policy, instead of as a FILE",
    )
    casbin.add_argument(
        "--subjects",
        choices=("user", "role"),
        default="user",
        help="what a subject is that no g line shows to be a role (user)",
    )
    istio = importing.add_argument_group("istio")
    istio.add_argument(
        "--workload", metavar="NS[/LABEL=V,...]", help="the workload, where the policies have several targets"
    )
    istio.add_argument("--host", metavar="HOST", help="the host of the route (every host)")
    istio.add_argument(
        "--root-namespace", default="istio-system", metavar="NS", help="whose policies are for the mesh"
    )
    istio.add_argument(
        "--trust-domain",
        action="append",
        default=[],
        metavar="NAME",
        help="of the mesh, and each alias of it",
    )
    istio.add_argument(
        "--provider",
        action="append",
        default=[],
        metavar="NAME",
        help="a CUSTOM provider that stays in force",
    )
    importing.set_defaults(run=_import, self_check="everything")


def _import(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_import

    given = policy_import.ImportArguments(
        source=parsed.source,
        files=tuple(parsed.files),
        out=parsed.out,
        model=parsed.model,
        policies=tuple(parsed.policy),
        subjects=parsed.subjects,
        service=parsed.service,
        workload=parsed.workload,
        host=parsed.host,
        root_namespace=parsed.root_namespace,
        trust_domains=tuple(parsed.trust_domain),
        providers=tuple(parsed.provider),
        as_json=parsed.json,
    )
    return policy_import.run(os.environ, given)
