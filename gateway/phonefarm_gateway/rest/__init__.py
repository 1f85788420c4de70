"""What all REST endpoints share: server, keys, limits, bodies, errors, OpenAPI."""
