"""Every untrusted string goes through one of these modules: display, path, redact, url."""
