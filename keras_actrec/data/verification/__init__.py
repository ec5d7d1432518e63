"""Verification of a data set: which of its clips can be read, and what its splits share."""
