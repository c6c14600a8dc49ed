"""HTTP: the routes, the wire format, and the one table of status codes."""
