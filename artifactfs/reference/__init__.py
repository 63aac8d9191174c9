"""References: content that stays at an external URI, read under a validator that says whether it is still the same."""
