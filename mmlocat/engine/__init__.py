"""What stands between a config and mmengine's Runner: checks, CPU launches, one command line."""
