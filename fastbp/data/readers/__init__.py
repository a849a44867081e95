"""Readers of image data sets: a module for each file format, and find, which chooses one."""
