"""What turns a code into a score."""
