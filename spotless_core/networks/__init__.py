"""The networks, their devices and their weights."""
