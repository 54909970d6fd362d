"""The protocol, proved: machine-made histories, mutants, waiting calls, load, frozen clients and query plans."""
