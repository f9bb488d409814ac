"""Many runs: the folder that holds them, and comparisons."""
