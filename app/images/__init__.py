"""Image files: which files are images, how they are decoded, and which way up they were taken."""
