"""The migrations, in order of their revisions."""
