"""Fixtures of real servers, shared by all tests."""

pytest_plugins = ["tests.git_repositories", "tests.servers.kafka"]
