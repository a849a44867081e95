"""Conversions of networks, one file for each library; fastbp.exchange is their public name."""
