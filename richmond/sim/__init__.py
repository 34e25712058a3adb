"""Discrete events: what a rule of scaling makes of a load. The same policy that the master asks."""
