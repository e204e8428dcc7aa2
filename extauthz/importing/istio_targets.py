"""Which of several Istio policies apply to one workload.

Without a workload all policies must have the same target: what applies to a workload that two selectors match
cannot be read from the selectors. A policy of the root namespace applies to every namespace.
"""

from dataclasses import dataclass

from extauthz.importing.istio_documents import AuthorizationPolicy


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload: its namespace and all its labels; an empty value is a label that it does not have."""

    namespace: str
    labels: frozenset[tuple[str, str]]

    @classmethod
    def parse(cls, text: str) -> "Workload | None":
        """Read `NAMESPACE` or `NAMESPACE/label=value,...`, each label once; None where it is neither."""
        namespace, slash, rest = text.partition("/")
        pairs = [pair.partition("=") for pair in rest.split(",")] if slash else []
        if not namespace or any(not name or not equals for name, equals, _ in pairs):
            return None
        if len({name for name, _, _ in pairs}) < len(pairs):
            return None
        return cls(namespace, frozenset((name, value) for name, _, value in pairs))


def described(policy: AuthorizationPolicy) -> str:
    """Return the target of a policy as text, in the form of the option where it has that form."""
    labels = ",".join(f"{name}={value}" for name, value in sorted(policy.labels))
    target = f"{policy.namespace}/{labels}" if labels else policy.namespace
    return f"{target} ({', '.join(sorted(policy.target_refs))})" if policy.target_refs else target


def applying(
    policies: list[AuthorizationPolicy], workload: Workload | None, root: str
) -> tuple[list[AuthorizationPolicy], list[AuthorizationPolicy]] | str:
    """Return the policies that apply and the others, or why that is not known."""
    if workload is None:
        targets = {(policy.namespace, policy.labels, policy.target_refs) for policy in policies}
        if len(targets) == 1:
            return policies, []
        names = ", ".join(sorted({described(policy) for policy in policies}))
        return f"the policies have {len(targets)} targets ({names}); name one workload with --workload"
    known = dict(workload.labels)
    applies: list[AuthorizationPolicy] = []
    others: list[AuthorizationPolicy] = []
    for policy in policies:
        inside = policy.namespace in {"", root, workload.namespace}
        if inside and policy.target_refs:
            return f"{policy.subject} has targetRefs, which do not say whether it applies to a workload"
        differs = any(known.get(name, value) != value for name, value in policy.labels)
        missing = sorted(name for name, _ in policy.labels if name not in known)
        if inside and missing and not differs:
            return (
                f"{policy.subject} selects the label {missing[0]!r}, of which --workload says nothing; name "
                f"all labels, {missing[0]}= where the workload has none"
            )
        matches = inside and not differs
        (applies if matches else others).append(policy)
    if not applies:
        return "no policy applies to the workload"
    return applies, others
