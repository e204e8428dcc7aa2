"""Imports the Istio policies of one workload: a resource with every path, an attribute policy for each rule.

Istio denies what a DENY rule matches, allows everything where no ALLOW policy applies, else what an ALLOW
rule matches. Denies beat allows of the same priority here, so each rule stands for itself. An ALLOW rule
becomes conditions that are never true where the rule is not, a DENY rule conditions that are true wherever it
is.
"""

from dataclasses import dataclass

from extauthz.importing.bounds import ALWAYS, ConditionDocument
from extauthz.importing.istio_cases import rule_cases
from extauthz.importing.istio_documents import AuthorizationPolicy, read_policies
from extauthz.importing.istio_rules import RuleReader
from extauthz.importing.istio_targets import Workload, applying, described
from extauthz.importing.outcome import Consequence, Imported, NotTaken, SourceInvalid, id_prefix

_OPEN = (
    "No ALLOW policy applies, so that Istio allows what no DENY rule matches, and so do these policies. "
    "Import all policies of the namespace and of the root namespace."
)


@dataclass(frozen=True, slots=True)
class IstioOptions:
    """What files of policies do not say. `providers` are the CUSTOM providers that stay in the proxy."""

    service: str
    workload: Workload | None = None
    host: str | None = None
    root_namespace: str = "istio-system"
    trust_domains: tuple[str, ...] = ()
    providers: frozenset[str] = frozenset()


def import_istio(files: list[tuple[str, bytes]], options: IstioOptions) -> Imported | SourceInvalid:
    """Import files, each given by name and bytes."""
    read = read_policies(files)
    if isinstance(read, SourceInvalid):
        return read
    policies, kinds = read
    chosen = applying(policies, options.workload, options.root_namespace)
    if isinstance(chosen, str):
        return SourceInvalid(files[0][0], None, chosen)
    applies, others = chosen
    imported = Imported("istio")
    _Writer(imported, options).write(applies)
    imported.cases += rule_cases(applies)
    if others:
        names = ", ".join(f"{policy.subject} for {described(policy)}" for policy in others)
        imported.note(f"For other workloads, and not read: {names}.")
    if kinds:
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        imported.note(f"Not read, and in force where they are: {counted}.")
    return imported


class _Writer:
    """Writes the documents of the policies that apply."""

    def __init__(self, imported: Imported, options: IstioOptions) -> None:
        self._imported, self._options = imported, options
        self._headers: set[str] = set()

    def write(self, policies: list[AuthorizationPolicy]) -> None:
        """Write the resource and the attribute policies."""
        options = self._options
        route: dict[str, object] = {"host": options.host} if options.host else {}
        route |= {"methods": ["*"], "path": "/**", "action": "access", "authentication": "optional"}
        self._imported.add(
            "resources",
            {"name": options.service, "serviceName": options.service, "routes": [route]},
            "every request to the workload; Istio asks for a credential only where a rule does",
        )
        enforced = [policy for policy in policies if self._is_enforced(policy)]
        for policy in enforced:
            self._policy(policy)
        if not any(policy.action == "ALLOW" for policy in enforced):
            self._imported.note(_OPEN)
            self._add(
                f"{id_prefix(self._options.service)}istio:no-allow-policy",
                "No ALLOW policy applies",
                "allow",
                ALWAYS,
                "no ALLOW policy applies",
            )
        if self._headers:
            self._imported.settings["CONDITION_HEADERS"] = ",".join(sorted(self._headers))
        self._describe()

    def _is_enforced(self, policy: AuthorizationPolicy) -> bool:
        if policy.dry_run:
            self._named(
                policy, "metadata.annotations", "the policy is a dry run, which Istio does not enforce",
                "write its rules with mode: shadow", Consequence.NO_EFFECT,
            )  # fmt: skip
            return False
        if policy.action == "AUDIT":
            self._named(
                policy, "action AUDIT", "it decides nothing", "read the decision log", Consequence.NO_EFFECT
            )
            return False
        if policy.action != "CUSTOM":
            return True
        if policy.provider in self._options.providers:
            self._imported.note(f"{policy.subject} stays in the proxy and is asked as well.")
            return False
        self._named(
            policy,
            f"action CUSTOM, provider {policy.provider!r}",
            "another authorizer may deny",
            f"name it with --provider {policy.provider} if it stays in the proxy, or is this sidecar",
            Consequence.NOTHING_IMPORTED,
        )
        return False

    def _named(
        self, policy: AuthorizationPolicy, member: str, reason: str, instead: str, effect: Consequence
    ) -> None:
        self._imported.not_taken.append(
            NotTaken(policy.file, policy.line, policy.subject, member, reason, instead, effect)
        )

    def _policy(self, policy: AuthorizationPolicy) -> None:
        notes = self._imported.notes
        reader = RuleReader(policy.namespace, self._options.trust_domains, notes, self._headers)
        allows = policy.action == "ALLOW"
        for number, rule in enumerate(policy.rules, start=1):
            bounds = reader.rule(rule)
            node, gaps = (bounds.inner, bounds.inner_gaps) if allows else (bounds.outer, bounds.outer_gaps)
            effect = Consequence.ALLOWS_LESS
            if node is None:
                effect = Consequence.LEFT_OUT if allows else Consequence.NOTHING_IMPORTED
            for gap in dict.fromkeys(gaps):
                self._imported.not_taken.append(
                    NotTaken(
                        policy.file, gap.line, f"{policy.subject}, rule {number}", gap.member, gap.reason,
                        gap.instead, effect,
                    )
                )  # fmt: skip
            if node is not None:
                place = f"{policy.namespace}/{policy.name}" if policy.namespace else policy.name
                self._add(
                    f"{id_prefix(self._options.service)}istio:{place}:{number}",
                    f"{place}, rule {number}",
                    "allow" if allows else "deny",
                    node,
                    f"{policy.file}:{rule.line}: {policy.subject}, rule {number}",
                )

    def _add(self, rule_id: str, name: str, effect: str, node: ConditionDocument, comment: str) -> None:
        if len(rule_id) > 128:
            number = len(self._imported.entries["attribute_policies"])
            rule_id = f"{id_prefix(self._options.service)[:100]}istio:{number}"
        self._imported.add(
            "attribute_policies",
            {
                "id": rule_id,
                "name": name[:256],
                "resource": self._options.service,
                "effect": effect,
                "rule_data": node,
            },
            comment,
        )

    def _describe(self) -> None:
        imported = self._imported
        text = str([origin.document for origin in imported.entries["attribute_policies"]])
        if "request.source.principal" in text:
            imported.note(
                "Envoy names the peer of a request over gRPC only (ext_authz over HTTP does not): use gRPC."
            )
        if "request.source.address" in text:
            imported.note(
                "Addresses are those of the peer, after a PROXY protocol header if Envoy reads one."
            )
        if "'user." in text:
            imported.note("Configure the issuers of the mesh's RequestAuthentication, and no others.")
        imported.note(
            "A request with a credential that is not good is 401 here, also where no rule asks for a token; "
            "write authentication: none on the route where Authorization belongs to the application."
        )
