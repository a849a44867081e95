"""What is behind the module exchange: one file for each form or library."""
