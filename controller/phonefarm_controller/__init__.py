"""The controller: owns process and queue state, speaks gRPC."""
