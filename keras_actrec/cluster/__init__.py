"""Processes on the nodes of a Ray cluster: a swarm's particles, a sweep's trials, a comparison's repetitions.

A process there is the one that this machine would start: the same command, in a folder that all nodes share. Ray finds
it a place, and tells when that place is lost; what was committed before is in the shared folder. No module of this room
imports Ray before somebody asks for a cluster.
"""
