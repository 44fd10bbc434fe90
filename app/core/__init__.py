"""What every part of the project uses: text, files, arrays, devices."""
