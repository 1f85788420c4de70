"""One planner per capability: from its inputs to the actions on a phone."""
