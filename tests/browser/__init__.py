"""What people look at, looked at in a real browser."""
