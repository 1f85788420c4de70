"""The executor: what runs inside the run container and drives one phone."""
