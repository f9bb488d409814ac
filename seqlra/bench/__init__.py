"""``seqlra bench``: our updates against the alternatives."""
