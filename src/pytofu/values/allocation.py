"""What to do when the message pool is empty."""

from enum import Enum


class AllocationStrategy(Enum):
    """What `get` does when the message pool is empty. Source: PROTOCOL 2 (message pool)."""

    POOL_ONLY = "pool_only"
    """Give None."""
    ALWAYS = "always"
    """Create a message."""
