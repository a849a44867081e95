"""Checks and conversions of arguments, arrays and data sets; files, digits and download."""
