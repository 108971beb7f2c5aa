"""The core of rfr-stream: what the stages say and do. It would survive a change of broker."""
