"""The provider: holds blocks, quotes, serves, gets paid, claims."""
