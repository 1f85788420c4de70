"""The operator's commands, one module per verb or noun."""
