"""Predictions beside measured rows, and calibrations fitted to them."""
