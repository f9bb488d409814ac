"""What runs a rule on a graph: the update, its specification, initial weights, and faster ways to run it again."""
