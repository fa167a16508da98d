"""A steady load of HTTP requests, every single one accounted for. Knows HTTP, and nothing of releases."""
