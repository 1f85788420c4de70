"""The rules: states and moves, plans, targets, matching, records. Pure: no async, no clock."""
