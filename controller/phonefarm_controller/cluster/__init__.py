"""How several controllers share the work: one owner per loop, and notices between them."""
