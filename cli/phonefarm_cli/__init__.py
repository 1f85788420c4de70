"""The `phonefarm` command: up, demo and the operator's commands."""
