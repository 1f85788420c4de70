"""What the executor can do: one function per action kind, registered where it is defined."""

from phonefarm_executor.actions import basics, browsing, profile_editing  # noqa: F401 - registers
