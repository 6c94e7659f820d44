"""The suite against its peers: the same work on the same machine, side by side, in ratios. See README.md beside this file."""
