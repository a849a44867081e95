"""Readers of image data sets, one module for each file format, and find.py, which chooses one."""
