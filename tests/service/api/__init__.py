"""Tests of the HTTP interface, route by route."""
