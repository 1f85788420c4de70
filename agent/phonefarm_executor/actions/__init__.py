"""What the executor can do: one function per action kind, registered where it is defined."""

from phonefarm_executor.actions import (  # noqa: F401 - registers
    basics,
    browsing,
    check_profile,
    edit_profile,
    phone_actions,
    posting,
)
