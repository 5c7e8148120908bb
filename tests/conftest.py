"""Fixtures of real servers and repositories, shared by all tests."""

from tests.environment import scrub

scrub()  # before anything that reads the environment while it is imported

pytest_plugins = [
    "tests.shuffling",
    "tests.subprocesses",
    "tests.git_repositories",
    "tests.servers.kafka",
    "tests.servers.ministack",
    "tests.servers.seaweedfs",
]
