"""The data of each epoch: the same, new or deformed ones, from memory or in windows of a file."""
