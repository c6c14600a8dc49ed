"""Unmodified clients that need environments of their own: `make clients` makes and runs them."""
