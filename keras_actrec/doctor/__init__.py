"""The doctor: is this machine fit for the package, and what cures it where it is not?"""
