"""Before the labels: how many cases a target needs, and which pipeline to trust."""
