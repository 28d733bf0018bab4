"""The commands, one module each: it reads its arguments, calls one function, prints, and exits.

Imports inside the functions keep `coldwarm --help` fast.
"""
