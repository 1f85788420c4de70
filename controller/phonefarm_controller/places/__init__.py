"""Where evidence lies: one interface, and what may stand behind it."""
