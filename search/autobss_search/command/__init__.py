"""The command `autobss`."""
