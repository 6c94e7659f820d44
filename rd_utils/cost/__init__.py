"""What work takes, before and after: operations, devices, energy, and what it was worth."""
