"""Generated code: see phonefarm.v1."""
