"""The bounds of what is recorded. Counts stay exact where a value or a slot is folded."""

from typing import Final

MAX_LITERALS: Final = 1_000
"""The most distinct values that stay literal, of one slot of a template, of a tenant and day."""
MAX_LITERALS_READ: Final = 10_000
"""The same for a slot that a live rule or a draft reads."""
MAX_SHAPES_A_DAY: Final = 200_000
"""Of one tenant; then the widest slot that nothing reads is folded."""
MAX_CONTEXTS_A_DAY: Final = 20_000
"""Of one tenant: what shapes have in common, the values of their slots aside. Further ones have folded hosts,
methods and peers; a tenth more of those are kept, and the rest is lost, and counted."""
MAX_HELD_SHAPES: Final = 20_000
"""What a sidecar holds, all of its workers and what waits to be sent."""
MAX_HELD_OCTETS: Final = 16 << 20
MAX_BATCH_SHAPES: Final = 1_000
MAX_BATCH_OCTETS: Final = 512 << 10
KEPT_DENIES: Final = 16
"""The most recent decision ids that a shape keeps where it is a deny."""
KEPT_ALLOWS: Final = 4


def max_literals(*, is_read: bool) -> int:
    """Return how many distinct values of a slot stay literal."""
    return MAX_LITERALS_READ if is_read else MAX_LITERALS
