"""`phonefarm up`: every program of a farm, started, watched and stopped together."""
