"""Everything that can be added or left out, a folder each."""
