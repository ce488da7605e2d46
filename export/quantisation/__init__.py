"""FP32 entries → INT8 variants for CPUs: ranges, graph, gates."""
