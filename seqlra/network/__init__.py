"""What you build: units, losses, subgraphs, the checked list of them, and what it computes."""
