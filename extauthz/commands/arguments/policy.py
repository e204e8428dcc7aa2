"""The group `extauthz policy`; each of its commands has its arguments in a module `policy_*.py`."""

from typing import TYPE_CHECKING

from extauthz.commands.arguments import (
    policy_apply,
    policy_export,
    policy_fmt,
    policy_import,
    policy_replay,
    policy_review,
    policy_schema,
    policy_test,
    policy_validate,
)
from extauthz.commands.arguments.parser import group

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the commands, in the order of the help."""
    policy = group(commands, "policy", "try policies")
    policy_validate.add(policy)
    policy_test.add(policy)
    policy_fmt.add(policy)
    policy_schema.add(policy)
    policy_replay.add(policy)
    policy_review.add(policy)
    policy_import.add(policy)
    policy_export.add(policy)
    policy_apply.add(policy)
