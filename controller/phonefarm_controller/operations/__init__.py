"""What can be done: one verb a module, one transaction each."""
