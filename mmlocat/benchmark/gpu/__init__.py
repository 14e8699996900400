"""The report of `make gpu-report`: parity, time and memory on one GPU, in one command; see README.md."""
