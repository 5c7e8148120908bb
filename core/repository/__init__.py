"""What is in a repository: listing, reading and classifying files."""
