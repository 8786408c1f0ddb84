"""The use cases of the program, one function per verb; the command line is one face of them."""
