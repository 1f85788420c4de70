"""How several controllers share the work: leader election, and notifications between them."""
