"""What maintainers run on the repository itself: the audit, the release, the site, and more. No wheel holds it."""
