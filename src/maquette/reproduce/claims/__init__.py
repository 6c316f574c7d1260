"""Published claims, a module per subject, each with its tuple `CLAIMS`."""
