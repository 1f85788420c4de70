"""Which gateway may send which callback now, and what came of each attempt."""
