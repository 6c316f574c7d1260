"""Measuring a real engine: started here or reached by its address, loaded by a real client."""
