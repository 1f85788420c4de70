"""The gRPC edge: it translates, operations decide."""
