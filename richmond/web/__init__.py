"""What a browser and Prometheus see of a running installation."""
