"""The aiohttp application that answers lookups and serves the page."""
