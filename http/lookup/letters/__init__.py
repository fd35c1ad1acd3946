"""Dead letters over HTTP: list, show, correct and replay."""
