"""Tests of the service, room by room."""
