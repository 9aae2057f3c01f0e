"""Serving over the radio: wants heard on the air are answered from the store, and what is bought leaves in a station's sessions."""
