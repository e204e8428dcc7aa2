"""The tables of docs/performance.md that show other benchmarks than those of the request path."""

from collections.abc import Mapping
from typing import Any, Final

from tools.performance.markdown import table
from tools.performance.results import Results, figure, interpreter

_NOT_RUN: Final = "Not run yet.\n"
_IN_PROCESS: Final = ("in_process", "costs")
_PORTS: Final = {
    "grpcio_port_directly": "To the port of the grpcio server",
    "native_port_directly": "To the port of the native server, which only processes of the host reach",
    "through_envoy_to_grpcio": "Through Envoy as shipped, to the grpcio server",
    "through_envoy_to_native": "Through Envoy as shipped, to the native server",
}


def hostile(results: Results) -> str:
    """Return what hostile requests cost: in the process, and on each way in."""
    document = results.documents.get("hostile")
    if document is None:
        return _NOT_RUN
    numbers = document["numbers"]
    parts = [
        f"{interpreter(document)}; in the process:\n\n{_costs(numbers[key])}"
        for key in _IN_PROCESS
        if key in numbers
    ]
    for key, words in _PORTS.items():
        if key in numbers:
            parts.append(f"{words}:\n\n{_ways_in(numbers[key])}")
    return "\n".join(parts)


def _costs(costs: Mapping[str, Any]) -> str:
    return table(
        ("request", "bytes", "decode us", "check after decoding us", "answer"),
        (
            (
                name.replace("_", " "),
                f"{cost['request_bytes']:,}",
                figure(cost["decode_us"]),
                figure(cost["check_after_decoding_us"]),
                f"`{cost['answer']}`",
            )
            for name, cost in costs.items()
        ),
    )


def _ways_in(kinds: Mapping[str, Any]) -> str:
    return table(
        ("kind", "CPU of extauthz us", "honest requests"),
        (
            (name.replace("_", " "), figure(kind["server_us"]), figure(kind["honest_ones"]))
            for name, kind in kinds.items()
            if isinstance(kind, Mapping) and "honest_ones" in kind
        ),
    )


def policies(results: Results) -> str:
    """Return what policies cost to publish, load, hold and reload."""
    parts = []
    described = (
        ("policies", _policies),
        ("publish", _publish),
        ("reload", _reload),
        ("explain", _explain),
        ("apply", _apply),
        ("authzen", _authzen),
    )
    for name, describe in described:
        document = results.documents.get(name)
        if document is not None:
            rows = describe(document["numbers"])
            parts.append(f"{interpreter(document)}:\n\n{table(('what', 'how much'), rows)}")
    return "\n".join(parts) or _NOT_RUN


def _policies(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    many, rules, load = numbers["attribute_policies"], numbers["role_rules"], numbers["load_of_json"]
    weight = load["bytes_per_rule"]
    return [
        (
            "a decision, 1,000 attribute policies on it, 5 of which can match",
            f"{many['many_us']} us",
        ),
        ("the same, 10 policies", f"{many['few_us']} us"),
        (f"a decision by role rules, {rules['rules']:,}, known", f"{rules['repeated']['many_us']} us"),
        ("the same, 10 rules", f"{rules['repeated']['few_us']} us"),
        (f"1,000 users in turn, {rules['rules']:,} rules", f"{rules['thousand_users']['many_us']} us"),
        ("the same, 10 rules", f"{rules['thousand_users']['few_us']} us"),
        (
            f"loading {load['rules']:,} role rules from JSON",
            f"{load['seconds']} s ({load['cpu_s']} s of CPU)",
        ),
        ("memory of a rule: in the text", f"{weight['text']:.0f} bytes"),
        ("memory of a rule: while it is loaded, without the text", f"{weight['peak']:.0f} bytes"),
        ("memory of a rule: afterwards", f"{weight['held']:.0f} bytes"),
    ]


def _publish(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    arrival, load = numbers["arrival"], numbers["first_load"]
    writing = numbers["decisions_while_writing"]
    return [
        (f"a change arrives, {arrival['rules_present']:,} rules, p99", f"{arrival['ms']['p99']} ms"),
        (
            f"p99 of checks with {writing['writes_per_s']} writes a second to quiet",
            f"{writing['p99_ratio']} times",
        ),
        (f"loading {load['rules']:,} rules from PostgreSQL", f"{load['load_s']} s"),
        ("the same to fetching their rows", f"{load['ratio']} times"),
        ("memory of a rule", f"{load['bytes_per_rule']} bytes"),
    ]


def _reload(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, found in numbers.items():
        if isinstance(found, Mapping) and "p99_ratio" in found:
            what = f"reload of {found['rules']:,} rules ({name})"
            rows += [
                (
                    f"{what}: p99 during it, quiet",
                    f"{found['reload_ms']['p99']} ms, {found['quiet_ms']['p99']} ms",
                ),
                (f"{what}: p99 to quiet", f"{found['p99_ratio']} times"),
                (f"{what}: the slowest check", f"{found['worst_ms']} ms"),
                (f"{what}: denied", str(found["denied"])),
            ]
    return rows


def _authzen(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            f"`POST /api/v1/check`, an AuthZEN evaluation, a batch of 50, {caller}: CPU",
            (
                f"{found['cpu_us']['check']:.0f} us, {found['cpu_us']['evaluation']:.0f} us,"
                f" {found['cpu_us']['batch_of_50']:.0f} us"
            ),
        )
        for caller, found in ((name.replace("_", " "), each) for name, each in numbers["callers"].items())
    ]


def _explain(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    present, stored, digest = numbers["present"], numbers["stored"], numbers["digest"]
    writes = numbers["writes"]
    return [
        *(
            (
                (
                    f"explaining a decision of {int(name.partition('_')[0]):,} changes ago,"
                    f" {present['role_rules']:,} rules present, median and slowest"
                ),
                f"{found['median_s']} s, {found['slowest_s']} s",
            )
            for name, found in numbers["explained"].items()
        ),
        (
            "a write over REST, p50: with the triggers of history, without",
            f"{writes['with_history_ms']['p50']} ms, {writes['without_ms']['p50']} ms",
        ),
        (
            f"history of {numbers['changes']:,} changes: {stored['versions']:,} versions, and revisions",
            (
                f"{stored['bytes_of_row_history'] / 2**20:.1f} MiB,"
                f" {stored['bytes_of_policy_revisions'] / 2**20:.1f} MiB"
            ),
        ),
        (
            f"policy digest: counting {digest['rules']:,} rules after their load of {digest['load_cpu_s']} s",
            f"{digest['counted_after_the_load_cpu_s']} s of CPU",
        ),
        (
            f"policy digest: its part of one change of {digest['a_change_us']} us",
            f"{digest['of_which_the_digest_us']} us",
        ),
    ]


def _apply(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    rounds = numbers["rounds"]
    named = {
        "dry_run": "plan for an empty tenant",
        "apply": "apply to an empty tenant",
        "no_difference": "comparison without a difference",
        "apply_of_100_changes": "apply of 100 changed policies",
        "export": "export",
    }
    return [
        (
            f"a folder of {numbers['objects']:,} objects: {what}, slowest; CPU of the command, of the server",
            ", ".join(
                f"{max(each[name][member] for each in rounds)} s"
                for member in ("seconds", "command_cpu_s", "server_cpu_s")
            ),
        )
        for name, what in named.items()
    ]


def soak(results: Results) -> str:
    """Return what the soak saw."""
    document = results.documents.get("soak")
    if document is None:
        return _NOT_RUN
    numbers = document["numbers"]
    growth = numbers["memory"]["growth"]
    rows = [
        ("seconds", f"{numbers['seconds']:.0f}, the first {numbers['warm_up_s']:.0f} of them to warm up"),
        ("requests", f"{numbers['requests']:,}"),
        *((f"answers: {verdict}", f"{count:,}") for verdict, count in numbers["answers"].items()),
        ("not answered", str(numbers["not_answered"])),
        *(
            (f"unavailable after {what}", f"{count:,}")
            for what, count in numbers["unavailable_after"].items()
        ),
        *((f"changes: {what}", f"{count:,}") for what, count in numbers["changes"].items()),
        *(
            (f"memory growth of {process}", "-" if share is None else f"{share:.1%}")
            for process, share in growth.items()
        ),
        ("problems", "; ".join(numbers["problems"]) or "none"),
    ]
    return f"{interpreter(document)}:\n\n{table(('what', 'how much'), rows)}"


def bodies(results: Results) -> str:
    """Return what bodies cost: reading one, and whole checks with and without one."""
    return "\n".join(
        f"{interpreter(document)}:\n\n{_readings(document['numbers'])}\n{_checks_of_bodies(document['numbers'])}"
        for _, document in results.builds("bodies")
    )


_BODIES: Final = {
    "text": "most of it text",
    "text_compact": "the same without blanks",
    "records": "a list of records",
    "records_compact": "the same without blanks",
}


def _readings(numbers: Mapping[str, float]) -> str:
    sizes = ("1_kib", "4_kib", "64_kib")
    return table(
        ("reading a tool call, us a KiB", *(size.replace("_kib", " KiB") for size in sizes)),
        (
            (words, *(figure(numbers[f"read_{kind}_{size}_us_a_kib"]) for size in sizes))
            for kind, words in _BODIES.items()
            if f"read_{kind}_1_kib_us_a_kib" in numbers
        ),
    )


def _checks_of_bodies(numbers: Mapping[str, float]) -> str:
    names = {
        "bodies_off": "without a body, bodies off",
        "without_body": "without a body",
        "bodies_off_4_kib": "4 KiB, bodies off",
        "unread_4_kib": "4 KiB that no rule reads",
        **{f"{kind}_4_kib": f"a tool call of 4 KiB, {words}" for kind, words in _BODIES.items()},
    }
    without = numbers["check_without_body_us"]
    return table(
        ("whole check with its log line", "us", "to one without a body"),
        (
            (words, figure(numbers[f"check_{name}_us"]), figure(numbers[f"check_{name}_us"] / without))
            for name, words in names.items()
            if f"check_{name}_us" in numbers
        ),
    )
