"""SSMI without I/O: lines, link state, sessions, text."""
