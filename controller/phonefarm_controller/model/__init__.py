"""Values and their rules: states, moves, errors. Pure: no clock, chance, I/O or async."""
