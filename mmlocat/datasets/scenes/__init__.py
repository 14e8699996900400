"""What DigitScenes and StampScenes share: objects over backgrounds, drawn once from one seed, kept with checksums."""
