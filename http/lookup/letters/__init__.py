"""Dead letters over HTTP: listed, shown, mended and sent again."""
