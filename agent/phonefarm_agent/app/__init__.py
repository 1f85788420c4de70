"""The agent put together."""
