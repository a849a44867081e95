"""Pictures: of results, and photos of digits that networks read."""
