"""Weights that were trained with PyTorch become `.keras` models of this package.

A family is one way in which a project names its tensors: `families/` holds a file for each, as data. All else is common
to them: `reading` (files to arrays), `rules` and `layouts` (names and axes), `recognition`, `matching`, `report`, and
`importing`, which puts these in a row. `command` is the command line.
"""
