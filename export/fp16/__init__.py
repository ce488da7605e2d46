"""FP32 graph → a graph that says itself where it computes in half precision."""
