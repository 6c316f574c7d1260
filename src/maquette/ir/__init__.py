"""The one language: parallel patterns over named axes."""
