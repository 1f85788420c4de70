"""Which gateway may send which callback now, and how each attempt ended."""
