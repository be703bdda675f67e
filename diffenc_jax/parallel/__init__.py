"""One program on many devices: the mesh and its shardings, several hosts, feeding batches to devices, shutdown."""
