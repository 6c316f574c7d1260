"""Published claims about machines and compilers, computed again and judged."""
