"""The kinds of work that callers can ask for: their inputs, plans and outputs."""
