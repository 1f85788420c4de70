"""What every REST endpoint shares: the server, auth, limits, bodies, errors, OpenAPI."""
