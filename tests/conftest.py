"""Fixtures of real servers, shared by all tests."""

pytest_plugins = ["tests.repositories", "tests.servers.kafka"]
