"""The peers: one worker module each, run by the interpreter of the peer's own environment."""
