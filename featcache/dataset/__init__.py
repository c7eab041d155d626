"""What the user names becomes typed samples."""
