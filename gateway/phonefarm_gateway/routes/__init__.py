"""The REST surface: a table of endpoints; each reads a request, makes a call, writes the answer."""
