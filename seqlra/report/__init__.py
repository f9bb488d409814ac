"""One HTML page over trained runs: what is found in folders, the figures of it, the page."""
