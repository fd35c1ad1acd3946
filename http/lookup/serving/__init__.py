"""Shared by all routes: admission, answers, bodies, headers, metrics and connections."""
