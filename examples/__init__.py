"""Example pipelines for other messages than orders. They use only the package engine."""
