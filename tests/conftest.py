"""Fixtures of real servers and repositories, shared by all tests."""

pytest_plugins = [
    "tests.git_repositories",
    "tests.servers.kafka",
    "tests.servers.ministack",
    "tests.servers.seaweedfs",
]
