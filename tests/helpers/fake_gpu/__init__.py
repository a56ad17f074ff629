"""A pretended GPU, which computes shapes, dtypes and devices, but no values.

`device` adds it to torch, `autocast` gives it CUDA's rules of mixed precision, `recorder` writes
down what a real one would do, `cases` are what goes through it. All of it changes torch for the
whole process; therefore tests run `python -m fake_gpu` and read its report.
"""
