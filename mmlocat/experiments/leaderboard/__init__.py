"""Published beside measured, with what each measured number came from: see README.md."""
