"""Programs in space: mapped to the units of a dataflow chip, and simulated with time in tokens."""
