"""Which phones get no work because runs fail on them, and how they get work again."""
