"""The search for better block stacking codes, and the command `autobss`."""
