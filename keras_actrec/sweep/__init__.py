"""Sweeps: many trainings that differ in some keys of one configuration, to find good values for them.

What runs the trials imports no Keras; each trial is a process of its own.
"""
