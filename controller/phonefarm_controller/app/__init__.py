"""A whole controller: what is opened, wired and closed again."""
