"""Continuous ingestion: branches on Git hosts, looked at now and then or when a hook says so."""
