"""`phonefarm demo`: runs a farm, gives it work and checks the result."""
