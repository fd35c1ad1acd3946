"""The composition root: settings, the command line, the publisher and the embedded services."""
