"""Manifests as FiftyOne datasets and back, and the MongoDB that keeps them. Imports FiftyOne only when it is used."""
