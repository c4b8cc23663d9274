"""The commands of `lua-lightning`, one file each."""
