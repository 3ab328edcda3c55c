"""What is fast and what is small, measured on the machine at hand against the limit of its own disk."""
