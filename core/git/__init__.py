"""Repositories on Git hosts: clone cache, transports, credentials; nothing here runs the git program."""
