"""What every command begins with: settings, connections, and waiting for services."""
