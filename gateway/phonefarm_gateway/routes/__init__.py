"""The REST endpoints: each reads a request, makes one call, writes the answer."""
