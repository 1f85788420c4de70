"""What the agent talks about: frozen values and the pure state machine of a run."""
