"""`phonefarm demo`: a farm at work, shown and proved."""
