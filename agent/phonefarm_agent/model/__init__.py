"""The agent's frozen values, and the pure state machine of a run."""
