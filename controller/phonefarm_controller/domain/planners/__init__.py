"""One planner per capability: it checks the inputs and turns them into actions."""
