"""Leaves a process behind."""

import subprocess

subprocess.run(["sh", "-c", "sleep 0.3 &"], check=True)
raise RuntimeError("the child of my child goes on")
