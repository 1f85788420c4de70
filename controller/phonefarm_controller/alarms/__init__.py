"""What can be wrong with a controller while it runs, and what is wrong now."""
