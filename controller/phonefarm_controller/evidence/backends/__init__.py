"""Where evidence is kept: one interface, and an implementation per kind of storage."""
