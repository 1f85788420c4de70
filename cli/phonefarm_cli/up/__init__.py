"""`phonefarm up`: starts, watches and stops all programs of a farm."""
