"""Reports to findings: a dictionary of findings, and extractors that read reports by it."""
