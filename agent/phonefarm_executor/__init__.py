"""The executor: the program that runs in the run container and drives one phone."""
