"""Conformance suites, an agreement machine, faults and a clock for authors of stores."""
