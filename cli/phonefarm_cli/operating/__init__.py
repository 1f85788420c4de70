"""The operator's commands on a farm that runs."""
