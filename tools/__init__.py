"""What maintainers run on the repository itself: the audit and the release. No wheel holds it."""
