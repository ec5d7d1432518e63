"""Swarms on analytic landscapes in place of networks: for the page of `swarm-simulate`, and to study many particles.

A particle is a point, its loss the height of the landscape, its training a few steps of gradient descent. Everything
between two rounds is `swarm.dynamics`. NumPy only; nothing here imports Keras.
"""
