"""What the program does, one function per verb; the command line is one face of it."""
