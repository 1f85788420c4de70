"""Which item runs next on which phone, and why one does not run yet."""
