"""What reading a file's bytes can tell: lines, symbols, complexity, scores."""
