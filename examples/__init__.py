"""Pipelines of other things than orders, on the package engine alone."""
