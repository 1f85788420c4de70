"""What goes over HTTP: one set of models that validates, renders, and is published as OpenAPI."""
