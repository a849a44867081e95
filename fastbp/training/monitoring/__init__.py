"""What is measured and shown after an epoch, and what follows from it."""
