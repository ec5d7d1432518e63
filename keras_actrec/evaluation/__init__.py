"""Evaluation: predictions over several views, metrics, probes, the provenance guard and the report."""
