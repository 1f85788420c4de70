"""What operators see of phones, accounts, groups and agents, and what they do with them."""
