"""The gRPC services: they translate messages and call operations, which decide."""
