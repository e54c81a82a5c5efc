"""What is measured of this process."""
