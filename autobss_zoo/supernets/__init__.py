"""Networks that share weights, and how they are drawn and trained."""
