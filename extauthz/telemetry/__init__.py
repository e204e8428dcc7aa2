"""What the running service says about itself: application logs and metrics."""
