"""What became of files and what it cost, kept on this machine; and what is learned from it."""
