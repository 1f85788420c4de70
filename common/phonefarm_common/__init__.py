"""What every program shares: channel, identity, reasons, logs, config, clock, timers, lifecycle."""
