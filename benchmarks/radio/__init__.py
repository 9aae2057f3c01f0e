"""A radio channel that needs no radio: real firmware, or what stands in for it, in simulated air and simulated time.

``air`` decides who hears what, ``chip`` is the SX1262 that the firmware's own driver talks to, ``duty`` audits the law from outside, and
the machines run the firmware in this process, in QEMU, or byte for byte as it would be flashed. A run is a function of its seed.
"""
