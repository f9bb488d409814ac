"""``seqlra bench``: our updates against those that a user would pick instead."""
