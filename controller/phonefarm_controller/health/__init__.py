"""Which phones are withheld from work because runs fail on them, and how they get back."""
