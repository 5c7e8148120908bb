"""The HTTP server of the agent's commands: health, metrics, and what each command answers besides."""
