"""Rules of scaling, one a file: ours, those of others with their constants, and what nobody can beat."""
