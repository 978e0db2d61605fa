"""The release pipeline on a real engine and a real registry, with an image of a few bytes."""
