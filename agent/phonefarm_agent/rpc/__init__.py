"""Talks to the controller over gRPC."""
