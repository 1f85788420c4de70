"""The gateway: translates REST to gRPC and sends the callbacks."""
