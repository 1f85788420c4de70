"""API keys, certificates, and how a host becomes a member of the farm."""
