"""What every program shares: channel, identity, reasons, logs, config, clock, timers, lifecycle."""

import os

# gRPC reads this when it is loaded. By default it writes a line of its own between our log lines
# for each stranger whose TLS handshake fails.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
